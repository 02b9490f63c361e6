"""`apply`, `fit_filter` and `predict_split` on the real chain of files."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from smartbkg_tf.config import command_named
from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.evaluation.results import evaluate_model
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.passing_keys import read_passing_keys
from smartbkg_tf.events.table import PARTICLE_COLUMNS, EventTable
from smartbkg_tf.filtering.apply import apply, predict_split, write_event_list
from smartbkg_tf.filtering.filter_fit import fit_filter
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.scorers import load_run_model
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import MetricsSettings
from smartbkg_tf.settings.filtering import ApplySettings, FilterFitSettings
from smartbkg_tf.settings.training import TrainSettings
from tests.filtering.conftest import SKIMS, Trained, save
from tests.generation.test_hepmc import b_event
from tests.generation.test_hepmc import write as write_hepmc
from tests.own_reader import write_my_reader

FIRST = SKIMS[0]


def run_apply(trained: Trained, output: Path, **options: Any) -> pd.DataFrame:
    values = {"run": str(trained.run.path), "input": str(trained.tables), **options}
    apply(ApplySettings(output=str(output), **values))
    return pd.read_parquet(output)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `apply` fit rules whose errors are rough."""
    rough = functools.partial(FilterFitSettings, bootstrap=5)
    monkeypatch.setattr("smartbkg_tf.filtering.apply.FilterFitSettings", rough)


def by_key(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["experiment", "run", "event", "production"]
    return frame.set_index(keys).sort_index()


def test_sampling_on_hdf5(fitted: Trained, tmp_path: Path) -> None:
    frame = run_apply(fitted, tmp_path / "p.parquet", events_output=str(tmp_path / "kept.csv"))
    assert len(frame) == 600
    assert frame["event"].tolist() == fitted.events.keys["event"].tolist()
    rules = json.loads(fitted.run.filter.read_text())
    for skim in SKIMS:
        rule = SamplingRule(**{name: rules[skim][name] for name in ("a", "b", "maximum_weight")})
        p = frame[f"probability_{skim}"]
        np.testing.assert_allclose(p, rule.probability(frame[f"score_{skim}"]))
        kept = frame[f"kept_{skim}"]
        np.testing.assert_allclose(frame[f"weight_{skim}"][kept] * p[kept], 1.0)
        assert (frame[f"weight_{skim}"][~kept] == 0).all()
        np.testing.assert_array_equal(frame[f"label_{skim}"], fitted.events.labels[skim])
    any_kept = frame[[f"kept_{skim}" for skim in SKIMS]].any(axis=1)
    listed = pd.read_csv(tmp_path / "kept.csv")
    assert listed["event"].tolist() == frame["event"][any_kept].tolist()
    largest = frame[[f"probability_{skim}" for skim in SKIMS]].max(axis=1)
    np.testing.assert_allclose(listed["weight"], 1 / largest[any_kept])


def test_same_decision_in_any_file_order_chunk_and_route(fitted: Trained, tmp_path: Path) -> None:
    whole = by_key(run_apply(fitted, tmp_path / "a.parquet", seed=4))
    order = np.random.default_rng(1).permutation(600)
    parts = []
    for i, rows in enumerate(np.array_split(order, 3)):
        parts.append(str(tmp_path / f"part_{i}.{'parquet' if i == 1 else 'h5'}"))
        (write_parquet if i == 1 else write_hdf5)(parts[-1], fitted.events.take(rows))
    mixed = by_key(run_apply(fitted, tmp_path / "b.parquet", seed=4, input=parts, chunk_events=77))
    dataset = by_key(
        run_apply(fitted, tmp_path / "c.parquet", seed=4, input=str(fitted.dataset.path))
    )
    assert len(whole) == 600
    for other in (mixed, dataset):
        for skim in SKIMS:
            assert (other[f"kept_{skim}"] == whole[f"kept_{skim}"]).all()
            np.testing.assert_allclose(other[f"score_{skim}"], whole[f"score_{skim}"], atol=1e-6)
    other_seed = by_key(run_apply(fitted, tmp_path / "d.parquet", seed=5))
    p = whole[f"probability_{FIRST}"]
    if (p < 0.9).sum() > 50:
        assert (other_seed[f"kept_{FIRST}"] != whole[f"kept_{FIRST}"]).any()


def test_seed_matters_with_a_rule_by_hand(trained: Trained, tmp_path: Path) -> None:
    by_hand = {"a": 0.5, "b": 50.0, "maximum_weight": 4.0}
    first, second, again = (
        run_apply(trained, tmp_path / f"{i}.parquet", seed=seed, sampling=by_hand)
        for i, seed in enumerate((1, 2, 1))
    )
    assert np.all(first[f"probability_{FIRST}"] == 0.25)
    kept = first[f"kept_{FIRST}"]
    assert abs(kept.sum() - 150) < 5 * np.sqrt(600 * 0.25 * 0.75)
    assert set(first[f"weight_{FIRST}"]) == {0.0, 4.0}
    assert (kept != second[f"kept_{FIRST}"]).sum() > 100
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize("threshold", [0.0, -0.3])
def test_threshold_zero_is_a_threshold(
    trained: Trained, tmp_path: Path, threshold: float, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = run_apply(trained, tmp_path / "p.parquet", method="threshold", threshold=threshold)
    assert read_predictions(tmp_path / "p.parquet").information["biased"] is True
    assert "a threshold biases what it keeps" in capsys.readouterr().out
    kept = frame[f"score_{FIRST}"] >= threshold
    assert 0 < kept.sum() < 600
    assert (frame[f"kept_{FIRST}"] == kept).all()
    assert (frame[f"weight_{FIRST}"] == kept.astype(float)).all()


def test_efficiency_gives_the_threshold_of_validation_events(
    fitted: Trained, tmp_path: Path, few_resamples: None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"method": "threshold", "efficiency": 0.9, "input": str(fitted.dataset.path)}
    frame = run_apply(fitted, tmp_path / "p.parquet", split="validation", **asked)
    assert f"{FIRST}: score >= " in (said := capsys.readouterr().out)
    assert "keeps 90 +- " in said
    for skim in SKIMS:
        passing = frame[frame[f"label_{skim}"] == 1]
        kept = passing[f"kept_{skim}"].mean()
        assert 0.9 <= kept < 0.9 + 1.5 / len(passing)  # No passing event more than needed.
    # The same from stored predictions, where the run has no filter.json of today.
    stored = tmp_path / "stored.parquet"
    run_apply(fitted, stored, method="score", split="validation", input=asked["input"])
    again = run_apply(
        fitted, tmp_path / "q.parquet", split="validation", fit_on=str(stored), **asked
    )
    assert (again[f"kept_{FIRST}"] == frame[f"kept_{FIRST}"]).all()
    with pytest.raises(OutputError, match="is the input"):
        run_apply(fitted, stored, fit_on=str(stored), overwrite=True)


def test_the_rule_is_fitted_anew_on_stored_predictions(
    fitted: Trained, tmp_path: Path, few_resamples: None, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "stored.parquet"
    run_apply(fitted, stored, method="score", split="validation", input=str(fitted.dataset.path))
    same = run_apply(fitted, tmp_path / "p.parquet", fit_on=str(stored))
    as_trained = run_apply(fitted, tmp_path / "q.parquet")
    for skim in SKIMS:
        np.testing.assert_allclose(
            same[f"probability_{skim}"], as_trained[f"probability_{skim}"], rtol=1e-3
        )
    capsys.readouterr()
    # With generation as dear as the simulation there is nothing to gain by dropping events.
    dear = {"generation": 1.0, "network": 0.001}
    other = run_apply(
        fitted,
        tmp_path / "r.parquet",
        fit_on=str(stored),
        cost=dear,
        sampling={"maximum_weight": 3.0, "retention": 0.5},
    )
    assert other[f"probability_{FIRST}"].min() >= 1 / 3 - 1e-9
    assert other[f"probability_{FIRST}"].mean() > same[f"probability_{FIRST}"].mean()
    assert "weights up to 3: speedup " in capsys.readouterr().out
    fewer = stored.with_name("fewer.parquet")
    pd.read_parquet(stored).drop(columns=f"score_{FIRST}").to_parquet(fewer)
    with pytest.raises(InputError, match=f"holds no scores of {FIRST}"):
        run_apply(fitted, tmp_path / "s.parquet", fit_on=str(fewer))


def test_a_tree_of_predictions_is_evaluated_and_fitted_on(
    fitted: Trained, onnx_model: Path, tmp_path: Path, few_resamples: None
) -> None:
    """From HDF5 to a TTree, and from there to figures and to rules fitted anew."""
    tree, table = tmp_path / "stored.root", tmp_path / "stored.parquet"
    for output in (tree, table):
        given = {"method": "score", "run": str(onnx_model), "output": str(output)}
        apply(ApplySettings(input=str(fitted.tables), **given))
    for stored in (tree, table):
        run_apply(
            fitted,
            tmp_path / f"{stored.suffix[1:]}_anew.parquet",
            run=str(onnx_model),
            fit_on=str(stored),
            cost={"generation": 0.1, "network": 0.01},
            sampling={"maximum_weight": 5.0, "retention": 0.2},
        )
    first, second = (
        read_predictions(tmp_path / f"{kind}_anew.parquet") for kind in ("root", "parquet")
    )
    assert first.information["rules"] == second.information["rules"]
    assert first.information["rules"][FIRST]["maximum_weight"] == 5.0
    few = MetricsSettings(bootstrap=10)
    one, other = (evaluate_model(path, path.name, few).metrics() for path in (tree, table))
    assert one == other
    assert one["auc"] > 0.6


def test_events_of_one_and_of_many_particles_and_unknown_codes(
    fitted: Trained, onnx_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = (1, 5000, 3)
    n = sum(lengths)
    column = {name: np.zeros(n, dtype=kind) for name, kind in PARTICLE_COLUMNS.items()}
    column["PDG"][:] = 211
    column["PDG"][-1] = 9990123
    column["charge"][:] = 1
    column["energy"][:] = 0.5
    column["motherIndex"][:] = -1
    column["status"][:] = 1
    keys = {name: np.arange(3) for name in ("experiment", "run", "event", "production")}
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    table = EventTable(
        particles=column, offsets=offsets, keys=keys, event_type=np.full(3, -1, np.int8)
    )
    write_hdf5(tmp_path / "odd.h5", table)
    scores = []
    for model in (str(onnx_model), str(fitted.run.path)):
        frame = run_apply(
            fitted, tmp_path / "p.parquet", run=model, input=str(tmp_path / "odd.h5"),
            overwrite=True,
        )  # fmt: skip
        scores.append(frame[f"score_{FIRST}"].to_numpy())
        said = capsys.readouterr().out
        assert "1 PDG codes are unknown and were read as 'unknown': 9990123 (" in said
        assert "1 events have more particles than the model reads" in said
        assert (frame["weight"][frame["kept"]] > 0).all()
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_hepmc_files_are_read(onnx_model: Path, fitted: Trained, tmp_path: Path) -> None:
    path = tmp_path / "events.hepmc"
    write_hepmc(path, *(b_event(number=i) for i in range(6)))
    frame = run_apply(fitted, tmp_path / "p.parquet", run=str(onnx_model), input=str(path))
    assert frame["event"].tolist() == [1, 2, 3, 4, 5, 6]
    assert frame["label_" + FIRST].isna().all()
    assert (frame["score_" + FIRST] == frame["score_" + FIRST][0]).all()  # six times the same event


@pytest.mark.parametrize(
    "changed",
    [
        {"cost": {"network": 0.3}},
        {"sampling": {"maximum_weight": 2.0}},
        {"sampling": {"retention": 0.01}},
        {"cost": {"generation": 0.5}},
    ],
)
def test_each_setting_of_the_fit_matters(
    fitted: Trained, onnx_model: Path, tmp_path: Path, few_resamples: None, changed: dict[str, Any]
) -> None:
    given = {"run": str(onnx_model), "overwrite": True}
    stored, output = tmp_path / "stored.parquet", tmp_path / "p.parquet"
    run_apply(fitted, stored, method="score", **given)
    rules = []
    for options in ({}, changed):
        run_apply(fitted, output, fit_on=str(stored), **given, **options)
        rules.append(read_predictions(output).information["rules"][FIRST])
    assert rules[0] != rules[1]


def test_neither_inputs_nor_the_predictions_of_the_run_are_replaced(
    run_copy: RunDirectory, fitted: Trained, tmp_path: Path
) -> None:
    predict_split(run_copy, fitted.dataset)
    before = run_copy.predictions.read_bytes()
    table = tmp_path / "events.parquet"
    write_parquet(table, fitted.events.take(np.arange(5)))
    for output in (run_copy.predictions, table):
        settings = ApplySettings(
            run=str(run_copy.path), input=str(table), output=str(output), overwrite=True
        )
        with pytest.raises(OutputError, match="is the input"):
            apply(settings)
    assert run_copy.predictions.read_bytes() == before
    run_copy.history.write_text("epoch,loss\n1,0.5\n")
    history = run_copy.history.read_bytes()
    settings = ApplySettings(
        run=str(run_copy.path),
        input=str(table),
        output=str(tmp_path / "scores.parquet"),
        events_output=str(run_copy.history),
        overwrite=True,
    )
    with pytest.raises(OutputError, match="is the input"):
        apply(settings)
    assert run_copy.history.read_bytes() == history


def test_score_keeps_everything(trained: Trained, tmp_path: Path) -> None:
    frame = run_apply(trained, tmp_path / "p.parquet", method="score")
    assert frame[f"kept_{FIRST}"].all()
    assert (frame[f"weight_{FIRST}"] == 1).all()
    assert (frame[f"probability_{FIRST}"] == 1).all()


def test_real_mdst(fitted: Trained, mdst_file: Path, tmp_path: Path, capsys: Any) -> None:
    frame = run_apply(fitted, tmp_path / "p.parquet", input=str(mdst_file))
    assert len(frame) == 10
    assert np.isfinite(frame[f"score_{FIRST}"]).all()
    # Nobody knows whether these events pass.
    assert frame[f"label_{FIRST}"].isna().all()
    printed = capsys.readouterr().out
    assert "expected saving of simulation" in printed
    assert "known to pass" not in printed


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".parquet"])
def test_event_lists_can_be_read_as_flags(fitted: Trained, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"kept{suffix}"
    frame = run_apply(
        fitted,
        tmp_path / "p.parquet",
        method="threshold",
        threshold=0.0,
        events_output=str(path),
        chunk_events=70,
    )
    kept = frame[[f"kept_{skim}" for skim in SKIMS]].any(axis=1)
    expected = frame.loc[kept, ["experiment", "run", "event", "production"]].to_numpy()
    np.testing.assert_array_equal(read_passing_keys(path), expected)
    if suffix == ".npy":
        assert np.load(path, allow_pickle=False)["weight"].tolist() == [1.0] * len(expected)


def test_both_outputs_or_none(
    fitted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stops `apply` between its two outputs would keep the same command from running again."""
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "p.parquet":
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        replace(source, target)

    monkeypatch.setattr("smartbkg_tf.runtime.files.os.replace", full)
    with pytest.raises(OutputError, match="disk is full"):
        run_apply(fitted, tmp_path / "p.parquet", events_output=str(tmp_path / "kept.csv"))
    # What was scored stays, so that the same command need not score again.
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet.parts"]
    monkeypatch.undo()
    run_apply(fitted, tmp_path / "p.parquet", events_output=str(tmp_path / "kept.csv"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.csv", "p.parquet"]


def test_a_reader_of_ones_own(
    fitted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = write_my_reader(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lines", raising=False)
    chosen = [f"run={fitted.run.path}", f"input={lines}", "output=p.parquet", "method=score"]
    reader = ["reader._target_=my_lines.Lines", "reader.production=4"]
    settings = compose_settings("apply", ApplySettings, [*chosen, *reader])
    apply(settings)
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert frame["event"].tolist() == [7, 8, 9]
    assert frame["production"].tolist() == [4, 4, 4]
    with pytest.raises(InputError, match="is not an event file"):
        apply(compose_settings("apply", ApplySettings, [*chosen, "overwrite=true"]))


def test_test_split_of_a_dataset(fitted: Trained, tmp_path: Path) -> None:
    dataset = str(fitted.dataset.path)
    frame = run_apply(fitted, tmp_path / "p.parquet", input=dataset, split="test")
    rows = fitted.dataset.split()["test"]
    assert frame["event"].tolist() == fitted.dataset.keys["event"][rows].tolist()
    with pytest.raises(InputError, match="split=test chooses events of a dataset directory"):
        run_apply(fitted, tmp_path / "q.parquet", split="test")


def test_summary_says_what_happened(fitted: Trained, tmp_path: Path, capsys: Any) -> None:
    frame = run_apply(fitted, tmp_path / "p.parquet")
    printed = capsys.readouterr().out
    p = frame[[f"probability_{skim}" for skim in SKIMS]].max(axis=1).mean()
    assert f"expected saving of simulation: {100 * (1 - p):.1f} %" in printed
    line = next(text for text in printed.splitlines() if text.startswith(f"{FIRST} "))
    assert line.split()[1:3] == ["600", str(frame[f"kept_{FIRST}"].sum())]
    passing = frame[frame[f"label_{FIRST}"] == 1]
    speedup = 1.01 / (
        (0.011 + frame[f"probability_{FIRST}"].mean())
        * (1 / passing[f"probability_{FIRST}"]).mean()
    )
    assert f"speedup at equal effective statistics {speedup:.2f}" in printed


def test_nothing_is_overwritten_unless_asked(fitted: Trained, tmp_path: Path) -> None:
    output, events = tmp_path / "p.parquet", tmp_path / "kept.csv"
    run_apply(fitted, output)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="overwrite=true"):
        run_apply(fitted, output, method="score")
    events.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        run_apply(fitted, tmp_path / "q.parquet", events_output=str(events))
    assert output.read_bytes() == before
    assert events.read_text() == "mine"
    assert not (tmp_path / "q.parquet").exists()
    run_apply(fitted, output, method="score", overwrite=True)
    assert read_predictions(output).information["method"] == "score"


def test_neither_output_has_its_name_until_both_are_written(
    fitted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, events = tmp_path / "p.parquet", tmp_path / "kept.csv"
    renamed: list[str] = []
    replace = os.replace

    def noted(source: str, target: str) -> None:
        if Path(target).parent == tmp_path:
            assert any(".kept.partial-" in file.name for file in tmp_path.iterdir())
            renamed.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    run_apply(fitted, output, events_output=str(events))
    assert renamed == ["p.parquet", "kept.csv"]

    def killed(*arguments: Any) -> None:
        write_event_list(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("smartbkg_tf.filtering.apply.write_event_list", killed)
    output.unlink()
    events.unlink()
    with pytest.raises(KeyboardInterrupt):
        run_apply(fitted, output, events_output=str(events))
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet.parts"]


def test_wrong_inputs_leave_nothing_behind(fitted: Trained, tmp_path: Path) -> None:
    output = tmp_path / "out" / "p.parquet"
    inputs = tmp_path / "in"
    inputs.mkdir()

    def refused(words: str, content: bytes | None = None, **options: Any) -> str:
        if content is not None:
            (inputs / "file").write_bytes(content)
        with pytest.raises(InputError, match=words) as error:
            run_apply(fitted, output, **{"input": str(inputs / "file"), **options})
        assert not output.exists()
        assert not output.parent.exists() or list(output.parent.iterdir()) == []
        return str(error.value)

    assert "smartbkg_tf.produce" in refused("nothing matches")
    refused("not an event file", b"some text that is no events at all")
    refused("empty", b"")
    refused("truncated|damaged|cannot be", fitted.tables.read_bytes()[:20000])
    refused("is given alone", input=[str(fitted.dataset.path), str(fitted.tables)])
    refused("is not a dataset directory", input=str(inputs))
    refused("does not exist", input=str(fitted.tables), run=str(tmp_path / "no_run"))
    write_hdf5(inputs / "none.h5", fitted.events.take(np.arange(0)))
    refused("no events", input=str(inputs / "none.h5"))
    refused("decay strings only", input=str(fitted.tables), key="decay_strings")


def test_nan_names_the_event(fitted: Trained, tmp_path: Path) -> None:
    particles = dict(fitted.events.particles)
    particles["pz"] = particles["pz"].copy()
    particles["pz"][int(fitted.events.offsets[41])] = np.nan
    broken = type(fitted.events)(
        particles=particles,
        offsets=fitted.events.offsets,
        keys=fitted.events.keys,
        event_type=fitted.events.event_type,
    )
    write_hdf5(tmp_path / "nan.h5", broken)
    with pytest.raises(InputError, match="event 42"):
        run_apply(fitted, tmp_path / "p.parquet", input=str(tmp_path / "nan.h5"))
    assert not (tmp_path / "p.parquet").exists()


def test_a_run_without_rules_says_what_to_do(
    run_copy: RunDirectory, fitted: Trained, tmp_path: Path
) -> None:
    run_copy.filter.unlink()
    with pytest.raises(InputError, match=r"filter\.json") as error:
        run_apply(fitted, tmp_path / "p.parquet", run=str(run_copy.path))
    assert "smartbkg_tf.train" in str(error.value)


@pytest.mark.parametrize("target", ["evil_module.MyNet", 5, None])
def test_no_code_named_by_a_run_directory_runs(
    run_copy: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    (tmp_path / "evil_module.py").write_text("open('written', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(run_copy.config.read_text())
    config["model"]["_target_"] = target
    run_copy.config.write_text(yaml.safe_dump(config))
    assert load_run_model(run_copy).output_shape == (None, 2)
    assert not (tmp_path / "written").exists()


def test_a_model_of_nan_is_refused(run_copy: RunDirectory, fitted: Trained, tmp_path: Path) -> None:
    import keras

    model = keras.saving.load_model(run_copy.model, compile=False)
    weights = model.get_weights()
    weights[-1][:] = np.nan
    model.set_weights(weights)
    save(model, run_copy.model)
    with pytest.raises(InputError, match="for 600 of 600 events; the first is that of"):
        run_apply(fitted, tmp_path / "p.parquet", run=str(run_copy.path))


def test_fit_filter_writes_rules_with_errors(fitted: Trained) -> None:
    stored = json.loads(fitted.run.filter.read_text())
    assert list(stored) == list(SKIMS)
    rows = fitted.dataset.split()["validation"]
    for i, skim in enumerate(SKIMS):
        rule = stored[skim]
        assert rule["n_events"] == len(rows)
        assert rule["n_passing"] == int(fitted.dataset.labels[rows, i].sum())
        assert rule["maximum_weight"] == 20.0
        assert rule["speedup_validation"] > 0.9
        assert rule["speedup_validation_error"] > 0
        assert set(rule["calibration"]) == {"slope", "intercept"}
        assert rule["cost"] == {"generation": 0.01, "network": 0.001, "simulation": 1.0}


def test_a_rule_that_was_changed_by_hand_is_refused(
    run_copy: RunDirectory, fitted: Trained, tmp_path: Path
) -> None:
    stored = json.loads(run_copy.filter.read_text())
    stored[FIRST]["maximum_weight"] = 1000.0
    run_copy.filter.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=f"rule of {FIRST} was changed after it was fitted"):
        run_apply(fitted, tmp_path / "p.parquet", run=str(run_copy.path))


def test_the_fit_has_settings_of_train(run_copy: RunDirectory, fitted: Trained) -> None:
    run_copy.filter.unlink()
    predict_split(
        run_copy, fitted.dataset, filter_fit=FilterFitSettings(maximum_weight=4.0, bootstrap=5)
    )
    rule = json.loads(run_copy.filter.read_text())[FIRST]
    assert rule["maximum_weight"] == 4.0
    assert rule["passing_scores"] == sorted(rule["passing_scores"])
    given = ["filter.maximum_weight=4", "filter.cost.generation=0.2", "data.path=d"]
    chosen = compose_settings("train", TrainSettings, given).filter
    assert (chosen.maximum_weight, chosen.cost.generation) == (4.0, 0.2)
    assert compose_settings("train", TrainSettings, given[2:]).filter == FilterFitSettings()
    del rule["passing_scores"], rule["checksum"]
    run_copy.filter.write_text(json.dumps(dict.fromkeys(SKIMS, rule)))
    with pytest.raises(InputError, match="knows no scores of passing events"):
        run_apply(
            fitted,
            run_copy.path / "p.parquet",
            run=str(run_copy.path),
            method="threshold",
            efficiency=0.5,
        )


def test_predict_split_scores_test_events_only(run_copy: RunDirectory, fitted: Trained) -> None:
    run_copy.filter.unlink()
    assert predict_split(run_copy, fitted.dataset) == run_copy.predictions
    assert run_copy.filter.exists()  # fitted on the way
    found = read_predictions(run_copy.predictions)
    rows = fitted.dataset.split()["test"]
    np.testing.assert_array_equal(found.keys["event"], fitted.dataset.keys["event"][rows])
    assert found.information["split"] == "test"
    assert found.information["seed"] == 1  # training.seed
    labels = fitted.dataset.labels[rows]
    for i, skim in enumerate(SKIMS):
        np.testing.assert_array_equal(found.skims[skim].label, labels[:, i])
        assert found.skims[skim].kept.any()


def test_fit_without_validation_events_says_so(run_copy: RunDirectory, fitted: Trained) -> None:
    import yaml

    config = yaml.safe_load(run_copy.config.read_text())
    config["data"]["fractions"] = {"train": 0.5, "validation": 0.0, "test": 0.5}
    run_copy.config.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="no validation events"):
        fit_filter(run_copy, fitted.dataset)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=threshold"], "needs threshold=X"),
        (["threshold=0.0"], "threshold has no effect with method=sampling"),
        (["method=score", "sampling.a=1", "sampling.b=0"], r"sampling\.\* has no effect"),
        (["sampling.a=1"], "belong together"),
        (["efficiency=0.9"], "efficiency has no effect with method=sampling"),
        (["method=threshold", "threshold=0.0", "efficiency=0.9"], "exclude each other"),
        (["method=threshold", "efficiency=1.5"], "less than or equal to 1"),
        (["method=score", "fit_on=p.parquet"], "fit_on has no effect"),
        (["method=threshold", "threshold=0.0", "fit_on=p.parquet"], "fit_on has no effect"),
        (["sampling.retention=0.1"], "sampling.retention has no effect without fit_on"),
        (["output=p.csv"], r"must end in \.parquet or \.root"),
        (["format=root"], r"format=root does not fit the suffix of 'p\.parquet'"),
        (["workers=0"], "greater than or equal to 1"),
        (["cluster=condor"], "did you mean 'htcondor'"),
        (["events_output=kept.root"], r"must end in \.csv, \.npy, \.parquet"),
        (["method=treshold"], "did you mean 'threshold'"),
        (["treshold=1"], "did you mean 'threshold'"),
        (["seed=-1"], "greater than or equal to 0"),
    ],
)
def test_settings_are_checked_together(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        compose_settings(
            "apply",
            ApplySettings,
            ["run=m", "input=i", "output=p.parquet", *overrides],
        )


def test_settings_as_written_in_conf() -> None:
    given = ["run=m", "input=i", "output=p.parquet"]
    composed = compose_settings("apply", ApplySettings, given)
    assert composed == ApplySettings(run="m", input="i", output="p.parquet")
    zero = compose_settings("apply", ApplySettings, [*given, "method=threshold", "threshold=0.0"])
    assert zero.threshold == 0.0


@pytest.mark.parametrize("key", ["run", "model"])
@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("runs/2026-11-24_07-00_resnet-combined", "runs/2026-11-24_07-00_resnet-combined"),
        ("resnet", "resnet"),
        ("'a b/x=1,y'", "a b/x=1,y"),
        ('"it\'s"', "it's"),
        ("/data/model.onnx", "/data/model.onnx"),
        ("7", "7"),
    ],
)
def test_model_is_another_name_of_run(key: str, written: str, path: str) -> None:
    # conf/model is a group of Hydra: `train model=resnet`.
    entry = command_named("apply")
    overrides = entry.overrides([f"{key}={written}", "input=i", "output=p.parquet"])
    assert compose_settings("apply", ApplySettings, overrides).run == path


def test_command_line(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "smartbkg_tf.apply", f"input={trained.tables}"),
            *(f"run={trained.run.path}", "output=new/p.parquet"),
            *("method=threshold", "threshold=0.0"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "new" / "p.parquet")
    assert (frame[f"kept_{FIRST}"] == (frame[f"score_{FIRST}"] >= 0)).all()
    assert [file.name for file in tmp_path.iterdir()] == ["new"]  # no litter of Hydra
    # A mistake, in this process.
    given = [f"input={trained.tables}", "model=no_such_run", "output=q.parquet"]
    monkeypatch.setattr(sys, "argv", ["apply", *given])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as failed:
        command_named("apply")()
    assert failed.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path}/no_such_run: the run directory does not exist")
    assert "Traceback" not in message
