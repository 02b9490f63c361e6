"""How particle tables become the arrays that a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from smartbkg_tf.errors import did_you_mean
from smartbkg_tf.settings.base import Field, settings

#: Feature columns of ``particle_input`` in their order, for every built-in feature set.
FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "original": ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge"),
    "smartbackground": ("prodTime", "x", "y", "z", "energy", "px", "py", "pz"),
}

#: Arrays of the original project that are taken as they are; nothing new can be encoded so.
LEGACY = "legacy"

#: Unit of every feature.
FEATURE_UNITS: dict[str, str] = {
    "energy": "GeV",
    "prodTime": "ns",
    "x": "cm",
    "y": "cm",
    "z": "cm",
    "px": "GeV",
    "py": "GeV",
    "pz": "GeV",
    "charge": "e",
}


def _known_set(features: Any) -> Any:
    named = features.get("_target_") if isinstance(features, Mapping) else features
    if not isinstance(named, str):
        raise ValueError(f"a name, or a mapping with _target_: module.Class, not {features!r}")
    if named in FEATURE_SETS or named == LEGACY:
        if isinstance(features, Mapping) and len(features) > 1:
            raise ValueError(f"the feature set '{named}' has no arguments")
        return named
    parts = named.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(
            f"'{named}' is not a feature set; {did_you_mean(named, FEATURE_SETS)}; a set of "
            "your own is named by its import path, features._target_=my_module.MyFeatures"
        )
    return features


#: ``original``, ``smartbackground``, the import path of a class, or ``_target_`` and arguments.
FeatureSetChoice = Annotated[str | dict[str, Any], AfterValidator(_known_set)]
FeatureSetName = Annotated[str, AfterValidator(_known_set)]

#: Axis of columns with one row per event; those of the two lists that every event has.
EVENT, PARTICLES, TOKENS = "event", "particles", "tokens"

#: Numbers that a column may hold.
Number = Literal[
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"
]


@settings
class Column:
    """A column of encoded events; its name is that of the memory map and of the model input.

    Parameters
    ----------
    name : str
        Name, for example ``candidate_input``.
    axis : str, default "event"
        ``event``: one row per event. Any other name is that of a list which every event has, with
        a length of its own: ``particles``, ``tokens``, or a further one such as ``candidates``.
    dtype : str, default "float32"
        Type in the memory map; a model reads integers as int32 and floats as float32.
    shape : tuple of int, default ()
        Numbers of one row.
    unit : str, default ""
        GeV, cm, ns or none.
    max_length : int, default 0
        Rows to which a further list is padded or cut in a batch; for ``particles`` and
        ``tokens`` this is a choice of the reader.
    """

    name: str
    axis: str = EVENT
    dtype: Number = "float32"
    shape: tuple[Annotated[int, Field(ge=0)], ...] = ()
    unit: str = ""
    max_length: int = Field(default=0, ge=0)

    @property
    def missing(self) -> float:
        """What stands in rows of a source that lacks the column: NaN, or -1."""
        return float("nan") if self.dtype.startswith("float") else -1

    @property
    def padding(self) -> int:
        """What follows the last row of a list in a batch."""
        return -1 if self.name == "mother_index_input" else 0


@settings
class EncodingSettings:
    """How particle tables become the arrays that a model reads.

    Parameters
    ----------
    features : str, default "original"
        ``original``: all particles of the table; energy, prodTime, x, y, z, px, py, pz,
        charge, as they stand. ``smartbackground``: what basf2's module of that name
        feeds its network; prodTime, x, y, z relative to the first kept particle, then
        energy, px, py, pz; initial particles, quarks, gluons and particles from
        vertices beyond 10 cm are left out. ``my_module.MyFeatures``: a class of your own
        that inherits `smartbkg_tf.encoding.feature_sets.FeatureSet`.
    max_particles : int, default 100
        Length to which an event's particles are padded or, at the end, cut.
    max_tokens : int, default 150
        Length to which an event's decay tokens are padded or, at the end, cut.
    arguments : dict, optional
        Arguments of a class of your own.
    columns, column_units : list of str, optional
        Names and units of the feature columns; needed for a class of your own (preprocess
        fills them in), fixed for the built-in sets.
    further_columns : tuple of Column, default ()
        Columns of the event and of further lists that a class of your own declares (preprocess
        fills them in).
    definition : str, optional
        Digest of the code of a class of your own, as a data set records it: an edited class
        encodes nothing for it.
    """

    features: FeatureSetName = "original"
    max_particles: int = Field(default=100, gt=0, le=32767)
    max_tokens: int = Field(default=150, gt=0, le=1_000_000)
    arguments: dict[str, Any] | None = None
    columns: list[str] | None = None
    column_units: list[str] | None = None
    further_columns: tuple[Column, ...] = ()
    definition: str | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> EncodingSettings:
        if self.features in FEATURE_SETS:
            if self.columns is not None and tuple(self.columns) != FEATURE_SETS[self.features]:
                raise ValueError(
                    f"the feature set '{self.features}' has the columns {self.columns} there, and "
                    f"{list(FEATURE_SETS[self.features])} in this smartbkg_tf"
                )
        elif not self.columns:
            raise ValueError(f"the columns of the feature set '{self.features}' are missing")
        elif len(self.column_units or ()) != len(self.columns):
            raise ValueError(f"{self.features}: one unit for each of {self.columns} is needed")
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of ``particle_input`` in their order."""
        return FEATURE_SETS.get(self.features) or tuple(self.columns or ())

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each feature column."""
        if self.features in FEATURE_SETS:
            return tuple(FEATURE_UNITS[name] for name in self.feature_names)
        return tuple(self.column_units or ())

    def plain(self) -> dict[str, Any]:
        """Give what ``dataset.json`` records.

        Returns
        -------
        dict
            From which `dataset.information.encoding_of` makes the same settings.
        """
        further = [{**asdict(c), "shape": list(c.shape)} for c in self.further_columns]
        optional = {
            "definition": self.definition,
            "arguments": self.arguments,
            "further_columns": further or None,
        }
        return {
            "features": self.features,
            "max_particles": self.max_particles,
            "max_tokens": self.max_tokens,
            "feature_names": list(self.feature_names),
            "units": list(self.units),
            **{name: value for name, value in optional.items() if value is not None},
        }
