"""``production.json``: what stands in an output folder, and how it was made."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation.chunks import Task
from smartbkg_tf.generation.made_by import made_by
from smartbkg_tf.generation.observables_file import FOLDER, JOINED
from smartbkg_tf.generation.table_records import (
    RECORDS,
    made_from,
    read_records,
    unchanged,
    usable_record,
)
from smartbkg_tf.runtime.files import PARTIAL, hash_of_values, read_json, write_json
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.generation import ProduceSettings

NAME = "production.json"

#: 3: events have other seeds and keys than before, and records hold size and time of each file.
_FORMAT_VERSION = 3

#: Settings that say how the work is done or how much of it, not what comes out.
_NO_CONTENT = (
    "debug",
    "overwrite",
    "verify",
    "workers",
    "cluster",
    "output",
    "n_events",
    "mixture",
    "event_type",
    "input",
    "skim_files",
)

_SOFTWARE = (
    "smartbkg_tf", "pythia8mc", "decaylanguage", "particle", "numpy", "numba", "uproot", "pyhepmc",
)  # fmt: skip


class Manifest:
    """The record of one output folder.

    Parameters
    ----------
    directory : pathlib.Path
        The folder.
    settings : ProduceSettings
        What is to be produced.

    Raises
    ------
    OutputError
        When the folder holds tables that were made with other settings, versions or code, or that
        are not ours, and ``overwrite`` is false.
    """

    def __init__(self, directory: Path, settings: ProduceSettings) -> None:
        self.directory = directory
        self.path = directory / NAME
        self._verify = settings.verify
        values = asdict(settings)
        self.settings = {key: value for key, value in values.items() if key not in _NO_CONTENT}
        self.made_by = made_by(settings)
        self.hash = hash_of_values({**self.settings, "made_by": self.made_by})
        self.chunks: dict[str, dict[str, Any]] = {}
        #: What was found out about the input files, for the record.
        self.input: dict[str, Any] | None = None
        if self.path.is_dir():
            raise OutputError("is a folder, and is not replaced by a file", where=self.path)
        if self.path.exists():
            self._open(settings.overwrite)

    def _open(self, overwrite: bool) -> None:
        """Take over what stands in the folder, refuse it, or remove it."""
        try:
            values = read_json(self.path)
            version = values["format_version"]
            same = (values["settings_hash"], version) == (self.hash, _FORMAT_VERSION)
            chunks = dict(values["chunks"])
            reason = (
                "holds tables of an earlier version of smartbkg_tf, whose events have other seeds "
                "and keys"
                if version != _FORMAT_VERSION
                else self._why_other(values)
            )
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            same, chunks = False, {}
            reason = f"holds tables whose {NAME} is damaged: how they were made is unknown"
        if same:
            usable = {name: usable_record(chunk) for name, chunk in chunks.items()}
            self.chunks = {name: chunk for name, chunk in usable.items() if chunk is not None}
            self._take_over()
            return
        if not overwrite:
            raise OutputError(
                reason,
                where=self.directory,
                next_step="choose another output, or add overwrite=true to replace them",
            )
        for chunk in [*chunks.values(), *(record for _, record in read_records(self.directory))]:
            for file in [*chunk.get("files", {}), *chunk.get("side_files", {})]:
                folder = self.directory / FOLDER if "/" in file else self.directory
                (folder / Path(file).name).unlink(missing_ok=True)
        (self.directory / FOLDER / JOINED).unlink(missing_ok=True)
        shutil.rmtree(self.directory / RECORDS, ignore_errors=True)
        self.path.unlink(missing_ok=True)

    def _why_other(self, old: dict[str, Any]) -> str:
        """Say in what the tables differ from those that are wanted."""
        different = _differences(old["settings"], self.settings)
        different += _differences(old["made_by"]["versions"], self.made_by["versions"])
        if different:
            return f"holds tables that were made with other settings ({_some(different)})"
        before, now = old["made_by"]["code"], self.made_by["code"]
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        skims = {
            str(values["_target_"]).rpartition(".")[0]: name
            for name, values in self.settings["skim"].items()
        }
        names = [f"{n} (skim {skims[n]})" if n in skims else n for n in sorted(changed)]
        return f"holds tables that were made by other code; changed since: {_some(names)}"

    def finished(self, task: Task) -> bool:
        """Tell whether a task's files stand there, whole and made from the same.

        Parameters
        ----------
        task : Task
            The task.

        Returns
        -------
        bool
            False also when a file was changed since: by its size, by its hash where the time is
            another, and with ``verify`` by its hash in any case.
        """
        chunk = self.chunks.get(task.name)
        if chunk is None or chunk.get("made_from") != made_from(task):
            return False
        return all(
            unchanged(self.directory / file, state, verify=self._verify)
            for kind in ("files", "side_files")
            for file, state in chunk[kind].items()
        )

    def refuse_foreign(self, tasks: list[Task], *, overwrite: bool) -> None:
        """Refuse to replace files that this record does not know.

        Parameters
        ----------
        tasks : list of Task
            What is to be written.
        overwrite : bool
            Replace them all the same.

        Raises
        ------
        OutputError
            When such a file exists and `overwrite` is false.
        """
        names = [task.name for task in tasks if task.name not in self.chunks]
        foreign = [name for name in names if (self.directory / name).exists()]
        # A run that was killed between a file and its record leaves one file for each worker; its
        # record of settings proves that the file is ours.
        if foreign and not overwrite and not self.path.exists():
            raise OutputError(
                f"holds tables of unknown origin ({', '.join(foreign[:5])}) and no {NAME}",
                where=self.directory,
                next_step="choose another output, or add overwrite=true to replace them",
            )

    def begin(self) -> None:
        """Remove what a killed run left half written, and say whose folder this is."""
        for folder in (self.directory, self.directory / FOLDER, self.directory / RECORDS):
            for partial in folder.glob(f".*{PARTIAL}*"):
                partial.unlink(missing_ok=True)
        self.save()

    def save(self) -> None:
        """Write ``production.json`` with the records of all finished tasks."""
        self._take_over()
        ordered = dict(sorted(self.chunks.items()))
        write_json(
            self.path,
            {
                "format_version": _FORMAT_VERSION,
                "settings_hash": self.hash,
                "settings": self.settings,
                "made_by": self.made_by,
                "software": versions(_SOFTWARE),
                "retention": retention(list(ordered.values())),
                **({} if self.input is None else {"input": self.input}),
                "chunks": ordered,
            },
        )
        shutil.rmtree(self.directory / RECORDS, ignore_errors=True)

    def _take_over(self) -> None:
        """Add the records of tables that were made by the same settings and code."""
        for settings_hash, record in read_records(self.directory):
            if settings_hash == self.hash:
                self.chunks[record["name"]] = record

    def files(self, tasks: list[Task]) -> list[Path]:
        """Name the finished files of some tasks.

        Parameters
        ----------
        tasks : list of Task
            The tasks, all finished.

        Returns
        -------
        list of pathlib.Path
            In the order of the tasks.
        """
        return [self.directory / f for task in tasks for f in self.chunks[task.name]["files"]]


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Keys whose values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in {**old, **new}:
            found += _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    plain_old = list(old) if isinstance(old, tuple) else old
    plain_new = list(new) if isinstance(new, tuple) else new
    if plain_old == plain_new:
        return []
    return [f"{prefix[:-1]}: {plain_old} then, {plain_new} now"]


def retention(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up retention per event type and skim.

    Parameters
    ----------
    chunks : list of dict
        Records of chunks: event_type, n_events, passing.

    Returns
    -------
    dict
        ``{event type: {"n_events", "skims": {name: {"passing", "retention", "error"}}}}``;
        the error is binomial.
    """
    result: dict[str, Any] = {}
    for kind in (*EVENT_TYPES, "unknown"):
        mine = [chunk for chunk in chunks if chunk["event_type"] == kind]
        if not mine:
            continue
        n = sum(chunk["n_events"] for chunk in mine)
        names = dict.fromkeys(name for chunk in mine for name in chunk["passing"])
        skims = {}
        for name in names:
            passing = sum(chunk["passing"].get(name, 0) for chunk in mine)
            share = passing / n if n else 0.0
            error = math.sqrt(share * (1.0 - share) / n) if n else 0.0
            skims[name] = {"passing": passing, "retention": share, "error": error}
        result[kind] = {"n_events": n, "skims": skims}
    return result


def retention_table(values: dict[str, Any]) -> str:
    """Print retention as a table.

    Parameters
    ----------
    values : dict
        As `retention` gives it.

    Returns
    -------
    str
        One column per event type, one line per skim, in per cent with binomial errors; where
        nothing passes the limit of 95 % confidence (3 / n).
    """
    names = list(dict.fromkeys(name for v in values.values() for name in v["skims"]))
    wide = max(map(len, ("retention, %", *names))) + 2
    lines = [
        f"{'retention, %':<{wide}}" + "".join(f"{kind:>15}" for kind in values),
        f"{'(events)':<{wide}}" + "".join(f"{row['n_events']:>15}" for row in values.values()),
    ]
    for name in names:
        cells = []
        for row in values.values():
            skim = row["skims"].get(name)
            if skim is None:
                cells.append("-")
            elif skim["passing"] == 0 and row["n_events"]:
                cells.append(f"< {300 / row['n_events']:.3f}")
            else:
                cells.append(f"{100 * skim['retention']:.2f} +- {100 * skim['error']:.2f}")
        lines.append(f"{name:<{wide}}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n".join(lines)
