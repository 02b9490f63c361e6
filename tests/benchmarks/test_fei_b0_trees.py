"""Tree baselines end to end on random events, and the two stages."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fei_b0 import trees, two_stage
from benchmarks.fei_b0.rows import TEST, VALIDATION, read_row, read_scores
from smartbkg_tf.evaluation.metrics import auc
from smartbkg_tf.events.hdf5_writer import write_hdf5
from tests.samples import make_events

SMALL = {"learning_rate": 0.1, "max_leaf_nodes": 6}


@pytest.mark.parametrize("name", ["visible", "two_stage"])
def test_a_baseline_end_to_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (part, n) in enumerate({"train": 600, "validation": 400, "test": 300}.items()):
        write_hdf5(tmp_path / f"{part}.h5", make_events(n, seed=seed))
    monkeypatch.setattr(trees, "SETTINGS", SMALL)
    monkeypatch.setattr(trees, "MOST_TREES", 50)
    monkeypatch.setattr(two_stage, "SETTINGS", {**SMALL, "max_iter": 10})
    options = ["--sample", str(tmp_path), "--runs", str(tmp_path / "runs"), "--seeds", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["trees", name, *options])
    trees.main()
    printed = capsys.readouterr().out
    folders = [tmp_path / "runs" / f"trees_{name}" / f"seed_{seed}" for seed in (1, 2)]
    for folder in folders:
        row = read_row(folder)
        validation, test = read_scores(folder / VALIDATION), read_scores(folder / TEST)
        assert (len(validation.label), len(test.label)) == (400, 300)
        assert row.passes in (25, 50)
        assert 0.5 < auc(validation.score, validation.label) == pytest.approx(row.validation_auc)
        # Nothing is said about test events.
        assert "test" not in printed
    assert read_scores(folders[0] / TEST).same_events(read_scores(folders[1] / TEST))


def test_a_training_event_is_scored_by_trees_that_did_not_see_it() -> None:
    random = np.random.default_rng(1)
    # Blocks are noise: trees learn their own events by heart, and nothing else.
    sides = {"train": random.normal(size=(400, 2, 5)), "test": random.normal(size=(100, 2, 5))}
    labels = random.integers(0, 2, 400)
    scores, leaves = two_stage.side_scores(sides, labels, 1)
    assert leaves > 0
    assert abs(auc(scores["train"].max(axis=1), labels) - 0.5) < 0.1
    by_heart, _ = two_stage.side_scores({**sides, "test": sides["train"]}, labels, 1)
    assert auc(by_heart["test"].max(axis=1), labels) > 0.9


def test_the_b_of_higher_score_comes_first() -> None:
    blocks = np.arange(8.0).reshape(2, 2, 2)
    found = two_stage.ordered(blocks, np.array([[1.0, 2.0], [3.0, 0.0]]))
    assert found[0, :6].tolist() == [2, 3, 0, 1, 2, 1]
    assert found[1, :6].tolist() == [4, 5, 6, 7, 3, 0]
    assert found[0, 6] == pytest.approx(np.log(np.exp(1.0) + np.exp(2.0)))
