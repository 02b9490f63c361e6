"""The tables of ``report.html``, from ``metrics.json``; those without numbers stay out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smartbkg_tf.evaluation.comparison import COMPARED
from smartbkg_tf.evaluation.conditions import SAMPLE, retention_in_words
from smartbkg_tf.evaluation.metrics import Estimate
from smartbkg_tf.evaluation.plots import Section

Metrics = Mapping[str, Any]

#: For what could not be measured.
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the value by which a column is sorted."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Table:
    """A table of the report, sortable by its columns."""

    heading: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def without_empty_columns(self) -> Table:
        """Leave out columns that hold no number or text at all."""
        columns = list(zip(*self.rows, strict=True))
        full = [i for i, cells in enumerate(columns) if any(cell.text != NOTHING for cell in cells)]
        return replace(
            self,
            head=[self.head[i] for i in full],
            rows=[[row[i] for i in full] for row in self.rows],
        )

    def of_numbers(self, column: int) -> bool:
        """Whether a column holds numbers."""
        values = [row[column].value for row in self.rows]
        return not any(isinstance(value, str) for value in values)


def estimate(of: Metrics, key: str) -> Cell:
    """Give a number with its error, where it has one."""
    value, error = of.get(key), of.get(f"{key}_error")
    if value is None:
        return Cell(NOTHING)
    return Cell(Estimate(value, error or 0.0).pretty, value)


def count(of: Metrics, key: str) -> Cell:
    """Give a whole number, with thin spaces between thousands."""
    value = of.get(key)
    if value is None:
        return Cell(NOTHING)
    return Cell(f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"), value)


def number(value: float | None, form: str = ".4g") -> Cell:
    """Give a number without an error."""
    return Cell(NOTHING) if value is None else Cell(format(value, form), value)


def text(value: str) -> Cell:
    """Give a name."""
    return Cell(value, value)


def summary(models: Mapping[str, Mapping[str, Metrics]]) -> Table:
    """Give the main numbers of every model and skim."""
    head = ("model", "skim", "events", "passing", "retention", "AUC", "average precision")
    rows = []
    for model, skims in models.items():
        for skim, of in skims.items():
            numbers = [count(of, "n_events"), count(of, "n_passing")]
            numbers += [estimate(of, key) for key in ("retention", "auc", "average_precision")]
            saved = saved_by(of)
            numbers.append(estimate({} if saved is None else saved.numbers, "speedup"))
            numbers.append(text(NOTHING if saved is None else saved.by))
            numbers.append(number(of.get("speedup", {}).get("retention")))
            rows.append([text(model), text(skim), *numbers])
    return Table("", "", (*head, "speedup", "by", "at a retention of"), rows)


@dataclass(frozen=True)
class Saved:
    """What a filter saves."""

    by: str  # sampling or threshold
    numbers: Metrics  # speedup and its error


def saved_by(of: Metrics) -> Saved | None:
    """Give the speedup of what decided about the events, else of a rule fitted to the scores."""
    speedup = of.get("speedup", {})
    for key in ("own_threshold", "sampling", "fitted_rule"):
        if speedup.get(key):
            return Saved("threshold" if key == "own_threshold" else "sampling", speedup[key])
    return None


def comparison(values: Metrics) -> list[Table]:
    """Rank several models on the same events, one table for each skim."""
    tables = []
    for skim, compared in values.get("comparison", {}).items():
        rows = []
        for place, of in enumerate(compared["models"], 1):
            cells = [number(place, "d"), text(of["model"])]
            for key, (_, named) in COMPARED.items():
                cells += [estimate(of, key), estimate(of, f"{named}difference")]
                cells.append(number(of.get(f"{named}significance"), ".1f"))
                cells.append(number(of.get(f"{named}probability"), ".2g"))
            cells.append(text(of.get("speedup_by") or NOTHING))
            cells.append(number(of.get("speedup_retention")))
            rows.append(cells)
        note = (
            f"On the {compared['n_events']} events that all models have scored, "
            f"{compared['n_passing']} of them passing. Differences are those of the model of the "
            "largest AUC from this one; their errors are those of paired events: sigma is the "
            "difference in standard deviations, P how often chance gives a larger one. Speedups "
            "are compared for the same kind of filter, retention and costs only."
        )
        titles = ["rank", "model"]
        for word, _ in COMPARED.values():
            titles += [word, f"difference of {word}", f"sigma ({word})", f"P ({word})"]
        titles += ["by", "at a retention of"]
        table = Table(f"Models compared: {skim}", note, titles, rows)
        tables.append(table.without_empty_columns())
    if not tables and values.get("auc_differences"):
        rows = [
            [text(of["model"]), text(of["other"]), text(of["skim"]), estimate(named, "difference")]
            for of in values["auc_differences"]
            for named in [{"difference": of["difference"], "difference_error": of["error"]}]
        ]
        head = ("model", "other model", "skim", "AUC difference")
        tables.append(Table("Differences of AUC on the same events", "", head, rows))
    return tables


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.3g} %"


def _working_points(of: Metrics) -> Iterable[Table]:
    keys = {
        "efficiency": "efficiency",
        "threshold": "threshold (logit)",
        "false_rate": "kept of failing",
        "kept_fraction": "kept of all",
        "rejection": "rejection",
        "precision": "precision",
        "balanced_accuracy": "balanced accuracy",
    }
    rows = [[estimate(point, key) for key in keys] for point in of.get("working_points", ())]
    note = (
        "Thresholds that keep the given fraction of passing events. Rejection: failing events for "
        "one that is kept. Precision: passing fraction of what is kept. It and the kept fraction "
        f"of all are those of these events, of which {_percent(of.get('retention'))} pass."
    )
    yield Table("Working points of a threshold", note, [*keys.values()], rows)
    rows = [
        [number(point["threshold"]), *(count(point["confusion"], key) for key in _CONFUSION)]
        for point in of.get("working_points", ())
        if "confusion" in point
    ]
    head = ("threshold (logit)", *(key.replace("_", " ") for key in _CONFUSION))
    yield Table("Events kept and rejected at these thresholds", "", head, rows)
    rows = [
        [number(point["efficiency"]), number(point["threshold"]), estimate(point, "rejection")]
        for point in of.get("background_rejection", ())
    ]
    yield Table("Background rejection", "", ("efficiency", "threshold (logit)", "rejection"), rows)


_CONFUSION = ("passing_kept", "passing_rejected", "failing_kept", "failing_rejected")


def _calibration(of: Metrics) -> Iterable[Table]:
    keys = {
        "log_loss": "log loss",
        "brier": "Brier score",
        "expected_calibration_error": "expected calibration error",
    }
    losses = {"as predicted": of, "calibrated on validation events": of.get("calibrated")}
    rows = [
        [text(name), *(estimate(values, key) for key in keys)]
        for name, values in losses.items()
        if values is not None and "log_loss" in values
    ]
    note = "Of the score as a probability; smaller is better, 0 is perfect."
    yield Table("Calibration", note, ("probability", *keys.values()), rows)


def _event_types(of: Metrics) -> Iterable[Table]:
    keys = {
        "retention": "retention",
        "auc": "AUC",
        "average_precision": "average precision",
        "balanced_accuracy": "balanced accuracy",
        "expected_calibration_error": "expected calibration error",
    }
    kinds = dict(of.get("by_event_type", {}))
    mixture, note = of.get("natural_mixture"), ""
    if mixture is not None:
        kinds["natural mixture"] = mixture
        parts = []
        if mixture["event_types"]:
            parts.append(f"{', '.join(mixture['event_types'])} weighted by cross-section")
        if mixture.get("retention_from", SAMPLE) != SAMPLE:
            natural = retention_in_words(of["speedup"])
            parts.append(f"failing events weighted for {natural} in the mixture of these events")
        note = f"Natural mixture: {'; '.join(parts)}. Other rows are these events as they are."
    if len(kinds) < 2:
        return
    rows = [
        [text(name), count(values, "n_events"), count(values, "n_passing")]
        + [estimate(values, key) for key in keys]
        for name, values in kinds.items()
    ]
    yield Table("By event type", note, ("event type", "events", "passing", *keys.values()), rows)


def _speedups(of: Metrics) -> Iterable[Table]:
    speedup = of.get("speedup", {})
    cost, sampling = speedup.get("cost"), speedup.get("sampling")
    if cost is None:
        return
    rows = []
    # Of scores alone it is the fitted rule, which has a row of its own.
    if sampling is not None and not str(sampling.get("from", "")).startswith("scores"):
        rows.append([text("sampling of these predictions"), text("no"), *_saved(sampling)])
    own = speedup.get("own_threshold")
    if own is not None:
        name = f"threshold of these predictions, efficiency {own['efficiency']:.3f}"
        rows.append([text(name), text("yes"), *_saved(own)])
    if speedup.get("fitted_rule") is not None:
        name = "sampling, rule fitted on the other half of the events"
        rows.append([text(name), text("no"), *_saved(speedup["fitted_rule"])])
    for point in speedup.get("threshold", ()):
        name = f"threshold, efficiency {point['efficiency']:.3f}"
        rows.append([text(name), text("yes"), *_saved(point)])
    limits = speedup.get("limits") or {}
    if "best_sampling" in limits:
        best = {name.replace("best_sampling", "speedup"): v for name, v in limits.items()}
        best["simulated_fraction"] = limits.get("best_sampling_fraction")
        rows.append([text("limit: best sampling by these scores"), text("no"), *_saved(best)])
    if "perfect_filter" in limits:
        best = {name.replace("perfect_filter", "speedup"): v for name, v in limits.items()}
        rows.append([text("limit: a perfect filter"), text("no"), *_saved(best)])
    note = (
        "Computing time without a filter / with it, for the same effective number of passing "
        "events (thresholds: for the same number, which is biased). An event costs "
        f"{cost['simulation']:g} to simulate and reconstruct, {cost['generation']:g} to generate, "
        f"{cost['network']:g} to score ({speedup.get('cost_from', 'default')})."
    )
    if "retention" in speedup:
        note += f" All of it is for {retention_in_words(speedup)}."
    if sampling is not None and "n_passing" in sampling:
        weights = estimate(sampling, "sum_of_weights").text
        note += (
            f" Weights of kept passing events add up to {weights} for {sampling['n_passing']} "
            f"passing events; their effective number is {sampling['effective_passing']:.1f}."
        )
    head = ("filter", "biased by construction", "simulated fraction", "speedup")
    yield Table("Speedup at equal statistics", note, head, rows)


def _saved(of: Metrics) -> list[Cell]:
    key = "simulated_fraction" if "simulated_fraction" in of else "kept_fraction"
    return [estimate(of, key), estimate(of, "speedup")]


def _observables(of: Metrics) -> Iterable[Table]:
    rows, limit = [], None
    for name, values in of.get("observables", {}).items():
        for kind, test in values.get("filters", {}).items():
            limit = test.get("kl_limit", limit)
            chi2 = Cell(NOTHING)
            if test.get("chi2") is not None:
                chi2 = Cell(f"{test['chi2']:.1f} / {test.get('chi2_ndf', NOTHING)}", test["chi2"])
            rows.append(
                [
                    text(name),
                    text(kind),
                    number(test.get("kl"), ".2g"),
                    estimate(test, "kl_floor"),
                    number(test.get("kl_probability"), ".2g"),
                    number(test.get("js"), ".2g"),
                    number(test.get("ks"), ".2g"),
                    number(test.get("ks_probability"), ".2g"),
                    chi2,
                    number(test.get("chi2_probability"), ".2g"),
                    number(values.get("mean_all")),
                    estimate(test, "mean_kept"),
                    number(test.get("effective_number"), ".0f"),
                ]
            )
    note = (
        "Kept passing events, with their weights, against all passing events. Noise floor: the "
        "KL divergence that random thinning to the same statistics gives; P: how often it gives a "
        "larger one. A small P tells a bias from chance."
    )
    if limit is not None:
        note += f" Published limit of the KL divergence: {limit:g}."
    head = ("observable", "filter", "KL", "noise floor", "P(KL)", "JS", "KS", "P(KS)")
    more = ("chi2 / ndf", "P(chi2)", "mean of all", "mean of kept", "effective number")
    yield Table("Bias observables", note, (*head, *more), rows)


def _explained_events(of: Metrics) -> Iterable[Table]:
    understanding = of.get("understanding", {})
    check = understanding.get("overfitting", {})
    if "auc_train" in check:
        keys = ("auc_train", "auc_test", "auc_difference")
        distances = [
            number(check.get("ks", {}).get(kind, {}).get("probability"), ".2g")
            for kind in ("passing", "failing")
        ]
        head = ("AUC, training", "AUC, test", "difference", "P(KS), passing", "P(KS), failing")
        row = [*(estimate(check, key) for key in keys), *distances]
        yield Table("Training against test events", "", head, [row])
    rows = [
        [
            text(str(event["kind"]).replace("_", " ")),
            *(number(event[key], "d") for key in ("rank", "experiment", "run", "event")),
            number(event["production"], "d"),
            text(event["event_type"]),
            number(event["score"], ".3g"),
            number(event["probability"], ".3g"),
        ]
        for event in understanding.get("wrong_events", ())
    ]
    columns = ("kind", "rank", "experiment", "run", "event", "production", "event type", "score")
    note = "Failing events with the highest scores, passing events with the lowest."
    yield Table("Most wrongly scored events", note, (*columns, "sampling probability"), rows)


#: What makes the tables of each part of the report.
TABLES: Mapping[Section, Sequence[Callable[[Metrics], Iterable[Table]]]] = {
    "quality": (_working_points, _calibration, _event_types),
    "speedup": (_speedups,),
    "bias": (_observables,),
    "understanding": (_explained_events,),
}
