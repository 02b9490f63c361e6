"""Sources that read files: all checked before any work, bad ones named or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from smartbkg_tf.errors import InputError, Problems, UserError
from smartbkg_tf.generation.source import EventSource
from smartbkg_tf.runtime.files import expand_inputs
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.settings.generation import ProduceSettings

T = TypeVar("T")

SUFFIXES = {"hdf5": ".h5", "parquet": ".parquet"}


@settings
class FileSource(EventSource):
    """Events from the files of ``input``; inherit it for another format.

    Parameters
    ----------
    on_bad_file : {"fail", "skip"}
        What to do with input files that are damaged or of another format: name them all and stop
        before any work, or leave them out and say so. Skim files are never left out.
    chunk_events : int
        Events read at a time and written into one table. Default 20000 (bounds the memory).
    """

    uses: ClassVar[tuple[str, ...]] = ("input",)

    on_bad_file: Literal["fail", "skip"] = "fail"
    chunk_events: int = Field(default=20000, gt=0)

    def check(self, settings: ProduceSettings) -> None:
        """Refuse several event types: files do not tell theirs."""
        super().check(settings)
        if len(settings.event_types) != 1:
            raise ValueError("event_type: give the one type of the input files, or unknown")

    def usable_files(
        self, patterns: str | list[str] | None, check: Callable[[Path], T]
    ) -> tuple[list[tuple[Path, T]], list[Path]]:
        """Check all input files; give the good ones with what `check` returns, and those left out.

        `check` raises `UserError` for a bad file. `InputError` names every bad file
        (``on_bad_file=fail``, or when no good one is left).
        """
        problems = Problems()
        good: list[tuple[Path, T]] = []
        bad: list[Path] = []
        for path in expand_inputs(patterns):
            try:
                good.append((path, check(path)))
            except UserError as error:
                problems.add(error)
                bad.append(path)
        if self.on_bad_file == "skip" and good:
            for text in problems.texts:
                say(f"left out: {text}")
        else:
            problems.raise_if_any(
                "input files cannot be used",
                kind=InputError,
                next_step="mend or leave them out, or add source.on_bad_file=skip",
            )
        return good, bad


def part_name(path: Path, part: int, kind: str) -> str:
    """Name the table of one part of an input file: ``NAME.h5``, ``NAME_00001.h5``, ..."""
    return path.stem + (f"_{part:05d}" if part else "") + SUFFIXES[kind]
