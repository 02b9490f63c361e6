"""Which folder a run is written to, and that nothing of another run stays in it."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from smartbkg_tf.runtime.files import refuse_existing, whole_file
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.errors import OutputError
from smartbkg_tf.settings.training import TrainSettings

#: Parent of runs that were given no folder.
DEFAULT_PARENT = "runs"


def with_sweep_folder(settings: TrainSettings) -> TrainSettings:
    """Give a job of a sweep its own folder inside the folder of the sweep.

    Parameters
    ----------
    settings : TrainSettings
        In a sweep, ``run_dir`` is the folder of the whole sweep.

    Returns
    -------
    TrainSettings
        With the job's folder, or as they were outside a sweep.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return settings
    return dataclasses.replace(settings, run_dir=str(HydraConfig.get().runtime.output_dir))


def check_run_folder(settings: TrainSettings) -> None:
    """Refuse a folder that holds something, before any work.

    Parameters
    ----------
    settings : TrainSettings
        With ``run_dir`` and ``overwrite``.

    Raises
    ------
    OutputError
        When the folder holds something and ``overwrite`` is false.
    """
    if settings.run_dir is not None:
        refuse_existing(settings.run_dir, overwrite=settings.overwrite)


def make_run_directory(settings: TrainSettings, name: str) -> RunDirectory:
    """Make the folder of a run.

    Parameters
    ----------
    settings : TrainSettings
        With ``run_dir`` and ``overwrite``.
    name : str
        Short name of the network, for the folder's name when none is given.

    Returns
    -------
    RunDirectory
        An existing folder without files of another run. Without ``run_dir`` its name,
        ``runs/<date>_<time>_<model>-<inputs>``, is new even if several runs start in the
        same second.

    Raises
    ------
    OutputError
        When the folder holds something and ``overwrite`` is false, or cannot be made.
    """
    try:
        if settings.run_dir is not None:
            run = RunDirectory(Path(settings.run_dir))
            refuse_existing(run.path, overwrite=settings.overwrite)
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
        raise OutputError(
            "is a file, not a folder for a run", where=settings.run_dir or DEFAULT_PARENT
        ) from error
    except OSError as error:
        raise OutputError(
            f"the run directory cannot be made ({error.strerror})",
            where=settings.run_dir or DEFAULT_PARENT,
            next_step="choose another folder: run_dir=FOLDER",
        ) from error


def _clear(run: RunDirectory) -> None:
    """Remove the files of an earlier run; other files of the folder stay."""
    for name, value in vars(RunDirectory).items():
        if not isinstance(value, property):
            continue
        path: Path = getattr(run, name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def plain_settings(settings: TrainSettings) -> dict[str, Any]:
    """Turn settings into the plain values of a configuration file.

    Parameters
    ----------
    settings : TrainSettings
        Checked settings.

    Returns
    -------
    dict
        With the configuration's own key names (``_target_``).
    """
    values: dict[str, Any] = TypeAdapter(TrainSettings).dump_python(
        settings, mode="json", by_alias=True
    )
    return values


def write_yaml(path: Path, values: Any) -> None:
    """Write plain values as YAML, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    values : object
        Plain values.
    """
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
