"""A job in place of a training, as a program: quick, it goes on where it was ended.

Overrides: ``rate`` decides the AUC, ``fail=1`` ends with an error, ``slow`` are seconds an epoch.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

EPOCHS = 3


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    folder = Path(given["run_dir"].strip("'"))
    print("cores", len(os.sched_getaffinity(0)), "threads", os.environ.get("OMP_NUM_THREADS"))
    if given.get("fail") == "1":
        sys.exit("error: x: is broken\n  -> mend it")
    if given.get("fail") == "9":
        os.kill(os.getpid(), 9)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "config.yaml", "model: {name: resnet, inputs: combined}\ntraining: {seed: 1}\n")
    history = folder / "history.csv"
    text = history.read_text() if history.exists() else "epoch,val_auc\n"
    begun = len(text.splitlines())
    print(f"epoch {begun} of {EPOCHS} is the first")
    for epoch in range(begun, EPOCHS + 1):
        time.sleep(float(given.get("slow", "0")))
        auc = 0.6 + 0.1 * epoch * (1 - abs(float(given.get("rate", "0.3")) - 0.3))
        text += f"{epoch},{auc:.6f}\n"
        write(history, text)
    write(folder / "metadata.yaml", f"result: {{epochs: {EPOCHS}, best_epoch: {EPOCHS}}}\n")
    write(folder / "filter.json", f'{{"b0": {{"speedup_validation": {auc * 2}}}}}')
    write(folder / "metrics.json", f'{{"auc": {auc}, "auc_error": 0.01}}')
    write(folder / "done.json", "{}\n")


def write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.rename(path)


if __name__ == "__main__":
    main()
