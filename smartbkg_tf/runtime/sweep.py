"""Sweeps: folders of the jobs, jobs that fail, and the table in the end. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.files import atomic_file, read_json, read_yaml, write_json
from smartbkg_tf.runtime.overrides import as_written
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.text_table import text_table

#: Longest name of a run's folder in a sweep, behind its number; file systems allow 255.
_LONGEST = 200

#: Columns of ``table.csv``; ``val_auc`` and ``val_loss`` are those of the best epoch.
COLUMNS = (
    "run",
    "model",
    "inputs",
    "seed",
    "epochs",
    "val_auc",
    "val_loss",
    "auc",
    "auc_error",
    "seconds",
    "state",
)


def folder_name(overrides: Any) -> str:
    """Make a folder's name of the overrides of a job (Hydra's ``override_dirname``)."""
    text = as_written(str(overrides)).replace("/", "_").replace("\\", "_")
    encoded = text.encode()
    if len(encoded) <= _LONGEST:
        return text
    return encoded[: _LONGEST - 3].decode(errors="ignore") + "..."


# Hydra imports this module for the callback, in the processes of other launchers too.
OmegaConf.register_new_resolver("smartbkg_tf.folder_name", folder_name, replace=True)


def job_folder() -> Path | None:
    """Give the folder of this job of a sweep; None outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(str(HydraConfig.get().runtime.output_dir))


def note_failure(folder: Path, code: int, message: str) -> None:
    """Record a failed job for the table, which another process may write."""
    with contextlib.suppress(OSError, UserError):
        write_json(RunDirectory(folder).failure, {"exit_code": code, "message": message})


class SweepTable(Callback):
    """Write ``table.csv`` and ``table.txt`` into the folder of a sweep and print the table.

    When a job has failed, the command ends with its exit code then, and not earlier.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget failures of an earlier sweep in the same folder."""
        for path in Path(str(config.hydra.sweep.dir)).glob("*/failed.json"):
            path.unlink(missing_ok=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect the jobs; end with the exit code of those that failed."""
        folder = Path(str(config.hydra.sweep.dir))
        rows = sweep_rows(folder)
        if not rows:
            return
        text = table_text(rows)
        with atomic_file(folder / "table.csv") as partial:
            partial.write_text(table_csv(rows), encoding="utf-8")
        with atomic_file(folder / "table.txt") as partial:
            partial.write_text(text, encoding="utf-8")
        say("\n" + text + f"\n{folder / 'table.csv'}\n{folder}")
        codes = [row["exit_code"] for row in rows if row["exit_code"]]
        if codes:
            print(
                f"error: {len(codes)} of {len(rows)} jobs failed: {folder}\n"
                "  -> read log.txt in their folders; with the same folder (hydra.sweep.dir, or "
                "run_dir of train) the same command repeats them",
                file=sys.stderr,
                flush=True,
            )
            raise SystemExit(max(codes))


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the results of a sweep: a row of `COLUMNS` and ``exit_code`` for each job."""
    if not folder.is_dir():
        return []
    jobs = [RunDirectory(path) for path in sorted(folder.iterdir(), key=job_number)]
    return [_row(job) for job in jobs if job.log.is_file() or job.config.is_file()]


def job_number(path: Path) -> tuple[int, str]:
    """Sort the folders of jobs: by the number before the first underscore."""
    number = path.name.partition("_")[0]
    return (int(number) if number.isdigit() else 10**9, path.name)


def _row(run: RunDirectory) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((*COLUMNS, "exit_code"), "")
    row["run"], row["state"] = run.path.name, "done"
    if run.config.is_file():
        row |= _training(run)
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        failure = read_json(run.failure)
        row["exit_code"] = int(failure["exit_code"])
        first_line = str(failure["message"]).partition("\n")[0]
        row["state"] = f"failed: {first_line.removeprefix('error: ')}"
    return row


def _training(run: RunDirectory) -> dict[str, Any]:
    """Give the columns that only runs of `train` have."""
    config, metadata = _yaml(run.config), _yaml(run.metadata)
    name = _at(config, "model", "name")
    if name == "custom":
        name = str(_at(config, "model", "_target_")).rpartition(".")[2]
    row: dict[str, Any] = {
        "state": "done" if run.done.is_file() else "not finished",
        "model": name,
        "inputs": _at(config, "model", "inputs"),
        "seed": _at(config, "training", "seed"),
        "epochs": _at(metadata, "result", "epochs", default=""),
        "seconds": _at(metadata, "timings", "training_seconds", default=""),
        **best_validation(run),
    }
    try:
        metrics = read_json(run.metrics)
        row["auc"], row["auc_error"] = metrics["auc"], metrics["auc_error"]
    except (UserError, KeyError, TypeError):
        row["state"] = "not finished"
    return row


def best_validation(run: RunDirectory) -> dict[str, float]:
    """Read ``val_auc`` and ``val_loss`` of the best epoch, as far as they are known."""
    try:
        best = int(_yaml(run.metadata)["result"]["best_epoch"])
        with run.history.open(encoding="utf-8", newline="") as stream:
            (epoch,) = (row for row in csv.DictReader(stream) if int(row["epoch"]) == best)
        return {name: float(epoch[name]) for name in ("val_auc", "val_loss") if epoch.get(name)}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path)
    except UserError:
        return {}


def _at(values: dict[str, Any], group: str, key: str, default: Any = None) -> Any:
    part = values.get(group)
    return part.get(key, default) if isinstance(part, dict) else default


def table_csv(rows: list[dict[str, Any]]) -> str:
    """Write rows of `sweep_rows` as CSV, in full precision."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def table_text(rows: list[dict[str, Any]]) -> str:
    """Write rows as a table to read; a star marks the best AUC on validation events."""
    known = [row for row in rows if isinstance(row["val_auc"], float)]
    best = max(
        (row for row in known if row["val_auc"] == row["val_auc"] and not row["exit_code"]),
        key=lambda row: float(row["val_auc"]),
        default=None,
    )
    columns: dict[str, list[str]] = {
        name: [str(row[name]) for row in rows] for name in ("run", "model", "inputs", "seed")
    }
    columns["epochs"] = [str(row["epochs"]) for row in rows]
    columns["validation AUC"] = [
        _number(row["val_auc"]) + (" *" if row is best else "") for row in rows
    ]
    columns["validation loss"] = [_number(row["val_loss"]) for row in rows]
    columns["test AUC"] = [
        " +- ".join(filter(None, (_number(row["auc"]), _number(row["auc_error"])))) for row in rows
    ]
    columns["time"] = [
        f"{row['seconds']:.0f} s" if isinstance(row["seconds"], (int, float)) else ""
        for row in rows
    ]
    columns["state"] = [str(row["state"]) for row in rows]
    filled = {name: values for name, values in columns.items() if any(values)}
    return text_table(list(filled), list(zip(*filled.values(), strict=True)), left=filled) + "\n"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
