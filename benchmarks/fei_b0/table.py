"""The benchmark's table: every finished model, scored once on the test events.

The sampling rule of each model is fitted on its validation scores, the threshold is the one that
keeps `EFFICIENCY` of the passing validation events. All rows see the same bootstrap resamples of
the test events, so that differences between rows are paired; errors leave training seeds out. Rows
with several seeds show means over seeds; ``seeds`` in the JSON files tells each one's AUC and
their spread.

A label is one draw of the detector's randomness, and most of the error of a difference is the
chance of that draw: some 900 of 20000 events pass. With reruns (`benchmarks.fei_b0.reruns`) the
same scores of the same events are also judged by labels drawn again, averaged over all reruns:
the same quantities, known better. Their errors resample events without regard to labels, those of
the sample's own labels resample passing and failing events each on their own.

Run: ``python -m benchmarks.fei_b0.table --runs RUNS --reruns FILE --output DIRECTORY``
writes ``NAME.json`` for each row, ``ceiling.json`` and ``table.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.fei_b0.ceiling import Ceiling, ceiling, read_reruns
from benchmarks.fei_b0.rows import ROW, TEST, VALIDATION, Floats, Row, Scores, read_row, read_scores
from benchmarks.fei_b0.run import BUDGET
from benchmarks.resampling import SortedScores, area_under_roc, resamples
from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.metrics import Estimate, place_of
from smartbkg_tf.filtering.fitting import fit_sampling_rule, sampling_rule
from smartbkg_tf.filtering.rules import SamplingRule
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import atomic_file, write_json
from smartbkg_tf.settings.costs import CostSettings

#: Of the threshold, on validation events.
EFFICIENCY = 0.95
#: Where the table stands in a document.
MARKERS = ("<!-- quality table -->", "<!-- end of quality table -->")
#: What is measured of each model, in this order.
FIGURES = ("auc", "sampling_speedup", "threshold_speedup")
#: The same with labels drawn again.
REDRAWN = tuple(f"redrawn_{name}" for name in FIGURES)


@dataclass(frozen=True)
class Working:
    """How a model decides: fixed before the test events are looked at.

    Parameters
    ----------
    rule : SamplingRule
        Fitted on validation events.
    threshold : float
        On the logit.
    """

    rule: SamplingRule
    threshold: float


def decide_on(validation: Scores) -> Working:
    """Fix rule and threshold on validation events.

    Parameters
    ----------
    validation : Scores
        At their natural mixture.

    Returns
    -------
    Working
        Rule and threshold.
    """
    counts = ScoreCounts.of(validation.score, validation.label)
    rule = sampling_rule(fit_sampling_rule(counts, bootstrap=0))
    return Working(rule, float(counts.lowest[place_of(counts, EFFICIENCY)]))


class Measures:
    """Figures of one model on test events, for any numbers of copies of them.

    Parameters
    ----------
    test : Scores
        The test events.
    working : Working
        How the model decides.
    share : numpy.ndarray [n]
        Each event counts as passing with this share, and as failing with the rest: its label, or
        the share of its reruns that pass.
    """

    def __init__(self, test: Scores, working: Working, share: Floats) -> None:
        n = len(share)
        self._cost = CostSettings()
        self._share = share
        # Every event twice, as a passing and as a failing one; the weights tell how much.
        self._sorted = SortedScores(np.tile(test.score, 2), np.repeat([1, 0], n))
        self._kept = working.rule.probability(test.score)
        self._above = (test.score >= working.threshold).astype(np.float64)

    def figures(self, copies: Floats) -> Floats:
        """Measure.

        Parameters
        ----------
        copies : numpy.ndarray [n]
            Of each event; 1 for the events as they are.

        Returns
        -------
        numpy.ndarray [3]
            In the order of `FIGURES`.
        """
        passing = copies * self._share
        total, n_passing = copies.sum(), passing.sum()
        cumulative = self._sorted.cumulative(np.concatenate([passing, copies - passing]))
        return np.array(
            [
                area_under_roc(*cumulative),
                self._cost.speedup(
                    float(copies @ self._kept / total),
                    float(passing @ (1.0 / self._kept) / n_passing),
                ),
                self._cost.threshold_speedup(
                    float(copies @ self._above / total), float(passing @ self._above / n_passing)
                ),
            ]
        )


def shares_of(reruns: Path, test: Scores) -> Floats:
    """Read which share of its reruns each test event passes.

    Parameters
    ----------
    reruns : pathlib.Path
        From `benchmarks.fei_b0.reruns`.
    test : Scores
        The test events.

    Returns
    -------
    numpy.ndarray [n]
        In the order of `test`.

    Raises
    ------
    InputError
        When the file is missing or damaged, holds other events or labels, or one class only.
    """
    keys, labels, passes = read_reruns(reruns)
    order = np.lexsort(keys.T[::-1])
    if not (np.array_equal(keys[order], test.keys) and np.array_equal(labels[order], test.label)):
        raise InputError(
            "holds other events or labels than the models were scored on",
            where=reruns,
            next_step="python -m benchmarks.fei_b0.reruns --part test, of the same sample",
        )
    share = np.asarray(passes[order].mean(axis=1), dtype=np.float64)
    if not 0.0 < share.mean() < 1.0:
        raise InputError(
            "all events fail, or all pass, in every rerun: there is nothing to tell apart",
            where=reruns,
            next_step="take a larger sample",
        )
    return share


@dataclass(frozen=True)
class Model:
    """A finished model with its scores.

    Parameters
    ----------
    row : Row
        What it is.
    validation, test : Scores
        Its scores.
    """

    row: Row
    validation: Scores
    test: Scores


def find_models(runs: Path) -> dict[str, list[Model]]:
    """Read all finished models below a folder.

    Parameters
    ----------
    runs : pathlib.Path
        With ``NAME/seed_N``.

    Returns
    -------
    dict of str to list of Model
        By row and seed.

    Raises
    ------
    InputError
        When there is none, or models were scored on different events.
    """
    found: dict[str, list[Model]] = {}
    first: Model | None = None
    for path in sorted(runs.glob(f"*/*/{ROW}")):
        folder = path.parent
        model = Model(
            read_row(folder), read_scores(folder / VALIDATION), read_scores(folder / TEST)
        )
        first = first or model
        for part in ("validation", "test"):
            if not getattr(model, part).same_events(getattr(first, part)):
                raise InputError(
                    f"was scored on other {part} events than {first.row.name}",
                    where=folder,
                    next_step="train all models on one dataset directory",
                )
        found.setdefault(model.row.name, []).append(model)
    if not found:
        raise InputError(
            f"holds no NAME/seed_N/{ROW}",
            where=runs,
            next_step="python -m benchmarks.fei_b0.run or trees",
        )
    return found


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Parameters
    ----------
    rows : list of Row
        One for each seed.
    values : numpy.ndarray [seeds, 3 or 6]
        `FIGURES` of each seed, and `REDRAWN` where there are reruns.
    replicas : numpy.ndarray [resamples, 3 or 6]
        Their means over seeds, for each resample of the test events; resamples of `REDRAWN`
        are others than those of `FIGURES`, and the same for all rows.
    """

    rows: list[Row]
    values: Floats
    replicas: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of `values` are."""
        return (FIGURES + REDRAWN)[: self.values.shape[1]]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Means over seeds, errors by resampling."""
        errors = self.replicas.std(axis=0, ddof=1)
        means = self.values.mean(axis=0)
        return {n: Estimate(float(means[i]), float(errors[i])) for i, n in enumerate(self.names)}


def _resampled(
    measures: Mapping[str, Sequence[Measures]],
    classes: npt.NDArray[np.int8],
    number: int,
    seed: int,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Give figures of every seed of every row, and means over seeds for every resample."""
    replicas: dict[str, list[Floats]] = {name: [] for name in measures}
    for copies in resamples(classes, number, seed):
        for name, members in measures.items():
            replicas[name].append(np.mean([m.figures(copies) for m in members], axis=0))
    once = np.ones(len(classes))
    values = {name: np.stack([m.figures(once) for m in found]) for name, found in measures.items()}
    return values, {name: np.stack(rows) for name, rows in replicas.items()}


def measure(
    models: dict[str, list[Model]],
    *,
    share: Floats | None = None,
    number: int = 1000,
    seed: int = 0,
) -> dict[str, Result]:
    """Measure all models with the same resamples.

    Parameters
    ----------
    models : dict of str to list of Model
        From `find_models`.
    share : numpy.ndarray [n], optional
        From `shares_of`; without it nothing is measured with labels drawn again.
    number : int, default 1000
        Bootstrap resamples.
    seed : int, default 0
        Of the resamples.

    Returns
    -------
    dict of str to Result
        By row, the largest AUC first.
    """
    label = next(iter(models.values()))[0].test.label
    working = {name: [decide_on(m.validation) for m in members] for name, members in models.items()}
    # With labels drawn again there are no classes that a resample could keep apart.
    judged_by = [(label.astype(np.float64), label)]
    if share is not None:
        judged_by.append((share, np.zeros_like(label)))
    parts = [
        _resampled(
            {
                name: [Measures(m.test, w, of) for m, w in zip(members, working[name], strict=True)]
                for name, members in models.items()
            },
            classes,
            number,
            seed,
        )
        for of, classes in judged_by
    ]
    results = {
        name: Result(
            [m.row for m in members],
            np.concatenate([values[name] for values, _ in parts], axis=1),
            np.concatenate([replicas[name] for _, replicas in parts], axis=1),
        )
        for name, members in models.items()
    }
    return dict(sorted(results.items(), key=lambda item: -item[1].values[:, 0].mean()))


def reference_of(results: dict[str, Result], knows_skim: bool) -> str | None:
    """Find the tree row that others with the same knowledge are compared with.

    Parameters
    ----------
    results : dict of str to Result
        All rows.
    knows_skim : bool
        Among rows whose inputs know the skim, or among those that do not.

    Returns
    -------
    str or None
        The row of trees with the largest AUC.
    """
    trees = {
        name: result.values[:, 0].mean()
        for name, result in results.items()
        if result.rows[0].kind == "trees" and result.rows[0].knows_skim == knows_skim
    }
    return max(trees, key=lambda name: trees[name]) if trees else None


def difference(result: Result, other: Result) -> dict[str, Estimate]:
    """Compare two rows on the same events.

    Parameters
    ----------
    result, other : Result
        The rows.

    Returns
    -------
    dict of str to Estimate
        result - other, with the error of the difference.
    """
    values = result.values.mean(axis=0) - other.values.mean(axis=0)
    errors = (result.replicas - other.replicas).std(axis=0, ddof=1)
    return {n: Estimate(float(values[i]), float(errors[i])) for i, n in enumerate(result.names)}


def _plain(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def as_json(name: str, result: Result, best: tuple[str, Result] | None) -> dict[str, Any]:
    """Describe a row as plain values.

    Parameters
    ----------
    name : str
        The row.
    result : Result
        Its figures.
    best : tuple of str and Result, optional
        The tree row to compare with.

    Returns
    -------
    dict
        What ``NAME.json`` holds.
    """
    values: dict[str, Any] = {"name": name, **_plain(result.estimates)}
    if len(result.rows) > 1:
        values["seed_spread"] = {
            figure: float(spread)
            for figure, spread in zip(result.names, result.values.std(axis=0, ddof=1), strict=True)
        }
    if best is not None and best[0] != name:
        values["difference"] = {"to": best[0], **_plain(difference(result, best[1]))}
    values["seeds"] = [
        {**asdict(row), **dict(zip(result.names, map(float, figures), strict=True))}
        for row, figures in zip(result.rows, result.values, strict=True)
    ]
    return values


def _cell(estimate: Estimate, decimals: int) -> str:
    return f"{estimate.value:.{decimals}f} ± {estimate.error:.{decimals}f}"


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(float(np.mean(known)), form) if known else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown(results: dict[str, Result], limit: Ceiling | None) -> str:
    """Write the table.

    Parameters
    ----------
    results : dict of str to Result
        All rows, in their order.
    limit : Ceiling, optional
        What no predictor can exceed.

    Returns
    -------
    str
        Markdown.
    """
    references = {knows: reference_of(results, knows) for knows in (False, True)}
    redrawn = all(REDRAWN[0] in result.names for result in results.values())
    head = (
        *("row", "inputs", "knows the skim", "AUC", "AUC - best trees"),
        *(("redrawn AUC", "redrawn AUC - best trees", "redrawn speedup") if redrawn else ()),
        *("speedup, sampling", f"speedup, threshold at {EFFICIENCY:g}"),
        *("parameters", "events/s", "CPU-min", "passes", "seeds"),
    )
    lines = [_line(head), _line(["---"] * len(head))]
    if limit is not None:
        text = "the probability to pass, from detector reruns"
        area, speedup = _cell(limit.auc, 4), _cell(limit.speedup, 2)
        # The same whatever labels are drawn.
        figures = [area, "", *((area, "", speedup) if redrawn else ()), speedup]
        lines.append(
            _line(["*ceiling*", text, "", *figures, *[""] * (len(head) - 3 - len(figures))])
        )
    for name, result in results.items():
        row, estimates = result.rows[0], result.estimates
        reference = references[row.knows_skim]
        gaps = dict.fromkeys(result.names, "" if reference is None else "reference")
        if reference is not None and name != reference:
            for figure, gap in difference(result, results[reference]).items():
                gaps[figure] = f"{gap.value:+.4f} ± {gap.error:.4f}"
        again = (
            (
                _cell(estimates[REDRAWN[0]], 4),
                gaps[REDRAWN[0]],
                _cell(estimates[REDRAWN[1]], 2),
            )
            if redrawn
            else ()
        )
        area = _cell(estimates["auc"], 4)
        if len(result.rows) > 1:
            area += f" (spread {result.values[:, 0].std(ddof=1):.4f})"
        minutes = [r.cpu_minutes for r in result.rows]
        over = any(m is not None and m > BUDGET for m in minutes) and row.kind != "average"
        cells = (
            f"`{name}`",
            row.inputs,
            "yes" if row.knows_skim else "no",
            area,
            gaps["auc"],
            *again,
            _cell(estimates["sampling_speedup"], 2),
            _cell(estimates["threshold_speedup"], 2),
            f"{row.parameters:,}",
            _mean([r.events_per_second for r in result.rows], ",.0f"),
            _mean(minutes, ".1f") + (" **over budget**" if over else ""),
            _mean([float(r.passes) for r in result.rows], ".0f"),
            str(len(result.rows)),
        )
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def write_table(results: dict[str, Result], limit: Ceiling | None, output: Path) -> str:
    """Write all results.

    Parameters
    ----------
    results : dict of str to Result
        All rows.
    limit : Ceiling, optional
        The ceiling.
    output : pathlib.Path
        The folder.

    Returns
    -------
    str
        The table as markdown.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        reference = reference_of(results, result.rows[0].knows_skim)
        best = None if reference is None else (reference, results[reference])
        write_json(output / f"{name}.json", as_json(name, result, best))
    if limit is not None:
        write_json(output / "ceiling.json", asdict(limit))
    text = markdown(results, limit)
    with atomic_file(output / "table.md") as partial:
        partial.write_text(text, encoding="utf-8")
    return text


def put_into(document: Path, text: str) -> None:
    """Replace the table in a document, between the two comments of `MARKERS`.

    Parameters
    ----------
    document : pathlib.Path
        Markdown.
    text : str
        The table.

    Raises
    ------
    InputError
        When the comments are missing.
    """
    old = document.read_text(encoding="utf-8")
    before, first, rest = old.partition(MARKERS[0])
    _, second, after = rest.partition(MARKERS[1])
    if not (first and second):
        raise InputError(f"lacks the lines {MARKERS[0]} and {MARKERS[1]}", where=document)
    with atomic_file(document) as partial:
        partial.write_text(f"{before}{first}\n{text}{second}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--reruns", type=Path, help="of the test events, from `reruns`")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--document", type=Path, help="markdown to put the table into")
    parser.add_argument("--only", nargs="+", help="rows of the table; left out: all")
    options = parser.parse_args()
    models = find_models(options.runs)
    missing = set(options.only or ()) - set(models)
    if missing:
        raise InputError(
            f"no row {', '.join(sorted(missing))}; there are: {', '.join(models)}",
            where=options.runs,
        )
    if options.only:
        models = {name: models[name] for name in options.only}
    limit = share = None
    if options.reruns is not None:
        limit = ceiling(options.reruns)
        share = shares_of(options.reruns, next(iter(models.values()))[0].test)
    text = write_table(
        measure(models, share=share, number=options.resamples), limit, options.output
    )
    print(text)
    if options.document is not None:
        put_into(options.document, text)


if __name__ == "__main__":
    guarded(main, debug=False)
