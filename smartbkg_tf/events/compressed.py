"""Read rows of an HDF5 dataset, also those that PyTables compressed with Blosc.

h5py brings no Blosc filter; such chunks are fetched as they are and unpacked here.
"""

from __future__ import annotations

import math
import os
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.reading import read_into
from smartbkg_tf.runtime.scratch import Scratch

#: Registered numbers of HDF5 filters: https://github.com/HDFGroup/hdf5_plugins
_BLOSC = 32001

#: Fewer bytes than this are left to h5py.
_WORTH_READING = 1 << 16

_NAMES = {307: "bzip2", 305: "LZO", 32001: "Blosc", 32026: "Blosc2"}


def read_rows(
    node: h5py.Dataset,
    start: int,
    stop: int,
    *,
    scratch: Scratch | None = None,
) -> npt.NDArray[Any]:
    """Read a slice of the first axis.

    Parameters
    ----------
    node : h5py.Dataset
        At least one axis.
    start, stop : int
        The rows; not beyond the end.
    scratch : Scratch, optional
        Lends the memory of the rows, which then hold until the next ones of this node are read.

    Returns
    -------
    numpy.ndarray [stop - start, ...]
        In the byte order of the machine.

    Raises
    ------
    InputError
        When the dataset is compressed in a way that cannot be read here.
    OSError
        When the file is cut while it is read.
    """
    properties = node.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
    read = None if filters else _as_they_stand(node, start, stop, scratch)
    if read is not None:
        return read
    if not missing:
        rows: npt.NDArray[Any] = node[start:stop]
    elif filters == [_BLOSC]:
        rows = _blosc_rows(node, start, stop)
    else:
        names = ", ".join(_NAMES.get(number, str(number)) for number in missing)
        raise InputError(
            f"is compressed with {names}, which cannot be read here",
            where=f"{node.file.filename}: {node.name}",
            next_step="unpack it: ptrepack --complevel=0 --overwrite-nodes IN.h5:/ OUT.h5:/",
        )
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _as_they_stand(
    node: h5py.Dataset, start: int, stop: int, scratch: Scratch | None
) -> npt.NDArray[Any] | None:
    """Read rows that stand in the file as they stand in memory; None for all others."""
    dtype, shape = node.dtype, node.shape
    row = dtype.itemsize * math.prod(shape[1:])
    # h5py would convert each text by itself.
    if (stop - start) * row < _WORTH_READING or not _plain(node.id.get_type(), dtype):
        return None
    pieces = _pieces(node, start, stop, row)
    if pieces is None:
        return None
    memory = Scratch() if scratch is None else scratch
    rows = memory.empty(str(node.name), (stop - start, *shape[1:]), dtype)
    room, done = rows.view(np.uint8).reshape(-1), 0
    with open(os.fsdecode(h5py.h5f.get_name(node.id)), "rb", buffering=0) as stream:
        for place, n in pieces:
            read_into(stream, place, room[done : done + n * row])
            done += n * row
    return rows


def _pieces(node: h5py.Dataset, start: int, stop: int, row: int) -> list[tuple[int, int]] | None:
    """Give the first byte and the number of rows of every piece; None if they are not known."""
    if node.chunks is None:
        place = node.id.get_offset()
        return None if place is None else [(place + start * row, stop - start)]
    length = node.chunks[0]
    if (
        node.chunks[1:] != node.shape[1:]
        or node.file.userblock_size
        or node.id.get_num_chunks() != -(-len(node) // length)  # some were never written
    ):
        return None
    pieces: list[tuple[int, int]] = []
    others = (0,) * (len(node.shape) - 1)
    for low in range(start - start % length, stop, length):
        chunk = node.id.get_chunk_info_by_coord((low, *others))
        if chunk.byte_offset is None:
            return None
        first, last = max(low, start), min(low + length, stop)
        place, n = chunk.byte_offset + (first - low) * row, last - first
        if pieces and pieces[-1][0] + pieces[-1][1] * row == place:
            place, n = pieces[-1][0], pieces.pop()[1] + n
        pieces.append((place, n))
    return pieces


def _plain(stored: Any, dtype: np.dtype[Any]) -> bool:
    """Tell whether values have the same bytes in the file and in memory."""
    if stored.get_size() != dtype.itemsize:
        return False
    if dtype.subdtype is not None:
        return _plain(stored.get_super(), dtype.subdtype[0])
    if dtype.fields is not None:
        return all(
            stored.get_member_offset(i) == place and _plain(stored.get_member_type(i), inner)
            for i, (inner, place, *_) in enumerate(dtype.fields.values())
        )
    if dtype.kind == "S":
        # Texts that end in blanks are another matter.
        return isinstance(stored, h5py.h5t.TypeStringID) and (
            stored.get_strpad() != h5py.h5t.STR_SPACEPAD
        )
    return dtype.kind in "iuf" and dtype.isnative


def _blosc_rows(node: h5py.Dataset, start: int, stop: int) -> npt.NDArray[Any]:
    import blosc2  # type: ignore[import-untyped]

    result = np.empty((stop - start, *node.shape[1:]), dtype=node.dtype)
    steps = node.chunks
    for first in range(start - start % steps[0], stop, steps[0]):
        for corner in np.ndindex(
            *(-(-n // c) for n, c in zip(node.shape[1:], steps[1:], strict=True))
        ):
            place = (first, *(i * c for i, c in zip(corner, steps[1:], strict=True)))
            mask, packed = node.id.read_direct_chunk(place)
            try:
                data = packed if mask else blosc2.decompress(packed)
                chunk = np.frombuffer(data, dtype=node.dtype).reshape(steps)
            except (RuntimeError, ValueError, TypeError) as error:
                raise InputError(
                    f"is damaged: a compressed piece cannot be unpacked ({error})",
                    where=f"{node.file.filename}: {node.name}",
                ) from error
            low, high = max(first, start), min(first + steps[0], stop)
            inner = tuple(
                slice(p, min(p + c, n))
                for p, c, n in zip(place[1:], steps[1:], node.shape[1:], strict=True)
            )
            cut = tuple(slice(0, s.stop - s.start) for s in inner)
            result[(slice(low - start, high - start), *inner)] = chunk[
                (slice(low - first, high - first), *cut)
            ]
    return result
