"""Compiled loops: thrust. Imported only where they run, because numba is slow to import."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smartbkg_tf.runtime.kernels import kernel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@kernel
def thrust(momenta: Floats, offsets: Integers) -> Floats:
    """Thrust T = max over unit vectors n of sum |p . n| / sum |p| (Farhi, PRL 39 (1977) 1587).

    Momenta [n, 3] in the CMS, sorted by event; 1/2 to 1 [n_events], NaN for events without
    momentum. Exact: the plane normal to the best axis that divides the momenta into two groups
    passes through two of them, so all pairs and the four ways to place those two are tried.
    """
    n_events = len(offsets) - 1
    result = np.full(n_events, np.nan)
    for event in range(n_events):
        start, stop = offsets[event], offsets[event + 1]
        total = 0.0
        for i in range(start, stop):
            total += np.sqrt(momenta[i, 0] ** 2 + momenta[i, 1] ** 2 + momenta[i, 2] ** 2)
        if not total > 0.0:
            continue
        best = 0.0
        if stop - start == 1:
            best = total * total
        for i in range(start, stop):
            for j in range(i + 1, stop):
                nx = momenta[i, 1] * momenta[j, 2] - momenta[i, 2] * momenta[j, 1]
                ny = momenta[i, 2] * momenta[j, 0] - momenta[i, 0] * momenta[j, 2]
                nz = momenta[i, 0] * momenta[j, 1] - momenta[i, 1] * momenta[j, 0]
                size = np.sqrt(nx * nx + ny * ny + nz * nz)
                sx = sy = sz = 0.0
                for k in range(start, stop):
                    if k in (i, j):
                        continue
                    side = nx * momenta[k, 0] + ny * momenta[k, 1] + nz * momenta[k, 2]
                    # Momenta in the plane (or any, if the two are parallel) have no side of
                    # their own; the product with the first keeps parallel ones together.
                    if abs(side) <= 1e-12 * size * total:
                        side = (
                            momenta[i, 0] * momenta[k, 0]
                            + momenta[i, 1] * momenta[k, 1]
                            + momenta[i, 2] * momenta[k, 2]
                        )
                    sign = 1.0 if side >= 0.0 else -1.0
                    sx += sign * momenta[k, 0]
                    sy += sign * momenta[k, 1]
                    sz += sign * momenta[k, 2]
                for a in (-1.0, 1.0):
                    for b in (-1.0, 1.0):
                        px = sx + a * momenta[i, 0] + b * momenta[j, 0]
                        py = sy + a * momenta[i, 1] + b * momenta[j, 1]
                        pz = sz + a * momenta[i, 2] + b * momenta[j, 2]
                        square = px * px + py * py + pz * pz
                        if square > best:
                            best = square
        result[event] = np.sqrt(best) / total
    return result
