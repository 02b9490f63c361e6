"""Input files of ``produce``: all checked before any work, bad ones named or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from smartbkg_tf.errors import InputError, Problems, UserError
from smartbkg_tf.runtime.files import expand_inputs
from smartbkg_tf.runtime.progress import say

T = TypeVar("T")

SUFFIXES = {"hdf5": ".h5", "parquet": ".parquet"}


def usable_files(
    patterns: str | list[str] | None, on_bad_file: str, check: Callable[[Path], T]
) -> tuple[list[tuple[Path, T]], list[Path]]:
    """Check all input files.

    Parameters
    ----------
    patterns : str or list of str or None
        Names or patterns.
    on_bad_file : {"fail", "skip"}
        What to do with files that the check refuses.
    check : callable
        Looks at a file and raises `UserError` for a bad one.

    Returns
    -------
    tuple of list
        Good files with what the check returned, and the files that were left out.

    Raises
    ------
    InputError
        Naming every bad file (``fail``, or when no good one is left), or good files of equal name.
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
    if on_bad_file == "skip" and good:
        for text in problems.texts:
            say(f"left out: {text}")
    else:
        problems.raise_if_any(
            "input files cannot be used",
            kind=InputError,
            next_step="mend or leave them out, or add source.on_bad_file=skip",
        )
    names: dict[str, Path] = {}
    for path, _ in good:
        if path.stem in names:
            raise InputError(
                f"has the same name as {names[path.stem]}: their tables would have too",
                where=path,
                next_step="produce them into two folders",
            )
        names[path.stem] = path
    return good, bad


def part_name(path: Path, part: int, kind: str) -> str:
    """Name the table of one part of an input file.

    Parameters
    ----------
    path : pathlib.Path
        The input file.
    part : int
        0 for the first part.
    kind : {"hdf5", "parquet"}
        Format of the table.

    Returns
    -------
    str
        ``NAME.h5`` for the first part, ``NAME_00001.h5`` for the second.
    """
    return path.stem + (f"_{part:05d}" if part else "") + SUFFIXES[kind]
