"""Thrust, a compiled loop. Imported only where it runs, because numba is slow to import."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.arrays import Floats, Integers
from smartbkg_tf.runtime.kernels import kernel


@kernel
def thrust(momenta: Floats, offsets: Integers) -> Floats:
    """Thrust T = max over unit vectors n of sum |p . n| / sum |p| (Farhi, PRL 39 (1977) 1587).

    Momenta [n, 3] in the CMS, sorted by event; 1/2 to 1 [n_events], NaN for events without
    momentum. Exact: the plane normal to the best axis that divides the momenta into two groups
    passes through two of them, so all pairs and the four ways to place those two are tried. Further
    momenta in that plane are divided by the line of the first one; those along it follow it.
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
        best = total * total if stop - start == 1 else 0.0
        for i in range(start, stop):
            for j in range(i + 1, stop):
                nx = momenta[i, 1] * momenta[j, 2] - momenta[i, 2] * momenta[j, 1]
                ny = momenta[i, 2] * momenta[j, 0] - momenta[i, 0] * momenta[j, 2]
                nz = momenta[i, 0] * momenta[j, 1] - momenta[i, 1] * momenta[j, 0]
                size = np.sqrt(nx * nx + ny * ny + nz * nz)
                # Sums of what lies on either side of the plane, in it, and along the first one.
                sx = sy = sz = ix = iy = iz = 0.0
                ax, ay, az = momenta[i, 0], momenta[i, 1], momenta[i, 2]
                for k in range(start, stop):
                    if k == i:
                        continue
                    px, py, pz = momenta[k, 0], momenta[k, 1], momenta[k, 2]
                    side = nx * px + ny * py + nz * pz
                    if k != j and abs(side) > 1e-12 * size * total:
                        sign = 1.0 if side >= 0.0 else -1.0
                        sx += sign * px
                        sy += sign * py
                        sz += sign * pz
                        continue
                    # Normal of the first one in the plane, times this one.
                    side = (
                        (ny * momenta[i, 2] - nz * momenta[i, 1]) * px
                        + (nz * momenta[i, 0] - nx * momenta[i, 2]) * py
                        + (nx * momenta[i, 1] - ny * momenta[i, 0]) * pz
                    )
                    if abs(side) > 1e-12 * size * total * total:
                        sign = 1.0 if side >= 0.0 else -1.0
                        ix += sign * px
                        iy += sign * py
                        iz += sign * pz
                    else:
                        side = momenta[i, 0] * px + momenta[i, 1] * py + momenta[i, 2] * pz
                        sign = 1.0 if side >= 0.0 else -1.0
                        ax += sign * px
                        ay += sign * py
                        az += sign * pz
                for a in (-1.0, 1.0):
                    for b in (-1.0, 1.0):
                        px = sx + a * ix + b * ax
                        py = sy + a * iy + b * ay
                        pz = sz + a * iz + b * az
                        best = max(best, px * px + py * py + pz * pz)
        result[event] = np.sqrt(best) / total
    return result
