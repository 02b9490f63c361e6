"""A stronger reading of the two B mesons: trees for one B first, trees for the event then.

An event passes if either B can be reconstructed, which single trees on both blocks learn slowly.
The first stage sees the block of one B and learns the event's label, with both B mesons of an
event as two examples. Its scores order the two blocks and enter the second stage with the
logarithm of the sum of their odds. Training events are scored by first stages that did not see
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.fei_b0.features import drop_empty, event_features, side_features, visible_features
from benchmarks.fei_b0.reading import Floats, Reading
from smartbkg_tf.events.table import EventTable

#: Parts that the training events are divided into, each scored by trees that saw the others.
FOLDS = 4
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "l2_regularization": 10.0,
    "max_features": 0.3,
    "max_iter": 150,
}


def side_scores(
    sides: Mapping[str, Floats], labels: np.ndarray, seed: int
) -> tuple[dict[str, Floats], int]:
    """Score every B.

    Parameters
    ----------
    sides : mapping of str to numpy.ndarray [n, 2, columns]
        Blocks of the two B mesons, for ``train`` and other parts.
    labels : numpy.ndarray [n]
        Labels of the training events.
    seed : int
        Of the trees.

    Returns
    -------
    scores : dict of str to numpy.ndarray [n, 2]
        Logits; of other parts the mean over the folds.
    n_leaves : int
        Leaves of all trees.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    train = sides["train"]
    fold = np.arange(len(train)) % FOLDS
    scores = {part: np.zeros((len(blocks), 2)) for part, blocks in sides.items()}
    leaves = 0
    for k in range(FOLDS):
        seen = fold != k
        model = HistGradientBoostingClassifier(
            **SETTINGS, early_stopping=False, random_state=seed * FOLDS + k
        ).fit(train[seen].reshape(-1, train.shape[2]), np.repeat(labels[seen], 2))
        leaves += sum(trees[0].get_n_leaf_nodes() for trees in model._predictors)
        for part, blocks in sides.items():
            rows = ~seen if part == "train" else np.ones(len(blocks), dtype=bool)
            flat = blocks[rows].reshape(-1, blocks.shape[2])
            found = model.decision_function(flat).reshape(-1, 2)
            scores[part][rows] += found if part == "train" else found / FOLDS
    return scores, leaves


def ordered(blocks: Floats, scores: Floats) -> Floats:
    """Put the blocks of the B of higher score first, and the scores behind them.

    Parameters
    ----------
    blocks : numpy.ndarray [n, 2, columns]
        Of both B mesons.
    scores : numpy.ndarray [n, 2]
        Their logits.

    Returns
    -------
    numpy.ndarray [n, 2 * columns + 3]
        Blocks; the larger score, the smaller, and ln(sum of exp).
    """
    swap = (scores[:, 1] > scores[:, 0])[:, None, None]
    sorted_blocks = np.where(swap, blocks[:, ::-1], blocks).reshape(len(blocks), -1)
    sorted_scores = np.sort(scores, axis=1)[:, ::-1]
    both = np.logaddexp(scores[:, 0], scores[:, 1])[:, None]
    return np.concatenate([sorted_blocks, sorted_scores, both], axis=1)


class TwoStage:
    """Blocks of all events, ready for any seed.

    Parameters
    ----------
    tables : mapping of str to EventTable
        ``train`` and other parts.
    """

    def __init__(self, tables: Mapping[str, EventTable]) -> None:
        self._event: dict[str, Floats] = {}
        self._sides: dict[str, Floats] = {}
        for part, table in tables.items():
            reading = Reading(table)
            columns = {**event_features(reading), **visible_features(reading)}
            self._event[part] = np.stack(list(columns.values()), axis=1).astype(np.float32)
            sides = side_features(reading)
            # Half the memory; counts and GeV need no more digits.
            blocks = np.stack(list(sides.values()), axis=1).astype(np.float32)
            self._sides[part] = blocks.reshape(len(table), 2, -1)
        self._event, self._sides = drop_empty(self._event), drop_empty(self._sides)

    def features(self, labels: np.ndarray, seed: int) -> tuple[dict[str, Floats], int]:
        """Train the first stage and compute the features of the second.

        Parameters
        ----------
        labels : numpy.ndarray [n]
            Labels of the training events.
        seed : int
            Of the trees.

        Returns
        -------
        features : dict of str to numpy.ndarray [n, columns]
            By part.
        n_leaves : int
            Leaves of the first stage.
        """
        scores, leaves = side_scores(self._sides, labels, seed)
        return {
            part: np.concatenate([event, ordered(self._sides[part], scores[part])], axis=1)
            for part, event in self._event.items()
        }, leaves
