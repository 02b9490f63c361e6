"""Arrays of the original project (2018-2020), taken over as they are.

Its preprocessing wrote one set of ``.npy`` files per input file,
``<name>_particle_input.npy`` and so on; its joint memory maps have pickled ``.shape`` and
``.dtype`` files beside them::

    particle_input    float64 [n_events, 100, 13]   normalised features, charge one-hot
    pdg_input         float64 [n_events, 100]       tokens of its own vocabulary, 0 padding
    mother_pdg_input  float64 [n_events, 100]
    decay_input       int64   [n_events, 150]
    y_output          int64   [n_events]

Neither values nor tokens are changed; padding is dropped, because it is made anew when a
batch is formed. Event keys were not kept: an event is known by the content of its files
and its row. Pickles are read through an unpickler that knows no objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.memmap_metadata import metadata_file, read_dtype, read_shape
from smartbkg_tf.encoding.checks import Finding, finding_of
from smartbkg_tf.encoding.events import Events, encoded_schema, offsets_of
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.events.columns import labels_from
from smartbkg_tf.events.legacy_tables import content_number
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.runtime.reading import read_into
from smartbkg_tf.settings.encoding import LEGACY, PARTICLES, TOKENS, EncodingSettings

#: The arrays of a set; a name that ends in another one's comes first.
ARRAYS = ("mother_pdg_input", "particle_input", "pdg_input", "decay_input", "y_output")
_PARTICLES = ("particle_input", "pdg_input", "mother_pdg_input")

#: Columns of ``particle_input`` as the original wrote them.
_COLUMNS = (
    *("energy", "prodTime", "x", "y", "z", "px", "py", "pz"),
    *(f"charge_{charge}" for charge in range(-2, 3)),
)

_SUFFIXES = (".npy", ".memmap", ".mmap", ".dat", "")

_STEP = (
    "the original's files are NAME_particle_input.npy, NAME_pdg_input.npy, "
    "NAME_mother_pdg_input.npy, NAME_decay_input.npy, NAME_y_output.npy, or memory maps of "
    "these names with .shape and .dtype beside them"
)


def _array_of(path: Path) -> tuple[str, str] | None:
    """Name of the set and of the array that a file holds."""
    if path.suffix not in _SUFFIXES or not path.is_file():
        return None
    if path.suffix != ".npy" and not metadata_file(path, "shape").is_file():
        return None
    stem = path.stem if path.suffix else path.name
    for name in ARRAYS:
        if stem == name or stem.endswith(f"_{name}"):
            return stem.removesuffix(name).removesuffix("_"), name
    return None


def is_legacy(path: Path) -> bool:
    """Tell whether a path is a folder of the original's arrays, and not a dataset of ours."""
    if not path.is_dir() or (path / "dataset.json").is_file():
        return False
    return any(_array_of(p) is not None for p in path.iterdir())


def open_legacy(path: Path) -> list[LegacySet]:
    """Open all sets of a folder; InputError tells all arrays that do not belong together."""
    groups: dict[str, dict[str, Path]] = {}
    for file in sorted(path.iterdir()):
        found = _array_of(file)
        if found is not None:
            groups.setdefault(found[0], {})[found[1]] = file
    problems, sets = Problems(), []
    for name, files in sorted(groups.items()):
        arrays: LegacySet = {}
        for array, file in files.items():
            try:
                arrays[array] = _open(file, array)
            except InputError as error:
                problems.add(error)
        if len({len(values) for values in arrays.values()}) > 1:
            listed = ", ".join(f"{values.path.name}: {len(values)}" for values in arrays.values())
            problems.add(
                f"{path}: the arrays do not belong together, their numbers of events differ "
                f"({listed})"
            )
        whole = set(_PARTICLES) <= set(files) or not set(_PARTICLES) & set(files)
        if "y_output" not in files or not whole or len(files) == 1:
            there = ", ".join(file.name for file in files.values())
            problems.add(f"{path}: the set '{name}' is not whole; there are {there}")
        sets.append(arrays)
    if len({frozenset(files) for files in groups.values()}) > 1:
        problems.add(f"{path}: not all sets have the same arrays")
    widths = {arrays["particle_input"].shape[2] for arrays in sets if "particle_input" in arrays}
    if len(widths) > 1:
        problems.add(f"{path}: the sets have different numbers of features: {sorted(widths)}")
    problems.raise_if_any(
        "arrays of the original project cannot be used", kind=InputError, next_step=_STEP
    )
    return sets


@dataclass(frozen=True)
class _Stored:
    """An array in a file, of which events are read when they are asked for; never mapped."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, events: slice) -> npt.NDArray[Any]:
        first, last, _ = events.indices(len(self))
        values = np.empty((last - first, *self.shape[1:]), dtype=self.dtype)
        width = values.itemsize * math.prod(self.shape[1:])
        try:
            with open(self.path, "rb", buffering=0) as stream:
                read_into(stream, self.begin + first * width, values)
        except OSError as error:
            raise InputError(f"cannot be read ({error})", where=self.path) from error
        return values


#: The arrays of one input file, or joint memory maps, by name.
LegacySet = dict[str, _Stored]


def _open(path: Path, name: str) -> _Stored:
    if path.suffix == ".npy":
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"is not a NumPy array that can be read ({error})", where=path
            ) from error
        if not mapped.flags.c_contiguous:
            raise InputError(
                "is stored by columns; arrays are read event by event",
                where=path,
                next_step="write it again: np.save(FILE, np.ascontiguousarray(ARRAY))",
            )
        values = _Stored(path, mapped.dtype, mapped.shape, int(mapped.offset))
    else:
        shape, dtype = read_shape(path), read_dtype(path)
        expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if path.stat().st_size != expected or not expected:
            raise InputError(
                f"the map has {path.stat().st_size} bytes, but {list(shape)} of {dtype} make "
                f"{expected}",
                where=path,
            )
        values = _Stored(path, dtype, shape, 0)
    axes = {"particle_input": 3, "y_output": 1}.get(name, 2)
    if name == "y_output" and len(values.shape) == 2 and values.shape[1] == 1:
        values = replace(values, shape=values.shape[:1])
    if len(values.shape) != axes or values.dtype.kind not in "iufb":
        raise InputError(
            f"holds {values.dtype} {list(values.shape)}; {axes} axes of numbers are expected",
            where=path,
        )
    return values


def legacy_encoding(
    paths: Sequence[Path], *, max_particles: int, max_tokens: int
) -> tuple[EncodingSettings, tuple[str, ...]]:
    """Give the encoding of folders of the original's arrays, and the inputs that are there.

    The original did not keep ``mother_index_input``.
    """
    first, *others = [one for path in paths for one in open_legacy(path)]

    def n_columns(one: LegacySet) -> int:
        return one["particle_input"].shape[2] if "particle_input" in one else len(_COLUMNS)

    width = n_columns(first)
    if any(set(one) != set(first) or n_columns(one) != width for one in others):
        raise InputError(
            "the folders hold different arrays or numbers of features",
            where=", ".join(map(str, paths)),
            next_step="preprocess them alone",
        )
    columns = _COLUMNS if width == len(_COLUMNS) else tuple(f"feature_{i}" for i in range(width))
    encoding = EncodingSettings(
        features=LEGACY,
        max_particles=max_particles,
        max_tokens=max_tokens,
        columns=list(columns),
        column_units=[""] * width,
    )
    inputs = [name for name in (*_PARTICLES, "decay_input") if name in first]
    return encoding, (*inputs, "event_type_input")


def read_legacy(
    path: Path, encoding: EncodingSettings, chunk_events: int
) -> Iterator[tuple[EventTable, Events, list[Finding]]]:
    """Read a folder piece by piece: keys and labels of usable events, encoded, faults of others."""
    for number, one in enumerate(open_legacy(path)):
        production = content_number(next(one[name].path for name in ARRAYS if name in one))
        n_events = len(one["y_output"])
        for begin in range(0, n_events, chunk_events):
            end = min(begin + chunk_events, n_events)
            table = _table(one, begin, end, number, production)
            encoded = _encoded(one, encoding, begin, end)
            usable, findings = _check(encoded, one, table, str(path))
            if not usable.all():
                chosen = np.flatnonzero(usable)
                table, encoded = table.take(chosen), encoded.take(chosen)
            yield table, encoded, findings


def _table(one: LegacySet, begin: int, end: int, number: int, production: int) -> EventTable:
    n = end - begin
    labels = labels_from(
        one["y_output"][begin:end],
        where=str(one["y_output"].path),
        first_row=begin,
    )
    return EventTable(
        particles={},
        offsets=np.zeros(n + 1, dtype=np.int64),
        keys={
            "experiment": np.full(n, -1, dtype=np.int64),
            "run": np.full(n, number, dtype=np.int64),
            "event": np.arange(begin, end, dtype=np.int64),
            "production": np.full(n, production, dtype=np.int64),
        },
        event_type=np.full(n, -1, dtype=np.int8),
        labels={"label": labels},
    )


def _encoded(one: LegacySet, encoding: EncodingSettings, begin: int, end: int) -> Events:
    n = end - begin
    schema = encoded_schema(encoding)
    columns: dict[str, npt.NDArray[Any]] = {
        column.name: np.empty((0, *column.shape), column.dtype) for column in schema.columns
    }
    columns["event_type_input"] = np.full(n, -1, dtype=np.int8)
    nothing = np.zeros(n + 1, dtype=np.int64)
    offsets = {PARTICLES: nothing, TOKENS: nothing}
    for axis, leader, names in (
        (PARTICLES, "pdg_input", _PARTICLES),
        (TOKENS, "decay_input", ("decay_input",)),
    ):
        if leader not in one:
            continue
        there = one[leader][begin:end] != 0
        offsets[axis] = offsets_of(there.sum(axis=1))
        for name in names:
            values = one[name][begin:end][there]
            columns[name] = (
                np.ascontiguousarray(values, dtype=np.float32)
                if name == "particle_input"
                else _tokens(values, one[name].path)
            )
    columns["mother_index_input"] = np.full(len(columns["pdg_input"]), -1, dtype=np.int16)
    return Events(schema, columns, offsets, n)


def _tokens(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int16]:
    limit = np.iinfo(np.int16).max
    sound = (values >= 0) & (values <= limit) & (values == np.rint(values))
    if not sound.all():
        wrong = values[~sound][0]
        raise InputError(f"holds {wrong}, which is not a token (0 to {limit})", where=path)
    return values.astype(np.int16)


def _check(
    encoded: Events, one: LegacySet, table: EventTable, file: str
) -> tuple[npt.NDArray[np.bool_], list[Finding]]:
    n = len(encoded)
    event = np.repeat(np.arange(n), encoded.lengths(PARTICLES))
    broken = np.zeros(n, dtype=np.bool_)
    broken[event[~np.isfinite(encoded["particle_input"]).all(axis=1)]] = True
    empty = np.zeros(n, dtype=np.bool_)
    if "pdg_input" in one:
        empty = encoded.lengths(PARTICLES) == 0
    findings = [
        finding_of(reason, mask, table.keys, file)
        for reason, mask in (("not_finite", broken), ("no_particles", empty))
        if mask.any()
    ]
    return ~(broken | empty), findings
