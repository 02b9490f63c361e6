"""Which folder a run is written to, whether it goes on with one, and that nothing else stays."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.runtime.files import PARTIAL, atomic_file, exclusive_lock, read_yaml
from smartbkg_tf.runtime.outputs import refuse_existing, refuse_overlap, resolve_output
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import PRESET, RunDirectory
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings

#: Parent of runs that were given no folder.
DEFAULT_PARENT = "runs"

_IS_A_FILE = "is a file, not a folder for a run"

#: Settings that change nothing in the weights: a run goes on whatever they are. What the data
#: are is compared by their digest.
WITHOUT_EFFECT = (
    "debug",
    "overwrite",
    "run_dir",
    "strict_repro",
    "data.path",
    "data.demo.cache",
    "data.demo.workers",
    # Several devices learn what one learns.
    "training.device",
    "training.devices",
    "training.mlflow.tracking_uri",
    "training.progress",
)


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the settings that differ between two configurations and matter."""
    before, after = flat_settings(old), flat_settings(new)
    pairs = {
        key: (before.get(key, "not there"), after.get(key, "not there"))
        for key in sorted(before.keys() | after.keys())
        if not any(key == name or key.startswith(f"{name}.") for name in WITHOUT_EFFECT)
    }
    return [f"{key}: {one} -> {other}" for key, (one, other) in pairs.items() if one != other]


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested settings as one level."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat_settings(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def unfinished_run(settings: TrainSettings) -> RunDirectory | None:
    """Find the run that these settings go on with, or refuse the folder; before any work.

    A run is unfinished when its folder holds ``config.yaml`` and no ``done.json``. It is
    continued when its configuration is the same; ``overwrite=true`` with the same
    configuration continues it too (it is the same command), and replaces a finished run or
    one of another configuration.
    """
    if settings.run_dir is None:
        return None
    resolve_output(settings.run_dir)
    run = RunDirectory(Path(settings.run_dir))
    if run.path.exists() and not run.path.is_dir():
        raise OutputError(_IS_A_FILE, where=run.path, next_step="choose another run_dir")
    if run.done.exists() and not settings.overwrite:
        raise OutputError(
            "holds a finished run, which is not overwritten",
            where=run.path,
            next_step="choose another run_dir or add overwrite=true",
        )
    if run.done.exists() or not run.config.is_file():
        names = _further_names(run)
        if names:
            refuse_existing(run.path, overwrite=settings.overwrite)
        if names and not (run.config.exists() or run.done.exists()):
            # Files may happen to be named as those of a run: overwrite=true must not delete them.
            raise OutputError(
                f"is not a run directory (config.yaml is missing; it holds {', '.join(names[:5])}"
                f"{', ...' if len(names) > 5 else ''}), and nothing in it is replaced",
                where=run.path,
                next_step="choose another run_dir, or remove the folder yourself",
            )
        return None
    try:
        old = read_yaml(run.config)
        validate(TrainSettings, old)
    except InputError:
        reason = "holds an unfinished run whose config.yaml cannot be read"
    except ConfigurationError:
        reason = "holds an unfinished run of another version of smartbkg_tf, which does not go on"
    else:
        changed = changed_keys(old, plain(settings))
        if not changed:
            return run
        reason = "holds an unfinished run of another configuration (" + "; ".join(changed) + ")"
    if settings.overwrite:
        return None
    raise OutputError(
        reason,
        where=run.path,
        next_step="give the same settings to continue it, choose another run_dir, or replace it "
        "with overwrite=true",
    )


def _further_names(run: RunDirectory) -> list[str]:
    """List what a folder holds beside what a job leaves that ended before its run began."""
    if not run.path.is_dir():
        return []
    items = [item for item in run.path.iterdir() if item not in (run.log, run.failure)]
    return sorted(item.name for item in items if PARTIAL not in item.name)


def check_run_folder(settings: TrainSettings) -> None:
    """Refuse a folder that can neither be used nor continued, before any work."""
    unfinished_run(settings)
    if settings.run_dir is not None:
        forest = settings.model.head.forest
        answers = None if forest is None else forest.answers
        read = (settings.data.path, settings.training.init_from, answers)
        paths = [path for path in read if path is not None and not path.startswith(PRESET)]
        refuse_overlap(Path(settings.run_dir), paths)


@contextlib.contextmanager
def training_lock(run: RunDirectory) -> Iterator[None]:
    """Let one process at a time train in a folder; what killed ones left half written goes."""
    with exclusive_lock(
        run.path,
        busy="another process is training in this folder",
        next_step="wait for it, or choose another run_dir",
    ):
        for folder in (run.path, run.plots, run.checkpoints):
            for piece in folder.glob(f".*{PARTIAL}*"):
                if piece.is_file():
                    piece.unlink(missing_ok=True)
        yield


def note_unfinished(settings: TrainSettings) -> None:
    """Tell about unfinished runs of the same settings in the default folder."""
    parent = Path(DEFAULT_PARENT)
    if settings.run_dir is not None or not parent.is_dir():
        return
    for path in sorted(parent.iterdir()):
        if (path / "config.yaml").is_file():
            with contextlib.suppress(OutputError):
                if unfinished_run(dataclasses.replace(settings, run_dir=str(path))) is not None:
                    say(
                        f"note: {path} is an unfinished run of these settings; run_dir={path} "
                        "continues it"
                    )


def make_run_directory(settings: TrainSettings, name: str) -> RunDirectory:
    """Make the folder of a run."""
    try:
        if settings.run_dir is not None:
            run = RunDirectory(Path(settings.run_dir))
            unfinished_run(settings)
            run.path.mkdir(parents=True, exist_ok=True)
            _clear(run)
            return run
        time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        base = Path(DEFAULT_PARENT) / f"{time}_{name}-{settings.model.inputs}"
        base.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = base if number == 1 else base.with_name(f"{base.name}_{number}")
            try:
                path.mkdir()  # Fails if another process was quicker.
                return RunDirectory(path)
            except FileExistsError:
                number += 1
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(_IS_A_FILE, where=settings.run_dir or DEFAULT_PARENT) from error
    except OSError as error:
        raise OutputError(
            f"the run directory cannot be made ({error.strerror})",
            where=settings.run_dir or DEFAULT_PARENT,
            next_step="choose another folder: run_dir=FOLDER",
        ) from error


def _clear(run: RunDirectory) -> None:
    """Remove the files of an earlier run; other files of the folder stay."""
    for piece in run.path.iterdir():
        if PARTIAL in piece.name and piece.is_file():
            piece.unlink()
    # The configuration last: it is what tells a run directory from any other folder.
    for path in (*(file for file in run.files() if file != run.config), run.config):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_yaml(path: Path, values: Any) -> None:
    """Write plain values as YAML, whole or not at all."""
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
