"""What an evaluation of many predictions costs: seconds and peak memory of the whole command.

Run: ``python benchmarks/evaluation.py [--events 1e7] [--skims 1] [--before OTHER_CHECKOUT]``
Makes synthetic predictions (all event types, 4 % pass, sampling decisions) and runs
``python -m smartbkg_tf.evaluate`` on them in a process of its own: reading, metrics, 200 bootstrap
resamples, figures, report. Target: 10 million events within 60 s and 4 GB on 2 cores. With
``--before``, both checkouts evaluate the same million events in turn; printed is the ratio of CPU
times, this / other, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.filtering.predictions import PredictionsWriter
from smartbkg_tf.filtering.rules import SamplingRule, decide, random_numbers

HERE = Path(__file__).resolve().parents[1]
RETENTION = 0.04
CHUNK = 500_000

#: Runs in either checkout; a process of its own, so that its peak memory is its own.
CHILD = """
import os, resource, sys, time
start = time.perf_counter()
from smartbkg_tf.evaluate import main
sys.argv = ["evaluate", *sys.argv[1:]]
with open(os.devnull, "w") as nothing:
    shown, sys.stdout = sys.stdout, nothing
    main()
    sys.stdout = shown
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(f"[{time.perf_counter() - start}, {sum(os.times()[:4])}, {memory}]")
"""


def write_predictions(path: Path, n_events: int, n_skims: int) -> None:
    """Write synthetic predictions; scores of a class are normal, those of skims correlated."""
    random = np.random.default_rng(0)
    skims = [f"skim_{i}" for i in range(n_skims)]
    rule = SamplingRule(a=0.6, b=-1.0)
    with PredictionsWriter(path, skims, {"method": "sampling"}) as writer:
        for start in range(0, n_events, CHUNK):
            n = min(CHUNK, n_events - start)
            number = np.arange(start, start + n)
            keys = {
                "experiment": np.full(n, 1003),
                "run": number // 5000,
                "event": number % 5000,
                "production": np.full(n, 10),
            }
            common = random.normal(size=n)
            labels = {s: (random.random(n) < RETENTION).astype(np.int8) for s in skims}
            scores = [
                -3.2 + 2.0 * labels[s] + 0.8 * common + 0.9 * random.normal(size=n) for s in skims
            ]
            uniform = random_numbers(keys, 0)
            writer.write(
                keys,
                random.integers(0, len(EVENT_TYPES), n).astype(np.int8),
                np.stack(scores, axis=1).astype(np.float32),
                [decide(rule.probability(s), uniform) for s in scores],
                labels,
            )


def measure(checkout: Path, predictions: Path, output: Path) -> tuple[float, float, float]:
    """Give elapsed seconds, CPU seconds and peak memory in GiB of one evaluation."""
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", CHILD, f"runs=[{predictions}]"),
            *(f"output={output}", "overwrite=true"),
        ],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"evaluate in {checkout}: {done.stderr[-2000:]}")
    elapsed, cpu, memory = json.loads(done.stdout.strip().splitlines()[-1])
    return elapsed, cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=float, default=1e7)
    parser.add_argument("--skims", type=int, nargs="*", default=[1])
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predictions = folder / "predictions.parquet"
        for n_skims in options.skims:
            write_predictions(predictions, int(options.events), n_skims)
            elapsed, cpu, memory = measure(HERE, predictions, folder / "out")
            met = "met" if elapsed <= 60 and memory <= 4 else "NOT MET"
            print(
                f"{options.events:.0f} events, {n_skims} skims: {elapsed:.1f} s, {cpu:.1f} s of "
                f"CPU, {memory:.2f} GiB   target 60 s, 4 GiB   {met}",
                flush=True,
            )
        if options.before is not None:
            write_predictions(predictions, min(int(options.events), 1_000_000), 1)
            checkouts = {"this": HERE, "other": options.before.resolve()}
            ratios, peaks = [], []
            for turn in range(options.rounds):
                order = list(checkouts) if turn % 2 == 0 else list(checkouts)[::-1]
                found = {s: measure(checkouts[s], predictions, folder / "out") for s in order}
                ratios.append(found["this"][1] / found["other"][1])
                peaks.append([found[side][2] for side in checkouts])
            print(
                f"CPU time of 10^6 events, this / other: {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}, {options.rounds} pairs); memory "
                f"{max(p[0] for p in peaks):.2f} and {max(p[1] for p in peaks):.2f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
