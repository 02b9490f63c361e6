"""The events to train on: a dataset directory that is given, or a small sample made here."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import smartbkg_tf
from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.legacy import is_legacy
from smartbkg_tf.errors import InputError, OutputError, did_you_mean
from smartbkg_tf.events.legacy_tables import content_number
from smartbkg_tf.generation.table_records import made_by
from smartbkg_tf.runtime.code_digest import code_digests
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import exclusive_lock, hash_of_values
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from smartbkg_tf.settings.training import DemoSettings, TrainSettings
from smartbkg_tf.training.provenance import usable_cores

_MADE_BY = "python -m smartbkg_tf.preprocess input='tables/*.h5' output="

#: Settings that change nothing in the sample.
_WITHOUT_EFFECT = ("output", "workers", "cluster", "debug", "overwrite", "verify", "input")

#: Code that makes a dataset of tables, as `code_digests` takes it.
_PREPROCESS = ("smartbkg_tf.dataset.build",)
_PREPROCESS_PACKAGES = ("smartbkg_tf.dataset", "smartbkg_tf.encoding", "smartbkg_tf.events")


def prepare_dataset(settings: TrainSettings) -> Path:
    """Find the dataset directory, or make the demo sample."""
    if settings.data.path is not None:
        return _given(Path(settings.data.path).expanduser(), settings.data.demo)
    return _demo(settings.data.demo)


def _given(path: Path, demo: DemoSettings) -> Path:
    if not path.exists():
        parent = path.parent
        near = ""
        if parent.is_dir():
            folders = [p.name for p in parent.iterdir() if p.is_dir()]
            near = "; " + did_you_mean(path.name, folders, limit=6) if folders else ""
        raise InputError(
            f"data.path: the dataset directory does not exist{near}",
            where=path,
            next_step=f"make it: {_MADE_BY}{path}; or leave data.path out for a demo sample",
        )
    if (path / "dataset.json").is_file():
        return path
    if path.suffix == ".npz" or is_legacy(path):
        return _taken_over(path, demo)
    raise InputError(
        "data.path: is not a dataset directory (dataset.json is missing)",
        where=path,
        next_step=f"make one: {_MADE_BY}dataset",
    )


def _taken_over(path: Path, demo: DemoSettings) -> Path:
    """Preprocess public data or arrays of the original project once, and keep the result."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    content = [(p.name, p.stat().st_size, content_number(p)) for p in files]
    code = code_digests(_PREPROCESS, _PREPROCESS_PACKAGES)
    key = hash_of_values({"content": content, "version": smartbkg_tf.__version__, "code": code})
    with _kept(demo, f"{path.stem}-{key}") as (folder, found):
        dataset = folder / "dataset"
        if found:
            say(f"data: {path} was taken over earlier: {dataset}")
            return dataset
        say(f"data: {path} is not a dataset directory; it is preprocessed into {dataset} (once)")
        overrides = [
            f"input={_quoted(path.absolute())}",
            f"output={_quoted(dataset)}",
            "mode=lenient",
        ]
        return build_dataset(compose_settings("preprocess", PreprocessSettings, overrides))


def cache_folder(demo: DemoSettings) -> Path:
    """Tell where samples are kept."""
    chosen = demo.cache or os.environ.get("SMARTBKG_TF_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smartbkg_tf"


def demo_settings(demo: DemoSettings, folder: Path) -> tuple[ProduceSettings, PreprocessSettings]:
    """Compose the settings of the two steps that make the sample."""
    workers = demo.workers or usable_cores()
    types = ",".join(demo.event_types)
    produce = compose_settings(
        "produce",
        ProduceSettings,
        [
            "source=pythia",
            f"skim={demo.skim}",
            f"event_type='{types}'",
            f"n_events={demo.n_events}",
            f"seed={demo.seed}",
            f"workers={workers}",
            f"output={_quoted(folder / 'tables')}",
            # The folder is our own: damaged tables of an earlier attempt are made again.
            "verify=true",
            "overwrite=true",
        ],
    )
    preprocess = compose_settings(
        "preprocess",
        PreprocessSettings,
        [
            f"input={_quoted(folder / 'tables' / '*.h5')}",
            f"output={_quoted(folder / 'dataset')}",
            f"workers={workers}",
        ],
    )
    return produce, preprocess


def demo_key(demo: DemoSettings) -> str:
    """Name the sample by everything that decides about it."""
    produce, preprocess = demo_settings(demo, Path("sample"))
    steps = [
        {k: v for k, v in plain(step).items() if k not in _WITHOUT_EFFECT}
        for step in (produce, preprocess)
    ]
    made = made_by(produce, modules=_PREPROCESS, packages=_PREPROCESS_PACKAGES)
    return hash_of_values({"steps": steps, "made_by": made})


@contextlib.contextmanager
def _kept(demo: DemoSettings, name: str) -> Iterator[tuple[Path, bool]]:
    """Give the folder of a kept dataset to one process at a time, and whether a whole one is there.

    A damaged one is removed.
    """
    try:
        folder = cache_folder(demo).absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder for the sample cannot be made ({error.strerror})",
            where=cache_folder(demo),
            next_step="choose another one: data.demo.cache=FOLDER",
        ) from error
    dataset = folder / "dataset"
    with exclusive_lock(folder, busy="another process is making this sample", wait=True):
        if dataset.exists():
            try:
                open_dataset(dataset)
            except InputError as error:
                say(f"data: the kept dataset is damaged and is made again: {error}")
                shutil.rmtree(dataset)
        yield folder, dataset.exists()


def _demo(demo: DemoSettings) -> Path:
    name = "+".join(demo.event_types)
    with _kept(demo, f"{name}-{demo.n_events}-{demo_key(demo)}") as (folder, found):
        dataset = folder / "dataset"
        if found:
            say(f"data: using the sample of an earlier run, {dataset}")
            return dataset
        produce, preprocess = demo_settings(demo, folder)
        n_events = demo.n_events * len(demo.event_types)
        say(
            f"data: no data.path given, so {n_events} {name} events are produced with Pythia 8 "
            f"and labelled by {demo.skim} (once; kept in {folder})"
        )
        from smartbkg_tf.generation.production import produce as run

        run(produce)
        say(f"data: preprocessing into {dataset}")
        return build_dataset(preprocess)


def _quoted(path: Path) -> str:
    """Write a path as a value of a Hydra override, whatever characters it holds."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
