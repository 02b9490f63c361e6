"""``dataset.json``: what a dataset directory says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smartbkg_tf.events.vocabulary import Vocabulary
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY, EncodingSettings
from smartbkg_tf.settings.errors import InputError
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.sources import ParticleSet

#: Version of the layout of dataset directories.
FORMAT_VERSION = 1

FILE_NAME = "dataset.json"

_MADE_BY = "python -m smartbkg_tf.preprocess input=TABLES output=DIR"

#: What must stand in the file.
_KEYS = (
    "format_version",
    "digest",
    "storage",
    "inputs",
    "encoding",
    "vocabulary",
    "normalisation",
    "label_names",
    "n_events",
    "maps",
)


def read_information(path: str | Path) -> dict[str, Any]:
    """Read and check the ``dataset.json`` of a dataset directory.

    Parameters
    ----------
    path : str or pathlib.Path
        The directory.

    Returns
    -------
    dict
        Its values.

    Raises
    ------
    InputError
        When the directory is missing or no dataset directory, or its layout is of
        another version.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is no directory" if path.exists() else "the dataset directory does not exist"
        raise InputError(what, where=path, next_step=f"make one: {_MADE_BY}")
    file = path / FILE_NAME
    if not file.is_file():
        legacy = any(path.glob("*.memmap"))
        raise InputError(
            f"is no dataset directory: {FILE_NAME} is missing"
            + (" (there are memory maps, but nothing says what they hold)" if legacy else ""),
            where=path,
            next_step=f"make one: {_MADE_BY}",
        )
    information = read_json(file)
    check_information(information, where=file)
    result: dict[str, Any] = information
    return result


def check_information(information: Any, where: Path | None = None) -> None:
    """Check the layout's version and that nothing is missing.

    Parameters
    ----------
    information : object
        What stands in ``dataset.json``.
    where : pathlib.Path, optional
        The file, for the message.

    Raises
    ------
    InputError
        When it cannot be used.
    """
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
    missing = [key for key in _KEYS if key not in information]
    if missing:
        raise InputError(f"is damaged: {', '.join(missing)} missing", where=where)


def encoding_of(information: dict[str, Any]) -> EncodingSettings:
    """Give the encoding that new events need to fit a dataset.

    Parameters
    ----------
    information : dict
        From ``dataset.json`` (a run directory holds a copy).

    Returns
    -------
    EncodingSettings
        For `encoding.encode.encode`.

    Raises
    ------
    InputError
        When the recorded feature columns are not those of this version's feature set.
    """
    recorded = information["encoding"]
    values = {name: recorded[name] for name in ("features", "max_particles", "max_tokens")}
    known = FEATURE_SETS.get(str(recorded["features"]))
    if known is None:
        values |= {"columns": recorded["feature_names"], "column_units": recorded.get("units")}
    elif list(recorded["feature_names"]) != list(known):
        raise InputError(
            f"the feature set '{recorded['features']}' has the columns "
            f"{recorded['feature_names']} here, and {list(known)} in this smartbkg_tf",
            where=FILE_NAME,
            next_step="run preprocess and train again",
        )
    return validate(EncodingSettings, values, where=FILE_NAME)


def particles_of(information: dict[str, Any]) -> ParticleSet:
    """Tell which generated particles the tables of a dataset kept (``source.particles``)."""
    return "generator" if information.get("particles") == "generator" else "tables"


def normalisation_of(information: dict[str, Any]) -> NormalisationSettings:
    """Give the constants by which models normalise physical values.

    Parameters
    ----------
    information : dict
        From ``dataset.json``.

    Returns
    -------
    NormalisationSettings
        As they were configured when the dataset was written.
    """
    return validate(NormalisationSettings, information["normalisation"], where=FILE_NAME)


def check_vocabulary(
    information: dict[str, Any], vocabulary: Vocabulary, where: str | Path | None = None
) -> None:
    """Refuse tokens that mean something else.

    Parameters
    ----------
    information : dict
        From ``dataset.json``.
    vocabulary : Vocabulary
        The one at hand.
    where : str or pathlib.Path, optional
        For the message.

    Raises
    ------
    InputError
        When the digests differ.
    """
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
