"""Atomic files and folders, globs, hashes, JSON.

Everything that the commands write passes through here, so that a killed job or a full
disk leaves either the finished output or something that is recognised as unfinished.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError, OutputError, did_you_mean
from smartbkg_tf.runtime.outputs import PARTIAL as PARTIAL
from smartbkg_tf.runtime.outputs import (
    check_output,
    explain,
    locked_partial,
    partial_name,
    put_in_place,
    refuse_existing,
    remove,
    resolve_output,
    try_lock,
)
from smartbkg_tf.runtime.progress import say


def sync(path: Path) -> None:
    """Flush a file to disk, or a folder, so that renames inside it are durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: str | Path, *, alone: bool = False, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary name to write to; rename it when the block succeeds.

    A file of that name is replaced (ask `check_output` before); of a link, what it points to.
    `alone` is for the output of a command: it refuses while another process writes the same one,
    and removes what killed ones left. Not for writers that lock (HDF5): the file is locked then.
    `overwrite=False` refuses in the end what another process has written there meanwhile.
    """
    path = resolve_output(path)
    with locked_partial(path, folder=False) if alone else _plain_partial(path) as partial:
        try:
            yield partial
            sync(partial)
            refuse_existing(path, overwrite=overwrite)
            os.replace(partial, path)
            sync(path.parent)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not _of_the_output(error, partial):
                raise
            raise explain(error, path) from error


@contextlib.contextmanager
def _plain_partial(path: Path) -> Iterator[Path]:
    """Yield a temporary name inside a folder that is locked or temporary itself."""
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path) from error
    try:
        yield partial
    except BaseException:
        remove(partial)
        raise


def _of_the_output(error: OSError, partial: Path) -> bool:
    """Whether an error came from writing an output, not from something that was read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, Path))]
    return any(Path(name).is_relative_to(partial) for name in names)


@contextlib.contextmanager
def atomic_directory(
    path: str | Path,
    *,
    overwrite: bool = False,
    own: Sequence[str] = (),
    inputs: Iterable[str | Path] = (),
) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it when the block succeeds.

    What may be replaced, and what `own` and `inputs` mean, says `check_output`.
    """
    path = check_output(path, overwrite=overwrite, own=own, inputs=inputs)
    with locked_partial(path, folder=True) as partial:
        try:
            yield partial
            # Again: another process may have been here meanwhile.
            check_output(path, overwrite=overwrite, own=own)
            put_in_place(partial, path)
            sync(path.parent)
        except OSError as error:
            if _of_the_output(error, partial):
                raise explain(error, path) from error
            raise


@contextlib.contextmanager
def exclusive_lock(
    folder: Path,
    *,
    busy: str,
    next_step: str | None = None,
    wait: bool = False,
    file: str | None = None,
) -> Iterator[None]:
    """Let one process at a time work on a folder, if its file system has locks.

    NFS has none for folders: there a `file` in it must be locked, which is made and stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file is None:
            descriptor = os.open(folder, os.O_RDONLY)
        else:
            descriptor = os.open(folder / file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise explain(error, folder) from error
    try:
        if try_lock(descriptor) is False:
            if not wait:
                raise OutputError(busy, where=folder, next_step=next_step)
            say(f"{folder}: {busy}; waiting for it")
            try_lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def expand_inputs(
    patterns: str | Sequence[str] | None, *, option: str = "input", made_by: str | None = None
) -> list[Path]:
    """Turn names and glob patterns (a list, or a text with commas) into paths that exist."""
    hint = None if made_by is None else f"such files are made by: {made_by}"
    if patterns is None or not patterns:
        raise InputError(f"no input: give {option}=FILE or {option}='PATTERN'", next_step=hint)
    texts = patterns.split(",") if isinstance(patterns, str) else list(patterns)
    found: dict[Path, None] = {}
    for text in texts:
        text = os.path.expanduser(str(text).strip())
        matches = [text] if os.path.exists(text) else sorted(glob.glob(text, recursive=True))
        matches = [match for match in matches if PARTIAL not in match]
        if not matches:
            folder = Path(text).parent
            if not folder.is_dir():
                here = f"the folder {folder} does not exist"
            else:
                here = did_you_mean(Path(text).name, (p.name for p in folder.iterdir()), limit=8)
            raise InputError(f"{option}: nothing matches; {here}", where=text, next_step=hint)
        found.update((Path(match), None) for match in matches)
    return list(found)


def sha256(path: str | Path) -> str:
    """Hash the bytes of a file: SHA-256, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_of_values(values: Any) -> str:
    """Hash what JSON can hold, whatever the order of keys: 16 hexadecimal digits of SHA-256."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: str | Path, values: Any) -> None:
    """Write plain finite values as indented JSON, whole or not at all."""
    text = json.dumps(values, indent=2, allow_nan=False)
    with atomic_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path, *, made_by: str | None = None) -> Any:
    """Read a JSON file; `made_by` is the command that makes such files, for the message."""
    path = Path(path)
    hint = None if made_by is None else f"it is made by: {made_by}"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=hint) from error
    except (ValueError, RecursionError) as error:  # a long number is a ValueError, too
        raise InputError(f"is not valid JSON ({error})", where=path, next_step=hint) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; `InputError` when it is missing or damaged."""
    import yaml

    path = Path(path)
    try:
        # Safe, and eight times faster where PyYAML has libyaml.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read ({error})", where=path) from error
    if not isinstance(values, dict):
        raise InputError("holds no settings", where=path)
    return values
