"""Source files before they are read: which there are, what they hold, their hashes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from smartbkg_tf.dataset.hashing import hash_file, new_hash
from smartbkg_tf.dataset.legacy import is_legacy, open_legacy
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.events.hdf5 import TrainingFile
from smartbkg_tf.events.readers import count_events, file_format

#: Files stay open between counting and reading as long as they hold no more events than this
#: (some 250 bytes each are in memory), and are no more than this.
_HELD_EVENTS = 200_000
_HELD_FILES = 100

#: What file names of tables end in, when a folder is given.
_SUFFIXES = (".h5", ".hdf5", ".parquet", ".root", ".npz")


class FileHasher:
    """Hash a file beside its reading: on a second core it costs no time.

    Parameters
    ----------
    path : pathlib.Path
        The file, or the folder of arrays.
    beside : bool
        False: only when the result is asked for, in the same thread. Where other files are
        read at the same time there is no idle core.
    """

    def __init__(self, path: Path, *, beside: bool) -> None:
        self._path = path
        self._result = (0, "")
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        if beside:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        path = self._path
        try:
            if path.is_file():
                self._result = (path.stat().st_size, hash_file(path))
            else:  # a folder with arrays of the original project
                files = sorted(p for p in path.iterdir() if p.is_file())
                hashes = "".join(f"{p.name} {hash_file(p)}\n" for p in files)
                size = sum(p.stat().st_size for p in files)
                every = new_hash()
                every.update(hashes.encode())
                self._result = (size, every.hexdigest())
        except OSError as error:
            self._error = error

    def result(self) -> tuple[int, str]:
        """Wait for the hash.

        Returns
        -------
        n_bytes : int
            Size of the file, or of all files of the folder.
        hash : str
            XXH3, hexadecimal.

        Raises
        ------
        OSError
            When a file cannot be read.
        """
        if self._thread is None:
            self._run()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Replace folders by the tables in them, and sort.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Existing files and folders.

    Returns
    -------
    list of pathlib.Path
        Files; the order of the arguments does not matter.

    Raises
    ------
    InputError
        When a folder holds no table, or is a dataset directory itself.
    """
    files: set[Path] = set()
    for path in paths:
        if not path.is_dir() or is_legacy(path):
            files.add(path)
            continue
        if (path / "dataset.json").is_file():
            raise InputError(
                "is a dataset directory already",
                where=path,
                next_step="train on it: python -m smartbkg_tf.train data.path=DIR",
            )
        inside = [p for p in path.iterdir() if p.suffix in _SUFFIXES and p.name[0] != "."]
        if not inside:
            raise InputError(
                f"the folder holds no tables ({', '.join(_SUFFIXES)})",
                where=path,
                next_step="tables are made by: python -m smartbkg_tf.produce",
            )
        files.update(inside)
    return sorted(files)


class OpenFiles:
    """Files that were opened to count their events, for those who read them.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files.
    key : {"all", "train_events", "decay_strings"}
        Part of the tables.

    Raises
    ------
    InputError
        When files cannot be opened; all of them are named.
    """

    def __init__(
        self, paths: Sequence[Path], key: Literal["all", "train_events", "decay_strings"]
    ) -> None:
        #: Events of all files.
        self.n_events = 0
        self._key = key
        self._held: dict[Path, TrainingFile] = {}
        self._n_held = 0
        problems = Problems()
        try:
            for path in paths:
                try:
                    self.n_events += self._count(path)
                except InputError as error:
                    problems.add(error)
            if len(problems.texts) == 1 and len(paths) == 1:
                raise InputError(problems.texts[0])
            problems.raise_if_any("not all files can be read", kind=InputError)
        except BaseException:
            self.close()
            raise

    def _count(self, path: Path) -> int:
        if is_legacy(path):
            return sum(map(len, open_legacy(path)))
        if file_format(path) != "hdf5":
            return count_events(path)
        file = TrainingFile(path, self._key)
        n_events = len(file)
        if self._n_held + n_events <= _HELD_EVENTS and len(self._held) < _HELD_FILES:
            self._held[path] = file
            self._n_held += n_events
        else:
            file.close()
        return n_events

    def get(self, path: Path) -> TrainingFile | None:
        """Give a file that is still open; None for all others."""
        return self._held.get(path)

    def close(self) -> None:
        """Close all files."""
        for file in self._held.values():
            file.close()

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
