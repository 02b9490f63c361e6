"""Checks and locks of outputs: a command replaces only its own, one process at a time.

What is being written has a temporary name beside the output and a lock that ends with its
process, so that the next command can tell leftovers of a killed one from work in progress.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from smartbkg_tf.errors import OutputError
from smartbkg_tf.runtime.progress import say

#: Part of the name of everything that is still being written.
PARTIAL = ".partial-"

#: Inside a temporary folder; locked as long as its process lives.
_LOCK = ".lock"

#: Bytes of a name that leave room for what a temporary name adds to it (at most 255 in all).
_LONGEST_STEM = 180

_ROOM = (errno.ENOSPC, errno.EDQUOT)

_BUSY = "another process is writing this output"
_WAIT = "wait for it, or choose another output"


def explain(error: OSError | ValueError, path: Path) -> OutputError:
    """Say why an output cannot be written."""
    number = getattr(error, "errno", None)
    if number in _ROOM:
        return OutputError(
            "the disk is full; what was half written has been removed",
            where=path,
            next_step="free space or choose another output, then run the same command again",
        )
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"cannot be written ({reason})", where=path, next_step="choose another output"
    )


def partial_name(path: Path, mark: str | None = None) -> Path:
    """Give a temporary name beside an output; the suffix stays last: it chooses some formats."""
    mark = uuid.uuid4().hex[:8] if mark is None else mark
    return path.with_name(f".{_stem(path)}{PARTIAL}{mark}{path.suffix}")


def _stem(path: Path) -> str:
    if len(os.fsencode(path.name)) <= _LONGEST_STEM:
        return path.stem
    return hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32]


def resolve_output(path: str | Path) -> Path:
    """Follow links and check that the place can be written, before any work."""
    if not str(path).strip():
        raise OutputError("no output is named: its name is empty")
    path = Path(path)
    try:
        resolved = Path(os.path.realpath(path))
        if not resolved.name:
            raise OutputError("is the root of all folders", where=path, next_step="name a folder")
        with contextlib.suppress(FileNotFoundError):
            mode = resolved.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OutputError("is neither a file nor a folder", where=path)
        folder = next(parent for parent in (*resolved.parents, resolved) if parent.exists())
    except (OSError, ValueError) as error:  # ValueError: a zero byte.
        raise explain(error, path) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot be written: the folder {folder} is read-only, or not yours",
            where=path,
            next_step="choose another output",
        )
    return resolved


def check_output(
    path: str | Path,
    *,
    overwrite: bool,
    own: Sequence[str] | None = None,
    inputs: Iterable[str | Path] = (),
) -> Path:
    """Refuse an output that cannot or must not be written, before any work; resolve its path.

    Parameters
    ----------
    path : str or pathlib.Path
        The output. It may not be, contain or lie inside an input.
    overwrite : bool
        Replace what the same command wrote earlier.
    own : sequence of str, optional
        For a folder: what the command writes into it (names or patterns); the first is always
        there. A folder that holds anything else is not replaced. None: the output is a file.
    inputs : iterable of str or pathlib.Path
        What the command reads.
    """
    resolved = resolve_output(path)
    refuse_overlap(resolved, inputs)
    if own is not None:
        _bring_back(resolved, own)
    if overwrite and resolved.exists():
        _refuse_others_work(resolved, own)
    refuse_existing(resolved, overwrite=overwrite)
    return resolved


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Raise when an output exists (an empty folder does not count) and may not be replaced."""
    path = Path(path)
    if overwrite or not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise OutputError(
        "exists already and is not overwritten",
        where=path,
        next_step="choose another output or add overwrite=true",
    )


def refuse_overlap(output: Path, inputs: Iterable[str | Path]) -> None:
    """Raise when an output is an input, contains one or lies inside one; links are followed."""
    output = Path(os.path.realpath(output))
    for name in inputs:
        source = Path(os.path.realpath(name))
        if output == source:
            relation = "is"
        elif output in source.parents:
            relation = "contains"
        elif source in output.parents:
            relation = "lies inside"
        else:
            continue
        raise OutputError(
            f"{relation} the input {name}", where=output, next_step="choose another output"
        )


def _refuse_others_work(path: Path, own: Sequence[str] | None) -> None:
    """Never let ``overwrite=true`` replace what the command did not make."""
    reason = None
    if own is None:
        if path.is_dir():
            reason = "is a folder, and is not replaced by a file"
    elif not path.is_dir():
        reason = "is a file, and is not replaced by a folder"
    else:
        names = sorted(item.name for item in path.iterdir() if item.name != _LOCK)
        others = [n for n in names if not any(fnmatch.fnmatchcase(n, p) for p in own)]
        if others:
            listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
            reason = f"holds what this command did not write ({listed}), and is not replaced"
        elif names and own[0] not in names:
            reason = f"holds no {own[0]}: this command did not write it, and it is not replaced"
    if reason is not None:
        raise OutputError(reason, where=path, next_step="choose another output, or remove it")


def _replaced(path: Path) -> Path:
    """Temporary name of a folder that is being replaced."""
    return partial_name(path, "replaced")


def _bring_back(path: Path, own: Sequence[str]) -> None:
    """Put a folder back that a process was killed in the middle of replacing."""
    lock = path / _LOCK
    if own and (path / own[0]).exists() and lock.is_file():
        lock.unlink(missing_ok=True)  # Killed just after the folder got its name.
    old = _replaced(path)
    if not old.is_dir():
        return
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(old, path)
        say(f"{path}: put back; the process that was replacing it was killed")


def put_in_place(partial: Path, path: Path) -> None:
    """Rename a whole folder to its final name; a folder of that name is replaced.

    Between two renames there is neither the old nor the new one; a process killed there leaves
    the old one under a temporary name, and the next one puts it back.
    """
    old = _replaced(path)
    if path.exists():
        os.rename(path, old)
    os.rename(partial, path)
    # Not before: without its lock nobody could tell that a partial folder is abandoned.
    (path / _LOCK).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked_partial(path: Path, *, folder: bool) -> Iterator[Path]:
    """Make the empty temporary file or folder of an output, for one process at a time.

    What killed processes left under such names is removed: their locks are free. Where a file
    system has no locks, or only such that other machines do not see, nothing but the final rename
    keeps two processes apart, and without locks nothing is removed.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _new_lock(partial, folder)
    except OSError as error:
        remove(partial)
        raise explain(error, path) from error
    try:
        state = try_lock(lock)
        if state is False or os.fstat(lock).st_nlink == 0:
            raise OutputError(_BUSY, where=path, next_step=_WAIT)
        if state is True:
            _remove_leftovers(path, partial)
        yield partial
    except BaseException:
        remove(partial)
        raise
    finally:
        os.close(lock)


def _new_lock(partial: Path, folder: bool) -> int:
    """Make a temporary file, or a folder with a lock file; give the descriptor to lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    if not folder:
        return os.open(partial, flags, 0o666)
    while True:
        partial.mkdir()
        # Another process may remove the folder as long as it is empty.
        with contextlib.suppress(FileNotFoundError):
            return os.open(partial / _LOCK, flags, 0o666)


def try_lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock a file or folder: True, False when another process has it locked, None without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_leftovers(path: Path, partial: Path) -> None:
    """Remove what killed processes left of an output; refuse while another one is alive."""
    pattern = re.compile(
        re.escape(f".{_stem(path)}{PARTIAL}") + "[0-9a-f]{8}" + re.escape(path.suffix)
    )
    for other in path.parent.iterdir():
        if other == partial or not pattern.fullmatch(other.name):
            continue
        try:
            lock = os.open(other / _LOCK if other.is_dir() else other, os.O_RDWR)
        except OSError:  # Gone meanwhile, somebody else's, or without a lock.
            with contextlib.suppress(OSError):
                other.rmdir()  # Killed before it held a lock: it is empty.
            continue
        try:
            state = try_lock(lock)
            if state is False:
                raise OutputError(_BUSY, where=path, next_step=_WAIT)
            if state is True:
                remove(other)
                say(f"removed {other}, which a killed process left")
        finally:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a temporary file or folder, if it is still there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
