"""Open basf2 ROOT files and read flat and jagged branches of a range of events.

A name is found wherever it stands: under its parent, as basf2 writes it
(``MCParticles/MCParticles.m_pdg``, ``EventMetaData/m_event``), or at the top of the tree
(``MCParticles.m_pdg``, ``EventMetaData.m_event``), as flat copies have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, by_nearness, did_you_mean
from smartbkg_tf.events.columns import integers
from smartbkg_tf.events.table import KEY_COLUMNS

Array = npt.NDArray[Any]

ROOT_MAGIC = b"root"


class BasfTree:
    """The tree of events in a basf2 ROOT file.

    `wanted` names the branches that will be read, such as ``MCParticles.m_pdg``. InputError when
    the file is missing, not a ROOT file or damaged, has no tree of events, or the tree lacks
    branches; the message names them and their likest neighbours.
    """

    def __init__(self, path: str | Path, wanted: Sequence[str]) -> None:
        self.path = Path(path)
        _check_magic(self.path)
        self._file: Any = None
        # The events of the baskets that were unpacked last, per branch: small pieces would
        # otherwise unpack the same basket again and again.
        self._unpacked: dict[str, tuple[int, int, Any]] = {}
        try:
            self._tree = self._open()
            self._branches = self._find(wanted)
        except BaseException:
            self.close()
            raise

    def _open(self) -> Any:
        import uproot

        try:
            # uproot would keep trees and arrays of a hundred closed files.
            self._file = uproot.open(self.path, object_cache=None, array_cache=None)
            names = self._file.classnames(recursive=False, cycle=False)
            trees = [name for name, kind in names.items() if kind == "TTree"]
            tree = self._file["tree"] if "tree" in trees else None
            if tree is not None:
                self.n_events = int(tree.num_entries)
        except Exception as error:
            raise _damaged(self.path, error) from error
        if tree is None:
            raise InputError(
                f"has no tree of events, called 'tree'; {did_you_mean('tree', names)}",
                where=self.path,
                next_step="give a basf2 file (mDST, uDST or generator output)",
            )
        return tree

    def _find(self, wanted: Sequence[str]) -> dict[str, Any]:
        try:
            paths = [name.split("/") for name in self._tree.keys(recursive=True, full_paths=True)]
        except Exception as error:
            raise _damaged(self.path, error) from error
        # As 'MCParticles.m_pdg', wherever it stands.
        there = {p[-1] if "." in p[-1] else ".".join(p[-2:]): "/".join(p) for p in paths}
        missing = [name for name in wanted if name not in there]
        if missing:
            tops = sorted({name.split(".")[0] for name in there})
            collections = dict.fromkeys(name.split(".")[0] for name in wanted)
            gone = [name for name in collections if name not in tops]
            if gone:
                text = f"its tree has no {' and no '.join(gone)}; {did_you_mean(gone[0], tops)}"
                step = (
                    "the file was written without the generated particles: add MCParticles and "
                    "EventMetaData to the branches that basf2 stores"
                )
            else:
                near = by_nearness(missing[0], there)[:5]
                text = f"its tree lacks the branches {', '.join(missing)}; the likest are {near}"
                step = "the file may come from another release: tell us which"
            raise InputError(text, where=self.path, next_step=step)
        return {name: self._tree[there[name]] for name in wanted}

    def flat(self, name: str, start: int, stop: int) -> Array:
        """Read a branch with one number per event [stop - start]."""
        values = self._array(name, start, stop)
        numbers = np.asarray(values) if values.ndim == 1 else np.empty((), object)
        if numbers.dtype.kind not in "iufb":
            raise InputError("holds no plain numbers", where=f"{self.path}: {name}")
        return numbers

    def jagged(self, name: str, start: int, stop: int) -> tuple[Array, Array]:
        """Read a branch with a list per event: all numbers, and each event's count of them."""
        import awkward as ak

        lists = self._array(name, start, stop)
        if lists.ndim != 2:
            raise InputError("holds no lists", where=f"{self.path}: {name}")
        counts = ak.to_numpy(ak.num(lists, axis=1)).astype(np.int64)
        return np.asarray(ak.to_numpy(ak.flatten(lists))), counts

    def _array(self, name: str, start: int, stop: int) -> Any:
        low, high, values = self._unpacked.get(name, (0, 0, None))
        if values is None or not low <= start <= stop <= high:
            try:
                low, high = _basket_borders(self._branches[name].entry_offsets, start, stop)
                values = self._branches[name].array(entry_start=low, entry_stop=high)
            except Exception as error:
                raise _damaged(self.path, error, f"branch {name}") from error
            if len(values) != high - low:
                raise InputError(
                    f"is damaged: {high - low} events were asked for, {len(values)} came",
                    where=f"{self.path}: {name}",
                )
            self._unpacked[name] = (low, high, values)
        return values[start - low : stop - low]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> BasfTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _basket_borders(borders: Sequence[int], start: int, stop: int) -> tuple[int, int]:
    """Widen a range of events to whole baskets."""
    low = max((border for border in borders if border <= start), default=start)
    high = min((border for border in borders if border >= stop), default=stop)
    return low, high


def read_event_keys(tree: BasfTree, start: int, stop: int) -> dict[str, npt.NDArray[np.int64]]:
    """Read the four columns of the key [stop - start] from a tree with `EVENT_META_DATA`."""
    return {
        name: integers(
            tree.flat(f"EventMetaData.m_{name}", start, stop),
            np.int64,
            where=f"{tree.path}: EventMetaData.m_{name}",
            first_row=start,
        )
        for name in KEY_COLUMNS
    }


#: What `read_event_keys` needs.
EVENT_META_DATA = [f"EventMetaData.m_{name}" for name in KEY_COLUMNS]


def _check_magic(path: Path) -> None:
    try:
        with open(path, "rb") as stream:
            begin = stream.read(len(ROOT_MAGIC))
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder, not a ROOT file", where=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error
    if begin != ROOT_MAGIC:
        raise InputError("is empty" if not begin else "is not a ROOT file", where=path)


def _damaged(path: Path, error: Exception, place: str | None = None) -> InputError:
    """Put what uproot raises on a damaged file into one sentence."""
    if isinstance(error, MemoryError):
        raise error
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return InputError(
        f"cannot be read; it is probably truncated or damaged ({reason[:200]})",
        where=path if place is None else f"{path}: {place}",
        next_step="copy or make the file again",
    )
