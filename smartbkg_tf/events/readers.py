"""Read events from any file that we know, told by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.belle_public import (
    count_events_belle_public,
    is_belle_public,
    iterate_belle_public,
)
from smartbkg_tf.events.hdf5 import (
    Key,
    count_events_hdf5,
    iterate_hdf5,
    particle_set_hdf5,
)
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.settings.sources import ParticleSet

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_KNOWN = (
    "events are read from: HDF5 training tables and Parquet training tables "
    "(python -m smartbkg_tf.produce), basf2 ROOT files with MCParticles, and the public Belle "
    "data set (npz)"
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


def file_format(path: str | Path) -> str:
    """Tell the format of an event file by its first bytes.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    str
        ``"hdf5"``, ``"root"``, ``"parquet"`` or ``"belle_public"``.

    Raises
    ------
    InputError
        When the file is missing, a folder, empty, or of no known format.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir())[:5]
        raise InputError(
            f"is a folder, not an event file; it holds {', '.join(inside) or 'nothing'}",
            where=path,
            next_step=f"name the files in it: input='{path}/*.h5'",
        )
    try:
        with open(path, "rb") as stream:
            begin = stream.read(32)
            # An HDF5 file may begin behind a user block of 512, 1024, ... bytes.
            for place in (512, 1024, 2048):
                stream.seek(place)
                if stream.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC:
                    return "hdf5"
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=path, next_step=_KNOWN) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from error
    if not begin:
        raise InputError("is empty (0 bytes)", where=path, next_step="make or copy it again")
    for magic, name in ((_HDF5_MAGIC, "hdf5"), (b"root", "root"), (b"PAR1", "parquet")):
        if begin.startswith(magic):
            return name
    if begin.startswith(b"PK\x03\x04") and is_belle_public(path):
        return "belle_public"
    kind = next((text for magic, text in _OTHERS.items() if begin.startswith(magic)), None)
    raise InputError(
        "is no event file" + ("" if kind is None else f" but {kind}"), where=path, next_step=_KNOWN
    )


def _reader(path: Path) -> Callable[..., Iterator[EventTable]]:
    # Imported when needed: uproot and awkward cost a second, pyarrow some tenths.
    kind = file_format(path)
    if kind == "hdf5":
        return iterate_hdf5
    if kind == "root":
        from smartbkg_tf.events.mdst import iterate_mdst

        return iterate_mdst
    if kind == "belle_public":
        return iterate_belle_public
    from smartbkg_tf.events.parquet import iterate_parquet

    return iterate_parquet


def iterate_events(
    paths: Sequence[str | Path] | str | Path,
    *,
    key: Key = "all",
    chunk_events: int = 20000,
    require_labels: bool = False,
    as_stored: bool = False,
    particles: ParticleSet = "tables",
) -> Iterator[tuple[Path, EventTable]]:
    """Read events of many files piece by piece, in the order of the list.

    Parameters
    ----------
    paths : sequence of str or pathlib.Path
        Training tables (HDF5, Parquet) and basf2 ROOT files, in any mixture.
    key : {"all", "train_events", "decay_strings"}, default "all"
        ``"train_events"``: no decay strings. ``"decay_strings"``: no particles.
        ``"all"``: both; decay strings that are missing are built from the particles.
    chunk_events : int, default 20000
        At most so many events are in memory at a time; no piece spans two files.
    require_labels : bool, default False
        Refuse files without labels (for training).
    as_stored : bool, default False
        For compiled code: columns of HDF5 tables in the type of the file, float32 too, and
        decay strings as bytes ('S'), for `tokenise`; they hold until the next table comes.
    particles : {"tables", "generator"}, default "tables"
        Which particles of basf2 ROOT files are kept; tables hold what was produced
        (`particle_set` tells).

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
        asked for. All formats are told before the first file is read.
    ValueError
        When `key` or `chunk_events` is out of range.
    """
    listed = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    readers = [_reader(path) for path in listed]
    for path, read in zip(listed, readers, strict=True):
        # Only HDF5 tables hold bytes.
        options: dict[str, Any] = {"as_stored": True} if as_stored and read is iterate_hdf5 else {}
        if file_format(path) == "root":
            options["particles"] = particles
        for table in read(path, key=key, chunk_events=chunk_events, **options):
            if require_labels and not table.labels:
                raise InputError(
                    "its events carry no labels, and training needs them",
                    where=path,
                    next_step="label them: python -m smartbkg_tf.produce source=mdst "
                    f"input={path} skim_files='PASSING_EVENTS' output=DIR",
                )
            yield path, table


def particle_set(path: str | Path) -> ParticleSet | None:
    """Tell which generated particles a table keeps (``source.particles`` of `produce`).

    Parameters
    ----------
    path : str or pathlib.Path
        A training table or basf2 ROOT file.

    Returns
    -------
    {"tables", "generator"} or None
        None for ROOT files, of which the reader chooses. Tables that do not say so are
        ``tables``.

    Raises
    ------
    InputError
        When the file is missing, empty, of no known format or damaged.
    """
    kind = file_format(path)
    if kind == "root":
        return None
    if kind == "hdf5":
        return particle_set_hdf5(path)
    if kind == "parquet":
        from smartbkg_tf.events.parquet import particle_set_parquet

        return particle_set_parquet(path)
    return "tables"


def count_events(path: str | Path) -> int:
    """Count the events of a file without reading its particles.

    Parameters
    ----------
    path : str or pathlib.Path
        A training table or basf2 ROOT file.

    Returns
    -------
    int
        Number of events.

    Raises
    ------
    InputError
        When the file is missing, empty, of no known format or damaged.
    """
    kind = file_format(path)
    if kind == "hdf5":
        return count_events_hdf5(path)
    if kind == "root":
        from smartbkg_tf.events.mdst import count_events_mdst

        return count_events_mdst(path)
    if kind == "belle_public":
        return count_events_belle_public(path)
    from smartbkg_tf.events.parquet import count_events_parquet

    return count_events_parquet(path)
