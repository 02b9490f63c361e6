"""Do weighted, kept events have the distributions of all events? A first comparison.

Kept passing events are a subset of all passing events, so the two histograms are not
independent. For a bin with passing events i, the weighted count W = sum of w over kept
events has the expectation N = number of passing events, and over the random numbers of
the sampling the variance sum of (1 - p) / p over all of them. That, not sqrt(sum w^2), is
the error of W - N; sqrt(sum w^2) is the error of W as an estimate of the true
distribution, and what the points show. Events rejected by a threshold have p = 0: they
are lost for good, W has no such expectation, and no chi2 is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.evaluation.metrics import effective_number
from smartbkg_tf.events.keys import KeyIndex
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.filtering.predictions import Predictions
from smartbkg_tf.filtering.score_counts import Floats

#: Squares and sums of larger values overflow.
LARGEST = 1e100


def read_observables(path: str | Path, predictions: Predictions) -> dict[str, Floats]:
    """Read bias observables in the order of predictions; NaN where an event has no value.

    The parquet file holds experiment, run, event, production and columns of numbers.
    """
    import pandas as pd
    import pyarrow as pa

    path = Path(path)
    if not path.is_file():
        raise InputError("the observables do not exist", where=path)
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(
            f"is not a complete parquet file ({str(error).splitlines()[0]})", where=path
        ) from error
    columns = [str(name) for name in frame.columns]
    for key in KEY_COLUMNS:
        if key not in columns:
            raise InputError(f"lacks the column {key}; {did_you_mean(key, columns)}", where=path)
    names = [
        name
        for name in columns
        if name not in KEY_COLUMNS
        and name != "event_type"
        and pd.api.types.is_numeric_dtype(frame[name])
    ]
    if not names:
        raise InputError("holds no column of numbers beside the event key", where=path)
    for key in KEY_COLUMNS:
        numbers = pd.to_numeric(frame[key], errors="coerce")
        if numbers.isna().any() or (numbers % 1 != 0).any():
            raise InputError(f"{key} holds something else than whole numbers", where=path)
    index = KeyIndex({key: frame[key].to_numpy(dtype=np.int64) for key in KEY_COLUMNS})
    if index.n_repeated:
        raise InputError(f"holds {index.n_repeated} events more than once", where=path)
    rows = index.find(predictions.keys)
    if not np.any(rows >= 0):
        raise InputError(
            "holds none of the predicted events",
            where=path,
            next_step="the four-part event key must be that of the predictions",
        )
    result = {}
    for name in names:
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        huge = np.isfinite(values) & (np.abs(values) > LARGEST)
        if huge.any():
            raise InputError(
                f"row {int(np.argmax(huge))} of {name} holds {values[np.argmax(huge)]:g}, which "
                "no histogram can show",
                where=path,
                next_step="leave such values empty (NaN): the event is left out for this column",
            )
        result[name] = np.where(rows >= 0, values[rows], np.nan)
    return result


def compare_observable(
    values: Floats,
    passing: npt.NDArray[np.bool_],
    probability: Floats,
    weight: Floats,
    *,
    bins: int = 20,
) -> dict[str, Any] | None:
    """Compare an observable of all passing and of kept, weighted events; None if none passes.

    `values` [n] are NaN where unknown; bins lie between the 0.5 and 99.5 % quantiles, events beyond
    are in the outer ones. Errors are sqrt(sum w^2) for ``kept``, those of the sampling for
    ``ratio`` (None where no event passes) and for ``chi2`` of kept - all over ``bins_used`` (None
    after a threshold).
    """
    chosen = passing & np.isfinite(values)
    if not chosen.any():
        return None
    x, w, p = values[chosen], weight[chosen], probability[chosen]
    low, high = np.quantile(x, [0.005, 0.995])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    inside = np.clip(x, low, high)

    def fill(weights: Floats | None) -> Floats:
        return np.histogram(inside, edges, weights=weights)[0].astype(np.float64)

    everything, kept, squares = fill(None), fill(w), fill(w * w)
    unbiased = bool(np.all(p > 0))
    variance = fill((1 - p) / p) if unbiased else squares
    usable = variance > 0
    chi2 = float(np.sum((kept - everything)[usable] ** 2 / variance[usable]))

    def ratio(numerator: Floats) -> list[float | None]:
        return [float(a / b) if b > 0 else None for a, b in zip(numerator, everything, strict=True)]

    sum_of_weights = float(w.sum())
    mean_kept = float(w @ x / sum_of_weights) if sum_of_weights > 0 else None
    mean_error = None
    if mean_kept is not None:
        mean_error = float(np.sqrt(np.sum((w * (x - mean_kept)) ** 2)) / sum_of_weights)
    return {
        "edges": edges.tolist(),
        "all": everything.tolist(),
        "kept": kept.tolist(),
        "kept_error": np.sqrt(squares).tolist(),
        "ratio": ratio(kept),
        "ratio_error": ratio(np.sqrt(variance)),
        "chi2": chi2 if unbiased else None,
        "bins_used": int(usable.sum()) if unbiased else 0,
        "n_passing": int(chosen.sum()),
        "n_kept": int((w > 0).sum()),
        "effective_number": effective_number(w),
        "mean_all": float(x.mean()),
        "mean_kept": mean_kept,
        "mean_kept_error": mean_error,
    }
