"""Settings of ``produce``: source, detector, skims, and how the work is shared out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator, model_validator

from smartbkg_tf.errors import did_you_mean
from smartbkg_tf.settings.base import CommandSettings, Field, settings
from smartbkg_tf.settings.cluster import FarmSettings
from smartbkg_tf.settings.detector import DetectorSettings
from smartbkg_tf.settings.plugins import plugin
from smartbkg_tf.settings.sources import EVENT_TYPES

__all__ = ["ProduceSettings"]


@settings
class ProduceSettings(CommandSettings):
    """What to produce.

    Parameters
    ----------
    source : EventSource
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
        The same seed gives the same events with any number of workers.
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
    skim : dict of str to Skim
        Skims by name, each with ``_target_`` and its cuts. With ``source=mdst`` the one
        name of the skim in the skim files.
    """

    source: Annotated[Any, plugin("smartbkg_tf.generation.built_in.EventSource")]
    event_type: str | list[str] = "mixed"
    n_events: int = Field(default=2000, gt=0, le=2_000_000_000)
    mixture: Literal["equal", "natural"] = "equal"
    # Ten times this is a production number, which must fit into 64 bits.
    seed: int = Field(default=1, ge=0, le=10**17)
    workers: int = Field(default=1, ge=1, le=1024)
    cluster: FarmSettings = Field(default_factory=FarmSettings)
    chunk_size: int = Field(default=2000, ge=1, le=50_000)
    input: str | list[str] | None = None
    skim_files: str | list[str] | None = None
    output: str = Field(default="data/tables", min_length=1)
    format: Literal["hdf5", "parquet"] = "hdf5"
    verify: bool = False
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    skim: dict[str, Annotated[Any, plugin("smartbkg_tf.generation.built_in.Skim")]]

    @field_validator("event_type")
    @classmethod
    def _known_types(cls, value: str | list[str]) -> str | list[str]:
        names = value.split(",") if isinstance(value, str) else value
        known = (*EVENT_TYPES, "all", "unknown")
        for name in (n.strip() for n in names):
            if name not in known:
                raise ValueError(f"'{name}' is not an event type; {did_you_mean(name, known)}")
        return value

    @field_validator("skim")
    @classmethod
    def _usable_names(cls, skims: dict[str, object]) -> dict[str, object]:
        for name in skims:
            if not name.isidentifier():
                raise ValueError(f"'{name}': letters, digits and _ only (it becomes a column name)")
        return skims

    @model_validator(mode="after")
    def _consistent(self) -> ProduceSettings:
        if not self.event_types:
            raise ValueError(f"event_type: give at least one of {', '.join(EVENT_TYPES)}")
        self.source.check(self)
        return self

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types asked for, without duplicates, in their fixed order."""
        names = self.event_type.split(",") if isinstance(self.event_type, str) else self.event_type
        wanted = {name.strip() for name in names}
        if "all" in wanted:
            return EVENT_TYPES
        return tuple(n for n in (*EVENT_TYPES, "unknown") if n in wanted)
