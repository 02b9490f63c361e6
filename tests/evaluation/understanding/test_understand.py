"""The whole chapter for a trained run: numbers, figures, and what is said of missing parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from smartbkg_tf.evaluation.evaluate import evaluate
from smartbkg_tf.evaluation.figure_files import BUILT_IN, _draw
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.evaluation.results import EvaluatedModel, evaluate_model
from smartbkg_tf.evaluation.training_plots import TrainingPlot
from smartbkg_tf.evaluation.understanding.tree_plot import _layout
from smartbkg_tf.evaluation.understanding.understand import understand
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings
from tests.evaluation.test_plots import HISTORY
from tests.filtering.conftest import SKIMS, Trained

FAST = MetricsSettings(bootstrap=10, wrong_events=1, overfitting_events=100, importance_events=100)


def model_of(path: Path) -> EvaluatedModel:
    return evaluate_model(path, "model", FAST)


def draw_explanations(
    models: Sequence[EvaluatedModel], folder: Path, own: Sequence[Plot]
) -> list[Path]:
    """Draw what this chapter adds, for the first skim."""
    for plots in BUILT_IN:
        for plot in plots.instances(models) if plots.section == "understanding" else ():
            list(_draw(plot, [(models[0], SKIMS[0], "model")], folder / plot.name, SKIMS[0]))
    return []


def test_a_run_explains_itself(
    predicted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartbkg_tf.evaluation.evaluate.draw_models", draw_explanations)
    output = tmp_path / "out"
    evaluate(
        EvaluateSettings(
            runs=str(predicted.run.path),
            output=str(output),
            dataset=str(predicted.dataset.path),
            understanding=True,
            metrics=FAST,
        )
    )
    values = json.loads((output / "metrics.json").read_text())
    skims = {skim: values["skims"][skim]["understanding"] for skim in SKIMS}
    one = skims[SKIMS[0]]
    assert one["missing"] == []
    predictions = read_predictions(predicted.run.predictions)
    assert one["n_events"] == len(predictions)
    assert set(one["kept_by"]) == {"event_type", "n_particles", "n_charged", "decay_mode"}
    n_passing = int((predictions.skims[SKIMS[0]].label == 1).sum())
    for name in ("event_type", "n_particles", "n_charged"):
        assert sum(group["n_passing"] for group in one["kept_by"][name]) == n_passing
    kept = predictions.skims[SKIMS[0]].score >= one["threshold"]
    label = predictions.skims[SKIMS[0]].label
    mixed = one["kept_by"]["event_type"][0]
    of_type = predictions.event_type == 0
    assert mixed["efficiency"] == pytest.approx(kept[of_type & (label == 1)].mean())
    assert 0 < len(one["kept_by"]["decay_mode"]) <= 20
    assert "->" in one["kept_by"]["decay_mode"][0]["name"]
    worst = one["wrong_events"]
    assert [entry["kind"] for entry in worst] == ["false_positive", "false_negative"]
    score = predictions.skims[SKIMS[0]].score
    row = int(np.flatnonzero(label == 0)[np.argmax(score[label == 0])])
    assert worst[0]["event"] == predictions.keys["event"][row]
    assert worst[0]["score"] == pytest.approx(float(score[row]))
    assert one["overfitting"]["n_train"] == len(predictions)  # as many as test events
    assert one["overfitting"]["auc_test"] == pytest.approx(values["skims"][SKIMS[0]]["auc"])
    parts = {(part["kind"], part["name"]) for part in one["importance"]["parts"]}
    assert {("feature", "charge"), ("input", "decay_input"), ("type", "charged pions")} <= parts
    for other in skims.values():
        assert other["importance"]["parts"] != one["importance"]["parts"] or other is one
    plots = output / "plots"
    for name in (
        *("overfitting", "input_importance", "type_importance", "multiplicity", "event_type"),
        *("decay_mode", "false_positive_1", "false_negative_1"),
    ):
        pixels = np.asarray(Image.open(plots / f"{name}.png").convert("RGB"))
        assert (pixels < 128).any(axis=-1).mean() > 0.002, name
    particles = json.loads((plots / "false_positive_1.json").read_text())["particles"]
    table = predicted.events
    rows = np.flatnonzero(table.keys["event"] == worst[0]["event"])[0]
    mine = slice(*table.offsets[rows : rows + 2].tolist())
    assert [p["pdg"] for p in particles] == table.particles["PDG"][mine].tolist()
    assert [p["mother"] for p in particles] == table.particles["motherIndex"][mine].tolist()
    energy = [p["energy"] for p in particles]
    np.testing.assert_allclose(energy, table.particles["energy"][mine], rtol=1e-6)
    assert all(p["read"] == (i < 60) for i, p in enumerate(particles))


def test_what_is_missing_is_said(predicted: Trained, tmp_path: Path) -> None:
    file = shutil.copy(predicted.run.predictions, tmp_path / "scores.parquet")
    first, second = understand(model_of(Path(file)), FAST, ask=True)
    assert "does not hold the events" in first
    assert "dataset=DIR" in first
    assert "a predictions file comes without its model" in second
    # With the events, only the network is missing.
    model = model_of(Path(file))
    (only,) = understand(model, FAST, dataset=str(predicted.dataset.path), ask=True)
    assert "comes without its model" in only
    found = model.results[SKIMS[0]].metrics["understanding"]
    assert "decay_mode" in found["kept_by"]
    assert found["missing"] == [only.removeprefix("model: without ")]

    run = Path(shutil.copytree(predicted.run.path, tmp_path / "run"))
    metadata = yaml.safe_load((run / "metadata.yaml").read_text())
    path, digest = str(predicted.dataset.path), predicted.dataset.digest
    for dataset, words in (
        ({"path": str(tmp_path / "gone"), "digest": digest}, "is not there"),
        ({"path": path, "digest": "0" * 16}, "holds other events than those"),
        ({"path": path, "digest": digest}, None),
        ({}, None),  # the configuration says it
    ):
        (run / "metadata.yaml").write_text(yaml.safe_dump({**metadata, "dataset": dataset}))
        notes = understand(model_of(run), FAST)
        assert [words in note for note in notes if words] == [True] * (words is not None)
        assert bool(notes) == (words is not None)


def test_events_of_another_sample_are_noticed(predicted: Trained, tmp_path: Path) -> None:
    from tests.datasets import make_dataset

    other = make_dataset(tmp_path, 30, seed=8, skims=SKIMS)
    (note,) = understand(model_of(predicted.run.path), FAST, dataset=str(other))
    assert "holds none of the predicted events" in note


def test_overfitting_is_asked_of_the_events_of_the_training_only(
    predicted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(predicted.run.path, tmp_path / "run"))
    metadata = yaml.safe_load((run / "metadata.yaml").read_text())
    other = {**metadata, "dataset": {"digest": "0" * 16}}
    (run / "metadata.yaml").write_text(yaml.safe_dump(other))
    model = model_of(run)
    monkeypatch.setattr(
        "smartbkg_tf.evaluation.understanding.understand._importance", lambda *_: {"parts": []}
    )
    (note,) = understand(model, FAST, dataset=str(predicted.dataset.path), ask=True)
    assert "is not the dataset that the run was trained on" in note
    found = model.results[SKIMS[0]].metrics["understanding"]
    assert "importance" in found
    assert "overfitting" not in found


def test_rows_of_a_tree() -> None:
    mothers = [-1, 0, 0, 1, 1, -1]
    nodes = _layout([{"mother": mother} for mother in mothers])
    assert [depth for depth, _ in nodes] == [0, 1, 1, 2, 2, 0]
    leaves = [nodes[i][1] for i in (3, 4, 2, 5)]
    assert leaves == [0, 1, 2, 3]
    assert nodes[1][1] == 0.5
    assert nodes[0][1] == 1.25


def test_learning_rate_and_speed_stand_beside_loss_and_auc() -> None:
    further: dict[str, list[float | None]] = {
        "learning_rate": [1e-3, 1e-3, 1e-4],
        "events_per_second": [900.0, 1000.0, 1100.0],
    }
    panels = TrainingPlot().draw({"one": {**HISTORY, **further}}, "").axes
    texts = ["loss (natural log)", "AUC", "learning rate", "training events / s"]
    assert [axes.get_ylabel() for axes in panels] == texts
    assert [axes.get_yscale() for axes in panels] == ["linear", "linear", "log", "linear"]
    np.testing.assert_allclose(panels[3].get_lines()[0].get_ydata(), [900, 1000, 1100])
