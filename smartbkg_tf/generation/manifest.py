"""``production.json``: what stands in an output folder, and how it was made."""

from __future__ import annotations

import contextlib
import glob
import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation.chunks import Report, Task
from smartbkg_tf.generation.observables_file import FOLDER, JOINED
from smartbkg_tf.runtime.files import (
    PARTIAL,
    hash_of_values,
    read_json,
    sha256,
    write_json,
)
from smartbkg_tf.settings.errors import InputError, OutputError
from smartbkg_tf.settings.generation import ProduceSettings

NAME = "production.json"

_FORMAT_VERSION = 2

#: Seconds after which a half-written record was left behind by a killed run.
_ABANDONED = 10.0

#: Settings that say how the work is done or how much of it, not what comes out.
_NO_CONTENT = (
    "debug",
    "overwrite",
    "workers",
    "cluster",
    "output",
    "n_events",
    "event_type",
    "input",
    "skim_files",
)

#: Software on which the events depend.
_MAKERS = ("smartbkg_tf", "pythia8mc", "decaylanguage")

_SOFTWARE = (*_MAKERS, "particle", "numpy", "numba", "uproot", "pyhepmc")


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
        When the folder holds tables that were made with other settings, or that are not
        ours, and ``overwrite`` is false.
    """

    def __init__(self, directory: Path, settings: ProduceSettings) -> None:
        self.directory = directory
        self.path = directory / NAME
        values = asdict(settings)
        self.settings = {key: value for key, value in values.items() if key not in _NO_CONTENT}
        self.settings["made_by"] = _versions(_MAKERS)
        self.hash = hash_of_values(self.settings)
        self.chunks: dict[str, dict[str, Any]] = {}
        #: What was found out about the input files, for the record.
        self.input: dict[str, Any] | None = None
        if self.path.exists():
            self._open(settings.overwrite)

    def _open(self, overwrite: bool) -> None:
        try:
            values = read_json(self.path)
            same = (values["settings_hash"], values["format_version"]) == (
                self.hash,
                _FORMAT_VERSION,
            )
            chunks = dict(values["chunks"])
            old = dict(values["settings"])
        except (InputError, KeyError, TypeError, ValueError):
            same, chunks, old = False, {}, {}
        if same:
            self.chunks = chunks
            return
        if not overwrite:
            different = ", ".join(_differences(old, self.settings)[:8])
            raise OutputError(
                "holds tables that were made with other settings"
                + (f" ({different})" if different else ""),
                where=self.directory,
                next_step="choose another output, or add overwrite=true to replace them",
            )
        for chunk in chunks.values():
            for file in chunk.get("files", {}):
                (self.directory / Path(file).name).unlink(missing_ok=True)
            for file in chunk.get("side_files", {}):
                (self.directory / FOLDER / Path(file).name).unlink(missing_ok=True)
        (self.directory / FOLDER / JOINED).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def finished(self, task: Task) -> bool:
        """Tell whether a task's files stand there, whole and made from the same.

        Parameters
        ----------
        task : Task
            The task.

        Returns
        -------
        bool
            False also when a file was changed or damaged since.
        """
        chunk = self.chunks.get(task.name)
        if chunk is None or chunk.get("made_from") != _made_from(task):
            return False
        try:
            return all(
                sha256(self.directory / file) == digest
                for kind in ("files", "side_files")
                for file, digest in chunk[kind].items()
            )
        except OSError:
            return False

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

    def begin(self, todo: list[Task]) -> None:
        """Write the record before any work, so that a killed run is recognised.

        Parameters
        ----------
        todo : list of Task
            What will be made; half-written files of these tasks are removed.
        """
        for task in todo:
            pattern = f".{glob.escape(Path(task.name).stem)}*{PARTIAL}*"
            for folder in (self.directory, self.directory / FOLDER):
                for partial in folder.glob(pattern):
                    partial.unlink(missing_ok=True)
        # The record takes milliseconds to write: an old half is nobody's work in progress.
        for partial in self.directory.glob(f".{Path(NAME).stem}{PARTIAL}*"):
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > _ABANDONED:
                    partial.unlink()
        self._write()

    def add(self, task: Task, report: Report) -> None:
        """Record a finished task.

        Parameters
        ----------
        task : Task
            The task.
        report : Report
            What was made.
        """
        values = asdict(report)
        for kind in ("files", "side_files"):
            values[kind] = {file: sha256(self.directory / file) for file in values[kind]}
        self._merge()
        self.chunks[task.name] = {**values, "made_from": _made_from(task)}
        self._write()

    def _merge(self) -> None:
        """Keep what another run with the same settings has recorded meanwhile."""
        try:
            there = read_json(self.path)
            if there["settings_hash"] == self.hash:
                self.chunks = {**there["chunks"], **self.chunks}
        except (InputError, KeyError, TypeError):
            # It is damaged or gone: the record is written anew.
            return

    def _write(self) -> None:
        ordered = dict(sorted(self.chunks.items()))
        write_json(
            self.path,
            {
                "format_version": _FORMAT_VERSION,
                "settings_hash": self.hash,
                "settings": self.settings,
                "software": _versions(_SOFTWARE),
                "retention": retention(list(ordered.values())),
                **({} if self.input is None else {"input": self.input}),
                "chunks": ordered,
            },
        )

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


def _made_from(task: Task) -> dict[str, Any]:
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


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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
