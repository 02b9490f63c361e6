"""Boosted trees as a layer: fitted by scikit-learn, evaluated like any other part of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from smartbkg_tf.errors import InputError
from smartbkg_tf.models.configurable import Float32Layer
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.models import ForestSettings

Floats = npt.NDArray[np.float32]
Columns = tuple[Floats, Floats, Floats]

#: The AUC that chooses the number of trees is looked at after so many.
STEP = 25

#: Fewer events are fitted in one thread. Threads spin while they wait for each other: with few
#: events they gain nothing, and beside other work they lose (``benchmarks/forest_threads.py``).
ONE_THREAD_BELOW = 20_000

#: No feature is as large.
_NEVER = np.float32(3e38)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class Forest(Float32Layer):
    """Sums of the leaves of `trees` trees for each of `outputs` skims, plus a constant.

    All splits of a tree are compared at once; a leaf counts when every split on the way to it
    agrees. Input: float32 [batch, feature]. Output: float32 [batch, `outputs`], logits.
    """

    def __init__(self, outputs: int, trees: int, leaves: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outputs = outputs
        self.trees = trees
        self.leaves = leaves

    def build(self, x_shape: Any) -> None:
        """Make the variables; no gradient changes them."""
        rows, nodes = self.outputs * self.trees, self.leaves - 1

        def variable(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return self.add_weight(
                name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False
            )

        self.feature = variable("feature", (rows * nodes,), "int32")
        self.threshold = variable("threshold", (rows, nodes))
        # 1 and -1 where a leaf lies to the left and to the right of a split.
        self.way = variable("way", (rows, nodes, self.leaves))
        self.steps = variable("steps", (rows, self.leaves))
        self.value = variable("value", (rows, self.leaves))
        self.baseline = variable("baseline", (self.outputs,))

    def call(self, x: Any) -> Any:
        """Add up, [batch, outputs]."""
        rows, nodes = self.outputs * self.trees, self.leaves - 1
        x = ops.reshape(ops.take(x, self.feature, axis=1), (-1, rows, nodes))
        left = ops.where(x <= self.threshold, 1.0, -1.0)
        # [row, batch, node] x [row, node, leaf]
        agreed = ops.matmul(ops.transpose(left, (1, 0, 2)), self.way)
        reached = ops.cast(ops.equal(agreed, ops.expand_dims(self.steps, 1)), "float32")
        leaf = ops.sum(reached * ops.expand_dims(self.value, 1), axis=-1)
        leaf = ops.reshape(leaf, (self.outputs, self.trees, -1))
        return ops.transpose(ops.sum(leaf, axis=1)) + self.baseline

    def take(self, forests: list[tuple[list[Any], float]]) -> None:
        """Take the trees (nodes as scikit-learn keeps them) and the constant of each skim."""
        rows, nodes = self.outputs * self.trees, self.leaves - 1
        feature = np.zeros((rows, nodes), dtype=np.int32)
        threshold = np.full((rows, nodes), _NEVER, dtype=np.float32)
        way = np.zeros((rows, nodes, self.leaves), dtype=np.float32)
        # No leaf of a tree that is not there is ever reached.
        steps = np.full((rows, self.leaves), -1.0, dtype=np.float32)
        value = np.zeros((rows, self.leaves), dtype=np.float32)
        for output, (trees, _) in enumerate(forests):
            for number, tree in enumerate(trees):
                row = output * self.trees + number
                _copy_tree(tree, feature[row], threshold[row], way[row], steps[row], value[row])
        self.feature.assign(feature.ravel())
        self.threshold.assign(threshold)
        self.way.assign(way)
        self.steps.assign(steps)
        self.value.assign(value)
        self.baseline.assign([constant for _, constant in forests])


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class MeanWithForest(Float32Layer):
    """Mean of a network's logits and those of a forest; while training the network's alone.

    So that the network learns everything, not only what the trees have left. Input: float32
    [batch, output] twice. Output: float32 [batch, output].
    """

    def call(self, network: Any, forest: Any, training: bool | None = None) -> Any:
        """Average, [batch, output]."""
        return network if training else 0.5 * (network + forest)


def one_class(skim: str) -> InputError:
    """Say that the events that trees would be fitted on are of one class, for a skim."""
    return InputError(
        f"{skim}: boosted trees need passing and failing training events",
        next_step="use more events, or leave the skim out (data.skims)",
    )


def fit_forests(
    settings: ForestSettings, train: Columns, watched: Columns, names: Sequence[str], seed: int
) -> list[tuple[list[Any], float]]:
    """Fit trees for each skim, as many as give the best AUC of the watched events.

    `train` and `watched`: quantities [n, quantity], labels and weights [n, skim].
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    x, y, weight = train
    forests = []
    for skim, name in enumerate(names):
        known = weight[:, skim] > 0
        if len(np.unique(y[known, skim])) < 2:
            raise one_class(name)
        threads = 1 if known.sum() < ONE_THREAD_BELOW else None  # None: as scikit-learn has it
        with threadpool_limits(threads, user_api="openmp"):
            fitted = HistGradientBoostingClassifier(
                learning_rate=settings.learning_rate,
                max_iter=settings.trees,
                max_leaf_nodes=settings.leaves,
                min_samples_leaf=settings.min_samples,
                l2_regularization=settings.regularisation,
                max_features=settings.share,
                early_stopping=False,
                random_state=seed,
            ).fit(x[known], y[known, skim], sample_weight=weight[known, skim])
            number = _best_number(fitted, *watched, skim)
        say(f"{name}: {number} trees on {x.shape[1]} quantities of {known.sum()} events")
        forests.append(forest_nodes(fitted, number))
    return forests


def _best_number(fitted: Any, x: Floats, y: Floats, weight: Floats, skim: int) -> int:
    """Find the number of trees with the best AUC of some events; all where one class is missing."""
    from sklearn.metrics import roc_auc_score

    known = weight[:, skim] > 0
    number = len(fitted._predictors)
    if len(np.unique(y[known, skim])) < 2:
        return number
    areas = {
        n: float(roc_auc_score(y[known, skim], s.ravel(), sample_weight=weight[known, skim]))
        for n, s in enumerate(fitted.staged_decision_function(x[known]), start=1)
        if n % STEP == 0 or n == number
    }
    return max(areas, key=lambda n: areas[n])


def forest_nodes(fitted: Any, number: int | None = None) -> tuple[list[Any], float]:
    """Give nodes of the first trees of a ``HistGradientBoostingClassifier``, and its constant.

    They have no public name in scikit-learn; a test compares with its own prediction.
    """
    trees = [one[0].nodes for one in fitted._predictors[:number]]
    return trees, float(np.ravel(fitted._baseline_prediction)[0])


def _copy_tree(
    tree: Any,
    feature: npt.NDArray[np.int32],
    threshold: npt.NDArray[np.float32],
    way: npt.NDArray[np.float32],
    steps: npt.NDArray[np.float32],
    value: npt.NDArray[np.float32],
) -> None:
    """Walk from the root of a tree to its leaves and note the way to each."""
    split = leaf = 0
    waiting: list[tuple[int, list[tuple[int, float]]]] = [(0, [])]
    while waiting:
        place, path = waiting.pop()
        node = tree[place]
        if node["is_leaf"]:
            for number, side in path:
                way[number, leaf] = side
            steps[leaf], value[leaf] = len(path), node["value"]
            leaf += 1
            continue
        feature[split] = node["feature_idx"]
        threshold[split] = _at_most(float(node["num_threshold"]))
        waiting.append((int(node["left"]), [*path, (split, 1.0)]))
        waiting.append((int(node["right"]), [*path, (split, -1.0)]))
        split += 1


def _at_most(value: float) -> np.float32:
    """Give the largest float32 that is not above a value: the same float32 numbers are below it."""
    if value >= _NEVER:
        return _NEVER
    rounded = np.float32(value)
    return np.float32(np.nextafter(rounded, -_NEVER)) if rounded > value else rounded
