"""Compare models with the trees on every skim and size: paired differences of the AUC.

Run: ``python -m benchmarks.any_skim.table --runs RUNS [--judge]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.any_skim.plan import TASKS
from smartbkg_tf.evaluation.comparison import auc_covariance
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.runtime.text_table import text_table


def row(folder: Path, baseline: Path, skim: str) -> dict[str, Any]:
    """Compare a finished run with one of the trees on the same test events."""
    ours, theirs = (read_predictions(path / "predictions.parquet") for path in (folder, baseline))
    order = KeyIndex(theirs.keys).find(ours.keys)
    mine, other = ours.skims[skim], theirs.skims[skim]
    areas, covariance = auc_covariance([mine.score, other.score[order]], mine.label)
    error = np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0))
    sampling = read_json(folder / "metrics.json")["skims"][skim]["speedup"].get("sampling") or {}
    return {
        "auc": areas[0],
        "difference": areas[0] - areas[1],
        "error": error,
        "speedup": sampling.get("speedup", float("nan")),
        "cpu_minutes": read_json(folder / "cost.json")["cpu_minutes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--baseline", default="trees_3", help="the model to compare with")
    parser.add_argument("--judge", action="store_true")
    options = parser.parse_args()
    skims = [task.skim for task in TASKS if task.chosen_on is not options.judge]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    lines = []
    for done in sorted(options.runs.glob("*/*/*/*/seed_*/done.json")):
        folder = done.parent
        detector, skim, size, model, seed = folder.relative_to(options.runs).parts
        baseline = folder.parents[1] / options.baseline / seed
        if skim not in skims or not (baseline / "done.json").is_file():
            continue
        one = row(folder, baseline, skim)
        found.setdefault((model, size), []).append(one)
        if model != options.baseline:
            change = f"{one['difference']:+.4f} +- {one['error']:.4f}"
            lines.append([detector, skim, size, model, f"{one['auc']:.4f}", change])
    print(text_table(("detector", "skim", "size", "model", "AUC", "minus trees"), lines))
    summary = []
    for (model, size), rows in sorted(found.items(), key=lambda x: (int(x[0][1]), x[0][0])):
        change = np.array([one["difference"] for one in rows])
        error = np.array([one["error"] for one in rows])
        summary.append(
            [
                *(size, model, str(len(rows))),
                f"{np.mean([one['auc'] for one in rows]):.4f}",
                f"{change.mean():+.4f} +- {np.sqrt((error**2).sum()) / len(rows):.4f}",
                f"{int((change > 0).sum())}",
                f"{change.min():+.4f}",
                f"{np.mean([one['speedup'] for one in rows]):.3f}",
                f"{np.mean([one['cpu_minutes'] for one in rows]):.1f}",
            ]
        )
    head = (
        "size",
        "model",
        "runs",
        "AUC",
        "minus trees",
        "wins",
        "worst",
        "speedup",
        "CPU-minutes",
    )
    print()
    print(text_table(head, summary))


if __name__ == "__main__":
    guarded(main, debug=False)
