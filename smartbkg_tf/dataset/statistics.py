"""Mean and spread of streamed data: blocks are described alone and combined in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.kernels import kernel

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FeatureStatistics:
    """Count, mean, spread and range of the columns of a block.

    Parameters
    ----------
    count : int
        Rows.
    mean : numpy.ndarray [n_features]
        float64.
    squares : numpy.ndarray [n_features]
        float64 sums of squared distances from the mean.
    minimum, maximum : numpy.ndarray [n_features]
        float64; +inf and -inf for no rows.
    """

    count: int
    mean: FloatArray
    squares: FloatArray
    minimum: FloatArray
    maximum: FloatArray

    @property
    def spread(self) -> FloatArray:
        """Standard deviation [n_features] with divisor n; 0 for no rows."""
        return np.sqrt(self.squares / max(self.count, 1))


def describe(values: npt.NDArray[np.floating]) -> FeatureStatistics:
    """Describe one block.

    Parameters
    ----------
    values : numpy.ndarray [n_rows, n_features]
        Finite values.

    Returns
    -------
    FeatureStatistics
        Computed in float64.
    """
    block = _Block(values.shape[1])
    block.add(values)
    return block.result()


#: Rows that are described together: they fit the first cache.
_PIECE = 256


#: Sums that run side by side, as many as a few of the widest registers hold.
_LANES = 64

#: Rows whose values are added at a time, at most.
_ROWS_ABREAST = 16


# Values are finite. Nothing else may be changed by the compiler: the order of the additions,
# and so every digit, is the same on all processors.
@kernel(fastmath={"nnan", "ninf", "nsz"})
def _moments(
    values: npt.NDArray[np.floating],
    before: int,
    mean: FloatArray,
    squares: FloatArray,
    minimum: FloatArray,
    maximum: FloatArray,
) -> None:
    """Two passes over pieces of the rows, combined as `combine` does; `before` rows were seen.

    Several rows are taken as one long row, so that all inner loops run over neighbours.
    """
    n, width = values.shape
    if n == 0 or width == 0:
        return
    flat = values.reshape(-1)
    lanes = width * max(1, min(_LANES // width, _ROWS_ABREAST))
    total, spread, centre = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    low, high = np.empty(lanes, values.dtype), np.empty(lanes, values.dtype)
    for begin in range(0, n, _PIECE):
        end = min(begin + _PIECE, n)
        rows = end - begin
        piece = flat[begin * width : end * width]
        whole = len(piece) // lanes * lanes
        rest = piece[whole:]
        total[:] = 0.0
        spread[:] = 0.0
        for lane in range(0, lanes, width):
            for k in range(width):
                low[lane + k] = piece[k]
                high[lane + k] = piece[k]
        for first in range(0, whole, lanes):
            part = piece[first : first + lanes]
            for j in range(lanes):
                value = part[j]
                total[j] += np.float64(value)
                # A choice, not min and max, which would have to think of NaN.
                low[j] = value if value < low[j] else low[j]
                high[j] = value if value > high[j] else high[j]
        for j in range(len(rest)):
            total[j] += np.float64(rest[j])
            low[j] = min(low[j], rest[j])
            high[j] = max(high[j], rest[j])
        for lane in range(width, lanes, width):
            for k in range(width):
                total[k] += total[lane + k]
                low[k] = min(low[k], low[lane + k])
                high[k] = max(high[k], high[lane + k])
        for lane in range(0, lanes, width):
            for k in range(width):
                centre[lane + k] = total[k] / rows
        for first in range(0, whole, lanes):
            part = piece[first : first + lanes]
            for j in range(lanes):
                distance = np.float64(part[j]) - centre[j]
                spread[j] += distance * distance
        for j in range(len(rest)):
            distance = np.float64(rest[j]) - centre[j]
            spread[j] += distance * distance
        for lane in range(width, lanes, width):
            for k in range(width):
                spread[k] += spread[lane + k]
        for k in range(width):
            minimum[k] = min(minimum[k], np.float64(low[k]))
            maximum[k] = max(maximum[k], np.float64(high[k]))
            step = centre[k] - mean[k]
            mean[k] += step * (rows / (before + end))
            squares[k] += spread[k] + step * step * ((before + begin) * (rows / (before + end)))


class _Block:
    """The rows of one block, which come part by part; the parts change no bit of the result."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._state = (
            np.zeros(width),
            np.zeros(width),
            np.full(width, np.inf),
            np.full(width, -np.inf),
        )
        # Rows that do not fill a piece yet.
        self._rest: npt.NDArray[np.floating] | None = None
        self._n_rest = 0

    def add(self, values: npt.NDArray[np.floating]) -> None:
        rows = np.ascontiguousarray(values)
        if self._rest is None:
            self._rest = np.empty((_PIECE, rows.shape[1]), dtype=rows.dtype)
        if self._n_rest:
            missing = rows[: _PIECE - self._n_rest]
            self._rest[self._n_rest : self._n_rest + len(missing)] = missing
            self._n_rest += len(missing)
            rows = rows[len(missing) :]
            if self._n_rest < _PIECE:
                return
            self._describe(self._rest)
        whole = len(rows) - len(rows) % _PIECE
        self._describe(rows[:whole])
        self._n_rest = len(rows) - whole
        self._rest[: self._n_rest] = rows[whole:]

    def _describe(self, rows: npt.NDArray[np.floating]) -> None:
        _moments(rows, self._count, *self._state)
        self._count += len(rows)

    def result(self) -> FeatureStatistics:
        if self._rest is not None and self._n_rest:
            self._describe(self._rest[: self._n_rest])
            self._n_rest = 0
        return FeatureStatistics(self._count, *self._state)


def combine(first: FeatureStatistics, second: FeatureStatistics) -> FeatureStatistics:
    """Describe two blocks together.

    Parameters
    ----------
    first, second : FeatureStatistics
        Of disjoint rows and equal columns.

    Returns
    -------
    FeatureStatistics
        Of all rows.

    Notes
    -----
    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979), equation 1.5b.
    """
    if first.count == 0:
        return second
    if second.count == 0:
        return first
    count = first.count + second.count
    distance = second.mean - first.mean
    return FeatureStatistics(
        count=count,
        mean=first.mean + distance * (second.count / count),
        squares=first.squares + second.squares + distance**2 * (first.count * second.count / count),
        minimum=np.minimum(first.minimum, second.minimum),
        maximum=np.maximum(first.maximum, second.maximum),
    )


def beside(first: FeatureStatistics, second: FeatureStatistics) -> FeatureStatistics:
    """Put the columns of two blocks of the same rows side by side.

    Parameters
    ----------
    first, second : FeatureStatistics
        Of the same rows.

    Returns
    -------
    FeatureStatistics
        Of all columns.
    """
    names = ("mean", "squares", "minimum", "maximum")
    return FeatureStatistics(
        first.count,
        *(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names),
    )


def describe_particles(
    values: npt.NDArray[np.floating], thirds: npt.NDArray[np.int8] | None
) -> FeatureStatistics:
    """Describe one block of particles.

    Parameters
    ----------
    values : numpy.ndarray [n_rows, n_features]
        Finite values; without the charge, if `thirds` is given.
    thirds : numpy.ndarray [n_rows], optional
        Charge in units of e/3; the last feature.

    Returns
    -------
    FeatureStatistics
        Of all features.
    """
    if thirds is None:
        return describe(values)
    return beside(describe(values), describe(thirds[:, np.newaxis] / np.float32(3)))


class StreamedStatistics:
    """Combine blocks as a balanced tree, so that rounding grows with the logarithm only.

    Examples
    --------
    >>> stream = StreamedStatistics(1)
    >>> for block in ([[1.0], [2.0]], [[3.0]]):
    ...     stream.add(np.array(block))
    >>> stream.result().mean.tolist()
    [2.0]
    """

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        # As a binary counter: entry k describes 2**k blocks, or none.
        self._levels: list[FeatureStatistics | None] = []
        # The block that is not whole yet: all features but the charge, and the charge.
        self._blocks: tuple[_Block, _Block | None] | None = None

    def add(
        self, values: npt.NDArray[np.floating], thirds: npt.NDArray[np.int8] | None = None
    ) -> None:
        """Add a block.

        Parameters
        ----------
        values : numpy.ndarray [n_rows, n_features]
            Finite values; without the charge, if `thirds` is given.
        thirds : numpy.ndarray [n_rows], optional
            Charge in units of e/3; the last feature.
        """
        self.add_described(describe_particles(values, thirds))

    def add_part(
        self, values: npt.NDArray[np.floating], thirds: npt.NDArray[np.int8] | None = None
    ) -> None:
        """Add a part of a block.

        Parameters
        ----------
        values : numpy.ndarray [n_rows, n_features]
            As `add`.
        thirds : numpy.ndarray [n_rows], optional
            As `add`.
        """
        if self._blocks is None:
            self._blocks = _Block(values.shape[1]), None if thirds is None else _Block(1)
        block, charges = self._blocks
        block.add(values)
        if charges is not None and thirds is not None:
            charges.add(thirds[:, np.newaxis] / np.float32(3))

    def end_block(self) -> None:
        """End the block; its parts have no influence on the result."""
        if self._blocks is None:
            return
        block, charges = self._blocks
        self._blocks = None
        found = block.result()
        self.add_described(found if charges is None else beside(found, charges.result()))

    def add_described(self, carry: FeatureStatistics) -> None:
        """Add a block that was described elsewhere.

        Parameters
        ----------
        carry : FeatureStatistics
            From `describe_particles`.
        """
        for level, held in enumerate(self._levels):
            if held is None:
                self._levels[level] = carry
                return
            carry = combine(held, carry)
            self._levels[level] = None
        self._levels.append(carry)

    def result(self) -> FeatureStatistics:
        """Describe all blocks together.

        Returns
        -------
        FeatureStatistics
            Of all rows so far.
        """
        total = describe(np.empty((0, self._n_features)))
        for held in self._levels:
            if held is not None:
                total = combine(held, total)
        return total
