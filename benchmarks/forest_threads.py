"""Fits of boosted trees on few events: one thread, as the package has it, against all.

    python benchmarks/forest_threads.py [--busy 0,1,2] [--events 4000] [--rounds 5]

Each fit runs in a process of its own, beside so many processes that keep a core busy. Printed:
medians of the ratios of pairs, above 1 where one thread is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from common import paired, ratio

FIT = """
import sys, time
import numpy as np
from smartbkg_tf.models import forest
from smartbkg_tf.settings.models import ForestSettings
events = int(sys.argv[1])
if sys.argv[2] == "all":
    forest.ONE_THREAD_BELOW = 0
random = np.random.default_rng(0)
x = random.normal(size=(events, 359)).astype("float32")
y = (x[:, :1] + x[:, 1:2] * x[:, 2:3] + random.normal(size=(events, 1)) > 0).astype("int8")
columns = x, y, np.ones(y.shape)
start = time.perf_counter()
forest.fit_forests(ForestSettings(trees=100), columns, columns, ["skim"], 1)
print(time.perf_counter() - start)
"""


def fit(events: int, threads: str) -> float:
    """Fit in a new process; give the seconds."""
    command = [sys.executable, "-c", FIT, str(events), threads]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", default="0,1,2", help="processes beside the fit")
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for busy in map(int, options.busy.split(",")):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            found = paired(
                options.rounds,
                all=lambda: fit(options.events, "all"),
                one=lambda: fit(options.events, "one"),
            )
        finally:
            for other in others:
                other.kill()
                other.wait()
        value = ratio(*found.values())
        print(f"{options.events} events, {busy} busy: all / one {value:.2f}", flush=True)


if __name__ == "__main__":
    main()
