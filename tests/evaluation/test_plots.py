"""Figures: written whole, not empty, the same bytes again, with what a reader needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from smartbkg_tf.evaluation import bias_plots, curves, figures, score_plots, training_plots
from smartbkg_tf.evaluation.bootstrap import measure
from smartbkg_tf.evaluation.quality import Quality
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import ScoreCounts


def make_scores(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.random(n) < 0.2).astype(np.int8)
    return random.normal(0, 1, n) + 1.5 * labels, labels


HISTORY: dict[str, list[float | None]] = {
    "epoch": [1.0, 2.0, 3.0],
    "loss": [0.5, 0.4, 0.3],
    "val_loss": [0.5, 0.45, 0.47],
    "auc": [0.6, 0.7, 0.8],
    "val_auc": [None, 0.65, 0.7],
}


def all_figures() -> dict[str, Callable[[], Figure]]:
    """Give what draws each figure."""
    counts = ScoreCounts.of(*make_scores())
    quality = Quality(counts, [0.9])
    drawn = quality.curves(measure(counts, quality.quantities, 10, 0))
    roc, recall = drawn["roc"], drawn["precision_recall"]
    kept = {
        **{"kept": [5.0, 0.0], "kept_error": [2.0, 0.0], "effective_number": 2.5},
        **{"ratio": [1.25, None], "ratio_error": [0.3, None], "pull": [1.0, None]},
        **{"asymmetry": [-0.1, None], "asymmetry_error": [0.1, None]},
    }
    observable = {
        "edges": [0.0, 1.0, 2.0],
        "all": [4.0, 0.0],
        "n_passing": 4,
        "filters": {"threshold": kept, "sampling": kept},
    }
    scores = curves.score_histogram(counts, SamplingRule(a=0.5, b=1.0))
    return {
        "roc": lambda: score_plots.RocPlot().draw({"one": roc, "two": roc}, ""),
        "precision_recall": lambda: score_plots.PrecisionRecallPlot().draw({"one": recall}, ""),
        "scores": lambda: score_plots.ScoresPlot().draw({"one": scores}, "one"),
        "reliability": lambda: score_plots.CalibrationPlot().draw(
            {"one": curves.reliability(counts)}, "one"
        ),
        "training": lambda: training_plots.TrainingPlot().draw({"one": HISTORY}, "one"),
        "observable": lambda: bias_plots.ObservablePlot(observable="Mbc [GeV]").draw(
            {"one": observable}, ""
        ),
    }


@pytest.mark.parametrize("name", sorted(all_figures()))
def test_files_are_whole_and_show_something(name: str, tmp_path: Path) -> None:
    png, pdf = figures.save_figure(all_figures()[name](), tmp_path / "new" / name)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.read_bytes().rstrip().endswith(b"%%EOF")
    pixels = np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 300_000
    blue = np.all(pixels == (0x00, 0x72, 0xB2), axis=1)
    assert blue.sum() > 50  # the first curve
    again = figures.save_figure(all_figures()[name](), tmp_path / "again" / name)
    assert again[0].read_bytes() == png.read_bytes()
    assert again[1].read_bytes() == pdf.read_bytes()


def test_axes_say_what_they_show() -> None:
    for name, draw in all_figures().items():
        figure = draw()
        for axes in figure.axes:
            labelled = bool(axes.get_ylabel())
            assert labelled, name
        assert figure.axes[-1].get_xlabel() or figure.axes[0].get_xlabel(), name
        assert figure.legends, name


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    png, pdf = figures.save_figure(all_figures()["roc"](), tmp_path / "lr_0.001")
    assert (png.name, pdf.name) == ("lr_0.001.png", "lr_0.001.pdf")


def test_curves_differ_in_colour_and_style() -> None:
    styles = list(figures.line_styles(12))
    assert len({(s["color"], s["linestyle"]) for s in styles}) == 12
    assert len({s["color"] for s in styles[:7]}) == 7


def test_best_epochs_are_marked() -> None:
    figure = training_plots.TrainingPlot().draw({"one": HISTORY}, "")
    (legend,) = figure.legends
    panels = figure.axes
    texts = [text.get_text() for text in legend.get_texts()]
    best = ["best validation loss: epoch 2", "best validation AUC: epoch 3"]
    assert texts == ["training", "validation", *best]
    assert panels[0].get_ylabel().startswith("loss")


def test_history_of_a_user_without_loss_or_auc() -> None:
    (panel,) = (
        training_plots.TrainingPlot()
        .draw({"one": {"epoch": [0.0, 1.0], "mae": [2.0, 1.0]}}, "")
        .axes
    )
    assert panel.get_ylabel() == "mae"
    # Counted from 0 in the file, from 1 for people.
    np.testing.assert_array_equal(panel.get_lines()[0].get_xdata(), [1.0, 2.0])


def test_no_global_state_and_no_display() -> None:
    code = (
        "import sys; import smartbkg_tf.evaluation.evaluate; "
        "bad = {'matplotlib', 'tensorflow', 'keras', 'sklearn'} & set(sys.modules); "
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_named_after_the_class() -> None:
    built_in = (
        *(score_plots.RocPlot(), score_plots.PrecisionRecallPlot(), score_plots.ScoresPlot()),
        *(score_plots.CalibrationPlot(), training_plots.TrainingPlot()),
    )
    names = [plot.name for plot in built_in]
    assert names == ["roc", "precision_recall", "scores", "calibration", "training"]
    assert bias_plots.ObservablePlot(observable="Mbc").name == "observable_Mbc"
