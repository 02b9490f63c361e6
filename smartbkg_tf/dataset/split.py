"""Training, validation and test events: decided by the hash of an event's key.

With u = `keys.uniform(keys, "smartbkg_tf split")`, an event belongs to

- train if u < train,
- test if u >= 1 - test,
- validation if 1 - test - validation <= u < 1 - test,

and to no part otherwise (fractions that do not add up to 1). More data, other files or
another order never move an event; a smaller training fraction leaves the other two parts
alone and takes a subset of the former training events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.keys import uniform
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.preprocessing import SplitFractions

#: Salt of the split; fixed for ever.
SPLIT_SALT = "smartbkg_tf split"

PARTS = ("train", "validation", "test")


def as_fractions(fractions: SplitFractions | Mapping[str, Any] | None) -> SplitFractions:
    """Accept fractions as settings or as plain values; None: the defaults."""
    if isinstance(fractions, SplitFractions):
        return fractions
    return validate(SplitFractions, dict(fractions or {}), where="fractions")


def split_events(
    keys: Mapping[str, npt.NDArray[np.int64]],
    fractions: SplitFractions | Mapping[str, Any] | None = None,
) -> dict[str, npt.NDArray[np.int64]]:
    """Give the increasing positions of the events of each of `PARTS`, by their key columns."""
    chosen = as_fractions(fractions)
    u = uniform(keys, SPLIT_SALT)
    test_begin = 1.0 - chosen.test
    validation_begin = max(test_begin - chosen.validation, 0.0)
    # Fractions that add up to 1 leave out no event, whatever their rounding.
    train_end = validation_begin if _complete(chosen) else min(chosen.train, validation_begin)
    return {
        "train": np.flatnonzero(u < train_end),
        "validation": np.flatnonzero((u >= validation_begin) & (u < test_begin)),
        "test": np.flatnonzero(u >= test_begin),
    }


def _complete(fractions: SplitFractions) -> bool:
    """Tell whether the fractions add up to 1 within rounding: then no event is left out."""
    return abs(fractions.train + fractions.validation + fractions.test - 1.0) < 1e-9
