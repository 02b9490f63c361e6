"""What is kept of a finished training of the quality benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from benchmarks.fei_b0.rows import VALIDATION, write_scores
from benchmarks.fei_b0.run import CANDIDATES, describe, measured, must_be_whole, train
from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import read_json, write_json
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    """The scoring behind it was stopped: the same command goes on, another one does not."""
    folder, data = tmp_path / "treenet" / "seed_1", tmp_path / "data"
    folder.mkdir(parents=True)
    write_json(folder.with_name("seed_1.cpu.json"), {"cpu_minutes": 7.5})
    write_json(folder / "done.json", {})
    chosen = [f"data.path={data}", "training.seed=1", f"run_dir={folder}"]
    settings = compose_settings(
        "train", TrainSettings, ["+experiment=fei_b0_benchmark/treenet", *chosen]
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(plain(settings)))
    assert train("treenet", data, folder, 1, []) == 7.5
    for seed, overrides in ((2, []), (1, ["training.epochs=3"])):
        with pytest.raises(UserError, match="a finished run of other settings"):
            train("treenet", data, folder, seed, overrides)


def test_an_unfinished_one_begins_and_its_minutes_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "treenet" / "seed_1"
    folder.mkdir(parents=True)
    write_json(folder.with_name("seed_1.cpu.json"), {"cpu_minutes": 7.5})
    with pytest.raises(UserError, match="the training of treenet ended with code"):
        train("treenet", tmp_path / "nowhere", folder, 1, [])
    kept = read_json(folder.with_name("seed_1.cpu.json"))
    assert 7.5 < kept["cpu_minutes"] < 8.5


@pytest.mark.parametrize("features", ["original", CANDIDATES])
def test_candidates_need_whole_events(tmp_path: Path, features: str) -> None:
    encoding = {"features": features, "max_particles": 100}
    longest = {"particles": 130, "tokens": 9}
    write_json(tmp_path / "dataset.json", {"encoding": encoding, "max_lengths": longest})
    if features == CANDIDATES:
        with pytest.raises(UserError, match=r"cut to 100\n[\s\S]*max_particles=130"):
            must_be_whole(tmp_path)
    else:
        must_be_whole(tmp_path)


def test_cpu_minutes_are_those_of_the_child() -> None:
    code, minutes = measured([sys.executable, "-c", "sum(range(10**7)); raise SystemExit(3)"])
    assert code == 3
    assert 0.0 < minutes < 1.0


def finished_run(folder: Path, features: str, code: dict[str, str] | None) -> float:
    """Write what a training and the scoring of its validation events leave; give the AUC."""
    metadata = {
        "model": {"weights": 123},
        "result": {"best_epoch": 2},
        "code": code,
        "dataset": {"digest": "d"},
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    (folder / "history.csv").write_text("epoch,events_per_second\n1,10\n2,30\n")
    write_json(folder / "dataset.json", {"encoding": {"features": features}})
    random = np.random.default_rng(2)
    n = 60
    keys = {
        name: np.arange(n) if name == "event" else np.ones(n, dtype=np.int64)
        for name in ("experiment", "run", "event", "production")
    }
    labels, scores = random.integers(0, 2, n).astype(np.int8), random.normal(size=n)
    write_scores(folder / VALIDATION, keys, labels, scores)
    return float(roc_auc_score(labels, scores.astype(np.float32)))


@pytest.mark.parametrize("code", [None, {"commit": "abc"}])
def test_a_run_from_an_unpacked_archive_has_no_commit(
    tmp_path: Path, code: dict[str, str] | None
) -> None:
    area = finished_run(tmp_path, CANDIDATES, code)
    row = describe("treenet_candidates", tmp_path, 3, 8.0, ["training.epochs=2"])
    assert row.details["commit"] == (code and code["commit"])
    assert (row.parameters, row.events_per_second, row.passes) == (123, 20.0, 2)
    assert row.validation_auc == pytest.approx(area)
    assert row.knows_skim
    assert "the skim's candidates" in row.inputs


@pytest.mark.parametrize(
    ("name", "kind", "inputs"),
    [
        ("trees", "trees", "the event, generic quantities"),
        ("treenet_trees", "network", "particles, sums over them, generic quantities"),
        ("resnet", "network", "particles, decay string"),
    ],
)
def test_rows_say_what_a_model_reads(tmp_path: Path, name: str, kind: str, inputs: str) -> None:
    """Trees of the package are trees: rows stand beside the best of them."""
    finished_run(tmp_path, "original", None)
    row = describe(name, tmp_path, 1, 8.0, [])
    assert (row.kind, row.inputs, row.knows_skim) == (kind, inputs, False)
