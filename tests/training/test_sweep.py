"""The table of a sweep."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.training.run_folder import write_yaml
from smartbkg_tf.training.sweep import folder_name, sweep_rows, table_csv, table_text


def make_run(folder: Path, name: str, auc: float | None, inputs: str = "combined") -> None:
    path = folder / name
    path.mkdir(parents=True)
    model = {"name": "resnet", "inputs": inputs, "_target_": "a.b"}
    write_yaml(path / "config.yaml", {"model": model, "training": {"seed": 3}})
    write_yaml(
        path / "metadata.yaml", {"result": {"epochs": 7}, "timings": {"training_seconds": 12.4}}
    )
    if auc is not None:
        write_json(path / "metrics.json", {"auc": auc, "auc_error": 0.01})
        write_json(path / "done.json", {})


def test_rows_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    for number, auc in ((10, 0.7), (2, 0.8), (1, None)):
        make_run(tmp_path, f"{number}_model.inputs=decay", auc, "decay")
    (tmp_path / "plots").mkdir()
    (tmp_path / "multirun.yaml").touch()
    rows = sweep_rows(tmp_path)
    assert [row["run"].split("_")[0] for row in rows] == ["1", "2", "10"]
    assert [row["state"] for row in rows] == ["not finished", "done", "done"]
    assert rows[1]["auc"] == 0.8
    assert (rows[1]["inputs"], rows[1]["epochs"], rows[1]["seconds"]) == ("decay", 7, 12.4)
    assert sweep_rows(tmp_path / "nothing") == []


def test_text_marks_the_best_and_says_what_is_missing(tmp_path: Path) -> None:
    for number, auc in enumerate((0.71234, 0.8, None)):
        make_run(tmp_path, f"{number}_x", auc)
    lines = table_text(sweep_rows(tmp_path)).splitlines()
    assert lines[0].split() == ["run", "model", "inputs", "seed", "epochs", "AUC", "time"]
    assert "0.7123 +- 0.0100" in lines[1]
    assert "0.8000 +- 0.0100 *" in lines[2]
    assert "not finished" in lines[3]
    assert sum(line.count("*") for line in lines) == 1


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("model.inputs=decay,seed=1", "model.inputs=decay,seed=1"),
        ("a=x/y/z", "a=x_y_z"),
        ("k=" + "v" * 400, "k=" + "v" * 195 + "..."),
    ],
)
def test_names_of_folders(overrides: str, name: str) -> None:
    assert folder_name(overrides) == name
    assert len(folder_name("\u00e9" * 300).encode()) <= 200


def test_csv_can_be_read_back(tmp_path: Path) -> None:
    make_run(tmp_path, "0_seed=1,model.inputs=decay", 0.123456789)
    (row,) = csv.DictReader(table_csv(sweep_rows(tmp_path)).splitlines())
    assert row["run"] == "0_seed=1,model.inputs=decay"
    assert float(row["auc"]) == 0.123456789


def test_damaged_files_do_not_hide_the_other_runs(tmp_path: Path) -> None:
    make_run(tmp_path, "0_a", 0.7)
    make_run(tmp_path, "1_b", 0.8)
    (tmp_path / "1_b" / "metrics.json").write_text("{")
    (tmp_path / "1_b" / "metadata.yaml").write_text("a: [")
    states = [row["state"] for row in sweep_rows(tmp_path)]
    assert states == ["done", "not finished"]


def test_the_callback_needs_no_tensorflow() -> None:
    code = (
        "import sys, smartbkg_tf.training.sweep, smartbkg_tf.train; "
        "print([m for m in ('tensorflow', 'keras', 'numba', 'matplotlib') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "[]"
