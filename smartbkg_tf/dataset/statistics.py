"""Mean, spread and range of streamed data, in pieces of a fixed number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.kernels import kernel

FloatArray = npt.NDArray[np.float64]

#: Rows that are described together, and then combined with those before.
PIECE = 4096


@dataclass(frozen=True)
class FeatureStatistics:
    """Rows, and mean, standard deviation and range of every column, float64 [n_features]."""

    count: int
    mean: FloatArray
    spread: FloatArray
    minimum: FloatArray
    maximum: FloatArray


class StreamedStatistics:
    """Describe rows that come block by block; how they are cut into blocks changes no bit.

    Examples
    --------
    >>> stream = StreamedStatistics(1)
    >>> for block in ([[1.0], [2.0]], [[3.0]]):
    ...     stream.add(np.array(block))
    >>> stream.result().mean.tolist()
    [2.0]
    """

    def __init__(self, n_features: int) -> None:
        self._count = 0
        # Mean, sum of squared distances from it, minimum, maximum.
        self._state = np.zeros((4, n_features))
        self._state[2:] = [[np.inf], [-np.inf]]
        self._rest: list[npt.NDArray[np.floating]] = []
        self._n_rest = 0

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Add rows [n_rows, n_features] of finite values."""
        self._rest.append(values)
        self._n_rest += len(values)
        if self._n_rest >= PIECE:
            rows = np.concatenate(self._rest)
            whole = len(rows) // PIECE * PIECE
            self._count = _describe(rows[:whole], self._count, self._state)
            self._rest, self._n_rest = [rows[whole:].copy()], len(rows) - whole

    def result(self) -> FeatureStatistics:
        """Describe all rows so far."""
        state, count = self._state.copy(), self._count
        if self._n_rest:
            count = _describe(np.concatenate(self._rest), count, state)
        mean, squares, minimum, maximum = state
        return FeatureStatistics(count, mean, np.sqrt(squares / max(count, 1)), minimum, maximum)


@kernel
def _describe(values: npt.NDArray[np.floating], before: int, state: FloatArray) -> int:
    """Add the rows to those `before`, piece by piece; gives the number of rows.

    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979), equation 1.5b.
    """
    width = values.shape[1]
    total, squares = np.empty(width), np.empty(width)
    for begin in range(0, len(values), PIECE):
        piece = values[begin : begin + PIECE]
        total[:] = 0.0
        squares[:] = 0.0
        for row in piece:
            for k in range(width):
                total[k] += row[k]
                state[2, k] = min(state[2, k], row[k])
                state[3, k] = max(state[3, k], row[k])
        total /= len(piece)
        for row in piece:
            for k in range(width):
                squares[k] += (row[k] - total[k]) ** 2
        after = before + len(piece)
        for k in range(width):
            step = total[k] - state[0, k]
            state[0, k] += step * (len(piece) / after)
            state[1, k] += squares[k] + step * step * (before * (len(piece) / after))
        before = after
    return before
