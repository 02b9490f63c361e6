"""Means and spreads of generated particles beside those of the original's Belle II sample.

Run: ``python -m smartbkg_tf.produce event_type=mixed n_events=20000 output=tables``, then
``python benchmarks/closeness.py 'tables/mixed_*.h5'``. Errors come from ten parts of the sample.
"""

from __future__ import annotations

import sys

import numpy as np

from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.runtime.files import expand_inputs

#: Means and spreads of the original's Belle II sample (issue 3, point 2): GeV, ns, cm.
PUBLISHED = {
    "energy": (1.263, 2.006),
    "prodTime": (0.0589, 0.727),
    "x": (0.044, 5.88),
    "y": (-0.003, 5.90),
    "z": (0.374, 7.29),
    "px": (0.0525, 0.430),
    "py": (0.000, 0.422),
    "pz": (0.345, 0.684),
}


def main(pattern: str) -> None:
    tables = [table for _, table in iterate_events(expand_inputs(pattern), key="train_events")]
    n_events = sum(len(table) for table in tables)
    print(f"{n_events} events, {sum(t.n_particles for t in tables) / n_events:.1f} particles each")
    print(f"{'':>9}{'mean':>19}{'published':>11}{'spread':>19}{'published':>11}{'ratio':>7}")
    for name, (mean, spread) in PUBLISHED.items():
        values = np.concatenate([table.particles[name] for table in tables])
        parts = np.array_split(values, 10)
        errors = [np.std([f(part) for part in parts], ddof=1) / 10**0.5 for f in (np.mean, np.std)]
        print(
            f"{name:>9}{values.mean():9.4f} +-{errors[0]:7.4f}{mean:11.4f}"
            f"{values.std():9.4f} +-{errors[1]:7.4f}{spread:11.4f}{values.std() / spread:7.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
