"""The table of a sweep."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweeps.jobs import Job
from smartbkg_tf.runtime.sweeps.table import best_validation, sweep_rows, table_csv, table_text
from smartbkg_tf.training.run_folder import write_yaml


def make_run(
    folder: Path, name: str, auc: float | None, inputs: str = "combined", val_auc: float = 0.6
) -> Job:
    path = folder / name
    path.mkdir(parents=True)
    model = {"name": "resnet", "inputs": inputs, "_target_": "a.b"}
    write_yaml(path / "config.yaml", {"model": model, "training": {"seed": 3}})
    result = {"epochs": 7, "best_epoch": 2}
    write_yaml(path / "metadata.yaml", {"result": result, "timings": {"training_seconds": 12.4}})
    # The last epoch is not the best one.
    (path / "history.csv").write_text(
        f"epoch,loss,val_loss,val_auc\n1,.9,.9,.5\n2,.5,.4,{val_auc}\n3,.1,.8,.99\n"
    )
    if auc is not None:
        write_json(path / "metrics.json", {"auc": auc, "auc_error": 0.01})
        write_json(path / "done.json", {})
    return Job(int(name.partition("_")[0]), path, ())


def test_a_row_for_each_job(tmp_path: Path) -> None:
    jobs = [
        make_run(tmp_path, f"{number}_model.inputs=decay", auc, "decay")
        for number, auc in enumerate((None, 0.8, 0.7))
    ]
    rows = sweep_rows(jobs)
    assert [row["state"] for row in rows] == ["not finished", "done", "done"]
    assert rows[1]["auc"] == 0.8
    assert (rows[1]["inputs"], rows[1]["epochs"], rows[1]["seconds"]) == ("decay", 7, 12.4)
    assert sweep_rows([]) == []


def test_validation_events_choose_the_best_and_test_events_do_not(tmp_path: Path) -> None:
    jobs = [
        make_run(tmp_path, "0_x", 0.9, val_auc=0.71234),
        make_run(tmp_path, "1_x", 0.8, val_auc=0.75),
        make_run(tmp_path, "2_x", None, val_auc=float("nan")),
    ]
    lines = table_text(sweep_rows(jobs)).splitlines()
    header = "run model inputs seed epochs validation_AUC validation_loss test_AUC time state"
    assert lines[0].split() == header.replace("_", " ").split()
    assert "0.7123    " in lines[1]
    assert "0.9000 +- 0.0100" in lines[1]
    assert "0.7500 *  " in lines[2]
    assert "not finished" in lines[3]
    assert sum(line.count("*") for line in lines) == 1
    assert best_validation(RunDirectory(tmp_path / "1_x")) == {"val_auc": 0.75, "val_loss": 0.4}
    assert best_validation(RunDirectory(tmp_path / "nothing")) == {}


def test_a_failed_job_says_why_and_is_never_the_best(tmp_path: Path) -> None:
    jobs = [
        make_run(tmp_path, "0_x", None, val_auc=0.9),
        make_run(tmp_path, "1_x", 0.8, val_auc=0.8),
    ]
    jobs[0].log.write_text("a warning\nerror: run: is full\n  -> try another\n")
    jobs[0].end(1)
    rows = sweep_rows(jobs)
    assert [row["state"] for row in rows] == ["failed: run: is full", "done"]
    assert "*" in table_text(rows).splitlines()[2]


def test_a_job_that_a_search_ended_early(tmp_path: Path) -> None:
    job = make_run(tmp_path, "0_x", 0.9, val_auc=0.9)
    write_json(job.run.pruned, {"epoch": 1, "val_auc": 0.5})
    (row,) = sweep_rows([job])
    assert (row["state"], row["epochs"], row["val_auc"]) == ("pruned after epoch 1", 1, 0.5)
    assert (row["auc"], row["val_loss"]) == ("", "")


def test_csv_can_be_read_back(tmp_path: Path) -> None:
    job = make_run(tmp_path, "0_seed=1_model.inputs=decay", 0.123456789)
    (row,) = csv.DictReader(table_csv(sweep_rows([job])).splitlines())
    assert row["run"] == "0_seed=1_model.inputs=decay"
    assert float(row["auc"]) == 0.123456789


def test_damaged_files_do_not_hide_the_other_runs(tmp_path: Path) -> None:
    jobs = [make_run(tmp_path, "0_a", 0.7), make_run(tmp_path, "1_b", 0.8)]
    jobs[1].run.metrics.write_text("{")
    jobs[1].run.metadata.write_text("a: [")
    assert [row["state"] for row in sweep_rows(jobs)] == ["done", "not finished"]


def test_the_runner_needs_no_tensorflow() -> None:
    code = (
        "import sys, smartbkg_tf.runtime.sweeps.runner, smartbkg_tf.train; "
        "print([m for m in ('tensorflow', 'keras', 'numba', 'matplotlib', 'optuna') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "[]"
