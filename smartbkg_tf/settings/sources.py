"""Settings of ``produce``: beams, and where events come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from smartbkg_tf.settings.base import Field, settings

__all__ = ["BeamSettings", "HepmcSource", "MdstSource", "ParticleSet", "PythiaSource"]

#: Which generated particles tables keep: those of the training tables of old, or all that
#: basf2's SmartBackground module sees.
ParticleSet = Literal["tables", "generator"]

Triple = tuple[float, float, float]


@settings
class BeamSettings:
    """SuperKEKB's beams and where they meet.

    The electrons fly towards +z and +x, the positrons towards -z and +x.

    Parameters
    ----------
    energy_her : float
        Energy of the electrons (high energy ring), GeV, default 7.004.
    energy_ler : float
        Energy of the positrons (low energy ring), GeV, default 4.002.
    half_crossing_angle : float
        Angle of either beam to the z axis, rad, default 0.0415.
    spread_her, spread_ler : float
        Gaussian energy spread of either beam, GeV, defaults 0.00513 and 0.002375;
        0 switches it off. It moves the Y(4S) of mixed and charged events; continuum
        events are made at the nominal energy.
    vertex : tuple of three float
        Mean interaction point (x, y, z), cm, default 0.
    vertex_spread : tuple of three float
        Gaussian size of the interaction region (x, y, z), cm, default
        (6.2e-4, 5.9e-6, 0.0154): half the overlap of the two nano-beams.
    """

    energy_her: float = Field(default=7.004, gt=0, lt=20)
    energy_ler: float = Field(default=4.002, gt=0, lt=20)
    half_crossing_angle: float = Field(default=0.0415, ge=0, lt=0.5)
    spread_her: float = Field(default=0.00513, ge=0, lt=0.1)
    spread_ler: float = Field(default=0.002375, ge=0, lt=0.1)
    vertex: Triple = (0.0, 0.0, 0.0)
    vertex_spread: Annotated[
        tuple[
            Annotated[float, Field(ge=0)],
            Annotated[float, Field(ge=0)],
            Annotated[float, Field(ge=0)],
        ],
        Field(),
    ] = (6.2e-4, 5.9e-6, 0.0154)


@settings
class PythiaSource:
    """The built-in source: Pythia 8.

    Parameters
    ----------
    name : {"pythia"}
        Which source this is.
    particles : {"tables", "generator"}
        What the tables keep. ``tables``: without photons that beams and
        shower radiate.
        ``generator``: what basf2's SmartBackground module sees, with these
        photons, for networks that run there. Events, labels and keys are the same.
    decay_table : {"belle2", "pythia"}
        ``belle2``: branching fractions of DECAY_BELLE2.DEC, read from the installed
        decaylanguage package; ``pythia``: Pythia's own.
    inclusive : {"as_pythia", "avoid_listed"}
        Inclusive B decays of decay_table=belle2. ``as_pythia``: kept as they come, as EvtGen with
        Pythia 8 does; ``avoid_listed``: an event in which one comes out as a channel that the
        table lists is made anew, as EvtGen with Pythia 6 did.
    k_long : {"detector", "stable"}
        ``detector``: K_L decay in the generator when they do so inside the detector
        volume, as in Belle II's own files (and as the published spreads of vertices and
        times require); ``stable``: never.
    detector_radius : float
        Radius of the volume outside which nothing decays, cm, default 140: half-way into the
        crystals of the barrel calorimeter (125 to 162 cm), where a K_L has interacted.
    detector_z : tuple of two float
        Its ends along z, cm, default (-117, 211): 15 cm behind the front of either end cap.
    mixing_frequency : float
        B0 oscillation frequency (mass difference), 1/ps, default 0.5065 (PDG 2024).
    initial_state_radiation : bool
        Continuum and tau pairs: photons radiated by the beams, default True.
    final_state_radiation : bool
        Photons in decays to a lepton pair (J/psi -> e+ e- and others), default True.
    tau_spin_correlations : bool
        Full helicity correlations in tau decays, default True; False makes tau pairs
        about eight times faster.
    maximum_failures : float
        Largest fraction of generated events that may be thrown away because Pythia gave
        up or broke four-momentum or charge conservation, default 0.2.
    beams : BeamSettings
        The beams.
    """

    name: Literal["pythia"] = "pythia"
    particles: ParticleSet = "tables"
    decay_table: Literal["belle2", "pythia"] = "belle2"
    inclusive: Literal["as_pythia", "avoid_listed"] = "as_pythia"
    k_long: Literal["detector", "stable"] = "detector"
    detector_radius: float = Field(default=140.0, gt=1)
    detector_z: tuple[float, float] = (-117.0, 211.0)
    mixing_frequency: float = Field(default=0.5065, ge=0)
    initial_state_radiation: bool = True
    final_state_radiation: bool = True
    tau_spin_correlations: bool = True
    maximum_failures: float = Field(default=0.2, gt=0, lt=1)
    beams: BeamSettings = Field(default_factory=BeamSettings)

    @model_validator(mode="after")
    def _ordered(self) -> PythiaSource:
        if not self.detector_z[0] < 0 < self.detector_z[1]:
            raise ValueError("detector_z: must hold a negative and a positive end")
        return self


@settings
class MdstSource:
    """basf2 mDST files and, where given, the events that passed their skims.

    Parameters
    ----------
    name : {"mdst"}
        Which source this is.
    particles : {"tables", "generator"}
        What the tables keep. ``tables``: primary particles that are
        neither virtual nor initial nor ISR or FSR photons.
        ``generator``: what basf2's SmartBackground module sees: primary
        particles that are neither initial nor quarks or gluons.
    on_bad_file : {"fail", "skip"}
        What to do with input files that do not open or lack a branch: name them all and
        stop before any work, or leave them out and say so.
    chunk_events : int
        Events read at a time and written into one table, default 20000 (bounds the memory).
    skim_name : str or None
        Name of the label; None: the one skim that the configuration names.
    allow_unmatched : bool
        Accept passing events that stand in none of the input files, default False.
    fill : dict of str to int or None
        Parts of the event key (experiment, run, production) that the skim files lack because they
        are the same for all events: bare event numbers of a single run.
    """

    name: Literal["mdst"] = "mdst"
    particles: ParticleSet = "tables"
    on_bad_file: Literal["fail", "skip"] = "fail"
    chunk_events: int = Field(default=20000, gt=0)
    skim_name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    allow_unmatched: bool = False
    fill: dict[Literal["experiment", "run", "event", "production"], int] | None = None


@settings
class HepmcSource:
    """HepMC3 ASCII files of any generator, sent through the parametrised detector.

    Parameters
    ----------
    name : {"hepmc"}
        Which source this is.
    particles : {"tables", "generator"}
        As for `PythiaSource`; HepMC tells no radiated photon apart, so that ``tables`` keeps
        all that `extract` does not recognise as such.
    on_bad_file : {"fail", "skip"}
        What to do with files of another format or without their end: name them all and stop
        before any work, or leave them out and say so.
    chunk_events : int
        Events read at a time and written into one table, default 20000 (bounds the memory).
    frame : {"laboratory", "centre_of_mass"}
        System of the files' momenta and vertices; the latter are boosted with the beams.
    labels : bool
        Send the events through detector and skims, default True; False: no labels.
    detector_radius : float
        Radius outside which nothing decays, cm, default 140 (see `PythiaSource`).
    detector_z : tuple of two float
        Its ends along z, cm, default (-117, 211).
    beams : BeamSettings
        The beams: the centre-of-mass system of skims and observables.
    """

    name: Literal["hepmc"] = "hepmc"
    particles: ParticleSet = "tables"
    on_bad_file: Literal["fail", "skip"] = "fail"
    chunk_events: int = Field(default=20000, gt=0)
    frame: Literal["laboratory", "centre_of_mass"] = "laboratory"
    labels: bool = True
    detector_radius: float = Field(default=140.0, gt=1)
    detector_z: tuple[float, float] = (-117.0, 211.0)
    beams: BeamSettings = Field(default_factory=BeamSettings)
