"""Settings of ``produce``: source, detector, skims, and how the work is shared out."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from smartbkg_tf.errors import UserError, did_you_mean
from smartbkg_tf.settings.base import CommandSettings, Field, settings, validate
from smartbkg_tf.settings.cluster import FarmSettings
from smartbkg_tf.settings.detector import DetectorSettings
from smartbkg_tf.settings.sources import BeamSettings, HepmcSource, MdstSource, PythiaSource

__all__ = [
    "EVENT_TYPE_NAMES",
    "BeamSettings",
    "DetectorSettings",
    "FarmSettings",
    "HepmcSource",
    "MdstSource",
    "ProduceSettings",
    "PythiaSource",
    "skim_class",
]

#: Must equal `smartbkg_tf.events.table.EVENT_TYPES` (a test compares them).
EVENT_TYPE_NAMES = ("mixed", "charged", "uubar", "ddbar", "ssbar", "ccbar", "taupair")


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
    source : PythiaSource, MdstSource or HepmcSource
        Where events come from.
    event_type : str or list of str
        One of the seven types, several (a list, or a text with commas), or ``all``. With
        input files the one type of all of them, or ``unknown``.
    n_events : int
        Events of each type (built-in source); of all types together with
        ``mixture=natural``.
    mixture : {"equal", "natural"}
        As many events of each type, or shared out by cross-section.
    seed : int
        Same seed, same events, whatever the number of workers.
    workers : int
        Processes, or jobs of a batch farm.
    cluster : FarmSettings
        Where they run.
    chunk_size : int
        Events of one chunk, which is one file and has its own seed (built-in source).
    input : str or list of str or None
        mDST or HepMC files: names or patterns, with commas between several.
    skim_files : str or list of str or None
        Files that name the events which passed the skim (npy, csv, parquet, or skim ROOT files).
    output : str
        Folder of the training tables.
    format : {"hdf5", "parquet"}
        How they are written.
    verify : bool
        Look at the content of finished tables, not only at size and time; damaged ones are made
        again.
    detector : DetectorSettings
        The parametrised detector (built-in source and HepMC).
    skim : dict of str to dict
        Skims by name, each with ``_target_`` and its cuts. With ``source=mdst`` the one
        name that the skim files stand for.
    """

    source: Annotated[PythiaSource | MdstSource | HepmcSource, Field(discriminator="name")]
    event_type: str | list[str] = "mixed"
    n_events: int = Field(default=2000, gt=0)
    mixture: Literal["equal", "natural"] = "equal"
    # Ten times this is a production number, which must fit into 64 bits.
    seed: int = Field(default=1, ge=0, le=10**17)
    workers: int = Field(default=1, ge=1)
    cluster: FarmSettings = Field(default_factory=FarmSettings)
    chunk_size: int = Field(default=2000, ge=1, le=50_000)
    input: str | list[str] | None = None
    skim_files: str | list[str] | None = None
    output: str = Field(default="data/tables", min_length=1)
    format: Literal["hdf5", "parquet"] = "hdf5"
    verify: bool = False
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
        if not types:
            raise ValueError(f"event_type: give at least one of {', '.join(EVENT_TYPE_NAMES)}")
        if self.source.name == "pythia" and self.input:
            raise ValueError(
                "input is for source=mdst and source=hepmc: source=pythia makes its own events"
            )
        if self.source.name == "pythia" and "unknown" in types:
            raise ValueError("event_type=unknown is for source=mdst and source=hepmc")
        if self.source.name != "pythia" and len(types) != 1:
            raise ValueError("event_type: give the one type of the input files, or unknown")
        if self.source.name != "pythia" and self.mixture != "equal":
            raise ValueError("mixture=natural is for source=pythia")
        if self.source.name != "mdst" and self.skim_files:
            raise ValueError("skim_files is for source=mdst: the other sources make their labels")
        simulated = self.source.name == "pythia" or (
            self.source.name == "hepmc" and self.source.labels
        )
        if not self.skim and (simulated or self.skim_files):
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
