"""``production.json``: what is in an output folder, and how it was made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.generation.observables_file import FOLDER, JOINED
from smartbkg_tf.generation.retention import retention
from smartbkg_tf.generation.source import Task
from smartbkg_tf.generation.table_records import (
    RECORDS,
    made_by,
    made_from,
    read_records,
    unchanged,
    usable_record,
)
from smartbkg_tf.runtime.differences import differences, some
from smartbkg_tf.runtime.files import PARTIAL, hash_of_values, read_json, write_json
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.plugins import TARGET, plain

NAME = "production.json"

#: 4: settings hold source and skims as ``_target_`` and all their arguments.
_FORMAT_VERSION = 4

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
    """The record of one output folder; `found` describes the input.

    Refuses a folder whose tables were made with other settings, versions or code; ``overwrite``
    removes them.
    """

    def __init__(
        self, directory: Path, settings: ProduceSettings, found: dict[str, Any] | None = None
    ) -> None:
        self.directory = directory
        self.path = directory / NAME
        self._verify = settings.verify
        self._input = found
        self.settings = {
            key: value for key, value in plain(settings).items() if key not in _NO_CONTENT
        }
        self.made_by = made_by(settings)
        self.hash = hash_of_values({**self.settings, "made_by": self.made_by})
        self.chunks: dict[str, dict[str, Any]] = {}
        if self.path.is_dir():
            raise OutputError("is a folder, and is not replaced by a file", where=self.path)
        if self.path.exists():
            self._open(settings.overwrite)

    def _open(self, overwrite: bool) -> None:
        """Take over what is in the folder, refuse it, or remove it."""
        try:
            values = read_json(self.path)
            version = values["format_version"]
            same = (values["settings_hash"], version) == (self.hash, _FORMAT_VERSION)
            chunks = dict(values["chunks"])
            reason = (
                "holds tables of an earlier version of smartbkg_tf"
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
        different = differences(old["settings"], self.settings)
        different += differences(old["made_by"]["versions"], self.made_by["versions"])
        if different:
            return f"holds tables that were made with other settings ({some(different)})"
        before, now = old["made_by"]["code"], self.made_by["code"]
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        skims = {
            values[TARGET].rpartition(".")[0]: name
            for name, values in self.settings["skim"].items()
        }
        names = [f"{n} (skim {skims[n]})" if n in skims else n for n in sorted(changed)]
        return f"holds tables that were made by other code; changed since: {some(names)}"

    def finished(self, task: Task) -> bool:
        """Whether the files of a task exist, are complete, and were made from the same input.

        A file counts as changed if its size differs, or its hash where its time differs; with
        ``verify`` the hash is always compared.
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
        """Refuse to replace files that this record does not know."""
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
        """Remove unfinished files of a killed run, and record the settings of this folder."""
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
                **({"input": self._input} if self._input else {}),
                "chunks": ordered,
            },
        )
        shutil.rmtree(self.directory / RECORDS, ignore_errors=True)

    def _take_over(self) -> None:
        """Add the records of tables that were made by the same settings and code."""
        for settings_hash, record in read_records(self.directory):
            if settings_hash == self.hash:
                self.chunks[record["name"]] = record
