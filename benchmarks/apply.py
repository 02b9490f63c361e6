"""`apply` against the bare throughput of its model on the same encoded and padded batches.

    python benchmarks/apply.py [--events 6000] [--rounds 5] [--models resnet_combined ...]

Networks of default size are exported untrained (their speed is that of trained ones). One side is
the whole of `apply` on a file of training tables, from the opened model to the renamed output; the
other side calls the scoring function alone on the batches that `apply` made. Both run in turns on
one thread, for Keras and for ONNX Runtime. Printed are median, smallest and largest ratio of
rates, and where the rest of the time goes (`--profile`).
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import paired, sample, seconds, write_dataset
from event_filter import make_run

MODELS = {
    "resnet_combined": ("resnet", "combined"),
    "resnet_particles": ("resnet", "particles"),
    "transformer_particles": ("transformer", "particles"),
}
TARGET = 0.8


def measure(model: Path, table: Path, folder: Path, rounds: int, profile: bool) -> list[float]:
    """Give the rate of `apply` in bare rates of the model, for each round."""
    from smartbkg_tf.filtering import apply as module
    from smartbkg_tf.filtering.scorers import open_scorer
    from smartbkg_tf.settings.filtering import ApplySettings

    scorer, run = open_scorer(model)
    batches: list[Any] = []
    call = scorer._call

    def recorded(batch: Any) -> Any:
        batches.append(batch)
        return call(batch)

    settings = ApplySettings(
        run=str(model), input=str(table), output=str(folder / "p.parquet"), overwrite=True
    )

    def whole() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module.apply(settings)

    def bare() -> None:
        for batch in batches:
            call(batch)

    # The opened model: loading it takes as long for ten events as for ten million.
    from smartbkg_tf.filtering import apply_parts

    original = apply_parts.open_scorer
    apply_parts.open_scorer = lambda *_: (scorer, run)  # type: ignore[assignment]
    try:
        scorer._call = recorded  # type: ignore[method-assign]
        whole()
        scorer._call = call  # type: ignore[method-assign]
        bare()
        found = paired(rounds, apply=lambda: seconds(whole), bare=lambda: seconds(bare))
        if profile:
            watched = cProfile.Profile()
            watched.runcall(whole)
            pstats.Stats(watched).sort_stats("cumulative").print_stats(45)
    finally:
        apply_parts.open_scorer = original
    return [b / a for a, b in zip(found["apply"], found["bare"], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()

    from smartbkg_tf.runtime.threads import one_thread

    one_thread()  # before TensorFlow is imported
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = write_dataset(folder, sample(options.events))
        print(f"load {os.getloadavg()[0]:.1f}, {options.events} events, {options.rounds} pairs")
        for title in options.models:
            exported = make_run(folder, dataset, *MODELS[title])
            for kind, model in (("Keras", folder / title), ("ONNX Runtime", exported)):
                ratios = measure(
                    model, folder / "events.h5", folder, options.rounds, options.profile
                )
                median = statistics.median(ratios)
                print(
                    f"{title}, {kind}: apply / bare model, events/s: {median:.2f} "
                    f"({min(ratios):.2f} to {max(ratios):.2f})   target {TARGET:g}   "
                    f"{'met' if median >= TARGET else 'NOT MET'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
