"""Settings of the parametrised detector: its numbers, and where they come from.

NIM
    The Belle detector, NIM A 479 (2002) 117, table 1 (compared with it; Belle II keeps the
    solenoid and the crystals of the calorimeter).
TDR
    Belle II Technical Design Report, arXiv:1011.0352.
BOOK
    The Belle II Physics Book, arXiv:1808.10567, part on reconstruction.
own
    Chosen here, so that tracks, clusters and skims look as at Belle II; no measurement.

Numbers of TDR and BOOK are typical values as these documents and later papers quote them, rounded;
they were not compared with a page again. No number comes from Belle II's data or simulation.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

from pydantic import field_validator

from smartbkg_tf.errors import did_you_mean
from smartbkg_tf.settings.base import Field, settings

__all__ = [
    "SPECIES",
    "BackgroundSettings",
    "ClusterSettings",
    "DetectorSettings",
    "IdentificationSettings",
    "TrackSettings",
]

Probability = Annotated[float, Field(ge=0, le=1)]

#: Species by which a track may be named, in the order of the identification matrix.
SPECIES = ("electron", "muon", "pion", "kaon", "proton")

_MATRIX = {
    "electron": {"electron": 0.94, "muon": 0.005, "pion": 0.05, "kaon": 0.005, "proton": 0.0},
    "muon": {"electron": 0.005, "muon": 0.89, "pion": 0.095, "kaon": 0.01, "proton": 0.0},
    "pion": {"electron": 0.005, "muon": 0.025, "pion": 0.925, "kaon": 0.04, "proton": 0.005},
    "kaon": {"electron": 0.005, "muon": 0.015, "pion": 0.07, "kaon": 0.9, "proton": 0.01},
    "proton": {"electron": 0.002, "muon": 0.003, "pion": 0.025, "kaon": 0.03, "proton": 0.94},
}


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
        Acceptance in theta, degrees. Defaults 17 and 150 (drift chamber: TDR).
    plateau : float
        Efficiency of isolated tracks at high pT. Default 0.97 (BOOK).
    pt_start, pt_scale : float
        Threshold and scale of the turn-on, GeV. Defaults 0.04 (slow pions are found down to some
        50 MeV: BOOK) and 0.05 (own, gives 70 % at 0.1 GeV).
    edge_width, edge_loss : float
        Degrees, fraction. Defaults 8 and 0.25 (own).
    displacement_length : float
        Scale on which efficiency falls with the radius of the production vertex, cm. Default 60
        (own, lowers the efficiency for K_S and Lambda daughters).
    maximum_displacement : float
        No track starts outside this radius, cm. Default 60 (about half of the drift chamber, outer
        radius 113 cm: TDR).
    radiation_lengths : float
        Material in front of the tracker at 90 degrees, in which electrons radiate; grows as
        1 / sin theta. Default 0.05 (own: beam pipe, silicon and inner wall of the drift chamber;
        electrons lose 5 %).
    curvature, scattering : float
        1/GeV, 1. Defaults 0.0011 and 0.0029 (sigma(pT)/pT = 0.11 % pT (+) 0.29 % / beta: TDR).
    angle_constant, angle_scattering : float
        rad, rad GeV. Defaults 0.0005 and 0.0015 (own).
    impact_constant, impact_scattering : float
        cm, cm GeV. Defaults 0.0012 and 0.003 (12 um (+) 30 um / (p beta sin^1.5): BOOK, rounded).
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
        Acceptance in theta, degrees. Defaults 17 and 150 (the calorimeter reaches 12.4 to 155.1:
        TDR; its rims are left out here).
    threshold : float
        Smallest cluster energy, GeV. Default 0.03 (own: 20 to 50 MeV are usual, by background
        level).
    plateau : float
        Photon efficiency at high energy. Default 0.95 (own: conversions and gaps are lost).
    turn_on : float
        Energy scale of the turn-on above the threshold, GeV. Default 0.015 (own).
    noise, stochastic, constant : float
        Terms of the energy resolution: GeV, GeV^(1/4), 1. Defaults 0.00066, 0.0081 and 0.0134
        (sigma(E)/E = 0.066 % / E (+) 0.81 % / E^(1/4) (+) 1.34 %: TDR).
    tail_fraction, tail_scale : float
        Fraction of photons with leakage, and the mean lost fraction of energy. Defaults 0.25 and
        0.04 (own).
    angle : float
        rad GeV^(1/2). Default 0.0045 (0.5 cm / sqrt(E) at a distance of 125 cm: NIM).
    inner_radius : float
        Photons born outside this radius make no cluster, cm. Default 110 (own).
    k_long : float
        Probability that a K_L leaves a cluster, if it decays behind the front or not at all.
        Default 0.55 (0.8 interaction lengths of CsI(Tl): TDR).
    neutron : float
        The same for neutrons and antineutrons. Default 0.45 (own).
    hadron_energy : float
        Mean fraction of the energy that such a cluster sees. Default 0.25 (own).
    minimum_ionising : float
        Most probable energy of a charged particle that does not shower, GeV. Default 0.2 (30 cm of
        CsI(Tl)).
    minimum_ionising_spread : float
        Its spread, GeV. Default 0.03 (own).
    hadron_shower : float
        Probability that a charged hadron showers. Default 0.45 (own, from 0.8 interaction lengths).
    split_off : float
        Probability that a showering hadron makes a further, unmatched cluster. Default 0.3 (own).
    split_off_energy : float
        Mean energy of such a cluster above the threshold, GeV. Default 0.06 (own).
    minimum_track_pt : float
        Charged particles below never reach the calorimeter, GeV. Default 0.28 (bending radius of
        half the calorimeter's radius at 1.5 T: NIM).
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
        ``matrix[true][named]`` for electron, muon, pion, kaon, proton; each row sums to 1. Default:
        kaon efficiency 0.90 at a pion mis-identification of 4 %, electrons 0.94, muons 0.89 (BOOK,
        rounded).
    lepton_momentum : float
        Below this momentum leptons are named pions (they reach neither calorimeter nor KLM), GeV.
        Default 0.4 (BOOK).
    overlap_momentum : float
        Above this momentum pions and kaons are harder to tell apart (their Cherenkov angles
        approach), GeV. Default 2.5 (BOOK).
    overlap_factor : float
        By which the pion-kaon and kaon-pion entries then grow. Default 2 (own).
    """

    matrix: dict[str, dict[str, Probability]] = Field(default_factory=lambda: deepcopy(_MATRIX))
    lepton_momentum: float = Field(default=0.4, ge=0)
    overlap_momentum: float = Field(default=2.5, ge=0)
    overlap_factor: float = Field(default=2.0, ge=1)

    @field_validator("matrix")
    @classmethod
    def _complete(cls, matrix: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for true in SPECIES:
            if true not in matrix:
                raise ValueError(f"the row '{true}' is missing; {did_you_mean(true, matrix)}")
            for named in matrix[true]:
                if named not in SPECIES:
                    raise ValueError(f"{true}.{named}: {did_you_mean(named, SPECIES)}")
            total = sum(matrix[true].values())
            if abs(total - 1) > 1e-6:
                raise ValueError(f"the row '{true}' sums to {total:.6g}, not 1")
        for true in matrix:
            if true not in SPECIES:
                raise ValueError(f"{true}: {did_you_mean(true, SPECIES)}")
        return matrix


@settings
class BackgroundSettings:
    """What the beams leave in the detector beside the event.

    Parameters
    ----------
    clusters : float
        Mean number of clusters of an event above the threshold, after timing cuts. Default 1.5
        (own).
    cluster_energy : float
        Mean energy above the threshold (exponential), GeV. Default 0.03 (mostly below 0.1: BOOK).
    tracks : float
        Mean number of tracks of an event. Default 0.15 (own).
    track_pt : float
        Mean transverse momentum (exponential), GeV. Default 0.25 (own).
    track_impact : float
        Spread of their impact parameters, cm. Default 1.5 (own).
    """

    clusters: float = Field(default=1.5, ge=0)
    cluster_energy: float = Field(default=0.03, gt=0)
    tracks: float = Field(default=0.15, ge=0)
    track_pt: float = Field(default=0.25, gt=0)
    track_impact: float = Field(default=1.5, gt=0)


@settings
class DetectorSettings:
    """A parametrised Belle II detector; energies and momenta in GeV, lengths in cm.

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

    name: str = "belle2"
    seed: int | None = Field(default=None, ge=0)
    tracks: TrackSettings = Field(default_factory=TrackSettings)
    clusters: ClusterSettings = Field(default_factory=ClusterSettings)
    identification: IdentificationSettings = Field(default_factory=IdentificationSettings)
    background: BackgroundSettings = Field(default_factory=BackgroundSettings)
