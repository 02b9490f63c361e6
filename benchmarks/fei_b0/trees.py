"""Train the tree baselines on the feature sets of `benchmarks.fei_b0.features`.

Gradient-boosted trees: scikit-learn's ``HistGradientBoostingClassifier``. Hyper-parameters were
chosen on validation events (`SETTINGS`), and so is the number of trees of every model. The test
events are scored, but no number about them is printed.

Run: ``python -m benchmarks.fei_b0.trees NAME --sample DIRECTORY --runs RUNS --seeds 1 2 3``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fei_b0.features import KNOW_SKIM, drop_empty, features
from benchmarks.fei_b0.rows import TEST, VALIDATION, Floats, Row, folder_of, write_row, write_scores
from benchmarks.fei_b0.sample import SKIM
from benchmarks.fei_b0.two_stage import TwoStage
from smartbkg_tf.evaluation.metrics import auc
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.runtime.command import guarded

#: Most trees; the number that is used is the best one on validation events.
MOST_TREES = 1000
#: The validation AUC is looked at after so many trees.
STEP = 25
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 16,
    "l2_regularization": 10.0,
    "max_features": 0.3,
    "min_samples_leaf": 20,
}
INPUTS = {
    "event": "multiplicities and energies of the event",
    "visible": "event; visible particles, event shapes, missing momentum",
    "decay": "visible; a block for each B's subtree",
    "two_stage": "decay, in two stages: trees for one B first",
    "skim": "decay; the skim's candidates, replayed on generated particles",
    "candidates": "skim; candidates of all names, behind a roughly guessed detector",
}


def read_part(sample: Path, part: str) -> EventTable:
    """Read the events of a part.

    Parameters
    ----------
    sample : pathlib.Path
        Folder of `benchmarks.fei_b0.sample`.
    part : str
        ``train``, ``validation`` or ``test``.

    Returns
    -------
    EventTable
        All of them.
    """
    return concatenate([t for _, t in iterate_events([sample / f"{part}.h5"], key="train_events")])


def boost(x: Floats, y: np.ndarray, x_watched: Floats, y_watched: np.ndarray, seed: int) -> Any:
    """Train, and find the number of trees with the best AUC of the watched events.

    Parameters
    ----------
    x : numpy.ndarray [n, columns]
        Features of the training events.
    y : numpy.ndarray [n]
        Their labels.
    x_watched, y_watched : numpy.ndarray
        The same of validation events.
    seed : int
        Of the draw of features at each split.

    Returns
    -------
    model : HistGradientBoostingClassifier
        With at most `MOST_TREES` trees.
    n_trees : int
        The best number.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        **SETTINGS, max_iter=MOST_TREES, early_stopping=False, random_state=seed
    ).fit(x, y)
    staged = enumerate(model.staged_decision_function(x_watched), start=1)
    areas = {n: auc(scores.ravel(), y_watched) for n, scores in staged if n % STEP == 0}
    return model, max(areas, key=lambda n: areas[n])


def scores_of(model: Any, n_trees: int, x: Floats) -> Floats:
    """Score events with the first trees of a model.

    Parameters
    ----------
    model : HistGradientBoostingClassifier
        The model.
    n_trees : int
        How many trees.
    x : numpy.ndarray [n, columns]
        Features.

    Returns
    -------
    numpy.ndarray [n]
        Logits.
    """
    for n, scores in enumerate(model.staged_decision_function(x), start=1):
        if n == n_trees:
            return np.asarray(scores, dtype=np.float64).ravel()
    raise ValueError(f"the model has fewer than {n_trees} trees")


def n_leaves(model: Any, n_trees: int) -> int:
    """Count the leaves of the first trees of a model.

    Parameters
    ----------
    model : HistGradientBoostingClassifier
        The model.
    n_trees : int
        How many trees.

    Returns
    -------
    int
        Their leaves.
    """
    return sum(trees[0].get_n_leaf_nodes() for trees in model._predictors[:n_trees])


class Prepared:
    """Features of all parts.

    Parameters
    ----------
    name : str
        A key of `INPUTS`.
    tables : dict of str to EventTable
        By part.
    """

    def __init__(self, name: str, tables: dict[str, EventTable]) -> None:
        self._labels = tables["train"].labels[SKIM]
        self._two_stage = TwoStage(tables) if name == "two_stage" else None
        self._fixed: dict[str, Floats] = {}
        if self._two_stage is None:
            self._fixed = drop_empty({part: features(t, name)[1] for part, t in tables.items()})

    def features(self, seed: int) -> tuple[dict[str, Floats], int]:
        """Give the features.

        Parameters
        ----------
        seed : int
            Of the first of two stages.

        Returns
        -------
        features : dict of str to numpy.ndarray [n, columns]
            By part.
        n_leaves : int
            Leaves of trees that made them.
        """
        if self._two_stage is None:
            return self._fixed, 0
        return self._two_stage.features(self._labels, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=tuple(INPUTS), help="the feature set")
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    begin = time.process_time()
    tables = {part: read_part(options.sample, part) for part in ("train", "validation", "test")}
    prepared = Prepared(options.name, tables)
    labels = {part: table.labels[SKIM] for part, table in tables.items()}
    keys = {part: table.keys for part, table in tables.items()}
    del tables  # particles need more memory than features
    preparing = time.process_time() - begin
    for seed in options.seeds:
        begin = time.process_time()
        read, leaves = prepared.features(seed)
        model, n_trees = boost(
            read["train"], labels["train"], read["validation"], labels["validation"], seed
        )
        n_features = read["train"].shape[1]
        minutes = (preparing + time.process_time() - begin) / 60.0
        folder = folder_of(options.runs, f"trees_{options.name}", seed)
        folder.mkdir(parents=True, exist_ok=True)
        area = 0.0
        for part, file in (("validation", VALIDATION), ("test", TEST)):
            scores = scores_of(model, n_trees, read[part])
            if part == "validation":
                area = auc(scores, labels[part])
            write_scores(folder / file, keys[part], labels[part], scores)
        row = Row(
            name=f"trees_{options.name}",
            seed=seed,
            kind="trees",
            inputs=INPUTS[options.name],
            knows_skim=options.name in KNOW_SKIM,
            parameters=leaves + n_leaves(model, n_trees),
            events_per_second=None,
            cpu_minutes=minutes,
            passes=n_trees,
            validation_auc=area,
            details={"features": n_features, **SETTINGS},
        )
        write_row(folder, row)
        print(
            f"{row.name}, seed {seed}: {n_features} features, {n_trees} trees, {minutes:.1f} "
            f"CPU-minutes; validation AUC {area:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    guarded(main, debug=False)
