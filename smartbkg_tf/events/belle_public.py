"""The public Belle II data set "SmartBKG": generated mixed events, labelled, in one npz file.

Two layouts of the same data are read. Blocks, as its authors published it first::

    x_feature_0    [n, 100, 8]   prodTime, energy, x, y, z, px, py, pz (``feature_names``)
    x_pdg_0        [n, 100]      particle identity
    x_adjacency_0  [n, 100]      position of the mother, -1 for none and for padding
    y_0            [n]           1 passes, 0 fails
    feature_names                and the same with _1, _2, _3

and the file ``6_belle_selective_400k.npz`` of the package pd4ml (arXiv:2107.00656)::

    X_train_0 [280000, 100, 9]   the eight features, then the particle identity
    X_train_1 [280000, 100]      position of the mother
    y_train   [280000]           and the same with _test, 120000 events

A particle identity is a place in the authors' list of PDG codes (``data/belle_public_codes.txt``;
0 is padding), or, where negative or larger numbers occur, the PDG code itself. Units are ns,
GeV and cm. Mass and charge are not in the file: the mass follows from energy and momentum, the
charge from the code. Arrays are read row by row out of the archive, nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.columns import integers, labels_from
from smartbkg_tf.events.legacy_tables import content_number
from smartbkg_tf.events.readers import Key, Reader
from smartbkg_tf.events.table import EVENT_TYPES, PARTICLE_COLUMNS, EventTable, offsets_of
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.base import settings

Array = npt.NDArray[Any]

FEATURE_NAMES = ("prodTime", "energy", "x", "y", "z", "px", "py", "pz")

#: The published single file.
PUBLISHED_NAME = "6_belle_selective_400k.npz"
PUBLISHED_MD5 = "85b10c9df3903455ab247a0ab4b51e5f"

#: The label; the published selection has no other name.
LABEL = "label"

#: What a damaged archive raises.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError)

_STEP = (
    "expected are x_feature_0, x_pdg_0, x_adjacency_0, y_0, ..., or X_train_0, X_train_1, "
    "y_train, X_test_0, X_test_1, y_test"
)


@lru_cache(maxsize=1)
def public_codes() -> npt.NDArray[np.int64]:
    """Give the PDG code of every particle identity [n]; 0, padding, is the first."""
    text = files("smartbkg_tf.events").joinpath("data/belle_public_codes.txt").read_text("utf-8")
    return np.array([int(word) for word in text.split()], dtype=np.int64)


@contextlib.contextmanager
def _explained(path: Path, name: str) -> Iterator[None]:
    """Turn what a damaged archive raises into an InputError that names the array."""
    try:
        yield
    except _DAMAGE as error:
        raise InputError(f"the array '{name}' is damaged ({error})", where=path) from error


class _StreamedArray:
    """An array in the archive, of which rows are read one after the other."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        self._name, self._path = name, path
        with _explained(path, name):
            self._stream = archive.open(f"{name}.npy")
            version = np.lib.format.read_magic(self._stream)
            if version > (2, 0):
                raise ValueError(f"version {version} of the format")
            read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            self.shape, fortran, self.dtype = read(self._stream)
        if self.dtype.kind not in "iufb" or (fortran and len(self.shape) > 1):
            raise InputError(
                f"the array '{name}' holds {self.dtype}{' by columns' if fortran else ''}; "
                "numbers, row by row, are expected (objects are never unpickled)",
                where=path,
            )

    def read(self, n_rows: int) -> Array:
        """Read the next rows."""
        n_bytes = n_rows * math.prod(self.shape[1:]) * self.dtype.itemsize
        with _explained(self._path, self._name):
            data = self._stream.read(n_bytes)
            if len(data) != n_bytes:
                raise EOFError("it ends too early")
        return np.frombuffer(data, dtype=self.dtype).reshape(n_rows, *self.shape[1:])


@dataclass(frozen=True)
class _PublicBlock:
    """Events of one block: its arrays by what they hold, and the places of our features."""

    n_events: int
    arrays: dict[str, _StreamedArray]
    features: list[int]

    def read(self, n_events: int) -> dict[str, Array]:
        """Read the next rows of all arrays."""
        rows = {part: array.read(n_events) for part, array in self.arrays.items()}
        features = rows["features"]
        return {"pdg": features[:, :, -1], **rows, "features": features[:, :, self.features]}


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"is not a complete npz archive ({error})", where=path) from error


def _blocks(archive: zipfile.ZipFile, path: Path) -> list[_PublicBlock]:
    """Open the arrays of all blocks side by side, and check their names and shapes."""
    there = {name.removesuffix(".npy") for name in archive.namelist()}
    single = "X_train_0" in there
    if single:
        blocks = [
            {"features": f"X_{part}_0", "mother": f"X_{part}_1", "label": f"y_{part}"}
            for part in ("train", "test")
            if f"X_{part}_0" in there
        ]
    else:
        names = {"features": "x_feature", "pdg": "x_pdg", "mother": "x_adjacency", "label": "y"}
        numbers = itertools.takewhile(lambda i: f"x_feature_{i}" in there, itertools.count())
        blocks = [{part: f"{name}_{i}" for part, name in names.items()} for i in numbers]
    missing = [name for block in blocks for name in block.values() if name not in there]
    if missing or not blocks:
        raise InputError(
            f"lacks the arrays {', '.join(missing) or 'of the data set'}; there are "
            f"{', '.join(sorted(there))}",
            where=path,
            next_step=_STEP,
        )
    order = list(range(len(FEATURE_NAMES)))
    if "feature_names" in there:
        with _explained(path, "feature_names"), archive.open("feature_names.npy") as stream:
            found = [str(n) for n in np.lib.format.read_array(stream, allow_pickle=False)]
        if sorted(found) != sorted(FEATURE_NAMES):
            raise InputError(
                f"feature_names are {found}; expected are {list(FEATURE_NAMES)}", where=path
            )
        order = [found.index(name) for name in FEATURE_NAMES]
    opened = []
    for block in blocks:
        arrays = {part: _StreamedArray(archive, name, path) for part, name in block.items()}
        shape, width = arrays["features"].shape, len(FEATURE_NAMES) + single
        if len(shape) != 3 or shape[2] != width:
            raise InputError(
                f"{block['features']} has the shape {shape}, not [events, particles, {width}]",
                where=path,
                next_step=_STEP,
            )
        for part, array in arrays.items():
            wanted = shape[:1] if part == "label" else shape[:2]
            if part != "features" and array.shape != wanted:
                raise InputError(
                    f"{block[part]} has the shape {array.shape}, but {block['features']} {shape}",
                    where=path,
                )
        opened.append(_PublicBlock(shape[0], arrays, order))
    return opened


def _table(
    rows: dict[str, Array],
    path: Path,
    begin: int,
    number: int,
    production: int,
    as_codes: bool,
) -> EventTable:
    def whole(part: str, what: str) -> Array:
        numbers = integers(rows[part].reshape(-1), np.int64, where=f"{path}: {what}")
        return numbers.reshape(rows[part].shape)

    identity, mother = whole("pdg", "particle identity"), whole("mother", "mothers")
    there = identity != 0
    n_events, length = there.shape
    offsets = offsets_of(there.sum(axis=1))
    codes = public_codes()
    pdg = identity[there]
    if not as_codes:
        wrong = pdg[(pdg < 0) | (pdg >= len(codes))]
        if len(wrong):
            raise InputError(
                f"holds the particle identity {wrong[0]}; they go from 0 to {len(codes) - 1}",
                where=path,
            )
        pdg = codes[pdg]
    # Positions among the particles that are there; a mother that is padding is none.
    place = np.cumsum(there, axis=1) - 1
    inside = (mother >= 0) & (mother < length)
    at = np.where(inside, mother, 0)
    known = inside & np.take_along_axis(there, at, axis=1) & (at != np.arange(length))
    mothers = np.where(known, np.take_along_axis(place, at, axis=1), -1)[there]
    has_mother = mothers >= 0
    mother_row = (np.repeat(offsets[:-1], np.diff(offsets)) + mothers)[has_mother]
    mother_pdg = np.zeros(len(pdg), dtype=np.int64)
    mother_pdg[has_mother] = pdg[mother_row]
    features = rows["features"][there].astype(np.float64)
    values = {name: features[:, i] for i, name in enumerate(FEATURE_NAMES)}
    with np.errstate(invalid="ignore", over="ignore"):
        mass_squared = values["energy"] ** 2 - sum(values[c] ** 2 for c in ("px", "py", "pz"))
    particles = {
        **values,
        "PDG": pdg,
        "mass": np.sqrt(np.maximum(mass_squared, 0.0)),
        "charge": charges(pdg)[0],
        "nDaughters": np.bincount(mother_row, minlength=len(pdg)),
        "status": np.ones(len(pdg)),
        "motherPDG": mother_pdg,
        "motherIndex": mothers,
    }
    return EventTable(
        particles={n: particles[n].astype(dtype) for n, dtype in PARTICLE_COLUMNS.items()},
        offsets=offsets,
        keys={
            "experiment": np.full(n_events, -1, dtype=np.int64),
            "run": np.full(n_events, number, dtype=np.int64),
            "event": np.arange(begin, begin + n_events, dtype=np.int64),
            "production": np.full(n_events, production, dtype=np.int64),
        },
        event_type=np.full(n_events, EVENT_TYPES.index("mixed"), dtype=np.int8),
        labels={LABEL: labels_from(rows["label"], where=f"{path}: labels", first_row=begin)},
    )


@settings
class BellePublicReader(Reader):
    """The public Belle II data set (npz).

    ``run`` is the number of the block (0 train, 1 test in the single file), ``event`` the row in
    it, ``production`` a number made from the file's content.
    """

    def recognises(self, path: Path) -> bool:
        """Tell by the names of the arrays."""
        try:
            with zipfile.ZipFile(path) as archive:
                names = set(archive.namelist())
        except (zipfile.BadZipFile, OSError):
            return False
        return bool(names & {"x_feature_0.npy", "X_train_0.npy"})

    def count(self, path: Path) -> int:
        """Count the events of all blocks."""
        with _open(path) as archive:
            return sum(block.n_events for block in _blocks(archive, path))

    def iterate(self, path: Path, *, chunk_events: int, key: Key) -> Iterator[EventTable]:
        """Read the events piece by piece."""
        if path.name == PUBLISHED_NAME:
            with open(path, "rb") as stream:
                found = hashlib.file_digest(stream, "md5").hexdigest()
            say(
                f"{path}: the published file (md5 {found})"
                if found == PUBLISHED_MD5
                else f"warning: {path} has the name of the published file, but md5 {found} "
                f"instead of {PUBLISHED_MD5}"
            )
        production = content_number(path)
        as_codes: bool | None = None
        with _open(path) as archive:
            for number, block in enumerate(_blocks(archive, path)):
                for begin in range(0, block.n_events, chunk_events):
                    rows = block.read(min(chunk_events, block.n_events - begin))
                    if as_codes is None:
                        low, high = rows["pdg"].min(initial=0), rows["pdg"].max(initial=0)
                        as_codes = bool(low < 0 or high >= len(public_codes()))
                    yield _table(rows, path, begin, number, production, as_codes)
