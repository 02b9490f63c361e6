"""``report.html``: numbers and figures of an evaluation in one file for screen, phone and paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf import __version__
from smartbkg_tf.evaluation.figure_files import DrawnFigure, read_index
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.plots import Section
from smartbkg_tf.evaluation.report_tables import TABLES, comparison, saved_by, summary
from smartbkg_tf.evaluation.verdict import verdicts
from smartbkg_tf.runtime.files import atomic_file, read_json

Metrics = Mapping[str, Any]

#: Titles of the columns of `summary_row`.
SUMMARY_HEAD = (
    "model",
    "skim",
    "events",
    "passing",
    "AUC",
    "average precision",
    "speedup",
    "by",
    "at retention",
)

#: Headings of the parts of the report, each with what its figures answer.
SECTIONS: Mapping[Section, tuple[str, str]] = {
    "quality": ("Separation", "How well the score tells passing from failing events."),
    "speedup": ("Speedup", "What the filter saves, for the same statistical precision."),
    "bias": ("Bias", "Whether kept events, with their weights, look like all passing events."),
    "training": ("Training", "How the network learned, and whether it overfits."),
    "understanding": ("Understanding", "What the network looks at, and where it is wrong."),
    "custom": ("Further figures", ""),
}


#: Figures of one part; more are folded away.
_SHOWN_AT_ONCE = 9


def summary_row(model: str, skim: str, metrics: Metrics) -> list[str]:
    """Give the main numbers of one model and skim, an entry of ``metrics.json``."""
    saved = saved_by(metrics)
    return [
        model,
        skim,
        str(metrics["n_events"]),
        str(metrics["n_passing"]),
        str(Estimate.of(metrics, "auc")),
        str(Estimate.of(metrics, "average_precision")),
        "-" if saved is None else str(Estimate.of(saved.numbers, "speedup")),
        "-" if saved is None else saved.by,
        f"{metrics['speedup']['retention']:.4g}",
    ]


def write_report(folder: Path, name: str) -> None:
    """Write ``report.html`` of what ``metrics.json`` and ``plots`` in a folder hold.

    `name` is that of the run, where the folder belongs to one.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    values = read_json(folder / "metrics.json")
    models = dict(values["models"]) if "models" in values else {name: values}
    skims = {name: model["skims"] for name, model in models.items()}
    figures = [figure for figure in read_index(folder / "plots") if figure.in_report]
    templates = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        title=f"Evaluation of {_enumeration(list(models))}",
        verdicts=verdicts(values),
        notes=values.get("notes", ()),
        summary=summary(skims).without_empty_columns(),
        comparison=comparison(values),
        sections=_sections(skims, figures, folder / "plots"),
        provenance={name: _flat(model.get("predictions", {})) for name, model in models.items()},
        shown_at_once=_SHOWN_AT_ONCE,
        version=__version__,
        style=Markup((templates / "report.css").read_text(encoding="utf-8")),
        script=Markup((templates / "report.js").read_text(encoding="utf-8")),
    )
    with atomic_file(folder / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")


def _enumeration(names: Sequence[str]) -> str:
    """Name models, or count them."""
    return " and ".join(names) if len(names) < 3 else f"{len(names)} models"


def _sections(
    models: Mapping[str, Mapping[str, Metrics]], figures: Sequence[DrawnFigure], folder: Path
) -> list[dict[str, Any]]:
    """Give the parts of the report that have figures or tables."""
    flat = [
        (f"{model}: {skim}" if len(models) > 1 else skim, metrics)
        for model, skims in models.items()
        for skim, metrics in skims.items()
    ]
    sections = []
    for name, (heading, question) in SECTIONS.items():
        chosen = [
            figure
            for figure in figures
            if (figure.section if figure.section in SECTIONS else "custom") == name
        ]
        chosen.sort(key=lambda figure: _place_of_observable(figure, flat[0][1]))
        drawn = [_embedded(figure, folder) for figure in chosen]
        groups = []
        for part, metrics in flat:
            made = [table for make in TABLES.get(name, ()) for table in make(metrics)]
            remarks = metrics.get(name, {}).get("missing", ()) if name == "understanding" else ()
            tables = [table.without_empty_columns() for table in made if table.rows]
            if tables or remarks:
                part = part if len(flat) > 1 else ""
                groups.append({"heading": part, "remarks": remarks, "tables": tables})
        if drawn or groups:
            sections.append(
                {
                    "name": name,
                    "heading": heading,
                    "question": question,
                    "figures": drawn,
                    "groups": groups,
                }
            )
    return sections


def _place_of_observable(figure: DrawnFigure, metrics: Metrics) -> int:
    """Put figures of the most biased observables first, and those of none before them."""
    observable = figure.plot.get("observable")
    ranking = metrics.get("bias", {}).get("ranking", {})
    saved = saved_by(metrics)
    decided = ranking.get(saved.by if saved else "sampling")
    names: list[str] = decided or next(iter(ranking.values()), [])
    return -1 if observable is None else [*names, observable].index(observable)


def _embedded(figure: DrawnFigure, folder: Path) -> dict[str, Any]:
    """Give a figure with its picture as text, and its size in pixels."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(folder / f"{figure.file}.png") as picture:
        width, height = picture.size
        # 256 colours: a third of the size, and no difference that an eye would see.
        picture.convert("RGB").quantize(256).save(packed, "PNG", optimize=True)
    curves = "; ".join(text for text in figure.legend.values() if text != figure.title)
    parts = (figure.heading, figure.title, curves)
    return {
        "figure": figure,
        "alternative": ". ".join(part for part in parts if part),
        "data": base64.b64encode(packed.getvalue()).decode(),
        "width": width,
        "height": height,
    }


def _flat(values: Any, key: str = "") -> list[tuple[str, str]]:
    """Give the plain values in nested mappings, by their path of keys."""
    if isinstance(values, Mapping):
        return [
            pair
            for name, value in values.items()
            for pair in _flat(value, f"{key}.{name}" if key else str(name))
        ]
    if isinstance(values, list):
        return [(key, ", ".join(str(value) for value in values))]
    return [(key, str(values))]
