"""Read rows of an HDF5 dataset, also those that PyTables compressed with Blosc.

h5py brings no Blosc filter; such chunks are fetched as they are and unpacked here.
"""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from smartbkg_tf.settings.errors import InputError

#: Registered numbers of HDF5 filters: https://github.com/HDFGroup/hdf5_plugins
_BLOSC = 32001

#: Fewer bytes than this are copied sooner than mapped.
_WORTH_MAPPING = 1 << 16

_NAMES = {307: "bzip2", 305: "LZO", 32001: "Blosc", 32026: "Blosc2"}


def read_rows(node: h5py.Dataset, start: int, stop: int) -> npt.NDArray[Any]:
    """Read a slice of the first axis.

    Parameters
    ----------
    node : h5py.Dataset
        At least one axis.
    start, stop : int
        The rows; not beyond the end.

    Returns
    -------
    numpy.ndarray [stop - start, ...]
        In the byte order of the machine; read-only where it is a map of the file.

    Raises
    ------
    InputError
        When the dataset is compressed in a way that cannot be read here.
    """
    properties = node.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
    mapped = None if filters else _mapped(node, start, stop)
    if mapped is not None:
        return mapped
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


def _mapped(node: h5py.Dataset, start: int, stop: int) -> npt.NDArray[Any] | None:
    """Map rows that stand in the file as they stand in memory: nothing is copied."""
    place = node.id.get_offset()  # None for chunks
    row = node.dtype.itemsize * int(np.prod(node.shape[1:], dtype=np.int64))
    plain = node.dtype.kind in "iuf" and node.dtype.isnative and node.dtype.alignment > 0
    if place is None or not plain or (stop - start) * row < _WORTH_MAPPING:
        return None
    offset = place + start * row
    try:
        if offset % node.dtype.alignment or place + len(node) * row > _size(node.file.filename):
            return None
        rows = np.memmap(
            node.file.filename, node.dtype, "r", offset, (stop - start, *node.shape[1:])
        )
    except (OSError, ValueError):
        return None  # some file systems cannot map; h5py reads there too
    return rows.view(np.ndarray)


def _size(path: str) -> int:
    return os.stat(path).st_size


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
