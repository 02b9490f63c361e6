"""The table of a sweep: what its jobs have reached. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.files import atomic_file, read_json, read_yaml
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweeps.jobs import Job
from smartbkg_tf.runtime.text_table import text_table

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


def write_table(jobs: Iterable[Job], folder: Path) -> int:
    """Write ``table.csv`` and ``table.txt``, print the table; give the exit code of the sweep."""
    jobs = list(jobs)
    rows = sweep_rows(jobs)
    text = table_text(rows)
    with atomic_file(folder / "table.csv") as partial:
        partial.write_text(table_csv(rows), encoding="utf-8")
    with atomic_file(folder / "table.txt") as partial:
        partial.write_text(text, encoding="utf-8")
    say(f"\n{text}\n{folder / 'table.csv'}\n{folder}")
    codes = [row["exit_code"] for row in rows if row["exit_code"]]
    left = [job for job in jobs if job.state == "not finished"]
    for number, what in ((len(codes), "failed"), (len(left), "are not finished")):
        if number:
            print(
                f"error: {number} of {len(rows)} jobs {what}: {folder}\n"
                "  -> the .log beside the folder of a job says why; the same command with the same "
                "folder (sweep.dir, or run_dir of train) does what is left",
                file=sys.stderr,
                flush=True,
            )
    return max((code if code in (1, 3) else 3 for code in codes), default=int(bool(left)))


def sweep_rows(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Give a row of `COLUMNS` and ``exit_code`` for each job."""
    return [_row(job) for job in jobs]


def _row(job: Job) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((*COLUMNS, "exit_code"), "")
    row["run"], row["state"] = job.name, job.state
    if job.run.config.is_file():
        row |= _training(job.run)
    if job.state == "pruned":
        row |= _pruned(job.run)
    if job.state == "failed":
        row["exit_code"], message = job.failure()
        row["state"] = f"failed: {message.partition(chr(10))[0].removeprefix('error: ')}"
    return row


def _pruned(run: RunDirectory) -> dict[str, Any]:
    """Give what counts of a training that a search has ended early."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        values = read_json(run.pruned)
        epoch, auc = values["epoch"], values["val_auc"]
        nothing = {"val_loss": "", "auc": "", "auc_error": "", "seconds": ""}
        return nothing | {"state": f"pruned after epoch {epoch}", "epochs": epoch, "val_auc": auc}
    return {}


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
        **best_validation(run, metadata),
    }
    try:
        metrics = read_json(run.metrics)
        row["auc"], row["auc_error"] = metrics["auc"], metrics["auc_error"]
    except (UserError, KeyError, TypeError):
        row["state"] = "not finished"
    return row


def best_validation(run: RunDirectory, metadata: Any = None) -> dict[str, float]:
    """Read ``val_auc`` and ``val_loss`` of the best epoch, as far as they are known."""
    try:
        best = int((metadata or _yaml(run.metadata))["result"]["best_epoch"])
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
