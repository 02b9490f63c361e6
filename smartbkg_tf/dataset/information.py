"""``dataset.json``: what a dataset directory says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.vocabulary import Vocabulary
from smartbkg_tf.runtime.files import hash_of_values, read_json
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY, EncodingSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.sources import ParticleSet
from smartbkg_tf.settings.stored import check_stored

#: Version of the layout of dataset directories.
FORMAT_VERSION = 1

FILE_NAME = "dataset.json"

_MADE_BY = "python -m smartbkg_tf.preprocess input=TABLES output=DIR"

_REPAIR = "copy it again from its source, or run preprocess again"

#: What the checksum leaves out: where events came from and what wrote them, and itself.
_NOT_IN_CHECKSUM = ("sources", "software", "checksum")

_Size = Annotated[int, Field(ge=0)]
_Length = Annotated[int, Field(ge=1)]


class _Map(TypedDict):
    shape: list[_Size]
    dtype: str
    bytes: _Size
    fingerprint: str


class _Encoding(TypedDict):
    features: str
    feature_names: list[str]
    max_particles: _Length
    max_tokens: _Length
    units: NotRequired[list[str]]
    definition: NotRequired[str | None]
    arguments: NotRequired[dict[str, Any] | None]
    further_columns: NotRequired[list[dict[str, Any]]]


class _Vocabulary(TypedDict):
    size: _Length
    digest: str


class _Normalisation(TypedDict):
    name: str
    features: dict[str, dict[str, Any]]


class _Information(TypedDict):
    """What stands in the file; more may stand there, and earlier versions wrote less."""

    format_version: int
    digest: str
    storage: str
    inputs: list[str]
    encoding: _Encoding
    vocabulary: _Vocabulary
    normalisation: _Normalisation
    label_names: list[str]
    n_events: _Size
    maps: dict[str, _Map]
    key: NotRequired[str]
    particles: NotRequired[Literal["tables", "generator"]]
    mode: NotRequired[str]
    seed: NotRequired[int]
    observable_names: NotRequired[list[str]]
    n_particles: NotRequired[_Size]
    n_tokens: NotRequired[_Size]
    max_lengths: NotRequired[dict[str, _Size]]
    truncated: NotRequired[dict[str, _Size]]
    counts: NotRequired[dict[str, dict[str, Any]]]
    statistics: NotRequired[dict[str, dict[str, float]]]
    unknown_codes: NotRequired[dict[str, _Size]]
    n_unknown_codes: NotRequired[_Size]
    dropped: NotRequired[dict[str, _Size]]
    sources: NotRequired[list[dict[str, Any]]]
    checksum: NotRequired[str]


_SCHEMA = TypeAdapter(_Information)


def read_information(path: str | Path) -> dict[str, Any]:
    """Read and check the ``dataset.json`` of a dataset directory.

    InputError when the directory is missing or not a dataset directory, its layout is of another
    version, a value is missing or of the wrong type, or any was changed by hand.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "the dataset directory does not exist"
        raise InputError(what, where=path, next_step=f"make one: {_MADE_BY}")
    file = path / FILE_NAME
    if not file.is_file():
        legacy = any(path.glob("*.memmap"))
        raise InputError(
            f"is not a dataset directory: {FILE_NAME} is missing"
            + (" (there are memory maps, but nothing says what they hold)" if legacy else ""),
            where=path,
            next_step=f"make one: {_MADE_BY}",
        )
    information = read_json(file)
    check_information(information, where=file)
    if "checksum" in information and information != with_checksum(information):
        raise InputError(
            "was changed after preprocess wrote it: its checksum does not fit",
            where=file,
            next_step=_REPAIR,
        )
    labels = information["maps"].get("labels", {}).get("shape")
    if labels != [information["n_events"], len(information["label_names"])]:
        raise InputError(
            f"is damaged: {information['n_events']} events with {len(information['label_names'])} "
            f"labels do not fit the map 'labels', {labels}",
            where=file,
        )
    if information["storage"] != "ragged":
        raise InputError(
            f"has storage={information['storage']}, which this smartbkg_tf does not read any more",
            where=path,
            next_step="make it again from its tables: python -m smartbkg_tf.preprocess "
            f"input=TABLES output={path} overwrite=true",
        )
    result: dict[str, Any] = information
    return result


def with_checksum(information: dict[str, Any]) -> dict[str, Any]:
    """Add the hash of all that describes the events, by which changes by hand are noticed."""
    described = {k: v for k, v in information.items() if k not in _NOT_IN_CHECKSUM}
    return {**information, "checksum": hash_of_values(described)}


def check_information(information: Any, where: Path | None = None) -> None:
    """Check version, completeness and types of what stands in the file `where`."""
    version = information.get("format_version") if isinstance(information, dict) else None
    if not isinstance(version, int):
        raise InputError("does not describe a dataset (no format_version)", where=where)
    if version != FORMAT_VERSION:
        age = "a newer" if version > FORMAT_VERSION else "an older"
        raise InputError(
            f"the dataset has format version {version}; this smartbkg_tf reads {FORMAT_VERSION}",
            where=where,
            next_step=f"it was written by {age} smartbkg_tf: run preprocess again",
        )
    check_stored(_SCHEMA, information, where, next_step=_REPAIR)
    try:
        hash_of_values(information)
    except ValueError as error:  # NaN, which JSON proper does not know
        raise InputError("is damaged: it holds NaN or infinity", where=where) from error


def encoding_of(information: dict[str, Any], where: str | Path = FILE_NAME) -> EncodingSettings:
    """Give the encoding that new events need to fit a dataset (a run directory holds a copy).

    InputError when the recorded feature columns are not those of this version's feature set.
    """
    recorded = information["encoding"]
    values = {name: recorded[name] for name in ("features", "max_particles", "max_tokens")}
    known = FEATURE_SETS.get(str(recorded["features"]))
    if known is None:
        values |= {
            "columns": recorded["feature_names"],
            "column_units": recorded.get("units"),
            "further_columns": recorded.get("further_columns", ()),
            "definition": recorded.get("definition"),
            "arguments": recorded.get("arguments"),
        }
    elif list(recorded["feature_names"]) != list(known):
        raise InputError(
            f"the feature set '{recorded['features']}' has the columns "
            f"{recorded['feature_names']} here, and {list(known)} in this smartbkg_tf",
            where=where,
            next_step="run preprocess and train again",
        )
    return validate(EncodingSettings, values, where=str(where))


def particles_of(information: dict[str, Any]) -> ParticleSet:
    """Tell which generated particles the tables of a dataset kept (``source.particles``)."""
    return "generator" if information.get("particles") == "generator" else "tables"


def normalisation_of(information: dict[str, Any]) -> NormalisationSettings:
    """Give the constants by which models normalise physical values, as they were configured."""
    return validate(NormalisationSettings, information["normalisation"], where=FILE_NAME)


def check_vocabulary(
    information: dict[str, Any], vocabulary: Vocabulary, where: str | Path | None = None
) -> None:
    """Refuse tokens that mean something else than in the vocabulary at hand; InputError."""
    recorded = information["vocabulary"]
    if information["encoding"]["features"] == LEGACY:
        return  # tokens of the original project; nothing here translates them
    if recorded["digest"] != vocabulary.digest:
        raise InputError(
            f"was made with another list of PDG codes (digest {recorded['digest']}, "
            f"{recorded['size']} tokens; at hand: {vocabulary.digest}, {vocabulary.size})",
            where=where,
            next_step="its tokens would be misread: run preprocess (and train) again",
        )
