"""Evaluating one run and several models: files, numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.evaluation import figure_files
from smartbkg_tf.evaluation.evaluate import evaluate, evaluate_run
from smartbkg_tf.evaluation.inputs import find_models, unique_names
from smartbkg_tf.evaluation.results import evaluate_model
from smartbkg_tf.evaluation.score_plots import RocPlot
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.filtering.predictions import PredictionsWriter, read_predictions
from smartbkg_tf.filtering.rules import SamplingRule, decide, random_numbers
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweeps.jobs import JobList
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


def test_a_run_gets_metrics_plots_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [cls for cls in figure_files.BUILT_IN if cls.section in ("quality", "training")]
    monkeypatch.setattr(figure_files, "BUILT_IN", tuple(few))
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


def test_retention_and_costs_of_the_run_are_taken(
    tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, labels = write_run(tmp_path / "run")
    rule = {"a": 0.8, "b": 1.5, "maximum_weight": 20.0, "retention": 0.02}
    cost = {"generation": 0.1, "network": 0.1, "simulation": 10.0}
    write_json(run.filter, {"one": {**rule, "cost": cost}})
    one = evaluate_run(run, FAST)["skims"]["one"]
    assert one["retention"] == labels.mean()  # AUC, precision and the like are of these events
    assert one["speedup"]["retention"] == pytest.approx(0.02)
    assert one["speedup"]["retention_from"] == one["speedup"]["cost_from"] == "filter.json"
    assert one["speedup"]["cost"] == cost
    assert one["speedup"]["limits"]["perfect_filter"] == pytest.approx(1.01 / (0.02 + 0.02))
    mixture = one["natural_mixture"]
    # Type by type the failing events weigh as many times more.
    kinds = read_predictions(run.predictions).event_type
    failing = (1 / 0.02 - 1) * labels.sum() / (labels == 0).sum()
    weight = np.where(labels == 1, 1.0, failing)
    section = np.array(list(cross_sections().values()))[:2]
    share = [np.average(labels[kinds == i], weights=weight[kinds == i]) for i in (0, 1)]
    assert mixture["retention"] == pytest.approx(np.average(share, weights=section))
    assert mixture["retention_from"] == "filter.json"
    report = (run.path / "report.html").read_text()
    assert report.count("the natural retention of 2 % (filter.json)") >= 3
    # The table of a predictions file knows nothing of it, and says so.
    output = tmp_path / "out"
    given = EvaluateSettings(runs=str(run.predictions), output=str(output), metrics=FAST)
    evaluate(given)
    here = f"the retention of these events, {100 * labels.mean():.3g} %"
    assert here in (output / "report.html").read_text()
    evaluate(
        EvaluateSettings(
            runs=str(run.predictions),
            output=str(tmp_path / "given"),
            metrics=MetricsSettings(bootstrap=20, retention={"one": 0.05}),
        )
    )
    found = json.loads((tmp_path / "given" / "metrics.json").read_text())["skims"]["one"]
    assert found["speedup"]["limits"]["perfect_filter"] == pytest.approx(1.01 / 0.061)
    assert "  0.05" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match=r"there is no skim 'onne'; did you mean 'one'"):
        evaluate(
            EvaluateSettings(
                runs=str(run.predictions),
                output=str(tmp_path / "wrong"),
                metrics=MetricsSettings(bootstrap=20, retention={"onne": 0.05}),
            )
        )


def test_unnatural_shares_of_event_types_are_told(tmp_path: Path, no_figures: None) -> None:
    run, scores, _ = write_run(tmp_path / "run", n=3000)
    table = read_predictions(run.predictions)
    # uubar events are as many as mixed ones here, and pass five times as often.
    kinds = np.where(table.event_type == 1, 2, 0).astype(np.int8)
    random = np.random.default_rng(0)
    labels = (random.random(3000) < np.where(kinds == 2, 0.5, 0.1)).astype(np.int8)
    with PredictionsWriter(run.predictions, ("one",), {"method": "score"}) as writer:
        everything = decide(np.ones(3000), np.zeros(3000))
        score = scores[:, None].astype(np.float32)
        writer.write(table.keys, kinds, score, [everything], {"one": labels})
    notes = evaluate_run(run, FAST)["notes"]
    share = [labels[kinds == kind].mean() for kind in (0, 2)]
    natural = np.average(share, weights=[cross_sections()[name] for name in ("mixed", "uubar")])
    (note,) = [text for text in notes if "natural shares" in text]
    assert f"of these events, {100 * labels.mean():.3g} %; with" in note
    assert f"it is {100 * natural:.3g} %" in note


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


def test_several_models_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_files, "BUILT_IN", (RocPlot,))
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
    assert "best - this" in printed
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


def test_a_sweep_stands_for_its_finished_jobs(tmp_path: Path, no_figures: None) -> None:
    sweep = tmp_path / "sweep"
    jobs = JobList.open(sweep, ("-m", "smartbkg_tf.train"))
    names = [job.name for job in jobs.add([["a=bad"], ["a=running"], ["a=first"], ["a=second"]])]
    write_run(sweep / names[2], strength=0.5, noise=1)
    write_run(sweep / names[3], strength=2.0)
    failure = {"exit_code": 1, "message": "error: no such file\n -> look"}
    write_json(RunDirectory(sweep / names[0]).failure, failure)
    paths, notes = find_models(str(sweep))
    assert [path.name for path in paths] == names[2:]
    assert notes == [
        f"{names[0]}: this job failed: no such file",
        f"{names[1]}: this job is not finished",
    ]
    output = tmp_path / "out"
    evaluate(EvaluateSettings(runs=str(sweep), output=str(output), metrics=FAST))
    values = json.loads((output / "metrics.json").read_text())
    assert values["notes"] == notes
    rows = values["comparison"]["one"]["models"]
    assert [row["model"] for row in rows] == names[:1:-1]
    assert rows[1]["difference"] > 3 * rows[1]["difference_error"]
    for path in paths:
        RunDirectory(path).predictions.unlink()
    with pytest.raises(InputError, match="none of the 4 jobs of this sweep has predictions"):
        find_models(str(sweep))


def test_predictions_of_another_program_take_part(tmp_path: Path, no_figures: None) -> None:
    run, scores, labels = write_run(tmp_path / "run")
    keys = read_predictions(run.predictions).keys
    other = tmp_path / "other.csv"
    # Without its constant columns, and in another order.
    frame = pd.DataFrame({**keys, "score": -scores, "label": labels}).sample(frac=1, random_state=0)
    frame.to_csv(other, index=False)
    output = tmp_path / "out"
    evaluate(EvaluateSettings(runs=[str(other), str(run.path)], output=str(output), metrics=FAST))
    values = json.loads((output / "metrics.json").read_text())
    # Its plain columns are those of the other model's first skim.
    assert values["models"]["other"]["skim"] == "one"
    (difference,) = values["auc_differences"]
    expected = 1 - 2 * roc_auc_score(labels, scores)
    assert difference["difference"] == pytest.approx(expected, abs=1e-6)
    assert values["models"]["other"]["skims"]["one"]["speedup"]["fitted_rule"] is not None


def test_event_types_and_their_mixture(tmp_path: Path) -> None:
    run, scores, labels = write_run(tmp_path / "run", n=2000)
    found = evaluate_model(run.path, "run", FAST).results["one"].metrics
    s = scores.astype(np.float32)
    kinds = read_predictions(run.predictions).event_type
    threshold = found["working_points"][1]["threshold"]
    for position, name in enumerate(("mixed", "charged")):
        of = kinds == position
        by_type = found["by_event_type"][name]
        assert by_type["auc"] == pytest.approx(roc_auc_score(labels[of], s[of]))
        assert by_type["retention"] == pytest.approx(labels[of].mean())
        # At the threshold of all events, not at one of its own.
        point = by_type["working_points"][1]
        assert point["threshold"] == threshold
        kept = s[of] >= threshold
        assert point["efficiency"] == pytest.approx(kept[labels[of] == 1].mean())
        assert point["confusion"]["failing_kept"] == np.sum(kept & (labels[of] == 0))
        point = by_type["background_rejection"][1]
        assert point["efficiency"] == pytest.approx(0.9, abs=0.01)
    section = np.array(list(cross_sections().values()))[kinds]
    weight = section / np.bincount(kinds)[kinds]
    mixture = found["natural_mixture"]
    assert mixture["average_precision"] == pytest.approx(
        average_precision_score(labels, s, sample_weight=weight)
    )
    point = mixture["working_points"][0]
    kept = s >= point["threshold"]
    assert point["precision"] == pytest.approx(np.average(labels[kept], weights=weight[kept]))
    assert sum(point["confusion"].values()) == pytest.approx(1.0)
    assert 0 < mixture["auc_error"] < 0.05


def test_observables_enter_metrics_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [cls for cls in figure_files.BUILT_IN if cls.section == "bias"]
    monkeypatch.setattr(figure_files, "BUILT_IN", tuple(few))
    run, scores, labels = write_run(tmp_path / "run")
    keys = read_predictions(run.predictions).keys
    path = tmp_path / "observables.parquet"
    pd.DataFrame({**keys, "thrust": scores, "comment": "x"}).iloc[1:].to_parquet(path)
    output = tmp_path / "out"
    evaluate(
        EvaluateSettings(
            runs=str(run.path), output=str(output), observables=str(path), metrics=FAST
        )
    )
    values = json.loads((output / "metrics.json").read_text())
    thrust = values["skims"]["one"]["observables"]["thrust"]
    assert thrust["n_passing"] == labels[1:].sum()
    assert thrust["chi2"] < 3 * thrust["bins_used"] + 10
    assert thrust["filters"]["sampling"]["chi2"] == thrust["chi2"]
    assert values["skims"]["one"]["bias"]["sampling_from"] == "decisions of the predictions"
    assert "run: observables: without numbers and left out: comment" in values["notes"]
    for name in ("observable_thrust", "efficiency_thrust", "bias_ranking"):
        assert (output / "plots" / f"{name}.png").stat().st_size > 5000
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
