"""The first sentence of the report: is it good, is it biased, what does it save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartbkg_tf.evaluation.conditions import retention_in_words
from smartbkg_tf.evaluation.report_tables import Saved, estimate, saved_by

Metrics = Mapping[str, Any]

#: Lower ends of what an AUC is called.
_WORDS = ((0.95, "Excellent"), (0.85, "Good"), (0.7, "Moderate"), (0.0, "Weak"))

#: More skims than this share one sentence.
_MANY = 3

#: Fewer events of a class allow no judgement.
_FEW = 10

#: What saves, and for what its factor is: by the kind of filter.
_PURPOSES = {
    "sampling": ("sampling with weights", "the same statistical precision"),
    "threshold": ("the threshold of these predictions", "the same number of passing events"),
}

#: A bias is called one when chance gives it less often than this, in any of all observables.
_SIGNIFICANT = 0.01


def verdicts(values: Metrics) -> list[str]:
    """Give one sentence for a skim; with several models it is about the best one.

    `values` is what ``metrics.json`` holds. Many skims share one sentence.
    """
    models = values.get("models") or {"": values}
    best: dict[str, str] = {}
    sentences = []
    for skim in dict.fromkeys(skim for model in models.values() for skim in model["skims"]):
        having = [name for name, model in models.items() if skim in model["skims"]]
        ranked = values.get("comparison", {}).get(skim, {}).get("models", ())
        best[skim] = max(having, key=lambda name: models[name]["skims"][skim]["auc"])
        if len(ranked) > 1:  # on common events
            best[skim] = ranked[0]["model"]
        model = models[best[skim]]
        lead = f"{_lead(values, skim, best[skim], len(having))} " if len(having) > 1 else ""
        sentences.append(lead + _sentence(skim, model["skims"][skim]))
    if len(sentences) <= _MANY:
        return sentences
    return [_about_many({skim: models[name]["skims"][skim] for skim, name in best.items()})]


def _about_many(skims: Mapping[str, Metrics]) -> str:
    """Say between which skims the numbers lie."""
    areas = sorted(skims, key=lambda skim: skims[skim]["auc"])
    low, high = areas[0], areas[-1]
    text = (
        f"{len(skims)} skims: the AUC lies between {estimate(skims[low], 'auc').text} ({low}) and "
        f"{estimate(skims[high], 'auc').text} ({high})"
    )
    saved = {skim: saved_by(of) for skim, of in skims.items()}
    for kind, (subject, purpose) in _PURPOSES.items():
        known = {s: found for s, found in saved.items() if found is not None and found.by == kind}
        if known:
            order = sorted(known, key=lambda skim: known[skim].numbers["speedup"])
            ends = [
                f"{estimate(known[skim].numbers, 'speedup').text} ({skim})"
                for skim in (order[0], order[-1])
            ]
            text += (
                f"; {subject} saves factors between {ends[0]} and {ends[1]} in computing time for "
                f"{purpose}, each at the retention that the summary names"
            )
    return f"{text}; the tables say for each what is known about bias."


def _lead(values: Metrics, skim: str, best: str, number: int) -> str:
    """Say how far the best model is ahead of the second one."""
    ranked = values.get("comparison", {}).get(skim, {}).get("models", ())
    if len(ranked) < 2:
        return f"Of {number} models, {best} has the largest AUC."
    first, second = ranked[0]["model"], ranked[1]["model"]
    difference, sigma = estimate(ranked[1], "difference").text, ranked[1].get("significance")
    if sigma is None and not ranked[1].get("difference"):
        return f"Of {number} models, {first} and {second} have the same AUC."
    text = f"the difference in AUC is {difference}"
    if sigma is not None and sigma < 2:
        return f"Of {number} models, {first} and {second} cannot be told apart: {text}."
    return f"Of {number} models, {first} is best, ahead of {second}: {text}."


def _sentence(skim: str, of: Metrics) -> str:
    found = saved_by(of)
    biased = found is not None and found.by == "threshold"
    return f"{_quality(skim, of)}; {_bias(of, biased)}; {_saving(of, found)}."


def _quality(skim: str, of: Metrics) -> str:
    area = estimate(of, "auc").text
    few = min(of.get("n_passing", _FEW), of.get("n_events", 2 * _FEW) - of.get("n_passing", 0))
    if few < _FEW:
        return (
            f"Too few events for a judgement: {of.get('n_passing')} of {of.get('n_events')} pass "
            f"{skim} (AUC {area})"
        )
    if 0.5 - of["auc"] > 3 * (of.get("auc_error") or 0.0):
        return (
            f"Worse than a guess: an AUC of {area} for events that pass {skim}; labels or the sign "
            "of the score may be swapped"
        )
    if of["auc"] - 0.5 < 3 * (of.get("auc_error") or 0.0):
        return (
            f"No better than a guess so far: for events that pass {skim}, an AUC of {area} is "
            "compatible with 0.5"
        )
    word = next(word for lowest, word in _WORDS if of["auc"] >= lowest)
    return f"{word}: events that pass {skim} are separated from the others with an AUC of {area}"


def _bias(of: Metrics, biased: bool) -> str:
    if not of.get("observables"):
        if biased:
            return (
                "it is biased by construction, for a threshold drops events of a special kind, and "
                "how much is unknown without bias observables (evaluate observables=FILE)"
            )
        return (
            "whether physics distributions are biased was not checked, for no bias observables "
            "were given (evaluate observables=FILE)"
        )
    # What decided: a file of a threshold is not judged by a rule that it did not use.
    kind = "threshold" if biased else "sampling"
    filtered = "the threshold" if kind == "threshold" else "sampling with weights"
    tests = {
        name: values["filters"][kind]
        for name, values in of["observables"].items()
        if kind in values.get("filters", {})
    }
    if not tests:
        return f"{filtered} was not checked for bias"
    probability = {name: _probability(test) for name, test in tests.items()}
    known = {name: p for name, p in probability.items() if p is not None}
    many = f"{len(tests)} bias observables" if len(tests) > 1 else "one bias observable"
    if not known:
        return f"{many}: too few events to tell a bias from chance"
    worst = min(known, key=lambda name: known[name])
    test = tests[worst]
    floor, limit = test.get("kl_floor"), test.get("kl_limit")
    divergence = f"KL divergence {test['kl']:.2g}"
    # With many observables one of them looks biased by chance.
    significant = min(1.0, known[worst] * len(known)) < _SIGNIFICANT
    if floor is not None:
        divergence += f", random thinning gives {floor:.2g}"
    if limit is not None and (floor or 0.0) > limit:
        divergence += f"; testing the published limit of {limit:g} takes more events"
    elif limit is not None:
        divergence += f"; the published limit is {limit:g}"
    if significant:
        return f"{filtered} shows a bias in {worst} ({divergence})"
    return f"no bias is seen in {many} after {filtered} (the least likely is {worst}: {divergence})"


def _probability(test: Metrics) -> float | None:
    """Take the probability of the divergence; where no thinning reached it, that of chi2.

    The number of thinnings bounds the first from below, which may not survive many observables.
    """
    p, chi2 = test.get("kl_probability"), test.get("chi2_probability")
    return min(p, chi2) if p is not None and chi2 is not None and p < _SIGNIFICANT / 10 else p


def _saving(of: Metrics, found: Saved | None) -> str:
    if found is None:
        return "what it saves is unknown"
    subject, purpose = _PURPOSES[found.by]
    value, error = found.numbers["speedup"], found.numbers.get("speedup_error") or 0.0
    factor, at = estimate(found.numbers, "speedup").text, ""
    if "retention" in of["speedup"]:
        at = f" at {retention_in_words(of['speedup'])}"
    if 1 - value > 2 * error:
        return f"{subject} costs more than it saves (speedup {factor}{at})"
    if value - 1 < 2 * error:
        return f"{subject} saves nothing that could be measured (speedup {factor}{at})"
    return f"{subject} saves a factor {factor} in computing time for {purpose},{at}".rstrip(",")
