"""``docs/gallery.md``: every built-in figure of one run, with its caption (`make gallery`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from smartbkg_tf.evaluation.evaluate import evaluate
from smartbkg_tf.evaluation.figure_files import BUILT_IN, DrawnFigure, read_index
from smartbkg_tf.evaluation.html_report import SECTIONS
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.generation.observables_file import FOLDER, JOINED
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.evaluation import EvaluateSettings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.data import prepare_dataset
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "gallery.md"
IMAGES = ROOT / "docs" / "images" / "gallery"

#: Pixels: two pictures beside each other on GitHub's pages.
WIDTH = 480

_HEAD = """# Gallery

Every figure that `train` and `evaluate` draw, of the quickstart run (`make demo`), with what to see
in it. `make gallery` makes this page. In a run directory or report they are in `plots/` as PNG, PDF
and JSON (their data); `python -m smartbkg_tf.evaluate from=REPORT_DIR` draws them again without
events. Figures of your own: [how to](how_to.md).
"""


def page(figures: Mapping[type[Plot], DrawnFigure]) -> str:
    """Write the page; a class without a figure is listed with its words."""
    parts = [_HEAD]
    for section, (heading, question) in SECTIONS.items():
        classes = [cls for cls in BUILT_IN if cls.section == section]
        if classes:
            parts.append(f"## {heading}\n\n{question}\n")
        for cls in classes:
            if cls in figures:
                drawn = figures[cls]
                title, caption = drawn.heading, drawn.caption
                source = f"images/gallery/{file_of(cls)}"
                picture = f'<img src="{source}" alt="{title}" width="440">'
            else:
                title, caption = (in_general(text) for text in (cls.title, cls.caption))
                picture = "(Not drawn for the quickstart run.)"
            parts.append(f"### {title}\n\n{picture}\n\n{caption}\n")
    return "\n".join(parts)


def in_general(text: str) -> str:
    """Put the name of a field where its value would stand."""
    return re.sub(r"\{(\w+)\}", r"\1", text)


def file_of(cls: type[Plot]) -> str:
    """Name the picture of a class."""
    return f"{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', cls.__name__).lower().removesuffix('_plot')}.png"


def first_figures(folder: Path) -> dict[type[Plot], DrawnFigure]:
    """Find the first figure of each built-in class in a folder of figures."""
    names = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in BUILT_IN}
    found: dict[type[Plot], DrawnFigure] = {}
    for figure in read_index(folder):
        if figure.plot["_target_"] in names:
            found.setdefault(names[figure.plot["_target_"]], figure)
    return found


def write_small(source: Path, file: Path) -> None:
    """Write a small copy of a picture with few colours."""
    from PIL import Image

    picture = Image.open(source).convert("RGB")
    width = WIDTH if picture.width < 1.6 * picture.height else 2 * WIDTH
    size = (width, round(picture.height * width / picture.width))
    small = picture.resize(size, Image.Resampling.LANCZOS).quantize(64)
    small.save(file, optimize=True)


def main(run: str, output: str) -> None:
    """Evaluate the quickstart run with its bias observables, and make the page of it."""
    train = compose_settings("train", TrainSettings, ["experiment=quickstart"])
    observables = prepare_dataset(train).parent / "tables" / FOLDER / JOINED
    evaluate(
        EvaluateSettings(
            runs=run,
            observables=str(observables),
            understanding=True,
            output=output,
            overwrite=True,
        )
    )
    figures = first_figures(Path(output) / "plots")
    text = page(figures)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    for cls, figure in figures.items():
        write_small(Path(output) / "plots" / f"{figure.file}.png", IMAGES / file_of(cls))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
