"""Events that came twice: copies are dropped, their labels merged, contradictions found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.checks import Finding, finding_of
from smartbkg_tf.encoding.events import Events, Schema, same_events
from smartbkg_tf.events.keys import key_columns
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.settings.encoding import Column

#: How columns of labels and observables of events are called before they are written.
LABEL, OBSERVABLE = "label:", "observable:"


def in_order(
    events: Events,
    encoded: Schema,
    label_names: Sequence[str],
    observable_names: Sequence[str],
    files: npt.NDArray[np.object_],
    *,
    labelled: bool,
) -> tuple[Events, npt.NDArray[np.int64], list[Finding]]:
    """Put a bucket into the order of the data set, and drop what cannot be used.

    The bucket has the columns hash, keys and source (a position in `files`). Two copies of an event
    must share the columns `encoded`. Labels and observables that no event has are unknown. With
    `labelled`, any event of any file has a label: then those without are of no use. Sorted by hash,
    equal hashes by key. Gives the events with the columns of `written_columns`, labels and
    observables merged over all copies; the positions of those that are kept; and the faults.
    """
    order = np.argsort(events["hash"])
    hashes = events["hash"][order]
    again = hashes[1:] == hashes[:-1]
    if again.any():
        columns = reversed(list(key_columns(events["keys"]).values()))
        order = np.lexsort((*columns, events["hash"]))
    labels = _matrix(events, LABEL, label_names, np.int8(-1))
    observables = _matrix(events, OBSERVABLE, observable_names, np.float64(np.nan))
    kept = np.ones(len(order), dtype=np.bool_)
    masks = {}
    if again.any():
        further, masks["duplicate"], masks["conflict"] = _repeated(
            events.select(encoded), events["keys"], order, labels, observables
        )
        kept = ~(further | masks["conflict"])
    if labelled:
        unknown = kept.copy()
        for i in range(labels.shape[1]):  # NumPy is slow along so short an axis
            unknown &= labels[order, i] == -1
        masks["no_label"] = unknown
        kept &= ~masks["no_label"]
    keys, source = key_columns(events["keys"][order]), files[events["source"][order]]
    findings = [
        finding_of(reason, mask, keys, source) for reason, mask in masks.items() if mask.any()
    ]
    values = (events["keys"], labels, observables)
    columns_of_events = written_columns(len(label_names), len(observable_names))
    result = events.select(encoded).with_event_columns(
        {column: values[i] for i, column in enumerate(columns_of_events)}
    )
    return result, order if kept.all() else order[kept], findings


def written_columns(n_labels: int, n_observables: int) -> tuple[Column, ...]:
    """Describe what every dataset holds of an event beside its encoding."""
    return (
        Column(name="keys", dtype="int64", shape=(len(KEY_COLUMNS),)),
        Column(name="labels", dtype="int8", shape=(n_labels,)),
        Column(name="observables", dtype="float64", shape=(n_observables,)),
    )


def _matrix(
    events: Events, prefix: str, names: Sequence[str], missing: np.int8 | np.float64
) -> npt.NDArray[Any]:
    values = np.full((len(events), len(names)), missing)
    for i, name in enumerate(names):
        if prefix + name in events.columns:
            values[:, i] = events[prefix + name]
    return values


def _repeated(
    events: Events,
    keys: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int8],
    observables: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Find events whose key occurs twice, in that order; merges labels and observables in place.

    Gives bool [n_events] each: copies of an event before them, whose labels it takes over; those of
    them that bring no new labels; and all events of a key with different events or contradicting
    labels. None of the last can be trusted, and a choice would depend on the order of files.
    """
    n = len(order)
    begins = np.ones(n, dtype=np.bool_)
    begins[1:] = np.any(keys[order[1:]] != keys[order[:-1]], axis=1)
    group = np.cumsum(begins) - 1
    starts = np.flatnonzero(begins)
    copies = np.flatnonzero(~begins)
    differs = np.zeros(len(starts), dtype=np.bool_)
    differs[group[copies[~same_events(events, order[copies - 1], order[copies])]]] = True
    ordered = labels[order]
    known = np.maximum.reduceat(ordered, starts, axis=0)  # unknown is the smallest, -1
    lowest = np.minimum.reduceat(np.where(ordered < 0, 127, ordered), starts, axis=0)
    differs |= ((lowest < known) & (known >= 0)).any(axis=1)
    conflict = differs[group]
    further = ~begins & ~conflict
    duplicate = np.ones(n, dtype=np.bool_)
    rows = np.column_stack([group, ordered])
    duplicate[np.unique(rows, axis=0, return_index=True)[1]] = False
    labels[order[starts]] = known
    observables[order[starts]] = np.fmax.reduceat(observables[order], starts, axis=0)
    return further, duplicate & further, conflict
