"""The record of each finished task, written by the worker beside its tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from smartbkg_tf.errors import InputError
from smartbkg_tf.generation.chunks import Report, Task, run_task
from smartbkg_tf.runtime.files import PARTIAL, hash_of_values, read_json, sha256, write_json

#: Folder of the records of a run that has not ended; ``production.json`` takes them over.
RECORDS = "records"


@dataclass(frozen=True)
class FileState:
    """A finished file.

    Parameters
    ----------
    size : int
        Bytes.
    modified : int
        Time of the last change, ns.
    sha256 : str
        Hash of its content.
    """

    size: int
    modified: int
    sha256: str


_FILES = TypeAdapter(dict[str, FileState])
_REPORT = TypeAdapter(Report)


def make_table(task: Task, directory: Path, settings_hash: str) -> Report:
    """Make the tables of a task and write its record: the work of one process.

    Parameters
    ----------
    task : Task
        What to make.
    directory : pathlib.Path
        The output folder.
    settings_hash : str
        Of settings, versions and code.

    Returns
    -------
    Report
        What was made.
    """
    report = run_task(task, directory)
    write_record(report, task, directory, settings_hash)
    return report


def write_record(report: Report, task: Task, directory: Path, settings_hash: str) -> None:
    """Write the record of a task whose tables stand in the output folder."""
    values = asdict(report)
    for kind in ("files", "side_files"):
        values[kind] = {name: _state(directory / name) for name in values[kind]}
    values |= {"made_from": made_from(task), "settings_hash": settings_hash}
    write_json(directory / RECORDS / f"{task.name}.json", values)


def _state(path: Path) -> dict[str, Any]:
    place = path.stat()
    return {"size": place.st_size, "modified": place.st_mtime_ns, "sha256": sha256(path)}


def read_records(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the records that stand in an output folder: settings hash and values of each."""
    for path in sorted((directory / RECORDS).glob("*.json")):
        if PARTIAL in path.name:
            continue
        try:
            values = usable_record(read_json(path))
        except InputError:
            continue  # Damaged: its tables are made again.
        if values is not None:
            yield str(values.pop("settings_hash", "")), values


def usable_record(values: Any) -> dict[str, Any] | None:
    """Give a record as it is, or None for values that are none."""
    try:
        files = {kind: values[kind] for kind in ("files", "side_files")}
        _REPORT.validate_python({**values, **{k: list(v) for k, v in files.items()}})
        for states in files.values():
            _FILES.validate_python(states)
    except (KeyError, TypeError, ValidationError):
        return None
    return dict(values)


def unchanged(path: Path, state: dict[str, Any], *, verify: bool) -> bool:
    """Tell whether a finished file is as it was.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    state : dict
        Of `FileState`; a new time is noted when the content is the same (a copied folder).
    verify : bool
        Look at the content even if size and time are the same.

    Returns
    -------
    bool
        False when it is missing, too.
    """
    try:
        place = path.stat()
        if place.st_size != state["size"]:
            return False
        if place.st_mtime_ns == state["modified"] and not verify:
            return True
        if sha256(path) != state["sha256"]:
            return False
    except OSError:
        return False
    state["modified"] = place.st_mtime_ns
    return True


def made_from(task: Task) -> dict[str, Any]:
    """Tell what a task's output depends on beside the settings."""
    result: dict[str, Any] = {"event_type": task.event_type, "n_events": task.n_events}
    if task.settings.source.name != "mdst":
        result["chunk"] = task.chunk
    if task.input is not None:
        result["input"] = _identity(Path(task.input))
        result["first_event"] = task.first_event
    if task.passing is not None:
        result["passing"] = hash_of_values(task.passing.tolist())
    return result


def _identity(path: Path) -> dict[str, Any]:
    """Tell a file from a later one of the same name, without reading it."""
    place = path.stat()
    return {"name": path.name, "size": place.st_size, "modified": place.st_mtime_ns}
