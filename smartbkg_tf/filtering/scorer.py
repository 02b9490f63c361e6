"""Encode events and score them, in batches of one fixed shape.

A compiled function sees one shape only: batches are padded to `batch_size` events (the
last one with copies of its first event) and to the model's own numbers of particles and
tokens. So it is traced once, and an event's score does not depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.encoding.checks import Finding, find_unusable_encoded, find_unusable_events
from smartbkg_tf.encoding.encode import EncodingReport, encode, pad
from smartbkg_tf.errors import InputError, Problems
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.filtering.description import ModelDescription
from smartbkg_tf.filtering.filter_file import rules_of
from smartbkg_tf.filtering.rules import SamplingRule

Scores = npt.NDArray[np.float32]
Batch = dict[str, npt.NDArray[Any]]

#: Events scored at a time, unless asked otherwise.
BATCH_SIZE = 256
#: Faults that a network would turn into a wrong number. An event without particles is
#: none: a filter must decide about it too.
_FATAL = (
    "not_finite",
    "too_large",
    "negative_energy",
    "mother_index",
    "charge",
    "too_many_particles",
    "no_tokens",
    "decay_string",
)


class Scorer(ABC):
    """Encode events and score them; how the model is called is left to subclasses.

    Parameters
    ----------
    description : ModelDescription
        What the model reads and answers.
    batch_size : int, default 256
        Events scored at a time.
    where : str or pathlib.Path
        The model's file, for messages.

    Raises
    ------
    InputError
        When the model was trained with another vocabulary than this version has.
    """

    def __init__(
        self, description: ModelDescription, *, batch_size: int = BATCH_SIZE, where: str | Path
    ) -> None:
        self.description = description
        self.batch_size = batch_size
        self.where = Path(where)
        #: What was lost while events were encoded, added up over calls of `score_events`.
        self.report = EncodingReport()
        digest = description.vocabulary.get("digest")
        if digest != default_vocabulary().digest:
            raise InputError(
                f"was trained with another vocabulary of PDG codes (digest {digest}, this "
                f"version of smartbkg_tf has {default_vocabulary().digest})",
                where=where,
                next_step="use the version that trained it, or train again",
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the outputs: the skims."""
        return self.description.label_names

    @property
    @abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """Names of the arrays that the model reads."""

    @abstractmethod
    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        """Score one batch of the full size."""

    @abstractmethod
    def filter_values(self) -> tuple[dict[str, Any], Path]:
        """Read what was fitted on validation events, and name the file; an error without it."""

    def sampling_rules(self) -> dict[str, SamplingRule]:
        """Read the fitted sampling rule of each skim.

        Returns
        -------
        dict of str to SamplingRule
            By skim.

        Raises
        ------
        InputError
            When the model comes without fitted rules.
        """
        values, where = self.filter_values()
        return rules_of(values, self.label_names, where)

    def _score_batch(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Scores:
        n = len(arrays[self.input_names[0]])
        batch = {}
        for name in self.input_names:
            values = arrays[name]
            if n < self.batch_size:
                copies = np.repeat(values[:1], self.batch_size - n, axis=0)
                values = np.concatenate([values, copies])
            batch[name] = values
        scores = np.asarray(self._call(batch), dtype=np.float32)
        expected = (self.batch_size, len(self.label_names))
        if scores.shape != expected:
            raise InputError(
                f"gives scores of shape {list(scores.shape)}, expected {list(expected)} for the "
                f"skims {', '.join(self.label_names)}",
                where=self.where,
            )
        return scores[:n]

    def _score_all(
        self, n_events: int, batch_of: Callable[[npt.NDArray[np.int64]], Batch]
    ) -> Scores:
        scores = np.empty((n_events, len(self.label_names)), dtype=np.float32)
        for start in range(0, n_events, self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, n_events), dtype=np.int64)
            scores[rows] = self._score_batch(batch_of(rows))
        return scores

    def score_dataset(self, dataset: Dataset, indices: npt.ArrayLike) -> Scores:
        """Score events of a dataset directory.

        Parameters
        ----------
        dataset : Dataset
            The dataset.
        indices : array_like of int [n]
            Positions of events.

        Returns
        -------
        numpy.ndarray [n, skims]
            float32 logits.

        Raises
        ------
        InputError
            When the dataset was encoded for another kind of model.
        """
        self._check_dataset(dataset)
        chosen = np.asarray(indices, dtype=np.int64)
        d = self.description
        return self._score_all(
            len(chosen),
            lambda rows: dataset.batch(
                chosen[rows],
                inputs=self.input_names,
                max_particles=d.max_particles,
                max_tokens=d.max_tokens,
            ),
        )

    def _check_dataset(self, dataset: Dataset) -> None:
        again = "preprocess the events again: python -m smartbkg_tf.preprocess ..."
        if dataset.information["vocabulary"]["digest"] != self.description.vocabulary["digest"]:
            raise InputError(
                "was written with another vocabulary of PDG codes than the model's",
                where=dataset.path,
                next_step=again,
            )
        mine, theirs = self.description.encoding.features, dataset.encoding.features
        if mine != theirs and "particle_input" in self.input_names:
            raise InputError(
                f"was written with features={theirs}, the model reads features={mine}",
                where=dataset.path,
                next_step=f"{again} features={mine}",
            )

    def score_events(self, table: EventTable, where: str | Path | None = None) -> Scores:
        """Encode events as for training, and score them.

        Parameters
        ----------
        table : EventTable
            The events; what is truncated or unknown is added to ``self.report``.
        where : str or pathlib.Path, optional
            The events' file, for messages.

        Returns
        -------
        numpy.ndarray [n, skims]
            float32 logits.

        Raises
        ------
        InputError
            When the events lack what the model reads, or hold values that cannot be used
            (NaN, mother indices out of range, ...).
        """
        d = self.description
        self._check_table(table, where)
        encoded = encode(table, d.encoding, default_vocabulary(), file=str(where or ""))
        if "decay_input" in self.input_names:
            _refuse(find_unusable_encoded(encoded, table, file=str(where or ""))[1], where)
        scores = self._score_all(
            len(table),
            lambda rows: pad(encoded, rows, self.input_names, d.max_particles, d.max_tokens),
        )
        self.report = _added(self.report, encoded.report)
        return scores

    def _check_table(self, table: EventTable, where: str | Path | None) -> None:
        reads_particles = any(
            name not in ("decay_input", "event_type_input") for name in self.input_names
        )
        if reads_particles and not table.particles:
            raise InputError(
                "holds decay strings only, but the model reads particles",
                where=where,
                next_step="give files with particle tables (key=all), or a model that was "
                "trained with model.inputs=decay",
            )
        _refuse(find_unusable_events(table, file=str(where or ""))[1], where)


def _refuse(findings: list[Finding], where: str | Path | None) -> None:
    """Raise when a network would turn any of the faults into a wrong number."""
    problems = Problems()
    for finding in findings:
        if finding.reason in _FATAL:
            problems.add(str(finding))
    problems.raise_if_any(
        "some events cannot be scored",
        kind=InputError,
        where=where,
        next_step="mend or remove these events; nothing was written",
    )


def _added(first: EncodingReport, second: EncodingReport) -> EncodingReport:
    unknown = dict(first.unknown_codes)
    for code, count in second.unknown_codes.items():
        unknown[code] = unknown.get(code, 0) + count
    return EncodingReport(
        unknown_codes=unknown,
        truncated_particles=first.truncated_particles + second.truncated_particles,
        truncated_tokens=first.truncated_tokens + second.truncated_tokens,
        longest_particles=max(first.longest_particles, second.longest_particles),
        longest_tokens=max(first.longest_tokens, second.longest_tokens),
    )
