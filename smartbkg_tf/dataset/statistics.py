"""Mean, spread and range of streamed data, in pieces of a fixed number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.kernels import kernel

FloatArray = npt.NDArray[np.float64]

#: Rows that are described together, and then combined with those before.
PIECE = 4096

#: Rows of a whole piece that are added at a time.
_ABREAST = 8


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
        if self._n_rest:
            missing = values[: PIECE - self._n_rest]
            self._rest.append(missing.copy())
            self._n_rest += len(missing)
            if self._n_rest < PIECE:
                return
            self._count = _describe(np.concatenate(self._rest), self._count, self._state)
            values = values[len(missing) :]
        whole = len(values) // PIECE * PIECE
        self._count = _describe(np.ascontiguousarray(values[:whole]), self._count, self._state)
        self._rest, self._n_rest = [values[whole:].copy()], len(values) - whole

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
    if width == 0:
        return before + len(values)
    for begin in range(0, len(values), PIECE):
        piece = values[begin : begin + PIECE]
        rows = len(piece)
        # Several rows are taken as one long row, so that the inner loops run over neighbours.
        abreast = _ABREAST if rows % _ABREAST == 0 else 1
        lanes = abreast * width
        total, squares, mean = np.zeros(lanes), np.zeros(lanes), np.empty(lanes)
        low, high = np.full(lanes, np.inf), np.full(lanes, -np.inf)
        flat = piece.reshape(-1)
        for first in range(0, rows * width, lanes):
            part = flat[first : first + lanes]
            for j in range(lanes):
                value = np.float64(part[j])
                total[j] += value
                low[j] = value if value < low[j] else low[j]
                high[j] = value if value > high[j] else high[j]
        for j in range(width, lanes):
            total[j % width] += total[j]
        for j in range(lanes):
            mean[j] = total[j % width] / rows
        for first in range(0, rows * width, lanes):
            part = flat[first : first + lanes]
            for j in range(lanes):
                distance = np.float64(part[j]) - mean[j]
                squares[j] += distance * distance
        after = before + rows
        for k in range(width):
            step = mean[k] - state[0, k]
            state[0, k] += step * (rows / after)
            state[1, k] += squares[k::width].sum() + step * step * (before * (rows / after))
            state[2, k] = min(state[2, k], low[k::width].min())
            state[3, k] = max(state[3, k], high[k::width].max())
        before = after
    return before
