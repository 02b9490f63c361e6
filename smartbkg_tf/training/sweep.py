"""A table of the runs of a sweep, when its last job has ended. Needs no TensorFlow."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from smartbkg_tf.runtime.files import read_json, whole_file
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.errors import UserError

#: Longest name of a run's folder in a sweep, behind its number; file systems allow 255.
_LONGEST = 200

_COLUMNS = ("run", "model", "inputs", "seed", "epochs", "auc", "auc_error", "seconds", "state")


def folder_name(overrides: Any) -> str:
    """Make a folder's name of the overrides of a job.

    Parameters
    ----------
    overrides : object
        Hydra's ``override_dirname``: ``key=value`` with commas between.

    Returns
    -------
    str
        Without path separators, and shortened; the number in front of it keeps it unique.
    """
    text = str(overrides).replace("/", "_").replace("\\", "_")
    encoded = text.encode()
    if len(encoded) <= _LONGEST:
        return text
    return encoded[: _LONGEST - 3].decode(errors="ignore") + "..."


# Hydra imports this module for the callback, in the processes of other launchers too.
OmegaConf.register_new_resolver("smartbkg_tf.folder_name", folder_name, replace=True)


class SweepTable(Callback):
    """Write ``table.csv`` and ``table.txt`` into the folder of a sweep and print the table."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect the runs.

        Parameters
        ----------
        config : omegaconf.DictConfig
            Hydra's configuration of the sweep.
        **kwargs
            Not used.
        """
        folder = Path(str(config.hydra.sweep.dir))
        rows = sweep_rows(folder)
        if not rows:
            return
        text = table_text(rows)
        with whole_file(folder / "table.csv") as partial:
            partial.write_text(table_csv(rows), encoding="utf-8")
        with whole_file(folder / "table.txt") as partial:
            partial.write_text(text, encoding="utf-8")
        say("\n" + text + f"\n{folder / 'table.csv'}\n{folder}")


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    """Read what the runs of a sweep say about themselves.

    Parameters
    ----------
    folder : pathlib.Path
        The sweep.

    Returns
    -------
    list of dict
        One row for each run directory, in the order of the jobs; a run that did not end
        has no numbers and says so under ``state``.
    """
    if not folder.is_dir():
        return []
    rows = []
    for path in sorted((p for p in folder.iterdir() if p.is_dir()), key=_job_number):
        run = RunDirectory(path)
        if not run.config.is_file():
            continue
        rows.append(_row(run))
    return rows


def _job_number(path: Path) -> tuple[int, str]:
    number = path.name.partition("_")[0]
    return (int(number) if number.isdigit() else 10**9, path.name)


def _row(run: RunDirectory) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row["run"] = run.path.name
    row["state"] = "done" if run.done.is_file() else "not finished"
    config = _yaml(run.config)
    model, training = config.get("model") or {}, config.get("training") or {}
    name = model.get("name")
    row["model"] = name if name != "custom" else str(model.get("_target_")).rpartition(".")[2]
    row["inputs"], row["seed"] = model.get("inputs"), training.get("seed")
    metadata = _yaml(run.metadata)
    row["epochs"] = (metadata.get("result") or {}).get("epochs", "")
    row["seconds"] = (metadata.get("timings") or {}).get("training_seconds", "")
    try:
        metrics = read_json(run.metrics)
        row["auc"], row["auc_error"] = metrics["auc"], metrics["auc_error"]
    except (UserError, KeyError, TypeError):
        row["state"] = "not finished"
    return row


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def table_csv(rows: list[dict[str, Any]]) -> str:
    """Write rows as CSV.

    Parameters
    ----------
    rows : list of dict
        From `sweep_rows`.

    Returns
    -------
    str
        With a header; full precision.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def table_text(rows: list[dict[str, Any]]) -> str:
    """Write rows as a table to read.

    Parameters
    ----------
    rows : list of dict
        From `sweep_rows`.

    Returns
    -------
    str
        One line for each run; the best AUC is marked with a star.
    """
    done = [row for row in rows if isinstance(row["auc"], float)]
    best = max(done, key=lambda row: float(row["auc"]), default=None)
    header = ("run", "model", "inputs", "seed", "epochs", "AUC", "time")
    lines = [header]
    for row in rows:
        auc = row["state"]
        if isinstance(row["auc"], float):
            error = row["auc_error"]
            auc = f"{row['auc']:.4f}"
            if isinstance(error, float):
                auc += f" +- {error:.4f}"
            auc += " *" if row is best else ""
        seconds = f"{row['seconds']:.0f} s" if isinstance(row["seconds"], (int, float)) else ""
        values = (row["run"], row["model"], row["inputs"], row["seed"], row["epochs"], auc, seconds)
        lines.append(tuple(str(value) for value in values))  # type: ignore[arg-type]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
