"""Preprocessing, stream, training and apply of this checkout against those of another one.

Run: ``python benchmarks/before_after.py --before OTHER_CHECKOUT [--events 20000] [--rounds 5]``
Both run the same commands on the same tables in processes of their own, in turn. Printed are
medians of the ratios this / other, pair by pair, with the smallest and the largest (1: as before;
below 1: faster): of CPU times, and of the time of an epoch for training. The last columns are the
largest memory of a process in MB, here and there.
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

HERE = Path(__file__).resolve().parent.parent

#: Runs in either checkout, so it uses only what both have: commands and the stream.
CHILD = """
import contextlib, importlib, json, os, resource, sys, time
what, tables, folder = sys.argv[1:4]

def cpu():
    return sum(os.times()[:4])

def command(name, *arguments):
    sys.argv = [name, *arguments]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        importlib.import_module(f"smartbkg_tf.{name}").main()

def preprocess(output):
    command("preprocess", f"input={tables}", f"output={output}", "overwrite=true")

dataset = f"{folder}/dataset"
if what == "preprocess":
    preprocess(f"{folder}/timed")  # compiles and fills the page cache
    begin = cpu()
    preprocess(f"{folder}/timed")
    seconds = cpu() - begin
elif what.startswith("stream"):
    import numpy as np
    from smartbkg_tf.dataset.dataset import open_dataset
    from smartbkg_tf.dataset.stream import EpochCounter, evaluation_stream, training_stream
    data = open_dataset(dataset)
    rows = np.arange(len(data))
    def run(epoch):
        if what == "stream_validation":
            stream = evaluation_stream(
                data, rows, batch_size=256, inputs="combined", length_buckets=8
            )
        else:
            balance = 3.0 if what == "stream_balanced" else None
            stream = training_stream(data, rows, batch_size=256, inputs="combined", seed=epoch,
                                     balance=balance)
            stream = stream.take(-(-len(rows) // 256) if balance is None else 40)
        for _ in stream:
            pass
    run(0)
    begin = cpu()
    for epoch in range(4):
        run(epoch)
    seconds = cpu() - begin
elif what.startswith("train_"):
    command("train", f"model={what[6:]}", f"data.path={dataset}", "training.epochs=3",
            f"run_dir={folder}/{what}", "overwrite=true", "data.balance=null")
    import csv
    rows = list(csv.DictReader(open(f"{folder}/{what}/history.csv")))
    seconds = 1e4 / max(float(row["events_per_second"]) for row in rows[1:])
else:
    arguments = [f"model={folder}/train_resnet", f"input={tables}", "method=score",
                 f"output={folder}/scores.parquet", "overwrite=true"]
    command("apply", *arguments)
    begin = cpu()
    command("apply", *arguments)
    seconds = cpu() - begin
megabytes = max(
    resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
) / 1024
print(json.dumps([seconds, megabytes]))
"""

WHAT = (
    *("preprocess", "stream_all", "stream_balanced", "stream_validation"),
    *("train_resnet", "train_gcn", "apply"),
)


def measure(checkout: Path, what: str, tables: str, folder: Path) -> tuple[float, float]:
    """Give seconds and peak memory in MB of one measurement in a process of the given checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, what, tables, str(folder)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{what} in {checkout}: {done.stderr[-2000:]}")
    seconds, megabytes = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--what", nargs="*", default=list(WHAT), choices=WHAT)
    options = parser.parse_args()
    from common import sample

    from smartbkg_tf.events.hdf5 import write_hdf5

    checkouts = {"this": HERE, "other": options.before.resolve()}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        table = sample(options.events)
        write_hdf5(root / "events.h5", table)
        tables = str(root / "events.h5")
        for side, checkout in checkouts.items():
            (root / side).mkdir()
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "smartbkg_tf.preprocess",
                    f"input={tables}",
                    f"output={root / side / 'dataset'}",
                ],
                cwd=checkout,
                env={**os.environ, "PYTHONPATH": str(checkout)},
                stdout=subprocess.DEVNULL,
                check=True,
            )
        for what in options.what:
            ratios, memory = [], dict.fromkeys(checkouts, 0.0)
            rounds = options.rounds if not what.startswith("train") else max(2, options.rounds // 2)
            for turn in range(rounds):
                order = list(checkouts) if turn % 2 == 0 else list(checkouts)[::-1]
                found = {
                    side: measure(checkouts[side], what, tables, root / side) for side in order
                }
                ratios.append(found["this"][0] / found["other"][0])
                memory = {side: max(memory[side], found[side][1]) for side in checkouts}
            print(
                f"{what:18s} {statistics.median(ratios):5.2f}  "
                f"({min(ratios):.2f} to {max(ratios):.2f}, {rounds} pairs)"
                f"  {memory['this']:6.0f} {memory['other']:6.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
