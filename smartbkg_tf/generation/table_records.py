"""What tables depend on, and the record of each finished task, written by its worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from smartbkg_tf.errors import InputError
from smartbkg_tf.generation.source import Report, Task
from smartbkg_tf.runtime.code_digest import code_digests
from smartbkg_tf.runtime.files import PARTIAL, hash_of_values, read_json, sha256, write_json
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.generation import ProduceSettings

#: Folder of the records of a run that has not ended; ``production.json`` takes them over.
RECORDS = "records"

#: Software on which the events depend; the last three are physics input.
_MAKERS = ("smartbkg_tf", "pythia8mc", "decaylanguage", "particle")

_PACKAGES = ("smartbkg_tf.generation", "smartbkg_tf.events")


@dataclass(frozen=True)
class FileState:
    """A finished file."""

    size: int  # bytes
    modified: int  # time of the last change, ns
    sha256: str  # of its content


_FILES = TypeAdapter(dict[str, FileState])
_REPORT = TypeAdapter(Report)


def make_table(task: Task, directory: Path, settings_hash: str) -> Report:
    """Make the tables of a task and write its record: the work of one process."""
    report: Report = task.settings.source.make(task, directory)
    write_record(report, task, directory, settings_hash)
    return report


def write_record(report: Report, task: Task, directory: Path, settings_hash: str) -> None:
    """Write the record of a task whose tables are in the output folder."""
    values = asdict(report)
    for kind in ("files", "side_files"):
        values[kind] = {name: _state(directory / name) for name in values[kind]}
    values |= {"made_from": made_from(task), "settings_hash": settings_hash}
    write_json(directory / RECORDS / f"{task.name}.json", values)


def _state(path: Path) -> dict[str, Any]:
    place = path.stat()
    return asdict(FileState(place.st_size, place.st_mtime_ns, sha256(path)))


def read_records(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the records in an output folder: settings hash and values of each."""
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
    """Check a record; None for values that are not one."""
    try:
        files = {kind: values[kind] for kind in ("files", "side_files")}
        _REPORT.validate_python({**values, **{k: list(v) for k, v in files.items()}})
        for states in files.values():
            _FILES.validate_python(states)
    except (KeyError, TypeError, ValidationError):
        return None
    return dict(values)


def unchanged(path: Path, state: dict[str, Any], *, verify: bool) -> bool:
    """Whether a finished file is unchanged; with `verify` its content is always compared.

    A new time is noted in `state` when the content is the same (a copied folder).
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
    """Describe what a task's output depends on besides the settings."""
    result: dict[str, Any] = {
        "event_type": task.event_type,
        "n_events": task.n_events,
        "chunk": task.chunk,
    }
    if task.input is not None:
        # Tell the file from a later one of the same name, without reading it.
        path = Path(task.input)
        place = path.stat()
        modified = place.st_mtime_ns
        result["input"] = {"name": path.name, "size": place.st_size, "modified": modified}
        result["first_event"] = task.first_event
    if task.passing is not None:
        result["passing"] = hash_of_values(task.passing.tolist())
    return result


def made_by(
    settings: ProduceSettings, *, modules: Sequence[str] = (), packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Describe versions and code that make tables: package -> version, module -> digest.

    The source and the skims may be a user's own. `modules` and `packages` are code that matters
    besides, as in `code_digests`.
    """
    chosen = [type(part).__module__ for part in (settings.source, *settings.skim.values())]
    code = code_digests(
        ["smartbkg_tf.generation.chunks", *chosen, *modules], [*_PACKAGES, *packages]
    )
    return {"versions": versions(_MAKERS), "code": code}
