"""Read events from files of any known format, recognised by their content, or by a custom reader.

A reader is a class that inherits `Reader`. Those of the package are listed in `READERS`; a custom
one is named in the configuration of `preprocess` and `apply`::

    reader: {_target_: my_module.MyReader}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Literal

import numpy as np

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.settings.plugins import Plugin
from smartbkg_tf.settings.sources import ParticleSet

Key = Literal["all", "train_events", "decay_strings"]
KEYS: tuple[Key, ...] = ("all", "train_events", "decay_strings")

#: Readers of the package; a module is imported only if those before it did not recognise a file
#: (uproot and awkward cost a second, pyarrow some tenths).
READERS = (
    "smartbkg_tf.events.hdf5:HDF5Reader",
    "smartbkg_tf.events.mdst:MdstReader",
    "smartbkg_tf.events.parquet:ParquetReader",
    "smartbkg_tf.events.belle_public:BellePublicReader",
    # By its name only: it stands on the rules by which generators' events are cut down.
    "smartbkg_tf.generation.hepmc_reader:HepmcReader",
)

_KNOWN = (
    "events are read from: HDF5 training tables and Parquet training tables "
    "(python -m smartbkg_tf.produce), basf2 ROOT files with MCParticles, the public Belle "
    "data set (npz), HepMC3 files (ASCII, plain or gzip), and what a custom reader reads "
    "(reader._target_=my_module.MyReader)"
)

#: First bytes of files that people give by mistake.
_OTHERS = {
    b"PK\x03\x04": "a zip or npz archive (not the public Belle data set: x_feature_0 or X_train_0 "
    "is missing)",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "only a pointer of git-lfs: run git lfs pull",
}


class Reader(Plugin):
    """Base of all readers of event files; arguments of a reader are annotated fields.

    A custom reader, in any file::

        from smartbkg_tf.events.readers import Reader
        from smartbkg_tf.settings.base import settings

        @settings
        class MyReader(Reader):
            production: int = 0

            def recognises(self, path): return path.suffix == ".txt"
            def count(self, path): ...
            def iterate(self, path, *, chunk_events, key): yield EventTable(...)

    Files that it does not recognise are read by the readers of the package. Modules that are slow
    to import are imported inside the methods.

    A reader that can begin anywhere in a file sets ``divisible = True``, and its `iterate` takes
    ``begin=0`` and ``end=None`` besides: which events are read. Several processes then share a
    file.
    """

    divisible: ClassVar[bool] = False

    def recognises(self, path: Path) -> bool:
        """Tell whether this is a file to be read; all files by default."""
        return True

    def count(self, path: Path) -> int:
        """Count the events of a file, without reading its particles if possible."""
        raise NotImplementedError

    def iterate(self, path: Path, *, chunk_events: int, key: Key) -> Iterator[EventTable]:
        """Read the events of a file piece by piece.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        chunk_events : int
            At most so many events in one table.
        key : {"all", "train_events", "decay_strings"}
            What will be used: ``"train_events"`` no decay strings, ``"decay_strings"`` no
            particles. A reader may leave out what is not used. With ``"all"`` decay strings that
            it does not give are built from the particles.

        Yields
        ------
        EventTable
            The next events, in the order of the file.

        Raises
        ------
        InputError
            When the file is damaged, or holds what it cannot hold.
        """
        raise NotImplementedError

    def particle_set(self, path: Path) -> ParticleSet | None:
        """Tell which generated particles a file keeps; None where the reader chooses."""
        return "tables"


def check_request(key: str, chunk_events: int = 1) -> None:
    """Raise ValueError for a key that does not exist and for less than one event at a time."""
    if chunk_events < 1:
        raise ValueError(f"chunk_events={chunk_events}: must be at least 1")
    if key not in KEYS:
        raise ValueError(f"key={key!r}: {did_you_mean(str(key), KEYS)}")


def begins_with(path: Path, *magic: bytes) -> bool:
    """Tell whether a file begins with one of some byte strings."""
    try:
        with open(path, "rb") as stream:
            return stream.read(32).startswith(magic)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error


def as_asked(
    table: EventTable, key: Key, where: str | Path, first_event: int, *, decay_text: bool = True
) -> EventTable:
    """Leave out of a table what `key` does not ask for, and build decay strings it lacks.

    `where` and `first_event` are for messages. Without `decay_text` strings are built for
    ``key="decay_strings"`` only.
    """
    if key != "decay_strings" and not table.particles:
        raise InputError(
            "its events have no particles", where=where, next_step="read it with key=decay_strings"
        )
    if key == "train_events":
        return dataclasses.replace(table, decay_strings=None)
    if table.decay_strings is None and (decay_text or key == "decay_strings"):
        from smartbkg_tf.events.decay_strings import build_decay_strings

        strings = build_decay_strings(table, where=where, first_event=first_event)
        table = dataclasses.replace(table, decay_strings=strings)
    if key == "decay_strings" and table.particles:
        nothing = np.zeros_like(table.offsets)
        table = dataclasses.replace(table, particles={}, offsets=nothing)
    return table


def find_reader(
    path: Path, reader: Reader | None = None, particles: ParticleSet = "tables"
) -> Reader:
    """Find the reader of a file: `reader` if it recognises it, else one of the package.

    `particles` goes to readers that choose. InputError when the file is missing, a folder, empty,
    or of no known format.
    """
    try:
        if path.is_dir():
            inside = sorted(p.name for p in path.iterdir())[:5]
            raise InputError(
                f"is a folder, not an event file; it holds {', '.join(inside) or 'nothing'}",
                where=path,
                next_step=f"name the files in it: input='{path}/*.h5'",
            )
        with open(path, "rb") as stream:
            begin = stream.read(32)
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=_KNOWN) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error
    if reader is not None and reader.recognises(path):
        return reader
    if not begin:
        raise InputError("is empty (0 bytes)", where=path, next_step="make or copy it again")
    for name in READERS:
        kind = resolve_name(name)
        chooses = any(field.name == "particles" for field in dataclasses.fields(kind))
        found: Reader = kind(particles=particles) if chooses else kind()
        if found.recognises(path):
            return found
    other = next((text for magic, text in _OTHERS.items() if begin.startswith(magic)), None)
    raise InputError(
        "is not an event file" + ("" if other is None else f" but {other}"),
        where=path,
        next_step=_KNOWN,
    )


def iterate_events(
    paths: Sequence[str | Path] | str | Path,
    *,
    key: Key = "all",
    chunk_events: int = 20000,
    particles: ParticleSet = "tables",
    decay_text: bool = True,
    reader: Reader | None = None,
    begin: int = 0,
    end: int | None = None,
) -> Iterator[tuple[Path, EventTable]]:
    """Read events of many files piece by piece, in the order of the list.

    Parameters
    ----------
    paths : sequence of str or pathlib.Path
        Training tables (HDF5, Parquet), basf2 ROOT files and the public npz data set, in any
        mixture.
    key : {"all", "train_events", "decay_strings"}, default "all"
        ``"train_events"``: no decay strings. ``"decay_strings"``: no particles.
        ``"all"``: both; decay strings that are missing are built from the particles.
    chunk_events : int, default 20000
        At most so many events are in memory at a time; no piece spans two files.
    particles : {"tables", "generator"}, default "tables"
        Which particles of basf2 ROOT files are kept; tables hold what was produced
        (`particle_set` tells).
    decay_text : bool, default True
        False: with ``key="all"`` events whose tree the mother links tell in full come without
        decay strings, for those who make tokens from the links
        (`smartbkg_tf.events.decay_strings.decay_tokens`).
    reader : Reader, optional
        A custom reader, which is asked first.
    begin, end : int, optional
        Only these events of a single file whose reader is `Reader.divisible`.

    Yields
    ------
    path : pathlib.Path
        The file.
    table : EventTable
        Its next events.

    Raises
    ------
    InputError
        When a file is missing, empty, of no known format or damaged, or lacks what is
        asked for. All files are recognised before the first one is read.
    ValueError
        When `key` or `chunk_events` is out of range.
    """
    check_request(key, chunk_events)
    listed = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    readers = [find_reader(path, reader, particles) for path in listed]
    part: dict[str, Any] = {} if (begin, end) == (0, None) else {"begin": begin, "end": end}
    for path, found in zip(listed, readers, strict=True):
        first_event = begin
        for table in found.iterate(path, chunk_events=chunk_events, key=key, **part):
            yield path, as_asked(table, key, path, first_event, decay_text=decay_text)
            first_event += len(table)


def count_events(path: str | Path, *, reader: Reader | None = None) -> int:
    """Count the events of a file, without reading its particles if possible."""
    path = Path(path)
    return find_reader(path, reader).count(path)


def particle_set(path: str | Path, *, reader: Reader | None = None) -> ParticleSet | None:
    """Tell which generated particles a file keeps; None where the reader chooses (ROOT)."""
    path = Path(path)
    return find_reader(path, reader).particle_set(path)
