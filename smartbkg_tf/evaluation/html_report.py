"""``report.html``: numbers and figures of an evaluation in one file that can be mailed."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.runtime.files import atomic_file

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ccc; padding: 0.3rem 0.8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: 0.5rem; vertical-align: top; }
img { max-width: 33rem; width: 100%; }
.warning { border-left: 4px solid #D55E00; padding-left: 0.8rem; }
"""

Metrics = Mapping[str, Any]

#: Titles of the columns of `summary_row`.
SUMMARY_HEAD = (
    "model",
    "skim",
    "events",
    "passing",
    "AUC",
    "average precision",
    "speedup (sampling)",
)


def summary_row(model: str, skim: str, metrics: Metrics) -> list[str]:
    """Give the main numbers of one model and skim, an entry of ``metrics.json``."""
    sampling = metrics["speedup"].get("sampling")
    return [
        model,
        skim,
        str(metrics["n_events"]),
        str(metrics["n_passing"]),
        str(Estimate.of(metrics, "auc")),
        str(Estimate.of(metrics, "average_precision")),
        "-" if sampling is None else str(Estimate.of(sampling, "speedup")),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make an HTML table; cells are escaped here."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n{line(head, 'th')}\n{body}\n</table>"


def _working_points(metrics: Metrics) -> list[str]:
    rows = [
        [
            str(Estimate.of(point, "efficiency")),
            f"{point['threshold']:.4g}",
            str(Estimate.of(point, "false_rate")),
            f"{point['kept_fraction']:.4f}",
            "-" if point["rejection"] is None else f"{point['rejection']:.3g}",
            f"{point['precision']:.4f}",
        ]
        for point in metrics["working_points"]
    ]
    head = (
        *("efficiency", "threshold (logit)", "kept of failing", "kept of all", "rejection"),
        "precision",
    )
    return ["<h3>Working points of a threshold</h3>", _table(head, rows)]


def _speedups(metrics: Metrics) -> list[str]:
    speedup = metrics["speedup"]
    cost, sampling = speedup["cost"], speedup.get("sampling")
    rows = []
    note = (
        "<p>The speedup by sampling is unknown: these predictions were made by a threshold, "
        "which biases what it keeps, or fewer than 20 events pass.</p>"
    )
    if sampling is not None:
        name, note = "sampling (unbiased; rule fitted on the other half of these events)", ""
        if "n_passing" in sampling:
            name = "sampling (unbiased)"
            note = (
                f"<p>Weights of kept passing events add up to "
                f"{Estimate.of(sampling, 'sum_of_weights')} for {sampling['n_passing']} passing "
                f"events; their effective number is {sampling['effective_passing']:.1f}.</p>"
            )
        fraction = f"{sampling['simulated_fraction']:.4f}"
        rows.append([name, fraction, str(Estimate.of(sampling, "speedup"))])
    rows += [
        [
            f"threshold, efficiency {point['efficiency']:.3f} (biased)",
            f"{point['kept_fraction']:.4f}",
            str(Estimate.of(point, "speedup")),
        ]
        for point in speedup["threshold"]
    ]
    return [
        "<h3>Speedup at equal effective statistics</h3>",
        f"<p>An event costs {cost['simulation']:g} to simulate and reconstruct, "
        f"{cost['generation']:g} to generate, {cost['network']:g} to score. "
        "Errors are those of the test events.</p>",
        _table(("filter", "simulated fraction", "speedup"), rows),
        note,
    ]


def _calibration(metrics: Metrics) -> list[str]:
    losses = {"uncalibrated": metrics}
    if "calibrated" in metrics:
        losses["calibrated on validation events"] = metrics["calibrated"]
    rows = [
        [name, str(Estimate.of(of, "log_loss")), str(Estimate.of(of, "brier"))]
        for name, of in losses.items()
    ]
    return ["<h3>Calibration</h3>", _table(("probability", "log loss", "Brier score"), rows)]


def _event_types(metrics: Metrics) -> list[str]:
    rows = [
        [
            name,
            str(of["n_events"]),
            str(of["n_passing"]),
            "-" if of["auc"] is None else str(Estimate.of(of, "auc")),
        ]
        for name, of in metrics["by_event_type"].items()
    ]
    parts = ["<h3>By event type</h3>", _table(("event type", "events", "passing", "AUC"), rows)]
    mixture = metrics.get("natural_mixture")
    if mixture is not None:
        parts.append(
            f"<p>Mixed by cross-section ({html.escape(', '.join(mixture['event_types']))}): "
            f"AUC {mixture['auc']:.4f}, retention {Estimate.of(mixture, 'retention')}.</p>"
        )
    return parts


def _observables(metrics: Metrics) -> list[str]:
    rows = []
    for name, of in metrics.get("observables", {}).items():
        kept = "-"
        if of["mean_kept"] is not None:
            kept = str(Estimate(of["mean_kept"], of["mean_kept_error"] or 0.0))
        chi2 = "-" if of["chi2"] is None else f"{of['chi2']:.1f} / {of['bins_used']}"
        rows.append([name, chi2, f"{of['effective_number']:.0f}", f"{of['mean_all']:.4g}", kept])
    if not rows:
        return []
    head = ("observable", "chi2 / bins", "effective number", "mean of all", "mean of kept")
    return [
        "<h3>Bias observables of passing events</h3>",
        "<p>chi2 compares kept, weighted events with all of them, "
        "with the variance of the sampling.</p>",
        _table(head, rows),
    ]


#: The parts of the report on one model and skim.
_SECTIONS = (_working_points, _speedups, _calibration, _event_types, _observables)


def write_report(
    path: str | Path,
    title: str,
    models: Mapping[str, Mapping[str, Metrics]],
    figures: Sequence[Path],
    notes: Sequence[str] = (),
    differences: Sequence[Sequence[str]] = (),
) -> None:
    """Write the report.

    `models` are metrics by model and skim; the PNG files of `figures` are embedded; `notes` tell
    what a reader must know; rows of `differences` are model, other model, skim and difference.
    """
    flat = [
        (model, skim, metrics) for model, skims in models.items() for skim, metrics in skims.items()
    ]
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        *(f'<p class="warning">{html.escape(note)}</p>' for note in notes),
        _table(SUMMARY_HEAD, [summary_row(*one) for one in flat]),
    ]
    if differences:
        parts += [
            "<h3>Differences of AUC on the same events</h3>",
            _table(("model", "other model", "skim", "AUC difference"), differences),
        ]
    for figure in figures:
        data = base64.b64encode(figure.read_bytes()).decode()
        name = html.escape(figure.stem)
        parts.append(
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
            f"<figcaption>{name}</figcaption></figure>"
        )
    for model, skim, metrics in flat:
        parts.append(f"<h2>{html.escape(model)}: {html.escape(skim)}</h2>")
        for section in _SECTIONS:
            parts += section(metrics)
    parts.append("</body></html>\n")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")
