"""Files of figures: no two share a name, and a name does not depend on the order."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from smartbkg_tf.evaluation import figure_files
from smartbkg_tf.evaluation.bias_plots import EfficiencyPlot
from smartbkg_tf.evaluation.evaluate import evaluate
from smartbkg_tf.evaluation.figure_files import file_names, read_index
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.evaluation import BiasSettings, EvaluateSettings, MetricsSettings
from tests.evaluation.test_evaluate import write_run

FAST = MetricsSettings(bootstrap=10, bias=BiasSettings(folds=0))


def test_names_are_readable_and_never_equal() -> None:
    names = ["E/p", "E_p", "E p", "plain", "a/b", "x" * 300, "x" * 299, "Mbc\0tag", "Mbc_tag"]
    found = file_names(names)
    assert len({*found.values()}) == len(names)
    assert found["plain"] == "plain"
    assert found["a/b"] == "a_b"
    # What needs no change keeps its name.
    assert (found["E_p"], found["Mbc_tag"]) == ("E_p", "Mbc_tag")
    assert all(set("/\0 ").isdisjoint(file) and len(file) < 120 for file in found.values())
    for order in itertools.islice(itertools.permutations(names), 0, 5000, 500):
        assert file_names(order) == found


def test_observables_and_skims_whose_names_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_files, "BUILT_IN", (EfficiencyPlot,))
    run, scores, _ = write_run(tmp_path / "run", skims=("sig", "tag"), n=300)
    keys = read_predictions(run.predictions).keys
    observables = {"E/p": scores, "E_p": scores + 10, "Mbc": scores + 20, "Mbc_tag": scores + 30}
    table = tmp_path / "o.parquet"
    pd.DataFrame({**keys, **observables}).to_parquet(table)
    output = tmp_path / "out"
    evaluate(
        EvaluateSettings(
            runs=str(run.path), output=str(output), observables=str(table), metrics=FAST
        )
    )
    index = read_index(output / "plots")
    assert len({figure.file for figure in index}) == len(index) == 4 * 2

    def lowest(folder: Path) -> dict[tuple[str, str], float]:
        found = {}
        for figure in read_index(folder):
            edges = json.loads((folder / f"{figure.file}.json").read_text())["edges"]
            found[figure.plot["observable"], figure.title] = edges[0]
            for suffix in (".png", ".pdf"):
                assert (folder / f"{figure.file}{suffix}").is_file()
        return found

    drawn = lowest(output / "plots")
    for (name, _), edge in drawn.items():
        assert abs(edge - np.min(observables[name])) < 2, name
    files = {(figure.plot["observable"], figure.title): figure.file for figure in index}
    # Plain names as ever, of the first skim.
    assert files["Mbc_tag", "sig"] == "efficiency_Mbc_tag"
    assert files["Mbc", "sig"] == "efficiency_Mbc"
    assert files["E_p", "sig"] == "efficiency_E_p"
    given = [f"from={output}", f"output={tmp_path / 'again'}"]
    evaluate(compose_settings("evaluate", EvaluateSettings, given))
    assert read_index(tmp_path / "again" / "plots") == index
    assert lowest(tmp_path / "again" / "plots") == drawn


def test_folders_of_models_whose_names_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_files, "BUILT_IN", (figure_files.CalibrationPlot,))
    runs = [write_run(tmp_path / name, n=300)[0] for name in ("a/b_c", "a_b/c")]
    extra = write_run(tmp_path / "d" / "c", n=300)[0]
    output = tmp_path / "out"
    paths = [str(run.path) for run in (*runs, extra)]
    evaluate(EvaluateSettings(runs=paths, output=str(output), metrics=FAST))
    folders = {Path(figure.file).parent for figure in read_index(output / "plots")}
    assert len(folders) == 3
    assert all((output / "plots" / folder / "calibration.png").is_file() for folder in folders)
