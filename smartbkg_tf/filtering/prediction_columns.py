"""Columns of a predictions file, checked as they are read; all faults are reported at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import Problems
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.events.table import EVENT_TYPES

_DECISION = ("probability", "kept", "weight")

#: What kinds of columns hold: predicates of `pyarrow.types`.
_KINDS = {
    "numbers": ("is_integer", "is_floating"),
    "whole numbers": ("is_integer",),
    "true or false": ("is_boolean",),
    "text": ("is_string", "is_large_string"),
}


class ColumnReader:
    """Read the columns of an Arrow table and collect what is wrong with them.

    `names` are those in the table by those that are used here.
    """

    def __init__(self, table: Any, names: Mapping[str, str]) -> None:
        self._table = table
        self._names = names
        self.problems = Problems()

    def _type(self, name: str) -> str:
        return str(self._table.schema.field(self._names[name]).type)

    def _has(self, name: str) -> bool:
        """Whether there is a column with values."""
        return name in self._names and self._type(name) != "null"

    def _column(self, name: str, kind: str, *, complete: bool = False) -> Any:
        """Give a column of a kind in `_KINDS`, or None; if `complete`, nulls are a fault."""
        import pyarrow as pa

        column = self._table.column(self._names[name])
        inner = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not any(getattr(pa.types, test)(inner) for test in _KINDS[kind]):
            self.problems.add(f"{name} holds {inner}, expected {kind}")
            return None
        if complete and column.null_count:
            self._fault(name, "null", column.is_null().to_numpy(), kind)
            return None
        return column

    def _numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Read numbers [n], NaN for null."""
        column = self._column(name, "numbers")
        if column is None:
            return np.ones(len(self._table))
        return np.asarray(column.to_numpy()).astype(np.float64)

    def keys(self, names: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
        """Read the event key, int64 [n] each, 0 without a column; an event may be there once."""
        keys = {name: np.zeros(len(self._table), dtype=np.int64) for name in names}
        for name in names:
            if name in self._names:
                column = self._column(name, "whole numbers", complete=True)
                if column is None:
                    return keys
                keys[name] = column.to_numpy().astype(np.int64, copy=False)
        index = KeyIndex(keys)
        if index.n_repeated:
            n_events = len(self._table)
            first = int(np.setdiff1d(np.arange(n_events), index.rows)[0])
            key = ", ".join(f"{name} {int(values[first])}" for name, values in keys.items())
            self.problems.add(
                f"{index.n_repeated} of {n_events} events have the key of another one; the first "
                f"is {key} in row {first}"
            )
        return keys

    def event_type(self) -> npt.NDArray[np.int8]:
        """Read positions in `EVENT_TYPES` [n], -1 where unknown."""
        import pyarrow as pa

        column = self._column("event_type", "text") if self._has("event_type") else None
        if column is None:
            return np.full(len(self._table), -1, dtype=np.int8)
        encoded = column.cast(pa.string()).dictionary_encode().combine_chunks()
        numbers = [
            EVENT_TYPES.index(t) if t in EVENT_TYPES else -1 for t in encoded.dictionary.to_pylist()
        ]
        indices = np.asarray(encoded.indices.fill_null(len(numbers)), dtype=np.int64)
        return np.array([*numbers, -1], dtype=np.int8)[indices]

    def skim(self, skim: str) -> dict[str, npt.NDArray[Any]]:
        """Read score, decision and label of one skim, by the names of `SkimPredictions`."""
        names = {kind: f"{kind}_{skim}" for kind in ("score", *_DECISION, "label")}
        score = self._numbers(names["score"])
        self._check(names["score"], score, np.isfinite(score), "a finite number")
        n = len(self._table)
        probability, kept, weight = np.ones(n), np.ones(n, dtype=np.bool_), np.ones(n)
        given = [names[kind] for kind in _DECISION if names[kind] in self._names]
        lacking = [names[kind] for kind in _DECISION if names[kind] not in given]
        if given and lacking:
            self.problems.add(f"has {', '.join(given)} without {', '.join(lacking)}")
        elif given:
            probability, kept, weight = self._decision(names)
        return {
            "score": score.astype(np.float32),
            "probability": probability,
            "kept": kept,
            "weight": weight,
            "label": self._label(names["label"]),
        }

    def _decision(
        self, names: dict[str, str]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        before = len(self.problems.texts)
        probability = self._numbers(names["probability"])
        inside = (probability >= 0) & (probability <= 1)
        self._check(names["probability"], probability, inside, "a number in [0, 1]")
        column = self._column(names["kept"], "true or false", complete=True)
        kept = np.ones(len(self._table), dtype=np.bool_)
        if column is not None:
            kept = np.asarray(column.to_numpy()).astype(np.bool_)
        weight = self._numbers(names["weight"])
        if len(self.problems.texts) == before:
            expected = np.zeros(len(weight))
            np.divide(1.0, probability, out=expected, where=kept & (probability > 0))
            fits = np.isclose(weight, expected, rtol=1e-4, atol=0.0)
            wanted = f"1 / {names['probability']} where {names['kept']}, else 0"
            fits &= (weight > 0) == kept
            self._check(names["weight"], weight, fits, wanted)
        return probability, kept, weight

    def _label(self, name: str) -> npt.NDArray[np.int8]:
        """Read 1 (passes), 0 (fails) and -1 (unknown: null, NaN or -1)."""
        if not self._has(name):
            return np.full(len(self._table), -1, dtype=np.int8)
        if self._type(name) == "bool":
            column = self._table.column(self._names[name])
            values = column.cast("int8").to_numpy().astype(np.float64)
        else:
            values = self._numbers(name)
        values = np.where(np.isnan(values), -1.0, values)
        self._check(name, values, np.isin(values, (-1.0, 0.0, 1.0)), "0, 1 or empty")
        return np.clip(values, -1, 1).astype(np.int8)

    def information(self, key: bytes) -> dict[str, Any]:
        """Read how the predictions were made: JSON in the file's metadata, if there is any."""
        text = (self._table.schema.metadata or {}).get(key)
        try:
            values = {} if text is None else json.loads(text)
            json.dumps(values, allow_nan=False)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            self.problems.add("the file's metadata on how the predictions were made are damaged")
            return {}
        return values

    def _check(
        self,
        name: str,
        values: npt.NDArray[np.float64],
        good: npt.NDArray[np.bool_],
        wanted: str,
    ) -> None:
        if not good.all():
            self._fault(name, f"{values[np.argmin(good)]:g}", ~good, wanted)

    def _fault(self, name: str, value: str, bad: npt.NDArray[np.bool_], wanted: str) -> None:
        self.problems.add(
            f"{name} is {value} in row {int(np.argmax(bad))} ({int(bad.sum())} of {bad.size} rows "
            f"are wrong), expected {wanted}"
        )
