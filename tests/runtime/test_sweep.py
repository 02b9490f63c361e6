"""Sweeps: the table, jobs that fail, the log of each job."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.preprocess import main as preprocess
from smartbkg_tf.runtime.command import Command
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweep import (
    best_validation,
    folder_name,
    note_failure,
    sweep_rows,
    table_csv,
    table_text,
)
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from smartbkg_tf.training.run_folder import write_yaml
from tests.training.samples import small_dataset


def make_run(
    folder: Path, name: str, auc: float | None, inputs: str = "combined", val_auc: float = 0.6
) -> None:
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


def test_validation_events_choose_the_best_and_test_events_do_not(tmp_path: Path) -> None:
    make_run(tmp_path, "0_x", 0.9, val_auc=0.71234)
    make_run(tmp_path, "1_x", 0.8, val_auc=0.75)
    make_run(tmp_path, "2_x", None, val_auc=float("nan"))
    lines = table_text(sweep_rows(tmp_path)).splitlines()
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
    make_run(tmp_path, "0_x", 0.9, val_auc=0.9)
    make_run(tmp_path, "1_x", 0.8, val_auc=0.8)
    note_failure(tmp_path / "0_x", 1, "error: run: is full\n  -> try another")
    rows = sweep_rows(tmp_path)
    assert [row["state"] for row in rows] == ["failed: run: is full", "done"]
    assert "*" in table_text(rows).splitlines()[2]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("model.inputs=decay,seed=1", "model.inputs=decay,seed=1"),
        ("++seed=1,++training.epochs=2,model=gcn", "seed=1,training.epochs=2,model=gcn"),
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
        "import sys, smartbkg_tf.runtime.sweep, smartbkg_tf.train; "
        "print([m for m in ('tensorflow', 'keras', 'numba', 'matplotlib') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    small_dataset(folder, 60)
    return next((folder / "tables").glob("*.h5"))


def sweep(entry: Command[PreprocessSettings], *overrides: str) -> object:
    """Sweep in this process; give the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["preprocess", "--multirun", *overrides])
        try:
            entry()
        except SystemExit as error:
            return error.code
    return 0


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_failing_job_does_not_end_a_sweep(
    launcher: str,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.h5").symlink_to(table)
    code = sweep(
        preprocess,
        f"hydra/launcher={launcher}",
        "hydra.sweep.dir=sweep",
        "input=missing.h5,good.h5",
        "output='dataset_${input}'",
    )
    assert code == 1
    assert not (tmp_path / "dataset_missing.h5").exists()
    assert (tmp_path / "dataset_good.h5" / "dataset.json").is_file()
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert "1 of 2 jobs failed" in printed.err
    if launcher != "submitit_local":  # Its jobs print into files of their own.
        assert "missing.h5: input: nothing matches" in printed.err
    rows = list(csv.DictReader((tmp_path / "sweep" / "table.csv").read_text().splitlines()))
    assert rows[0]["state"].startswith("failed: ")
    assert "missing.h5: input: nothing matches" in rows[0]["state"]
    assert rows[1]["state"] == "done"
    assert [row["run"].partition(",")[0] for row in rows] == [
        "0_input=missing.h5",
        "1_input=good.h5",
    ]
    logs = [(tmp_path / "sweep" / row["run"] / "log.txt").read_text() for row in rows]
    assert "error: " in logs[0]
    assert "preprocess: 60 events in" in logs[1]
    assert all("preprocess input=" in log.splitlines()[0] for log in logs)


def failing(*errors: BaseException | None) -> tuple[Command[PreprocessSettings], list[int]]:
    """Make a command whose jobs end as told, and a list of the seeds of those that began."""
    begun: list[int] = []

    def run(settings: PreprocessSettings) -> None:
        begun.append(settings.seed)
        error = errors[settings.seed]
        if error is not None:
            raise error

    return Command("preprocess", PreprocessSettings, run), begun


@pytest.mark.parametrize(
    ("errors", "code", "jobs"),
    [
        ((None, None), 0, [0, 1]),
        ((InputError("is broken"), ZeroDivisionError("x"), None), 3, [0, 1, 2]),
        ((None, KeyboardInterrupt(), None), 130, [0, 1]),
        ((None, SystemExit(143), None), 143, [0, 1]),
    ],
)
def test_mistakes_and_faults_let_other_jobs_run_and_signals_end_the_sweep(
    errors: tuple[BaseException | None, ...], code: int, jobs: list[int], tmp_path: Path
) -> None:
    entry, begun = failing(*errors)
    seeds = ",".join(map(str, range(len(errors))))
    folder = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    assert sweep(entry, folder, f"seed={seeds}", "output=x") == code
    assert begun == jobs


def test_failures_of_an_earlier_sweep_in_the_folder_are_forgotten(tmp_path: Path) -> None:
    arguments = (f"hydra.sweep.dir={tmp_path / 'sweep'}", "seed=0,1", "output=x")
    entry, _ = failing(None, InputError("is broken"))
    assert sweep(entry, *arguments) == 1
    entry, _ = failing(None, None)
    assert sweep(entry, *arguments) == 0
    assert [row["state"] for row in sweep_rows(tmp_path / "sweep")] == ["done", "done"]
