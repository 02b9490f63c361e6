"""Test that kept, weighted events have the distributions of the unfiltered ones (closure).

The null hypothesis: each event is kept with its probability p, independently of all others, and
then has the weight 1 / p. Then the sum of the weights of the passing events i of a bin has the
expectation N, their number, and the variance sum_i (1 - p_i) / p_i, which makes a chi2 of each
observable. A few events of small p decide it, so that its distribution is not quite that of
textbooks: the probability of a chi2 is the fraction of random replicas, which keep the same
events with other random numbers, whose chi2 is at least as large.

Under the null hypothesis the probabilities of one observable, over the seeds of the sampling, are
independent and uniform: a Kolmogorov-Smirnov test for each. Those of several observables of one
seed depend on each other, because the same events are kept. All of them together are tested by
the same distance to uniformity, compared with that of replicas of all seeds at once, which have
the same dependence.

    make closure

writes ``results.json``, figures and ``README.md`` to ``experiments/closure``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.apply import apply
from smartbkg_tf.filtering.rules import combine, decide, random_numbers
from smartbkg_tf.runtime.command import guarded
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.settings.filtering import ApplySettings

Floats = npt.NDArray[np.float64]

FIRST, LAST, THRESHOLD = "first_seed", "last_seed", "threshold"
BINS = 20
#: Replicas of all seeds of the sampling.
REPLICAS = 400
#: All skims of the model together: kept by any of them, weight 1 / (largest p).
TOGETHER = "any skim"
#: Of the passing events, that the threshold filter keeps.
EFFICIENCY = 0.9


@dataclass(frozen=True)
class Analysis:
    """The passing events of an analysis: how probably each is kept, and what is measured of it.

    Observables are NaN where they are not defined; their bins hold equally many events.
    """

    probability: Floats  # [n]
    observables: Mapping[str, Floats]  # [n] each
    edges: dict[str, Floats] = field(init=False, default_factory=dict)
    design: Floats = field(init=False)  # [n, bins of all observables] 1 where an event belongs

    def __post_init__(self) -> None:
        columns = []
        for name, values in self.observables.items():
            known = values[np.isfinite(values)]
            edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="lower"))
            self.edges[name] = edges
            place = np.searchsorted(edges[1:-1], values, side="right")
            columns += [
                ((place == i) & np.isfinite(values)).astype(np.float64)
                for i in range(max(len(edges) - 1, 1))
            ]
        object.__setattr__(self, "design", np.stack(columns, axis=1))

    @property
    def variance(self) -> Floats:
        """Of the weight of every event [n]."""
        return (1 - self.probability) / self.probability

    def slices(self) -> dict[str, slice]:
        """Which bins are those of each observable."""
        ends = np.cumsum([max(len(edges) - 1, 1) for edges in self.edges.values()]).tolist()
        return {
            name: slice(a, b) for name, a, b in zip(self.edges, [0, *ends[:-1]], ends, strict=True)
        }

    def pulls(self, weights: Floats) -> Floats:
        """(Sum of weights [..., n] - events) / error of every bin; NaN where nothing is random."""
        variance = self.variance @ self.design
        error = np.sqrt(np.where(variance > 0, variance, np.nan))
        pulls: Floats = (weights @ self.design - self.design.sum(0)) / error
        return pulls

    def chi2(self, weights: Floats) -> Floats:
        """chi2 [k, observables] of weights [k, n]."""
        squares = self.pulls(weights) ** 2
        return np.stack([np.nansum(squares[:, s], axis=1) for s in self.slices().values()], axis=1)

    def replicas(self, number: int, random: np.random.Generator) -> Floats:
        """chi2 [number, observables] of other random numbers."""
        p, found = self.probability, []
        for start in range(0, number, 500):
            drawn = random.random((min(500, number - start), len(p)))
            found.append(self.chi2(np.where(drawn < p, 1 / p, 0.0)))
        return np.concatenate(found)


@dataclass(frozen=True)
class Closure:
    """What came out for one analysis."""

    sums: Floats  # [seeds] sum of weights
    expected: int
    error: float  # of a sum
    probabilities: Floats  # [seeds, observables] of the chi2
    ks: Floats  # [observables] probability that those of an observable are uniform
    all_ks: float  # the same for all of them together
    band: Floats  # [replicas, seeds * observables] sorted probabilities of replicas
    kept: float  # events, mean over seeds

    @property
    def sum_pulls(self) -> Floats:
        """(Sum of weights - passing events) / error [seeds]."""
        return (self.sums - self.expected) / self.error

    def problems(self) -> list[str]:
        """Say what contradicts unbiased weights; nothing, if nothing does."""
        found = []
        if np.abs(self.sum_pulls).max() > 3:
            found.append(f"a sum of weights is {np.abs(self.sum_pulls).max():.1f} sigma off")
        if self.all_ks < 0.01:
            found.append(f"probabilities of chi2 are not uniform ({self.all_ks:.2g})")
        if self.ks.min() * len(self.ks) < 0.01:
            found.append(f"those of one observable are not uniform ({self.ks.min():.2g})")
        return found


def distance(probabilities: Floats) -> Floats:
    """Kolmogorov-Smirnov distance [...] of probabilities [..., k] to uniformity."""
    ordered = np.sort(probabilities, axis=-1)
    k = ordered.shape[-1]
    steps = np.arange(k + 1) / k
    found: Floats = np.maximum(ordered - steps[:-1], steps[1:] - ordered).max(axis=-1)
    return found


def close(analysis: Analysis, weights: Floats, *, replicas: int = REPLICAS) -> Closure:
    """Test the weights [seeds, n] of the passing events, 0 for those that were not kept."""
    from scipy.stats import kstest

    seeds = len(weights)
    chi2 = analysis.chi2(weights)
    drawn = analysis.replicas(replicas * seeds, np.random.default_rng(0))
    ordered = np.sort(drawn, axis=0)

    def probability(values: Floats) -> Floats:
        # Rounding must not decide between equal values.
        below = [
            np.searchsorted(column, values[:, i] * (1 - 1e-9)) for i, column in enumerate(ordered.T)
        ]
        return 1 - np.stack(below, axis=1) / len(ordered)

    found = probability(chi2)
    everything = probability(drawn).reshape(replicas, -1)
    distances = distance(everything)
    return Closure(
        sums=weights.sum(1),
        expected=weights.shape[1],
        error=float(np.sqrt(analysis.variance.sum())),
        probabilities=found,
        ks=np.array([kstest(column, "uniform").pvalue for column in found.T]),
        all_ks=float((1 + np.sum(distances >= distance(found.ravel()))) / (1 + replicas)),
        band=np.sort(everything, axis=1),
        kept=float((weights > 0).sum(1).mean()),
    )


def apply_all(run: str, dataset: str, folder: Path, seeds: int) -> dict[str, Path]:
    """Apply the model with the first and last seed and with a threshold."""
    methods: dict[str, dict[str, Any]] = {
        FIRST: {"seed": 0},
        LAST: {"seed": seeds - 1},
        THRESHOLD: {"method": "threshold", "efficiency": EFFICIENCY},
    }
    paths = {name: folder / f"{name}.parquet" for name in methods}
    for name, options in methods.items():
        # Again each time: what is there may be of another model.
        apply(
            ApplySettings(
                run=run, input=dataset, output=str(paths[name]), overwrite=True, **options
            )
        )
    return paths


def read(
    paths: Mapping[str, Path], observables: Path, seeds: int
) -> dict[str, tuple[Analysis, Floats, Any]]:
    """Give each analysis with its weights [seeds, n] and what the threshold keeps [n].

    Other seeds change no score: what `apply` would write for them is drawn from the probabilities
    of the first, by the functions that `apply` uses. For the first and the last seed it must be
    what `apply` wrote.
    """
    import pandas as pd

    frames = {name: pd.read_parquet(path) for name, path in paths.items()}
    first, keys = frames[FIRST], list(KEY_COLUMNS)
    for name, frame in frames.items():
        if not frame[keys].equals(first[keys]):
            raise ValueError(f"{name} holds other events")
    measured = first[keys].merge(pd.read_parquet(observables), on=keys, how="left", validate="1:1")
    names = [name for name in measured if name not in (*keys, "event_type")]
    skims = [name.removeprefix("label_") for name in first if name.startswith("label_")]
    columns = {name: first[name].to_numpy() for name in keys}
    drawn = []
    for seed in range(seeds):
        uniform = random_numbers(columns, seed)
        drawn.append([decide(first[f"probability_{skim}"], uniform) for skim in skims])
    found = {}
    for i, skim in enumerate((*skims, TOGETHER)):
        own, end = ([skim], f"_{skim}") if skim != TOGETHER else (skims, "")
        decisions = [d[i] if skim != TOGETHER else combine(d) for d in drawn]
        for place, name in ((0, FIRST), (-1, LAST)):
            np.testing.assert_allclose(decisions[place].weight, frames[name][f"weight{end}"])
        passing = (first[[f"label_{s}" for s in own]] == 1).any(axis=1).to_numpy()
        table = measured[passing]
        # Observables that a skim defines are those of its own passing events.
        chosen = {
            n: table[n].to_numpy(dtype=float) for n in names if table[n].notna().mean() > 0.95
        }
        analysis = Analysis(decisions[0].probability[passing], chosen)
        weights = np.stack([decision.weight[passing] for decision in decisions])
        found[skim] = (analysis, weights, frames[THRESHOLD][f"kept{end}"].to_numpy()[passing])
    return found


def after_threshold(analysis: Analysis, kept: Any) -> tuple[Analysis, Floats]:
    """Look at events that a threshold keeps as if it had kept all with the same probability."""
    same = np.full(len(kept), kept.mean())
    return Analysis(same, analysis.observables), np.where(kept, 1 / same, 0.0)[None]


def draw(found: Mapping[str, Any], results: Mapping[str, Closure], folder: Path) -> None:
    """Draw probabilities of chi2 and, for the first skim, what becomes of observables."""
    from smartbkg_tf.evaluation.figures import COLOURS, GREY, new_figure

    figure, axes = new_figure(10, 3, ncols=len(results), sharey=True)
    for axis, (name, result) in zip(axes, results.items(), strict=True):
        n = result.band.shape[1]
        expected = np.arange(1, n + 1) / n
        low, high = np.quantile(result.band, [0.025, 0.975], axis=0)
        axis.fill_betweenx(expected, low, high, color="#dddddd", label="95 % of replicas")
        axis.step(
            np.sort(result.probabilities.ravel()), expected, color=COLOURS[0],
            label=f"{n} chi2: p = {result.all_ks:.2f}",
        )  # fmt: skip
        axis.set(title=name, xlabel="probability of chi2", xlim=(0, 1), ylim=(0, 1))
        axis.legend(loc="upper left", fontsize="small")
    axes[0].set_ylabel("fraction below")
    figure.savefig(folder / "probabilities.png", dpi=80, metadata={"Software": None})

    name = next(iter(found))
    analysis, weights, kept = found[name]
    biased, threshold = after_threshold(analysis, kept)
    units = {"nTracks": "", "R2": "", "missingMass2": " [GeV$^2$]", f"Mbc_{name}": " [GeV]"}
    shown = [observable for observable in units if observable in analysis.edges]
    figure, axes = new_figure(10, 5.5, nrows=2, ncols=len(shown), sharey="row", squeeze=False)
    for column, observable in enumerate(shown):
        part, edges = analysis.slices()[observable], analysis.edges[observable]
        for used, w, colour, label in (
            (biased, threshold[0], COLOURS[1], f"threshold, {100 * kept.mean():.0f} % kept"),
            (analysis, weights[0], COLOURS[0], "sampling, weighted"),
        ):
            everything = used.design[:, part].sum(0)
            ratio = w @ used.design[:, part] / everything
            error = np.sqrt(used.variance @ used.design[:, part]) / everything
            middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
            axes[0, column].errorbar(
                middle, ratio, error, half, fmt="o", markersize=3, color=colour, label=label
            )
            pulls = used.pulls(w)[part]
            axes[1, column].stairs(pulls, edges, color=colour, label=label)
        axes[0, column].axhline(1, color=GREY, linewidth=0.8)
        axes[1, column].axhspan(-1, 1, color="#eeeeee")
        axes[1, column].set_xlabel(observable + units[observable])
    axes[0, 0].set_ylabel("weighted / all passing")
    axes[1, 0].set_ylabel("pull")
    axes[0, 0].legend(fontsize="small")
    figure.savefig(folder / "observables.png", dpi=80, metadata={"Software": None})


def table_of(analysis: Analysis, result: Closure, weights: Floats, kept: Any) -> str:
    """Lay out one row for each observable."""
    biased, threshold = after_threshold(analysis, kept)
    chi2, lost = analysis.chi2(weights), biased.chi2(threshold)[0]
    worst = np.abs(biased.pulls(threshold)[0])
    rows = []
    for i, (name, part) in enumerate(analysis.slices().items()):
        bins = part.stop - part.start
        error = chi2[:, i].std(ddof=1) / np.sqrt(len(chi2)) / bins
        rows.append(
            [
                name, str(bins), f"{chi2[:, i].mean() / bins:.2f} +- {error:.2f}",
                f"{result.ks[i]:.2f}", f"{lost[i] / bins:.1f}", f"{np.nanmax(worst[part]):.1f}",
            ]
        )  # fmt: skip
    head = ("observable", "bins", "chi2/bins", "uniform", "threshold chi2/bins", "largest pull")
    return text_table(head, rows)


def page(found: Mapping[str, Any], results: Mapping[str, Closure], n_events: int) -> str:
    """Write the result page."""
    seeds = len(next(iter(results.values())).sums)
    rows = []
    for name, result in results.items():
        pulls = result.sum_pulls
        kept = found[name][2]
        rows.append(
            [
                name, str(result.expected), f"{result.kept:.0f}",
                f"{result.sums.mean():.0f} +- {result.error / np.sqrt(seeds):.0f}",
                f"{pulls.mean():+.2f} +- {1 / np.sqrt(seeds):.2f}", f"{pulls.std(ddof=1):.2f}",
                f"{np.abs(pulls).max():.2f}", f"{result.all_ks:.2f}",
                f"{100 * kept.mean():.1f} %",
            ]
        )  # fmt: skip
    head = (
        "analysis", "passing", "kept", "sum of weights", "mean pull", "spread", "largest",
        "uniform", "threshold keeps",
    )  # fmt: skip
    tables = "\n\n".join(
        f"{name}\n\n```\n{table_of(*found[name][:1], results[name], *found[name][1:])}\n```"
        for name in results
    )
    problems = [f"{name}: {what}" for name, r in results.items() for what in r.problems()]
    verdict = "; ".join(problems) or "nothing contradicts unbiased weights"
    return f"""# Closure: kept, weighted events against all events

{n_events} mixed events of the built-in source, two skims, a network that was trained on other
{n_events} (`experiments/closure/resnet.yaml`), its fitted sampling rule with {seeds} seeds, and
beside it the threshold that keeps {100 * EFFICIENCY:.0f} % of the passing validation events.
All is made again by `make closure` (`benchmarks/closure.py`, which says what exactly is tested).

Result: **{verdict}.**

That the test notices wrong weights (1 instead of 1 / p, those of one skim for events that another
one keeps, one random number for all seeds) is tested on 2000 events:
`tests/filtering/test_closure.py`.

## Sum of weights

Of passing events, over {seeds} seeds; pulls are (sum - passing events) / error, with the error of
the sampling, sqrt(sum of (1 - p) / p). For each skim with its own weights; "{TOGETHER}": events
that pass and are kept by any skim, with the weight 1 / (largest p). "uniform" is the probability
that the probabilities of chi2 of all observables and seeds are uniform, by comparison with
{REPLICAS} replicas, which have the same correlations between observables.

```
{text_table(head, rows)}
```

## Observables

chi2 of weighted, kept events against all passing events: mean over seeds per bin, and the
probability of the Kolmogorov-Smirnov test that the {seeds} probabilities of the observable are
uniform. Beside it the same passing events after the threshold, as if it had kept each with the
same probability: there the chi2 tells the bias of the shape, in bins whose largest pull is the
last column.

{tables}

![probabilities of chi2](probabilities.png)

![observables before and after the filter](observables.png)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("run", "dataset", "observables", "predictions"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--output", default="experiments/closure")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    paths = apply_all(options.run, options.dataset, Path(options.predictions), options.seeds)
    found = read(paths, Path(options.observables), options.seeds)
    results = {name: close(*entry[:2]) for name, entry in found.items()}
    folder = Path(options.output)
    write_json(
        folder / "results.json",
        {
            name: {
                "passing": result.expected,
                "sum_of_weights": result.sums.tolist(),
                "error": result.error,
                "observables": list(found[name][0].observables),
                "uniform": result.ks.tolist(),
                "all_uniform": result.all_ks,
                "probabilities": result.probabilities.round(4).tolist(),
                "problems": result.problems(),
            }
            for name, result in results.items()
        },
    )
    draw(found, results, folder)
    import pyarrow.parquet as pq

    n_events = pq.read_metadata(paths[THRESHOLD]).num_rows
    text = page(found, results, n_events)
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    guarded(main, debug=False)
