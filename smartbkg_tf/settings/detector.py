"""Settings of the parametrised detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import field_validator

from smartbkg_tf.errors import did_you_mean
from smartbkg_tf.settings.base import Field, settings

__all__ = [
    "BackgroundSettings",
    "ClusterSettings",
    "DetectorSettings",
    "IdentificationSettings",
    "TrackSettings",
]

Probability = Annotated[float, Field(ge=0, le=1)]


@settings
class TrackSettings:
    """Reconstruction of charged particles.

    The efficiency is ``plateau (1 - exp(-(pT - pt_start) / pt_scale)) S(theta) exp(-rho /
    displacement_length)``; S falls linearly by ``edge_loss`` within ``edge_width`` of either end
    of the acceptance. The resolution of pT is ``sigma(pT) / pT = hypot(curvature pT,
    scattering / beta)``, that of theta and phi ``hypot(angle_constant, angle_scattering /
    (beta p sin^1.5 theta))``, that of the impact parameters ``hypot(impact_constant,
    impact_scattering / (beta p sin^1.5 theta))``.

    Parameters
    ----------
    minimum_angle, maximum_angle : float
        Acceptance in theta, degrees.
    plateau : float
        Efficiency at high pT.
    pt_start, pt_scale : float
        Threshold and scale of the turn-on, GeV.
    edge_width, edge_loss : float
        Degrees, fraction.
    displacement_length : float
        Scale on which efficiency falls with the radius of the production vertex, cm.
    maximum_displacement : float
        No track starts outside this radius, cm.
    radiation_lengths : float
        Material in front of the tracker at 90 degrees, in which electrons radiate; grows as
        1 / sin theta.
    curvature, scattering : float
        1/GeV, 1.
    angle_constant, angle_scattering : float
        rad, rad GeV.
    impact_constant, impact_scattering : float
        cm, cm GeV.
    """

    minimum_angle: float = Field(default=17.0, ge=0, le=90)
    maximum_angle: float = Field(default=150.0, ge=90, le=180)
    plateau: Probability = 0.97
    pt_start: float = Field(default=0.04, ge=0)
    pt_scale: float = Field(default=0.05, gt=0)
    edge_width: float = Field(default=8.0, gt=0, lt=60)
    edge_loss: Probability = 0.25
    displacement_length: float = Field(default=60.0, gt=0)
    maximum_displacement: float = Field(default=60.0, gt=0)
    radiation_lengths: float = Field(default=0.05, ge=0, le=1)
    curvature: float = Field(default=0.0011, ge=0)
    scattering: float = Field(default=0.0029, ge=0)
    angle_constant: float = Field(default=0.0005, ge=0)
    angle_scattering: float = Field(default=0.0015, ge=0)
    impact_constant: float = Field(default=0.0012, ge=0)
    impact_scattering: float = Field(default=0.0030, ge=0)


@settings
class ClusterSettings:
    """Clusters of the electromagnetic calorimeter.

    The energy resolution is ``sigma(E) / E = hypot(noise / E, stochastic / E^(1/4),
    constant)``, that of the angles ``angle / sqrt(E)`` (E in GeV).

    Parameters
    ----------
    minimum_angle, maximum_angle : float
        Acceptance in theta, degrees.
    threshold : float
        Smallest cluster energy, GeV.
    plateau : float
        Photon efficiency at high energy (conversions and gaps are lost).
    turn_on : float
        Energy scale of the turn-on above the threshold, GeV.
    noise, stochastic, constant : float
        Terms of the energy resolution: GeV, GeV^(1/4), 1.
    tail_fraction, tail_scale : float
        Fraction of photons with leakage, and the mean lost fraction of energy.
    angle : float
        rad GeV^(1/2).
    inner_radius : float
        Photons born outside this radius make no cluster, cm.
    k_long : float
        Probability that a K_L leaves a cluster, if it decays behind the front or not at all.
    neutron : float
        The same for neutrons and antineutrons.
    hadron_energy : float
        Mean fraction of the energy that such a cluster sees.
    minimum_ionising : float
        Most probable energy of a charged particle that does not shower, GeV.
    minimum_ionising_spread : float
        Its spread, GeV.
    hadron_shower : float
        Probability that a charged hadron showers.
    split_off : float
        Probability that a showering hadron makes a further, unmatched cluster.
    split_off_energy : float
        Mean energy of such a cluster above the threshold, GeV.
    minimum_track_pt : float
        Charged particles below never reach the calorimeter, GeV.
    """

    minimum_angle: float = Field(default=17.0, ge=0, le=90)
    maximum_angle: float = Field(default=150.0, ge=90, le=180)
    threshold: float = Field(default=0.03, gt=0)
    plateau: Probability = 0.95
    turn_on: float = Field(default=0.015, gt=0)
    noise: float = Field(default=0.00066, ge=0)
    stochastic: float = Field(default=0.0081, ge=0)
    constant: float = Field(default=0.0134, ge=0)
    tail_fraction: Probability = 0.25
    tail_scale: float = Field(default=0.04, ge=0, lt=1)
    angle: float = Field(default=0.0045, ge=0)
    inner_radius: float = Field(default=110.0, gt=0)
    k_long: Probability = 0.55
    neutron: Probability = 0.45
    hadron_energy: float = Field(default=0.25, gt=0, le=1)
    minimum_ionising: float = Field(default=0.2, gt=0)
    minimum_ionising_spread: float = Field(default=0.03, ge=0)
    hadron_shower: Probability = 0.45
    split_off: Probability = 0.3
    split_off_energy: float = Field(default=0.06, gt=0)
    minimum_track_pt: float = Field(default=0.28, ge=0)


@settings
class IdentificationSettings:
    """How a track's species is named.

    Parameters
    ----------
    matrix : dict of str to dict of str to float
        ``matrix[true][named]`` for electron, muon, pion, kaon, proton; each row sums to 1.
    lepton_momentum : float
        Below this momentum leptons are named pions (they do not reach their detectors), GeV.
    overlap_momentum : float
        Above this momentum pions and kaons are harder to tell apart, GeV.
    overlap_factor : float
        By which the pion-kaon and kaon-pion entries then grow.
    """

    matrix: dict[str, dict[str, Probability]]
    lepton_momentum: float = Field(default=0.4, ge=0)
    overlap_momentum: float = Field(default=2.5, ge=0)
    overlap_factor: float = Field(default=2.0, ge=1)

    @field_validator("matrix")
    @classmethod
    def _complete(cls, matrix: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        species = ("electron", "muon", "pion", "kaon", "proton")
        for true in species:
            if true not in matrix:
                raise ValueError(f"the row '{true}' is missing; {did_you_mean(true, matrix)}")
            for named in matrix[true]:
                if named not in species:
                    raise ValueError(f"{true}.{named}: {did_you_mean(named, species)}")
            total = sum(matrix[true].values())
            if abs(total - 1) > 1e-6:
                raise ValueError(f"the row '{true}' sums to {total:.6g}, not 1")
        for true in matrix:
            if true not in species:
                raise ValueError(f"{true}: {did_you_mean(true, species)}")
        return matrix


@settings
class BackgroundSettings:
    """What the beams leave in the detector beside the event.

    Parameters
    ----------
    clusters : float
        Mean number of clusters above the threshold.
    cluster_energy : float
        Mean energy above the threshold (exponential), GeV.
    tracks : float
        Mean number of tracks.
    track_pt : float
        Mean transverse momentum (exponential), GeV.
    track_impact : float
        Spread of their impact parameters, cm.
    """

    clusters: float = Field(default=1.5, ge=0)
    cluster_energy: float = Field(default=0.03, gt=0)
    tracks: float = Field(default=0.15, ge=0)
    track_pt: float = Field(default=0.25, gt=0)
    track_impact: float = Field(default=1.5, gt=0)


@settings
class DetectorSettings:
    """A parametrised Belle II detector.

    Parameters
    ----------
    name : str
        Name of the set of numbers.
    seed : int or None
        None: derived from the generator's seed. Another number redraws the detector's
        response, and so the labels, for the same generated events.
    tracks, clusters, identification, background
        The parts.
    """

    name: str
    seed: int | None = Field(default=None, ge=0)
    tracks: TrackSettings = Field(default_factory=TrackSettings)
    clusters: ClusterSettings = Field(default_factory=ClusterSettings)
    identification: IdentificationSettings
    background: BackgroundSettings = Field(default_factory=BackgroundSettings)
