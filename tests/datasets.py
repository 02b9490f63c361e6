"""Dataset directories for the tests of all rooms, made by the real chain of files."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from tests.samples import make_events

_NORMALISATION = Path(__file__).resolve().parents[1] / "conf/normalisation"


@lru_cache
def _normalisation(name: str) -> Any:
    return yaml.safe_load((_NORMALISATION / f"{name}.yaml").read_text())


def preprocess_settings(
    input: str | list[str] | None, output: str | Path, **options: Any
) -> PreprocessSettings:
    """Make settings of `preprocess` as the command line makes them.

    Parameters
    ----------
    input : str or list of str
        Files.
    output : str or pathlib.Path
        Dataset directory.
    **options
        Any other setting; ``normalisation`` may be the name of a file in
        ``conf/normalisation``.

    Returns
    -------
    PreprocessSettings
        Checked settings.
    """
    normalisation = options.pop("normalisation", "physical")
    if isinstance(normalisation, str):
        normalisation = deepcopy(_normalisation(normalisation))
    values = {"input": input, "output": str(output), "normalisation": normalisation, **options}
    return validate(PreprocessSettings, values)


def write_dataset(directory: Path, *tables: EventTable, **options: Any) -> Path:
    """Write tables as HDF5 files and preprocess them.

    Parameters
    ----------
    directory : pathlib.Path
        Gets ``tables/events_<i>.h5`` and ``dataset``.
    *tables : EventTable
        One file each.
    **options
        Settings of `preprocess`.

    Returns
    -------
    pathlib.Path
        The dataset directory.
    """
    folder = directory / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, table in enumerate(tables):
        files.append(str(folder / f"events_{i}.h5"))
        write_hdf5(files[-1], table)
    output = options.pop("output", directory / "dataset")
    return build_dataset(preprocess_settings(files, output, **options))


def make_dataset(
    directory: Path,
    n_events: int = 400,
    seed: int = 0,
    skims: tuple[str, ...] = ("fei_hadronic_b0",),
    **preprocess_options: Any,
) -> Path:
    """Make a small dataset of random decay trees whose labels can partly be learned.

    Parameters
    ----------
    directory : pathlib.Path
        An empty folder, such as ``tmp_path``.
    n_events : int, default 400
        How many.
    seed : int, default 0
        Of the events (``tests.samples.make_events``).
    skims : tuple of str
        Label names.
    **preprocess_options
        Settings of `preprocess`, for example ``max_particles=20``.

    Returns
    -------
    pathlib.Path
        The dataset directory, ``directory/dataset``.
    """
    events = make_events(n_events, seed=seed, skims=skims)
    return write_dataset(directory, events, **preprocess_options)
