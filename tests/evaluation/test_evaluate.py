"""Evaluating one run and several models: files, numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.evaluation.evaluate import (
    auc_differences,
    evaluate,
    evaluate_run,
    unique_names,
)
from smartbkg_tf.evaluation.results import evaluate_model
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.filtering.predictions import PredictionsWriter, read_predictions
from smartbkg_tf.filtering.rules import SamplingRule, decide, random_numbers
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings

FAST = MetricsSettings(bootstrap=20)


def write_run(
    path: Path,
    *,
    strength: float = 1.5,
    n: int = 600,
    noise: int = 0,
    first_event: int = 0,
    skims: tuple[str, ...] = ("one",),
    one_class: tuple[str, ...] = (),
) -> tuple[RunDirectory, np.ndarray, np.ndarray]:
    """Write a run with predictions; labels are the same whatever the noise."""
    random = np.random.default_rng(0)
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.full(n, 1),
        "event": np.arange(n) + first_event,
        "production": np.full(n, 10),
    }
    labels = (random.random(n) < 0.2).astype(np.int8)
    scores = strength * labels + np.random.default_rng(noise + 1).normal(0, 1, n)
    rule = SamplingRule(a=0.8, b=1.5)
    decision = decide(rule.probability(scores), random_numbers(keys, 0))
    run = RunDirectory(path)
    with PredictionsWriter(run.predictions, skims, {"method": "sampling"}) as writer:
        writer.write(
            keys,
            (np.arange(n) % 2).astype(np.int8),
            np.stack([scores] * len(skims), axis=1).astype(np.float32),
            [decision] * len(skims),
            {name: labels * (name not in one_class) for name in skims},
        )
    write_json(
        run.filter,
        {
            name: {
                "a": 0.8,
                "b": 1.5,
                "maximum_weight": 20.0,
                "calibration": {"slope": strength, "intercept": -2.0},
            }
            for name in skims
        },
    )
    run.history.write_text(
        "epoch,loss,auc,val_loss,val_auc\n1,0.5,0.6,0.5,0.6\n2,0.4,0.7,0.4,0.7\n"
    )
    return run, scores, labels


def test_a_run_gets_metrics_plots_and_report(tmp_path: Path) -> None:
    run, scores, labels = write_run(tmp_path / "run", skims=("one", "two"))
    values = evaluate_run(run, FAST)
    assert json.loads(run.metrics.read_text()) == values
    area = roc_auc_score(labels, scores.astype(np.float32))
    assert values["auc"] == values["skims"]["one"]["auc"] == pytest.approx(area)
    assert 0 < values["auc_error"] < 0.05
    one = values["skims"]["one"]
    assert one["n_events"] == 600
    assert one["n_passing"] == labels.sum()
    assert one["by_event_type"]["mixed"]["n_events"] == 300
    kinds = read_predictions(run.predictions).event_type
    section = np.array(list(cross_sections().values()))[kinds]
    weight = section / np.bincount(kinds)[kinds]
    mixture = one["natural_mixture"]
    assert mixture["auc"] == pytest.approx(
        roc_auc_score(labels, scores.astype(np.float32), sample_weight=weight)
    )
    assert mixture["retention"] == pytest.approx(np.average(labels, weights=weight))
    assert one["calibrated"]["slope"] == 1.5
    assert one["speedup"]["sampling"]["simulated_fraction"] == pytest.approx(
        SamplingRule(a=0.8, b=1.5).probability(scores).mean()
    )
    names = {file.name for file in run.plots.iterdir()}
    for name in ("roc", "precision_recall", "training", "scores", "scores_two", "calibration"):
        assert {f"{name}.png", f"{name}.pdf", f"{name}.json"} <= names
        assert (run.plots / f"{name}.png").stat().st_size > 5000
    curves = json.loads((run.plots / "roc.json").read_text())
    assert set(curves) == {"one", "two"}
    report = (run.path / "report.html").read_text()
    assert report.count("data:image/png;base64,") == sum(n.endswith(".png") for n in names)
    assert "src=" not in report.replace('src="data:image/png;base64,', "")
    assert f"{area:.2f}" in report


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartbkg_tf.evaluation.evaluate.draw_models", lambda *_: [])


def test_scores_without_decisions_get_the_speedup_of_a_rule_fitted_to_them(
    tmp_path: Path, no_figures: None
) -> None:
    run, scores, labels = write_run(tmp_path / "run")
    decided = read_predictions(run.predictions)
    everything = decide(np.ones(600), np.zeros(600))
    for information in ({"method": "score"}, {}):
        with PredictionsWriter(run.predictions, ("one",), information) as writer:
            writer.write(
                decided.keys,
                decided.event_type,
                scores[:, None].astype(np.float32),
                [everything],
                {"one": labels},
            )
        sampling = evaluate_run(run, FAST)["skims"]["one"]["speedup"]["sampling"]
        assert sampling["speedup"] > 1.1
        assert sampling["speedup_error"] > 0
        assert sampling["simulated_fraction"] < 0.9
        assert sampling["from"].startswith("scores")


def test_a_second_evaluation_gives_the_same_numbers(tmp_path: Path) -> None:
    run, _, _ = write_run(tmp_path / "run")
    first, again = (evaluate_model(run.path, "run", FAST).results["one"] for _ in range(2))
    assert first == again
    other = MetricsSettings(bootstrap=20, seed=1)
    metrics = evaluate_model(run.path, "run", other).results["one"].metrics
    assert metrics["auc_error"] != pytest.approx(first.metrics["auc_error"], rel=1e-9)


def test_a_skim_with_one_class_does_not_spoil_the_others(
    tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = write_run(tmp_path / "run", skims=("empty", "good"), one_class=("empty",))
    values = evaluate_run(run, FAST)
    assert values["skim"] == "good"
    assert values["auc"] == values["skims"]["good"]["auc"]
    assert "all 600 events fail" in values["not_evaluated"]["empty"]
    assert "warning: empty was not evaluated" in capsys.readouterr().out


def test_one_class_is_a_clear_error(tmp_path: Path) -> None:
    run, _, _ = write_run(tmp_path / "run", one_class=("one",))
    with pytest.raises(InputError, match="one: all 600 events fail") as error:
        evaluate_run(run, FAST)
    assert str(run.predictions) in str(error.value)
    assert not run.metrics.exists()


def test_several_models_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, good_scores, labels = write_run(tmp_path / "a" / "run", strength=2.0)
    bad, bad_scores, _ = write_run(tmp_path / "b" / "run", strength=0.5, noise=1)
    output = tmp_path / "out"
    evaluate(
        EvaluateSettings(
            runs=[str(good.path), str(bad.predictions)], output=str(output), metrics=FAST
        )
    )
    values = json.loads((output / "metrics.json").read_text())
    # Trap 24: scores of several models shared one list.
    assert list(values["models"]) == ["a/run", "b/run"]
    for name, scores in (("a/run", good_scores), ("b/run", bad_scores)):
        assert values["models"][name]["skims"]["one"]["auc"] == pytest.approx(
            roc_auc_score(labels, scores.astype(np.float32))
        )
    (difference,) = values["auc_differences"]
    assert difference["difference"] == pytest.approx(
        roc_auc_score(labels, good_scores) - roc_auc_score(labels, bad_scores), abs=1e-6
    )
    assert (output / "plots" / "roc.png").stat().st_size > 5000
    assert len(json.loads((output / "plots" / "roc.json").read_text())) == 2
    printed = capsys.readouterr().out
    assert "AUC difference" in printed
    assert f"report: {output / 'report.html'}" in printed
    with pytest.raises(OutputError, match="exists"):
        evaluate(EvaluateSettings(runs=[str(good.path)], output=str(output), metrics=FAST))
    # overwrite=true replaced whatever folder it was, the trained run included.
    for place, words in ((good.path, "is the input"), (bad.path, "contains the input")):
        with pytest.raises(OutputError, match=words):
            evaluate(
                EvaluateSettings(
                    runs=[str(good.path), str(bad.predictions)],
                    output=str(place),
                    metrics=FAST,
                    overwrite=True,
                )
            )
    with pytest.raises(OutputError, match="holds what this command did not write"):
        evaluate(
            EvaluateSettings(
                runs=str(good.path), output=str(bad.path), metrics=FAST, overwrite=True
            )
        )


def test_different_events_are_not_compared_in_pairs(tmp_path: Path) -> None:
    first, _, _ = write_run(tmp_path / "first")
    second, _, _ = write_run(tmp_path / "second", first_event=1)
    tables = {run.path.name: read_predictions(run.predictions) for run in (first, second)}
    differences, remarks = auc_differences(tables)
    assert differences == []
    assert "first and second were evaluated on different events" in remarks[0]


def test_paired_error_knows_of_the_correlation(tmp_path: Path) -> None:
    run, _, _ = write_run(tmp_path / "run")
    table = read_predictions(run.predictions)
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = type(table)(
        {name: column[order] for name, column in table.keys.items()},
        table.event_type[order],
        {
            name: type(skim)(*(getattr(skim, part)[order] for part in vars(skim)))
            for name, skim in table.skims.items()
        },
        {},
    )
    # The same scores in another order: no difference, without any error.
    ((same,), remarks) = auc_differences({"a": table, "b": shuffled})
    assert remarks == []
    assert abs(same["difference"]) < 1e-12
    assert same["error"] < 1e-12


def test_observables_enter_metrics_and_report(tmp_path: Path) -> None:
    run, scores, labels = write_run(tmp_path / "run")
    keys = read_predictions(run.predictions).keys
    path = tmp_path / "observables.parquet"
    pd.DataFrame({**keys, "thrust": scores}).to_parquet(path)
    output = tmp_path / "out"
    evaluate(
        EvaluateSettings(
            runs=str(run.path), output=str(output), observables=str(path), metrics=FAST
        )
    )
    values = json.loads((output / "metrics.json").read_text())
    thrust = values["skims"]["one"]["observables"]["thrust"]
    assert thrust["n_passing"] == labels.sum()
    assert thrust["chi2"] < 3 * thrust["bins_used"] + 10
    assert (output / "plots" / "observable_thrust.pdf").exists()
    assert "thrust" in (output / "report.html").read_text()


def test_a_broken_run_leaves_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no predictions\.parquet") as error:
        evaluate(EvaluateSettings(runs=str(tmp_path / "empty"), output=str(output), metrics=FAST))
    assert "smartbkg_tf.train" in str(error.value)
    with pytest.raises(InputError, match="nothing matches"):
        evaluate(EvaluateSettings(runs=str(tmp_path / "none"), output=str(output), metrics=FAST))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty"]


def test_names_are_short_and_different() -> None:
    assert unique_names([Path("/x/a"), Path("/x/b.parquet")]) == ["a", "b"]
    assert unique_names([Path("/s/1/run"), Path("/s/2/run")]) == ["1/run", "2/run"]
    assert unique_names([Path("/s/run")]) == ["run"]
    assert unique_names([Path("/s/a/predictions.parquet"), Path("/s/b")]) == ["a", "b"]
    same = unique_names([Path("/s/run"), Path("/s/run.parquet")])
    assert len(set(same)) == 2
    # A dot in a folder's name is no suffix.
    assert unique_names([Path("/s/lr=0.1"), Path("/s/lr=0.2")]) == ["lr=0.1", "lr=0.2"]


def test_settings_as_written_in_conf() -> None:
    given = ["runs=[a,b]", "output=o"]
    composed = compose_settings("evaluate", EvaluateSettings, given)
    assert composed == EvaluateSettings(runs=["a", "b"], output="o")
    with pytest.raises(ConfigurationError, match=r"did you mean 'bootstrap'"):
        compose_settings("evaluate", EvaluateSettings, [*given, "metrics.bootstrp=3"])
    with pytest.raises(ConfigurationError, match=r"runs: a value is needed"):
        evaluate(compose_settings("evaluate", EvaluateSettings, ["output=o"]))
    with pytest.raises(ConfigurationError, match="less than or equal to 1"):
        compose_settings("evaluate", EvaluateSettings, [*given, "metrics.efficiencies=[1.5]"])
