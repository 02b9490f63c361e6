"""Settings of ``produce``: beams, source, detector, skims."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from smartbkg_tf.settings.base import CommandSettings, Field, settings, validate
from smartbkg_tf.settings.detector import DetectorSettings
from smartbkg_tf.settings.errors import UserError, did_you_mean

__all__ = [
    "EVENT_TYPE_NAMES",
    "BeamSettings",
    "DetectorSettings",
    "MdstSource",
    "ProduceSettings",
    "PythiaSource",
    "skim_class",
]

#: Must equal `smartbkg_tf.events.table.EVENT_TYPES` (a test compares them).
EVENT_TYPE_NAMES = ("mixed", "charged", "uubar", "ddbar", "ssbar", "ccbar", "taupair")

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
    decay_table : {"belle2", "pythia"}
        ``belle2``: branching fractions of DECAY_BELLE2.DEC, read from the installed
        decaylanguage package; ``pythia``: Pythia's own.
    k_long : {"detector", "stable"}
        ``detector``: K_L decay in the generator when they do so inside the detector
        volume, as in Belle II's own files (and as the published spreads of vertices and
        times require); ``stable``: never.
    detector_radius : float
        Radius of the volume outside which nothing decays, cm, default 125.
    detector_z : tuple of two float
        Its ends along z, cm, default (-100, 190).
    mixing_frequency : float
        B0 oscillation frequency (mass difference), 1/ps, default 0.5065 (PDG 2024).
    initial_state_radiation : bool
        Continuum only: photons radiated by the beams, default False.
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
    decay_table: Literal["belle2", "pythia"] = "belle2"
    k_long: Literal["detector", "stable"] = "detector"
    detector_radius: float = Field(default=125.0, gt=1)
    detector_z: tuple[float, float] = (-100.0, 190.0)
    mixing_frequency: float = Field(default=0.5065, ge=0)
    initial_state_radiation: bool = False
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
    on_bad_file : {"fail", "skip"}
        What to do with input files that do not open or lack a branch: name them all and
        stop before any work, or leave them out and say so.
    chunk_events : int
        Events read at a time and written into one table, default 20000 (bounds the memory).
    skim_name : str or None
        Name of the label; None: the one skim that the configuration names.
    allow_unmatched : bool
        Accept passing events that stand in none of the input files, default False.
    """

    name: Literal["mdst"] = "mdst"
    on_bad_file: Literal["fail", "skip"] = "fail"
    chunk_events: int = Field(default=20000, gt=0)
    skim_name: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    allow_unmatched: bool = False


def skim_class(target: str) -> type[Any]:
    """Import a skim's class.

    Parameters
    ----------
    target : str
        ``package.module.Class``.

    Returns
    -------
    type
        A subclass of `smartbkg_tf.generation.skims.base.Skim`.

    Raises
    ------
    ValueError
        When it cannot be imported or is no skim.
    """
    base = importlib.import_module("smartbkg_tf.generation.skims.base").Skim
    module_name, _, class_name = target.rpartition(".")
    if not module_name:
        raise ValueError(f"_target_: '{target}' is not of the form package.module.Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"_target_: '{module_name}' cannot be imported ({error}); is it installed or on "
            "PYTHONPATH?"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        names = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, base)]
        raise ValueError(
            f"_target_: '{module_name}' has no '{class_name}'; {did_you_mean(class_name, names)}"
        )
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"_target_: '{target}' does not inherit {base.__module__}.{base.__name__}")
    result: type[Any] = found
    return result


@settings
class ProduceSettings(CommandSettings):
    """What to produce.

    Parameters
    ----------
    source : PythiaSource or MdstSource
        Where events come from.
    event_type : str or list of str
        One of the seven types, several (a list, or a text with commas), or ``all``. With
        ``source=mdst`` the type of all input files, or ``unknown``.
    n_events : int
        Events of each type (built-in source).
    seed : int
        Same seed, same events, whatever the number of workers.
    workers : int
        Processes.
    chunk_size : int
        Events of one chunk, which is one file and has its own seed (built-in source).
    input : str or list of str or None
        mDST files: names or patterns, with commas between several.
    skim_files : str or list of str or None
        Files that name the events which passed the skim (npy, csv, parquet, or skim ROOT files).
    output : str
        Folder of the training tables.
    format : {"hdf5", "parquet"}
        How they are written.
    detector : DetectorSettings
        The parametrised detector (built-in source).
    skim : dict of str to dict
        Skims by name, each with ``_target_`` and its cuts. With ``source=mdst`` the one
        name that the skim files stand for.
    """

    source: Annotated[PythiaSource | MdstSource, Field(discriminator="name")]
    event_type: str | list[str] = "mixed"
    n_events: int = Field(default=2000, gt=0)
    seed: int = Field(default=1, ge=0)
    workers: int = Field(default=1, ge=1)
    chunk_size: int = Field(default=2000, ge=1, le=50_000)
    input: str | list[str] | None = None
    skim_files: str | list[str] | None = None
    output: str = "data/tables"
    format: Literal["hdf5", "parquet"] = "hdf5"
    detector: DetectorSettings
    skim: dict[str, dict[str, Any]]

    @field_validator("event_type")
    @classmethod
    def _known_types(cls, value: str | list[str]) -> str | list[str]:
        names = value.split(",") if isinstance(value, str) else value
        for name in (n.strip() for n in names):
            if name not in (*EVENT_TYPE_NAMES, "all", "unknown"):
                raise ValueError(
                    f"'{name}' is no event type; "
                    f"{did_you_mean(name, (*EVENT_TYPE_NAMES, 'all', 'unknown'))}"
                )
        return value

    @field_validator("skim")
    @classmethod
    def _known_skims(cls, skims: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, values in skims.items():
            if not name.isidentifier():
                raise ValueError(f"'{name}': letters, digits and _ only (it becomes a column name)")
            if "_target_" not in values:
                raise ValueError(f"{name}._target_: a value is needed (the skim's class)")
            chosen = skim_class(str(values["_target_"]))
            cuts = {key: value for key, value in values.items() if key != "_target_"}
            try:
                validate(chosen.Settings, cuts, where=f"skim.{name}")
            except UserError as error:
                raise ValueError(str(error)) from error
        return skims

    @model_validator(mode="after")
    def _consistent(self) -> ProduceSettings:
        types = self.event_types
        if self.source.name == "pythia" and "unknown" in types:
            raise ValueError("event_type=unknown is for source=mdst")
        if self.source.name == "mdst" and len(types) != 1:
            raise ValueError("event_type: give the one type of the mDST files, or unknown")
        if not self.skim and (self.source.name == "pythia" or self.skim_files):
            raise ValueError("skim: at least one skim is needed")
        return self

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types asked for, without duplicates, in their fixed order."""
        names = self.event_type.split(",") if isinstance(self.event_type, str) else self.event_type
        wanted = {name.strip() for name in names}
        if "all" in wanted:
            return EVENT_TYPE_NAMES
        return tuple(n for n in (*EVENT_TYPE_NAMES, "unknown") if n in wanted)
