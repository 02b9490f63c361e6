"""Draw the benchmark: ROC curves of chosen rows, and AUC and speedups of all of them.

Run, after `benchmarks.fei_b0.table`:
``python -m benchmarks.fei_b0.plot --runs RUNS --results DIRECTORY --curves NAME ... --output PNG``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.fei_b0.rows import TEST, folder_of, read_scores
from benchmarks.resampling import SortedScores
from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import atomic_file, read_json

matplotlib.use("Agg")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def results_of(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Read what the table wrote.

    Parameters
    ----------
    folder : pathlib.Path
        Its output.

    Returns
    -------
    rows : list of dict
        By rising AUC.
    limit : dict or None
        The ceiling.
    """
    made_by = "python -m benchmarks.fei_b0.table"
    rows = [read_json(p, made_by=made_by) for p in sorted(folder.glob("*.json"))]
    limit = next((row for row in rows if "reruns" in row), None)
    return sorted((r for r in rows if "seeds" in r), key=lambda r: r["auc"]["value"]), limit


def draw(runs: Path, results: Path, curves: list[str], output: Path) -> None:
    """Draw the figure.

    Parameters
    ----------
    runs : pathlib.Path
        Folder of all models.
    results : pathlib.Path
        Folder of the table.
    curves : list of str
        Rows whose ROC is drawn, with their first seed.
    output : pathlib.Path
        PNG.

    Raises
    ------
    InputError
        When a row does not exist.
    """
    import matplotlib.pyplot as plt

    rows, limit = results_of(results)
    height = 1.6 + 0.32 * len(rows)
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(13, max(4.2, height)), layout="constrained"
    )
    by_name = {row["name"]: row for row in rows}
    for name in curves:
        if name not in by_name:
            raise InputError(f"no row {name}; {did_you_mean(name, by_name)}", where=results)
    for name, colour in zip(curves, _COLOURS, strict=False):
        row = by_name[name]
        scores = read_scores(folder_of(runs, name, row["seeds"][0]["seed"]) / TEST)
        passing, failing = SortedScores(scores.score, scores.label).cumulative(
            np.ones(len(scores.label))
        )
        left.plot(
            np.append(0, failing / failing[-1]), np.append(0, passing / passing[-1]), color=colour,
            label=f"{name}: AUC {row['auc']['value']:.4f}",
        )  # fmt: skip
    left.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    left.set_xlabel("fraction of failing events kept")
    left.set_ylabel("fraction of passing events kept")
    left.legend(loc="lower right", fontsize=8)
    labels = [row["name"] + (" (knows the skim)" if knows(row) else "") for row in rows]
    places = np.arange(len(rows))
    again = [row for row in rows if "redrawn_auc" in row]
    for figure_name, text, marker, colour, shift, chosen in (
        ("auc", "AUC", "o", _COLOURS[0], 0.15 if again else 0.0, rows),
        ("redrawn_auc", "AUC, labels drawn again", "s", _COLOURS[1], -0.15, again),
    ):
        if not chosen:
            continue
        middle.errorbar(
            [row[figure_name]["value"] for row in chosen],
            [place + shift for place, row in zip(places, rows, strict=True) if row in chosen],
            xerr=[row[figure_name]["error"] for row in chosen],
            fmt=marker, markersize=4, color=colour, label=text,
        )  # fmt: skip
    middle.set_yticks(places, labels, fontsize=8)
    middle.set_xlabel("AUC, natural test events")
    for shift, figure_name, text, colour in (
        (0.18, "sampling_speedup", "importance sampling", _COLOURS[0]),
        (-0.18, "threshold_speedup", "threshold (biased)", _COLOURS[4]),
    ):
        right.barh(
            places + shift, [row[figure_name]["value"] for row in rows], 0.34,
            xerr=[row[figure_name]["error"] for row in rows], color=colour, label=text,
        )  # fmt: skip
    right.set_yticks(places, [""] * len(rows))
    right.set_xlabel("speedup: time without filter / time with it")
    if limit is not None:
        for axes, quantity in ((middle, "auc"), (right, "speedup")):
            axes.axvline(
                limit[quantity]["value"], linestyle="--", color="grey", label="ceiling (reruns)"
            )
    for axes in (middle, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncol=2, fontsize=8)
    figure.suptitle("fei_hadronic_b0: 60000 balanced training events, 20000 natural test events")
    with atomic_file(output) as partial:
        figure.savefig(partial, dpi=110, format="png", bbox_inches="tight")
    plt.close(figure)


def knows(row: dict[str, Any]) -> bool:
    """Say whether a row's inputs know the skim.

    Parameters
    ----------
    row : dict
        From ``NAME.json``.

    Returns
    -------
    bool
        Of its first seed.
    """
    return bool(row["seeds"][0]["knows_skim"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--curves", nargs="+", required=True, help="rows whose ROC is drawn")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    draw(options.runs, options.results, options.curves, options.output)


if __name__ == "__main__":
    guarded(main, debug=False)
