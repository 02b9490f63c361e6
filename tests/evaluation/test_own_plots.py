"""A figure of one's own, from a file outside the repository, chosen by ``_target_``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.evaluation import figure_files
from smartbkg_tf.evaluation.evaluate import evaluate
from smartbkg_tf.evaluation.score_plots import RocPlot
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.evaluation import EvaluateSettings
from tests.evaluation.test_evaluate import write_run

OWN = """
import numpy as np

from smartbkg_tf.evaluation.figures import new_figure
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.settings.base import Field, settings


@settings
class WeightsPlot(Plot):
    bins: int = Field(default=20, gt=0)
    overlaid = {overlaid}

    def data(self, model, skim):
        weights = model.predictions.skims[skim].weight
        counts, edges = np.histogram(weights[weights > 0], self.bins)
        return {{"counts": counts.tolist(), "edges": edges.tolist()}}

    def draw(self, curves, title):
        figure, axes = new_figure()
        for label, curve in curves.items():
            axes.stairs(curve["counts"], curve["edges"], label=label)
        axes.set(xlabel="weight", ylabel="events", title=title)
        axes.legend()
        return figure


@settings
class RocPlot(WeightsPlot):
    pass


@settings
class Broken(Plot):
    def data(self, model, skim):
        return model.no_such_thing
"""


@pytest.fixture(autouse=True)
def few_built_in_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_files, "BUILT_IN", (RocPlot,))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a module into the current folder; give its name."""
    name = f"own_plots_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN.format(overlaid=False))
    (tmp_path / f"{name}_over.py").write_text(OWN.format(overlaid=True))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def settings_of(
    tmp_path: Path, target: str, runs: list[str], **arguments: object
) -> EvaluateSettings:
    return validate(
        EvaluateSettings,
        {
            "runs": runs,
            "output": str(tmp_path / "out"),
            "metrics": {"bootstrap": 20},
            "plots": [{"_target_": target, **arguments}],
        },
    )


def test_it_is_drawn_beside_the_others(module: str, tmp_path: Path) -> None:
    run, _, _ = write_run(tmp_path / "run", skims=("one", "two"))
    settings = settings_of(tmp_path, f"{module}.WeightsPlot", [str(run.path)], bins=7)
    evaluate(settings)
    plots = tmp_path / "out" / "plots"
    assert len(json.loads((plots / "weights.json").read_text())["counts"]) == 7
    for name in ("weights", "weights_two", "roc"):
        assert (plots / f"{name}.png").stat().st_size > 5000
        assert (plots / f"{name}.pdf").exists()
    assert 'alt="Weights. one"' in (tmp_path / "out" / "report.html").read_text()


def test_models_share_a_figure_of_overlaid_curves(module: str, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name)[0].path) for name in ("a", "b")]
    settings = settings_of(tmp_path, f"{module}_over.WeightsPlot", runs)
    evaluate(settings)
    plots = tmp_path / "out" / "plots"
    assert list(json.loads((plots / "weights.json").read_text())) == ["a", "b"]
    assert (plots / "a" / "weights.png").exists()


def test_what_is_wrong_is_one_sentence(module: str, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / "run")[0].path)]
    with pytest.raises(ConfigurationError, match=r"plots\.0\.bins: .*greater than 0"):
        settings_of(tmp_path, f"{module}.WeightsPlot", runs, bins=0)
    with pytest.raises(ConfigurationError, match="did you mean 'bins'"):
        settings_of(tmp_path, f"{module}.WeightsPlot", runs, bin=3)
    with pytest.raises(ConfigurationError, match="does not inherit Plot"):
        settings_of(tmp_path, "smartbkg_tf.filtering.rules.KeepAll", runs)
    for name, words in (
        ("Broken", r"plots .*Broken: the figure cannot be drawn \(AttributeError"),
        ("RocPlot", "2 figures are called 'roc'"),
    ):
        settings = settings_of(tmp_path, f"{module}.{name}", runs)
        with pytest.raises(ConfigurationError, match=words):
            evaluate(settings)
        assert not (tmp_path / "out").exists()


def test_as_written_on_the_command_line(module: str) -> None:
    given = [
        "++runs=[a]",
        "++output=o",
        f"++plots=[{{_target_: {module}.WeightsPlot, bins: 5}}]",
    ]
    settings = compose_settings("evaluate", EvaluateSettings, given)
    assert settings.plots[0].bins == 5
