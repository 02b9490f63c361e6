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

import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, ClassVar

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
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError)

_STEP = (
    "expected are x_feature_0, x_pdg_0, x_adjacency_0, y_0, ..., or X_train_0, X_train_1, "
    "y_train, X_test_0, X_test_1, y_test"
)


@lru_cache(maxsize=1)
def public_codes() -> npt.NDArray[np.int64]:
    """Give the PDG code of every particle identity [n]; 0, padding, is the first."""
    text = files("smartbkg_tf.events").joinpath("data/belle_public_codes.txt").read_text("utf-8")
    return np.array([int(word) for word in text.split()], dtype=np.int64)


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"is not a complete npz archive ({error})", where=path) from error


def _blocks(archive: zipfile.ZipFile, path: str | Path) -> list[dict[str, str]]:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    blocks = []
    if "X_train_0" in names:
        blocks = [
            {"features": f"X_{part}_0", "mother": f"X_{part}_1", "label": f"y_{part}"}
            for part in ("train", "test")
            if f"X_{part}_0" in names
        ]
    else:
        number = 0
        while f"x_feature_{number}" in names:
            blocks.append(
                {
                    "features": f"x_feature_{number}",
                    "pdg": f"x_pdg_{number}",
                    "mother": f"x_adjacency_{number}",
                    "label": f"y_{number}",
                }
            )
            number += 1
    missing = [name for block in blocks for name in block.values() if name not in names]
    if missing or not blocks:
        raise InputError(
            f"lacks the arrays {', '.join(missing) or 'of the data set'}; there are "
            f"{', '.join(sorted(names))}",
            where=path,
            next_step=_STEP,
        )
    return blocks


class _PublicBlock:
    """The arrays of one block, opened side by side in the archive."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, names: dict[str, str]) -> None:
        self._archive, self._path, self._names = archive, path, names
        self._streams: dict[str, IO[bytes]] = {}
        self._layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        with ExitStack() as stack:
            for part, name in names.items():
                try:
                    stream = stack.enter_context(archive.open(f"{name}.npy"))
                    self._layout[part] = _read_header(stream, name, path)
                except _DAMAGE as error:
                    raise self._damaged(name, error) from error
                self._streams[part] = stream
            self._check_shapes()
            self._order = self._feature_order()
            self._stack = stack.pop_all()

    def _check_shapes(self) -> None:
        features = self._layout["features"][1]
        width = len(FEATURE_NAMES) + ("pdg" not in self._names)
        if len(features) != 3 or features[2] != width:
            raise InputError(
                f"{self._names['features']} has the shape {features}, not "
                f"[events, particles, {width}]",
                where=self._path,
                next_step=_STEP,
            )
        for part, (_, shape) in self._layout.items():
            wanted = features[:1] if part == "label" else features[:2]
            if part != "features" and shape != wanted:
                raise InputError(
                    f"{self._names[part]} has the shape {shape}, but {self._names['features']} "
                    f"{features}",
                    where=self._path,
                )
        self.n_events = features[0]

    def _feature_order(self) -> list[int]:
        if "feature_names.npy" not in self._archive.namelist():
            return list(range(len(FEATURE_NAMES)))
        try:
            with self._archive.open("feature_names.npy") as stream:
                found = [str(n) for n in np.lib.format.read_array(stream, allow_pickle=False)]
        except (*_DAMAGE, ValueError) as error:
            raise self._damaged("feature_names", error) from error
        if sorted(found) != sorted(FEATURE_NAMES):
            raise InputError(
                f"feature_names are {found}; expected are {list(FEATURE_NAMES)}", where=self._path
            )
        return [found.index(name) for name in FEATURE_NAMES]

    def __enter__(self) -> _PublicBlock:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, n_events: int) -> dict[str, Array]:
        """Read the next rows of all arrays."""
        rows = {part: self._rows(part, n_events) for part in self._names}
        features = rows.pop("features")
        if "pdg" not in rows:
            rows["pdg"] = features[:, :, -1]
        rows["features"] = features[:, :, self._order]
        return rows

    def _rows(self, part: str, n_events: int) -> Array:
        dtype, shape = self._layout[part]
        n_bytes = n_events * math.prod(shape[1:]) * dtype.itemsize
        try:
            data = self._streams[part].read(n_bytes)
        except (*_DAMAGE, ValueError) as error:
            raise self._damaged(self._names[part], error) from error
        if len(data) != n_bytes:
            raise self._damaged(self._names[part], "it ends too early")
        return np.frombuffer(data, dtype=dtype).reshape(n_events, *shape[1:])

    def _damaged(self, name: str, error: object) -> InputError:
        return InputError(f"the array '{name}' is damaged ({error})", where=self._path)


def _read_header(stream: IO[bytes], name: str, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise InputError(f"the array '{name}' is damaged ({error})", where=path) from error
    if dtype.hasobject or dtype.kind not in "iufb" or (fortran and len(shape) > 1):
        raise InputError(
            f"the array '{name}' holds {dtype}{' by columns' if fortran else ''}; numbers, row by "
            "row, are expected (objects are never unpickled)",
            where=path,
        )
    return dtype, tuple(shape)


def _table(
    rows: dict[str, Array],
    path: Path,
    begin: int,
    number: int,
    production: int,
    as_codes: bool,
) -> EventTable:
    identity = integers(
        rows["pdg"].reshape(-1), np.int64, where=f"{path}: particle identity", first_row=0
    ).reshape(rows["pdg"].shape)
    there = identity != 0
    n_events, length = there.shape
    counts = there.sum(axis=1)
    offsets = offsets_of(counts)
    codes = public_codes()
    chosen = identity[there]
    if not as_codes and len(chosen) and (chosen.min() < 0 or chosen.max() >= len(codes)):
        wrong = chosen[(chosen < 0) | (chosen >= len(codes))][0]
        raise InputError(
            f"holds the particle identity {wrong}; they go from 0 to {len(codes) - 1}", where=path
        )
    pdg = chosen if as_codes else codes[chosen]
    mother = integers(
        rows["mother"].reshape(-1), np.int64, where=f"{path}: mothers", first_row=0
    ).reshape(there.shape)
    # Positions among the particles that are there; a mother that is padding is none.
    place = np.cumsum(there, axis=1) - 1
    inside = (mother >= 0) & (mother < length)
    at = np.where(inside, mother, 0)
    known = inside & np.take_along_axis(there, at, axis=1) & (at != np.arange(length))
    mothers = np.where(known, np.take_along_axis(place, at, axis=1), -1)[there]
    first = np.repeat(offsets[:-1], counts)
    has_mother = mothers >= 0
    mother_row = (first + mothers)[has_mother]
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

    name: ClassVar[str] = "belle_public"

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
        n_events = 0
        with _open(path) as archive:
            for names in _blocks(archive, path):
                with _PublicBlock(archive, path, names) as block:
                    n_events += block.n_events
        return n_events

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
            for number, names in enumerate(_blocks(archive, path)):
                with _PublicBlock(archive, path, names) as block:
                    for begin in range(0, block.n_events, chunk_events):
                        rows = block.read(min(chunk_events, block.n_events - begin))
                        if as_codes is None:
                            identity = rows["pdg"]
                            low, high = identity.min(initial=0), identity.max(initial=0)
                            as_codes = bool(low < 0 or high >= len(public_codes()))
                        yield _table(rows, path, begin, number, production, as_codes)
