"""Average the scores of finished models: a further row.

Scores of different models have different scales: each is calibrated on validation events (Platt),
and the mean of the calibrated logits is the score.

Run: ``python -m benchmarks.fei_b0.average NAME --runs RUNS --members treenet/seed_1 ...``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fei_b0.rows import (
    TEST,
    VALIDATION,
    Floats,
    Row,
    Scores,
    folder_of,
    read_row,
    read_scores,
    write_row,
    write_scores,
)
from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import auc
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.fitting import fit_calibration
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.runtime.command import guarded


def mean_logit(members: Sequence[Scores], calibration: Sequence[tuple[float, float]]) -> Floats:
    """Average calibrated logits.

    Parameters
    ----------
    members : sequence of Scores
        Scores of the same events.
    calibration : sequence of tuple of float
        Slope and intercept of each.

    Returns
    -------
    numpy.ndarray [n]
        Logits.

    Raises
    ------
    InputError
        When the events differ.
    """
    if not all(member.same_events(members[0]) for member in members):
        raise InputError("the members were scored on different events: no average can be formed")
    logits = [a * m.score + b for m, (a, b) in zip(members, calibration, strict=True)]
    return np.asarray(np.mean(logits, axis=0), dtype=np.float64)


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the new row")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--members", nargs="+", required=True, help="NAME/seed_N, below RUNS")
    parser.add_argument("--seed", type=int, default=1, help="number of the new folder")
    options = parser.parse_args()
    folders = [options.runs / member for member in options.members]
    rows = [read_row(folder) for folder in folders]
    validation = [read_scores(folder / VALIDATION) for folder in folders]
    calibration = [
        fit_calibration(ScoreCounts.of(scores.score, scores.label)) for scores in validation
    ]
    output = folder_of(options.runs, options.name, options.seed)
    output.mkdir(parents=True, exist_ok=True)
    area = 0.0
    for file in (VALIDATION, TEST):
        members = [read_scores(folder / file) for folder in folders]
        score = mean_logit(members, calibration)
        if file == VALIDATION:
            area = auc(score, members[0].label)
        keys = {name: members[0].keys[:, i] for i, name in enumerate(KEY_COLUMNS)}
        write_scores(output / file, keys, members[0].label, score)
    write_row(
        output,
        Row(
            name=options.name,
            seed=options.seed,
            kind="average",
            inputs="mean of " + ", ".join(f"{row.name} ({row.seed})" for row in rows),
            knows_skim=any(row.knows_skim for row in rows),
            parameters=sum(row.parameters for row in rows),
            events_per_second=None,
            cpu_minutes=_total([row.cpu_minutes for row in rows]),
            passes=max(row.passes for row in rows),
            validation_auc=area,
            details={"members": options.members},
        ),
    )
    print(f"{options.name}: validation AUC {area:.4f}")


if __name__ == "__main__":
    guarded(main, debug=False)
