"""Figures and report of a small run: pictures, numbers, a browser, drawn again without events."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.evaluation.evaluate import evaluate
from smartbkg_tf.evaluation.figure_files import BUILT_IN, read_index
from smartbkg_tf.evaluation.html_report import write_report
from smartbkg_tf.evaluation.verdict import verdicts
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.settings.evaluation import EvaluateSettings, MetricsSettings
from tests.chromium import chromium
from tests.evaluation.test_evaluate import write_run

REFERENCES = Path(__file__).parent / "images"

#: Pixels of a reference: structure, not letters.
WIDTH = 240

#: Of the root mean square difference of pixels between 0 and 1.
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate a run with two bias observables."""
    folder = tmp_path_factory.mktemp("report")
    run, scores, _ = write_run(folder / "run", skims=("<i>one</i>",), n=1000)
    random = np.random.default_rng(5)
    keys = read_predictions(run.predictions).keys
    observables = {"Mbc": random.normal(5.28, 0.003, 1000), "thrust": scores}
    pd.DataFrame({**keys, **observables}).to_parquet(folder / "observables.parquet")
    settings = EvaluateSettings(
        runs=str(run.path),
        output=str(folder / "out"),
        observables=str(folder / "observables.parquet"),
        metrics=MetricsSettings(bootstrap=20),
    )
    return evaluate(settings)


def small(file: Path) -> Image.Image:
    """Give a picture of `WIDTH` pixels: differences of fonts and renderers blur out."""
    picture = Image.open(file).convert("RGB")
    size = (WIDTH, round(WIDTH * picture.height / picture.width))
    return picture.resize(size, Image.Resampling.BOX)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Give the root mean square difference of pixels between 0 and 1."""
    other = other.resize(one.size, Image.Resampling.BOX)
    a, b = (np.asarray(picture, dtype=np.float64) / 255 for picture in (one, other))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_figures_look_as_before(report: Path, request: pytest.FixtureRequest) -> None:
    """`pytest tests/evaluation/test_report.py --update-images` draws the references anew."""
    names = [figure.file for figure in read_index(report / "plots")]
    if request.config.getoption("--update-images"):
        shutil.rmtree(REFERENCES, ignore_errors=True)
        REFERENCES.mkdir()
        for name in names:
            picture = small(report / "plots" / f"{name}.png").quantize(32)
            picture.save(REFERENCES / f"{name}.png", optimize=True)
    assert sorted(names) == sorted(file.stem for file in REFERENCES.glob("*.png"))
    references = {name: Image.open(REFERENCES / f"{name}.png").convert("RGB") for name in names}
    found = {
        name: difference(small(report / "plots" / f"{name}.png"), references[name])
        for name in names
    }
    assert {name: value for name, value in found.items() if value > TOLERANCE} == {}
    # What it would catch: another figure, and an empty one.
    assert difference(references["roc"], references["precision_recall"]) > 2 * TOLERANCE
    blank = Image.new("RGB", references["roc"].size, "white")
    assert difference(references["roc"], blank) > 2 * TOLERANCE
    assert sum(file.stat().st_size for file in REFERENCES.iterdir()) < 400_000


def test_the_report_in_a_browser(report: Path, tmp_path: Path) -> None:
    artefacts = Path(os.environ.get("SMARTBKG_TF_ARTEFACTS", tmp_path))
    with chromium(tmp_path / "profile") as page:
        for width in (1280, 390):
            page.open(report / "report.html", width=width)
            page.screenshot(artefacts / f"report_{width}.png")
            assert page.value("document.documentElement.scrollWidth") <= width
            sizes = page.value("[...document.images].map(i => i.naturalWidth)")
            assert len(sizes) == len(list((report / "plots").glob("*.png")))
            assert min(sizes) > 300
        page.pdf(artefacts / "report.pdf")
        column = "[...document.querySelectorAll('.table')].find(d => d.innerText.includes('rejec'))"
        click = f"{column}.querySelectorAll('th button')[0].click()"
        cells = f"[...{column}.querySelectorAll('tbody tr')].map(r => r.cells[0].dataset.value)"
        page.value(click)
        rising = [float(value) for value in page.value(cells)]
        page.value(click)
        falling = [float(value) for value in page.value(cells)]
        assert rising == sorted(falling)
        assert falling == rising[::-1]
        assert rising[0] < rising[-1]
        assert page.value(f"{column}.querySelector('th').ariaSort") == "descending"
        assert page.complaints == []
        # The page is refused what is not in it, and the test would notice.
        page.value("new Image().src = 'https://example.org/x.png'; console.error('heard')")
        page.value("1")
        assert any("heard" in text for text in page.complaints)
    assert (artefacts / "report_390.png").stat().st_size > 10_000


def test_names_are_escaped_and_figures_described(report: Path) -> None:
    text = (report / "report.html").read_text()
    assert "<i>one</i>" not in text
    assert "&lt;i&gt;one&lt;/i&gt;" in text
    assert text.count("data:image/png;base64,") == text.count("<img ") > 5
    assert "://" not in text
    assert text.count('alt="') == text.count("<img ")
    assert 'alt=""' not in text
    assert len(text) < 3_000_000
    for figure in read_index(report / "plots"):
        assert figure.heading in text


def test_every_built_in_figure_says_what_to_see() -> None:
    for cls in BUILT_IN:
        assert cls.title, cls
        assert 40 < len(cls.caption) < 400, cls
        assert cls.caption.endswith("."), cls
        assert cls.section != "custom", cls


def reduced(report: Path, folder: Path, *names: str) -> Path:
    """Copy a report with some of its figures only, which are soon drawn again."""
    shutil.copytree(report, folder)
    index = json.loads((folder / "plots" / "figures.json").read_text())
    index["figures"] = [figure for figure in index["figures"] if figure["file"] in names]
    write_json(folder / "plots" / "figures.json", index)
    for file in (folder / "plots").iterdir():
        if file.stem not in (*names, "figures"):
            file.unlink()
    write_report(folder, "run")
    return folder


def test_drawn_again_without_events(report: Path, tmp_path: Path) -> None:
    folder = reduced(report, tmp_path / "copy", "roc", "scores", "observable_Mbc", "training")
    output = tmp_path / "again"
    given = [f"from={folder}", f"output={output}"]
    evaluate(compose_settings("evaluate", EvaluateSettings, given))
    assert (output / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    names = sorted(path.name for path in (folder / "plots").iterdir())
    assert len(names) == 4 * 3 + 1
    assert sorted(path.name for path in (output / "plots").iterdir()) == names
    for file in (folder / "plots").iterdir():
        assert (output / "plots" / file.name).read_bytes() == file.read_bytes(), file.name
    with pytest.raises(OutputError, match="exists"):
        evaluate(compose_settings("evaluate", EvaluateSettings, given))


OWN = """
from smartbkg_tf.evaluation.score_plots import CalibrationPlot as Built
from smartbkg_tf.settings.base import settings

@settings
class CalibrationPlot(Built):
    title = "In {colour}"
    colour: str = "red"

    def draw(self, curves, title):
        figure = super().draw(curves, title)
        figure.set_facecolor(self.colour)
        return figure
"""


def test_another_style_in_place(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = reduced(report, tmp_path / "copy", "calibration")
    (tmp_path / "own_style.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def again(plot: str) -> None:
        given = [f"from={folder}", f"plots=[{{_target_: own_style.{plot}}}]"]
        evaluate(compose_settings("evaluate", EvaluateSettings, given))

    before = (folder / "plots" / "calibration.png").read_bytes()
    again("CalibrationPlot, colour: yellow")
    assert (folder / "plots" / "calibration.png").read_bytes() != before
    assert "In yellow" in (folder / "report.html").read_text()
    # The class is gone: the picture stays, and a remark says so.
    (tmp_path / "own_style.py").unlink()
    monkeypatch.delitem(__import__("sys").modules, "own_style")
    kept = (folder / "plots" / "calibration.png").read_bytes()
    evaluate(EvaluateSettings(**{"from": str(folder)}))
    assert (folder / "plots" / "calibration.png").read_bytes() == kept
    said = capsys.readouterr().out
    assert "warning: the figure calibration was not drawn again" in said
    assert "there is no module 'own_style'" in said


def test_what_cannot_be_drawn_again(report: Path, tmp_path: Path) -> None:
    def refused(match: str, kind: type[Exception] = InputError, **settings: Any) -> None:
        with pytest.raises(kind, match=match):
            evaluate(EvaluateSettings(**settings))

    refused("holds no report that can be drawn again", **{"from": str(tmp_path)})
    refused("without events", ConfigurationError, **{"from": str(report), "runs": "a"})
    refused("output: a value is needed", ConfigurationError, runs="a")
    folder = reduced(report, tmp_path / "copy", "calibration")
    (folder / "plots" / "calibration.json").write_text('{"predicted": 3}')
    refused("not as this smartbkg_tf writes them", **{"from": str(folder)})
    (folder / "plots" / "calibration.json").unlink()
    refused("does not exist", **{"from": str(folder)})
    index = folder / "plots" / "figures.json"
    index.write_text(index.read_text().replace('"calibration"', '"../calibration"'))
    refused(r"\.\./calibration is not in this folder", **{"from": str(folder)})
    index.write_text('{"figures": [{"file": "roc"}]}')
    refused("not an index of figures", **{"from": str(folder)})


def numbers(**changes: Any) -> dict[str, Any]:
    """Give what the first sentence is made of."""
    skim = {
        "auc": 0.9,
        "auc_error": 0.01,
        "n_events": 1000,
        "n_passing": 100,
        "average_precision": 0.5,
        "speedup": {"sampling": {"speedup": 2.5, "speedup_error": 0.1}},
    }
    return {"skims": {"fei": {**skim, **changes}}, "predictions": {}}


def observable(probability: float | None, floor: float = 0.001) -> dict[str, Any]:
    test = {"kl": 0.0012, "kl_floor": floor, "kl_probability": probability, "kl_limit": 0.0015}
    return {"n_passing": 100, "filters": {"sampling": test}}


def test_the_first_sentence() -> None:
    def sentence(**changes: Any) -> str:
        (text,) = verdicts(numbers(**changes))
        return text

    plain = sentence()
    assert plain.startswith("Good: events that pass fei are separated")
    assert "AUC of 0.900 ± 0.010" in plain
    assert "was not checked" in plain
    assert "saves a factor 2.50 ± 0.10" in plain
    assert sentence(auc=0.52).startswith("No better than a guess")
    given = {"sampling": {"speedup": 2.5}, "retention": 0.02, "retention_from": "filter.json"}
    assert sentence(speedup=given).endswith(
        "for the same statistical precision, at the natural retention of 2 % (filter.json)."
    )
    assert "saves nothing" in sentence(speedup={"fitted_rule": {"speedup": 1.1} | _error(0.2)})
    assert "unknown" in sentence(speedup={})
    unbiased = sentence(observables={"Mbc": observable(0.4), "thrust": observable(0.02)})
    assert "no bias is seen in 2 bias observables" in unbiased
    assert "the least likely is thrust: KL divergence 0.0012, random thinning" in unbiased
    assert "published limit is 0.0015" in unbiased
    biased = sentence(observables={"Mbc": observable(0.4), "thrust": observable(0.001)})
    assert "shows a bias in thrust" in biased
    assert "takes more events" in sentence(observables={"Mbc": observable(0.3, 0.01)})
    assert "too few events" in sentence(observables={"Mbc": observable(None)})
    # A threshold is not judged by the rule that might have been used instead.
    cut = {"own_threshold": {"speedup": 5.0} | _error(0.3), "fitted_rule": {"speedup": 2.0}}
    biased = sentence(speedup=cut)
    assert "biased by construction" in biased
    assert "the threshold of these predictions saves a factor 5.00 ± 0.30" in biased
    assert "for the same number of passing events" in biased
    test = observable(0.9)
    test["filters"]["threshold"] = {**test["filters"]["sampling"], "kl_probability": 0.0002}
    shown = sentence(observables={"m": test}, speedup=cut)
    assert "the threshold shows a bias" in shown
    # The smallest probability of 5000 thinnings, among 60 observables.
    many = {f"x{i}": observable(0.5) for i in range(60)} | {"worst": observable(1 / 5001)}
    many["worst"]["filters"]["sampling"]["chi2_probability"] = 1e-12
    assert "shows a bias in worst" in sentence(observables=many)
    assert sentence(auc=0.2).startswith("Worse than a guess")
    assert "costs more" in sentence(speedup={"fitted_rule": {"speedup": 0.6} | _error(0.01)})
    assert sentence(n_events=12, n_passing=3).startswith("Too few events")


def _error(value: float) -> dict[str, float]:
    return {"speedup_error": value}


def test_the_first_sentence_about_several_models() -> None:
    models = {"a": numbers(), "b": numbers(auc=0.88)}
    ranked = [
        {"model": "a", "difference": None},
        {"model": "b", "difference": 0.02, "difference_error": 0.005, "significance": 4.0},
    ]
    values = {"models": models, "comparison": {"fei": {"models": ranked}}}
    (text,) = verdicts(values)
    assert text.startswith("Of 2 models, a is best, ahead of b: the difference in AUC is 0.0200")
    ranked[1]["significance"] = 0.5
    assert "cannot be told apart" in verdicts(values)[0]


def test_one_sentence_about_many_skims(tmp_path: Path) -> None:
    skims = {f"s{i}": numbers(auc=0.6 + 0.1 * i)["skims"]["fei"] for i in range(4)}
    (text,) = verdicts({"skims": skims})
    assert text.startswith(
        "4 skims: the AUC lies between 0.600 ± 0.010 (s0) and 0.900 ± 0.010 (s3)"
    )
    assert "saves factors between 2.50" in text
    for of in skims.values():
        of |= {"log_loss": 0.1, "brier": 0.1}
    write_json(tmp_path / "metrics.json", {"skims": skims})
    write_report(tmp_path, "many")
    assert (tmp_path / "report.html").read_text().count("<details") == 4
    skims["s0"]["speedup"] = {"own_threshold": {"speedup": 6.0} | _error(0.5)}
    (text,) = verdicts({"skims": skims})
    assert "statistical precision, each at the retention that the summary names; the thr" in text


def test_tables_appear_where_their_numbers_exist(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {**numbers(), "notes": ["a < b"]})
    write_report(tmp_path, "bare")
    bare = (tmp_path / "report.html").read_text()
    assert "a &lt; b" in bare
    assert "Working points" not in bare
    point = {"efficiency": 0.9, "threshold": 1.0, "rejection": None, "rejection_error": None}
    full = numbers(
        observables={"Mbc": observable(0.4)},
        background_rejection=[{**point, "rejection": 12.5}, point],
        speedup={
            "cost": {"generation": 0.01, "network": 0.001, "simulation": 1.0},
            "fitted_rule": {"speedup": 2.0, "simulated_fraction": 0.3, **_error(0.1)},
            "limits": {"perfect_filter": 9.5, "best_sampling": 3.25},
            "own_threshold": {"speedup": 4.75, "kept_fraction": 0.2, "efficiency": 0.9},
            **{"retention": 0.02, "retention_from": "metrics.retention"},
        },
    )
    full["comparison"] = {
        "fei": {
            "n_events": 10,
            "n_passing": 5,
            "models": [{"model": "other", "auc": 0.9, "auc_error": 0.1, "difference": None}],
        }
    }
    write_json(tmp_path / "metrics.json", full)
    write_report(tmp_path, "full")
    text = (tmp_path / "report.html").read_text()
    for words in (
        "Models compared",
        "Background rejection",
        "12.5",
        "3.25",
        "9.5",
        "0.0012",
        "4.75",
    ):
        assert words in text, words
    assert "All of it is for the natural retention of 2 % (metrics.retention)" in text
