"""What files of runs and exported models must hold: checked before a value of them is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.settings.sources import ParticleSet

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Length = Annotated[int, Field(ge=1, le=10**6)]


class StoredCalibration(TypedDict):
    """``P(pass) = sigmoid(slope * score + intercept)``."""

    slope: _Finite
    intercept: _Finite


class StoredCost(TypedDict):
    """What an event costs, as in `smartbkg_tf.settings.costs.CostSettings`."""

    generation: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    network: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    simulation: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StoredRule(TypedDict):
    """What was fitted for one skim: an entry of ``filter.json``."""

    a: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    b: _Finite
    maximum_weight: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    a_error: NotRequired[float]
    b_error: NotRequired[float]
    speedup_validation: NotRequired[float]
    speedup_validation_error: NotRequired[float]
    retention: NotRequired[Annotated[float, Field(ge=0, le=1)]]
    cost: NotRequired[StoredCost]
    n_events: NotRequired[int]
    n_passing: NotRequired[Annotated[int, Field(ge=0)]]
    calibration: NotRequired[StoredCalibration | None]
    #: At fractions 0, 0.001, ..., 1 of the passing events, for `efficiency`.
    passing_scores: NotRequired[list[_Finite] | None]
    #: Of everything else in the entry.
    checksum: NotRequired[str]


class _ExportedEncoding(TypedDict):
    features: str
    feature_names: list[str]
    max_particles: _Length
    max_tokens: _Length
    units: list[str]


class _ExportedVocabulary(TypedDict):
    digest: str


@with_config(ConfigDict(extra="allow"))
class _ExportedModel(TypedDict):
    format_version: Literal[2]
    label_names: Annotated[list[str], Field(min_length=1)]
    encoding: _ExportedEncoding
    vocabulary: _ExportedVocabulary
    max_particles: _Length
    max_tokens: _Length
    particles: ParticleSet
    filter: dict[str, StoredRule] | None


@with_config(ConfigDict(extra="allow"))
class _RecordedLengths(TypedDict):
    max_particles: NotRequired[_Length | None]
    max_tokens: NotRequired[_Length | None]


class _RecordedDataset(TypedDict):
    digest: str


@with_config(ConfigDict(extra="allow"))
class _UnfinishedRecord(TypedDict):
    dataset: _RecordedDataset
    software: dict[str, Any]
    code: Any
    timings: dict[str, Any]


#: ``filter.json``: the sampling rule of every skim.
FILTER = TypeAdapter[Any](dict[str, StoredRule])
#: Metadata of an exported model.
EXPORTED = TypeAdapter[Any](_ExportedModel)
#: ``metadata.yaml`` of a run: what decides how events are encoded.
METADATA = TypeAdapter[Any](_RecordedLengths)
#: ``metadata.yaml`` of an unfinished run: what decides how it continues.
RECORD = TypeAdapter[Any](_UnfinishedRecord)


def check_stored(
    schema: TypeAdapter[Any], values: Any, where: Path | None = None, *, next_step: str
) -> None:
    """Raise `InputError` naming every value that is missing or of the wrong type."""
    try:
        schema.validate_python(values, strict=True)
    except ValidationError as error:
        problems = Problems()
        for item in error.errors(include_url=False):
            place, message = ".".join(map(str, item["loc"])), item["msg"]
            problems.add(
                f"{place} is missing"
                if item["type"] == "missing"
                else f"{place}{': ' if place else ''}{message[0].lower()}{message[1:]}, "
                f"not {repr(item['input'])[:60]}"
            )
        problems.raise_if_any("is damaged", kind=InputError, where=where, next_step=next_step)
