"""report.html: the numbers and figures of an evaluation in one file that can be mailed."""

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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make an HTML table.

    Parameters
    ----------
    head : sequence of str
        Column titles.
    rows : sequence of sequence of str
        Cells; escaped here.

    Returns
    -------
    str
        HTML.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n{line(head, 'th')}\n{body}\n</table>"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table for the terminal, the first column to the left, others to the right.

    Parameters
    ----------
    head : sequence of str
        Column titles.
    rows : sequence of sequence of str
        Cells.

    Returns
    -------
    str
        Lines of equal length.
    """
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    )


SUMMARY_HEAD = (
    "model",
    "skim",
    "events",
    "passing",
    "AUC",
    "average precision",
    "speedup (sampling)",
)


def summary_row(model: str, skim: str, metrics: Mapping[str, Any]) -> list[str]:
    """Say the main numbers of one model and skim.

    Parameters
    ----------
    model, skim : str
        Names.
    metrics : mapping
        An entry of ``metrics.json``.

    Returns
    -------
    list of str
        One cell for each column of `SUMMARY_HEAD`.
    """
    sampling = metrics["speedup"].get("sampling")
    speedup = (
        "-" if sampling is None else str(Estimate(sampling["speedup"], sampling["speedup_error"]))
    )
    return [
        model,
        skim,
        str(metrics["n_events"]),
        str(metrics["n_passing"]),
        str(Estimate(metrics["auc"], metrics["auc_error"])),
        str(Estimate(metrics["average_precision"], metrics["average_precision_error"])),
        speedup,
    ]


def _sections(model: str, skim: str, metrics: Mapping[str, Any]) -> str:
    points = table(
        (
            "efficiency",
            "threshold (logit)",
            "kept of failing",
            "kept of all",
            "rejection",
            "precision",
        ),
        [
            [
                str(Estimate(p["efficiency"], p["efficiency_error"])),
                f"{p['threshold']:.4g}",
                str(Estimate(p["false_rate"], p["false_rate_error"])),
                f"{p['kept_fraction']:.4f}",
                "-" if p["rejection"] is None else f"{p['rejection']:.3g}",
                f"{p['precision']:.4f}",
            ]
            for p in metrics["working_points"]
        ],
    )
    losses = [("as it is", metrics)]
    if "calibrated" in metrics:
        losses.append(("calibrated on validation events", metrics["calibrated"]))
    loss_table = table(
        ("probability", "log loss", "Brier score"),
        [
            [
                name,
                str(Estimate(m["log_loss"], m["log_loss_error"])),
                str(Estimate(m["brier"], m["brier_error"])),
            ]
            for name, m in losses
        ],
    )
    rows = [
        [
            f"threshold, efficiency {t['efficiency']:.3f} (biased)",
            f"{t['kept_fraction']:.4f}",
            str(Estimate(t["speedup"], t["speedup_error"])),
        ]
        for t in metrics["speedup"]["threshold"]
    ]
    sampling = metrics["speedup"].get("sampling")
    if sampling is not None:
        rows.insert(
            0,
            [
                "sampling (unbiased)"
                if "n_passing" in sampling
                else "sampling (unbiased; rule fitted on the other half of these events)",
                f"{sampling['simulated_fraction']:.4f}",
                str(Estimate(sampling["speedup"], sampling["speedup_error"])),
            ],
        )
    cost = metrics["speedup"]["cost"]
    types = table(
        ("event type", "events", "passing", "AUC"),
        [
            [
                name,
                str(m["n_events"]),
                str(m["n_passing"]),
                "-" if m["auc"] is None else str(Estimate(m["auc"], m["auc_error"])),
            ]
            for name, m in metrics["by_event_type"].items()
        ],
    )
    mixture = metrics.get("natural_mixture")
    mixed = ""
    if mixture is not None:
        auc = "-" if mixture["auc"] is None else f"{mixture['auc']:.4f}"
        kept = Estimate(mixture["retention"], mixture["retention_error"])
        mixed = (
            f"<p>Mixed by cross-section ({html.escape(', '.join(mixture['event_types']))}): "
            f"AUC {auc}, retention {kept}.</p>"
        )
    parts = [
        f"<h2>{html.escape(model)}: {html.escape(skim)}</h2>",
        "<h3>Working points of a threshold</h3>",
        points,
        "<h3>Speedup at equal effective statistics</h3>",
        f"<p>An event costs 1 to simulate and reconstruct, {cost['generation']:g} to generate, "
        f"{cost['network']:g} to score. Errors are those of the test events.</p>",
        table(("filter", "simulated fraction", "speedup"), rows),
    ]
    if sampling is None:
        parts.append(
            "<p>The speedup by sampling is unknown: these predictions were made by a threshold, "
            "which biases what it keeps, or fewer than 20 events pass.</p>"
        )
    elif "n_passing" in sampling:
        total = Estimate(sampling["sum_of_weights"], sampling["sum_of_weights_error"])
        parts.append(
            f"<p>Weights of kept passing events add up to {total} for {sampling['n_passing']} "
            f"passing events; their effective number is {sampling['effective_passing']:.1f}.</p>"
        )
    parts += ["<h3>Calibration</h3>", loss_table, "<h3>By event type</h3>", types, mixed]
    if "observables" in metrics:
        parts += [
            "<h3>Bias observables of passing events</h3>",
            "<p>chi2 compares kept, weighted events with all of them, "
            "with the variance of the sampling.</p>",
            table(
                ("observable", "chi2 / bins", "effective number", "mean of all", "mean of kept"),
                [
                    [
                        name,
                        "-" if m["chi2"] is None else f"{m['chi2']:.1f} / {m['bins_used']}",
                        f"{m['effective_number']:.0f}",
                        f"{m['mean_all']:.4g}",
                        "-"
                        if m["mean_kept"] is None
                        else str(Estimate(m["mean_kept"], m["mean_kept_error"] or 0.0)),
                    ]
                    for name, m in metrics["observables"].items()
                ],
            ),
        ]
    return "\n".join(parts)


def write_report(
    path: str | Path,
    title: str,
    models: Mapping[str, Mapping[str, Mapping[str, Any]]],
    figures: Sequence[Path],
    notes: Sequence[str] = (),
    differences: Sequence[Sequence[str]] = (),
) -> None:
    """Write the report.

    Parameters
    ----------
    path : str or pathlib.Path
        The HTML file.
    title : str
        Its title.
    models : mapping
        Model -> skim -> metrics.
    figures : sequence of pathlib.Path
        PNG files; they are embedded.
    notes : sequence of str
        What a reader must know, for example skims without result.
    differences : sequence of sequence of str
        Rows: model, other model, skim, difference of AUC.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    rows = [
        summary_row(model, skim, metrics)
        for model, skims in models.items()
        for skim, metrics in skims.items()
    ]
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        *(f'<p class="warning">{html.escape(note)}</p>' for note in notes),
        table(SUMMARY_HEAD, rows),
    ]
    if differences:
        parts += [
            "<h3>Differences of AUC on the same events</h3>",
            table(("model", "other model", "skim", "AUC difference"), differences),
        ]
    for figure in figures:
        data = base64.b64encode(figure.read_bytes()).decode()
        name = html.escape(figure.stem)
        parts.append(
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
            f"<figcaption>{name}</figcaption></figure>"
        )
    parts += [
        _sections(model, skim, metrics)
        for model, skims in models.items()
        for skim, metrics in skims.items()
    ]
    parts.append("</body></html>\n")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")
