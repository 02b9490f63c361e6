"""Decide about events one at a time, with an exported network and without TensorFlow."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.events import EncodingReport
from smartbkg_tf.errors import ConfigurationError, InputError, did_you_mean
from smartbkg_tf.events.columns import particle_column
from smartbkg_tf.events.table import (
    KEY_COLUMNS,
    PARTICLE_COLUMNS,
    EventTable,
    event_type_code,
)
from smartbkg_tf.filtering.rules import (
    KeepAll,
    Rule,
    ThresholdRule,
    probability_of_one,
    random_number,
)
from smartbkg_tf.filtering.scorers import OnnxScorer
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.sources import ParticleSet

Method = Literal["sampling", "threshold", "score"]


@dataclass(frozen=True)
class EventDecision:
    """What was decided about one event.

    Parameters
    ----------
    scores : mapping of str to float
        The logit of every skim of the model.
    probabilities : mapping of str to float
        With which each chosen skim keeps the event.
    weights : mapping of str to float
        1 / probability for each chosen skim that keeps it, 0 for others: the weight of an analysis
        of that skim alone.
    kept : bool
        Whether any of the chosen skims keeps it: simulate it.
    weight : float
        1 / (largest probability) if it is kept, else 0: the weight of an analysis that uses all
        kept events.
    """

    scores: Mapping[str, float]
    probabilities: Mapping[str, float]
    weights: Mapping[str, float]
    kept: bool
    weight: float


class EventFilter:
    """Decide about single events, as `apply` does about files of them.

    The event is encoded by the same function as training events, padded to its own length and
    scored by ONNX Runtime on one thread. A decision depends on seed and event key alone, so that
    `apply` makes the same one.

    Parameters
    ----------
    path : str or pathlib.Path
        An exported model (``export format=onnx``).
    method : {"sampling", "threshold", "score"}, default "sampling"
        As for `apply`: the fitted sampling rule with weights; a threshold, which biases
        distributions; or keep everything.
    threshold : float, optional
        On the logit, for ``method="threshold"``.
    skims : sequence of str, optional
        Which skims decide; by default all of the model.
    seed : int, default 0
        Of the sampling.
    rules : mapping of str to Rule, optional
        Rules by skim instead of the fitted ones, for ``method="sampling"``.

    Raises
    ------
    ConfigurationError
        When ONNX Runtime is not installed, or arguments do not fit together.
    InputError
        When the file is missing, damaged or has no sampling rule.

    Examples
    --------
    ::

        keep = EventFilter("exported/model.onnx", seed=1)
        decision = keep(columns, event_type="mixed", key=(0, 1, 17, 0))
        if decision.kept:
            simulate(weight=decision.weight)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        method: Method = "sampling",
        threshold: float | None = None,
        skims: Sequence[str] | None = None,
        seed: int = 0,
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        self._scorer = OnnxScorer(Path(path), batch_size=1, step=1)
        names = self._scorer.label_names
        self.skims = tuple(skims) if skims is not None else names
        for skim in self.skims:
            if skim not in names:
                raise ConfigurationError(
                    f"there is no skim '{skim}'; {did_you_mean(skim, names)}", where=path
                )
        if not self.skims:
            raise ConfigurationError("no skim was chosen", where=path)
        if method not in get_args(Method):
            raise ConfigurationError(
                f"there is no method '{method}'; {did_you_mean(method, get_args(Method))}"
            )
        if (threshold is not None) != (method == "threshold"):
            raise ConfigurationError("method='threshold' and threshold=X belong together")
        if rules is not None and (method != "sampling" or set(rules) != set(self.skims)):
            raise ConfigurationError(
                "rules are for method='sampling' and needed for every chosen skim "
                f"({', '.join(self.skims)})"
            )
        self._places = {skim: names.index(skim) for skim in self.skims}
        self.seed = operator.index(seed)  # 1.0 would draw other numbers than 1
        self._method = method
        self.rules: dict[str, Rule]
        if rules is not None:
            self.rules = {skim: rules[skim] for skim in self.skims}
        elif method == "score":
            self.rules = {skim: KeepAll() for skim in self.skims}
        elif threshold is not None:
            self.rules = {skim: ThresholdRule(threshold=threshold) for skim in self.skims}
        else:
            self.rules = dict(self._scorer.fitted_filter().rules(self.skims))

    @property
    def label_names(self) -> tuple[str, ...]:
        """All skims of the model."""
        return self._scorer.label_names

    @property
    def report(self) -> EncodingReport:
        """What was lost in all events so far: PDG codes without a token, events that were cut."""
        return self._scorer.report

    @property
    def particles(self) -> ParticleSet:
        """Which generated particles the model was trained on (``source.particles``)."""
        return self._scorer.description.particles

    @property
    def encoding(self) -> EncodingSettings:
        """How events are encoded."""
        return self._scorer.description.encoding

    def __call__(
        self,
        event: EventTable | Mapping[str, Any],
        *,
        event_type: str | None = None,
        key: tuple[int, int, int, int] | None = None,
    ) -> EventDecision:
        """Score one event and decide about it.

        Parameters
        ----------
        event : EventTable or mapping of str to array_like [n_particles]
            A table of one event; or its particle columns (those of `PARTICLE_COLUMNS`; GeV, cm,
            ns), of which ``motherPDG`` and ``nDaughters`` follow from ``motherIndex`` where they
            are missing. They must be those that `particles` names. The mapping may also hold
            ``event_type`` and the key, as ``experiment``, ``run``, ``event``, ``production``.
        event_type : str, optional
            One of "mixed", "charged", ...; unknown by default. Not with a table, which has it.
        key : tuple of four int, optional
            Experiment, run, event, production: decides, with the seed, the random number. Not
            with a table, which has it; needed with columns unless everything is kept or cut.

        Returns
        -------
        EventDecision
            Scores, probabilities, weights, and whether the event is kept.

        Raises
        ------
        InputError
            When columns are missing or hold values that cannot be used.
        """
        if isinstance(event, EventTable):
            table = event
            if event_type is not None or key is not None:
                raise ConfigurationError("a table has event type and key of its own")
        else:
            if event_type is None:
                event_type = event.get("event_type")
            if key is None and all(name in event for name in KEY_COLUMNS):
                key = tuple(operator.index(event[name]) for name in KEY_COLUMNS)  # type: ignore[assignment]
            if key is None and self._method == "sampling":
                raise ConfigurationError(
                    "key=(experiment, run, event, production) is needed: the random number comes "
                    "from it"
                )
            table = one_event(event, event_type=event_type, key=key)
        if len(table) != 1:
            raise InputError(f"holds {len(table)} events; pass one at a time")
        scores = self.scores(table)
        biased = self._method == "threshold"
        drawn = random_number((int(table.keys[name][0]) for name in KEY_COLUMNS), self.seed)
        probabilities = {
            skim: probability_of_one(self.rules[skim], scores[i : i + 1], biased=biased)
            for skim, i in self._places.items()
        }
        # One number decides for all skims, as in `combine`.
        most = max(probabilities.values())
        kept = drawn < most
        return EventDecision(
            scores=dict(zip(self.label_names, scores.tolist(), strict=True)),
            probabilities=probabilities,
            weights={s: 1.0 / p if drawn < p else 0.0 for s, p in probabilities.items()},
            kept=kept,
            weight=1.0 / most if kept else 0.0,
        )

    def scores(self, table: EventTable) -> npt.NDArray[np.float32]:
        """Give the logits [skims] of a table of one event."""
        found = self._scorer.score_event(table)
        if not all(map(math.isfinite, found.tolist())):
            raise InputError(
                f"gives the scores {found.tolist()} to an event",
                where=self._scorer.where,
                next_step="look for NaN or infinite values in the model's weights",
            )
        return found


def one_event(
    columns: Mapping[str, Any],
    *,
    event_type: str | None = None,
    key: tuple[int, int, int, int] | None = None,
) -> EventTable:
    """Make a table of one event of its particle columns; see `EventFilter.__call__`."""
    arrays: dict[str, Any] = {
        name: particle_column(name, np.asarray(values), where=f"the event's column {name}")
        for name, values in columns.items()
        if name in PARTICLE_COLUMNS
    }
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) > 1:
        raise InputError(f"the event's particle columns have different lengths: {sorted(lengths)}")
    if "motherIndex" in arrays and "PDG" in arrays:
        mother = arrays["motherIndex"]
        known = (mother >= 0) & (mother < len(mother))
        if "motherPDG" not in arrays:
            arrays["motherPDG"] = np.where(known, arrays["PDG"][np.where(known, mother, 0)], 0)
        if "nDaughters" not in arrays:
            arrays["nDaughters"] = np.bincount(mother[known], minlength=len(mother))
    missing = [name for name in PARTICLE_COLUMNS if name not in arrays]
    if missing:
        raise InputError(f"the event lacks the particle columns {', '.join(missing)}")
    numbers = (0, 0, 0, 0) if key is None else key
    if len(numbers) != len(KEY_COLUMNS):
        raise InputError(f"key={numbers} must have four parts: {', '.join(KEY_COLUMNS)}")
    return EventTable(
        particles={
            name: arrays[name].astype(kind, copy=False) for name, kind in PARTICLE_COLUMNS.items()
        },
        offsets=np.array([0, *lengths], dtype=np.int64),
        keys={
            name: np.array([number], dtype=np.int64)
            for name, number in zip(KEY_COLUMNS, numbers, strict=True)
        },
        event_type=np.array([event_type_code(event_type)], dtype=np.int8),
    )
