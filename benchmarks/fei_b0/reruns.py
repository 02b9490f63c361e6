"""Send the benchmark's events through the detector and the skim again, with other seeds.

A label is a random variable: the same generated event passes or not, depending on the detector's
response. The fraction of reruns that pass estimates the probability that is all that any input
could tell (see `benchmarks.fei_b0.ceiling`).

Run: ``python -m benchmarks.fei_b0.reruns --sample DIRECTORY --part test --number 50 --output FILE``
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.fei_b0.sample import SKIM
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from smartbkg_tf.generation.beams import nominal_collision
from smartbkg_tf.generation.detector import reconstruct
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.runtime.command import compose_settings, guarded
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.progress import Progress
from smartbkg_tf.settings.generation import ProduceSettings

#: Events of a process at a time.
CHUNK = 2000


def passes(
    table: EventTable, settings: ProduceSettings, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Say which events pass with new random numbers of the detector.

    Parameters
    ----------
    table : EventTable
        Generated events. Training tables lack photons radiated by taus and beams; mixed events
        without initial-state radiation have none, so nothing is missing there.
    settings : ProduceSettings
        Detector, beams, and the one skim.
    random : numpy.random.Generator
        The detector's.

    Returns
    -------
    numpy.ndarray [n_events]
        bool.

    Raises
    ------
    ValueError
        When the settings' source is not Pythia, or there is not exactly one skim.
    """
    source = settings.source
    if not isinstance(source, PythiaSource):
        raise ValueError(f"{type(source).__name__}: the beams of source=pythia are needed")
    (skim,) = settings.skim.values()
    view = EventView(reconstruct(table, settings.detector, random), nominal_collision(source.beams))
    return np.asarray(skim.select(view).passes, dtype=bool)


def _rerun(table: EventTable, first: int, number: int, seed: int) -> npt.NDArray[np.bool_]:
    settings = compose_settings("produce", ProduceSettings, [f"skim={SKIM}"])
    # One stream for each rerun and first event: neither the number of reruns nor that of the
    # processes changes another rerun.
    streams = (
        np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, first, i])))
        for i in range(number)
    )
    return np.stack([passes(table, settings, stream) for stream in streams], axis=1)


def _pieces(path: Path) -> Iterator[EventTable]:
    for _, table in iterate_events([path], key="train_events", chunk_events=CHUNK):
        yield table


def rerun(path: Path, output: Path, *, number: int, seed: int, workers: int) -> None:
    """Rerun all events of a table.

    Parameters
    ----------
    path : pathlib.Path
        The table.
    output : pathlib.Path
        npz with ``keys`` (int64 [n, 4]), ``label`` (int8 [n], of the table) and ``passes``
        (bool [n, number]).
    number : int
        Reruns.
    seed : int
        Of the detector's random numbers; another one than that of the production.
    workers : int
        Processes.
    """
    keys, labels, found = [], [], []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, Progress("rerun") as progress:
        futures = []
        for table in _pieces(path):
            first = sum(len(label) for label in labels)
            keys.append(np.stack([table.keys[name] for name in KEY_COLUMNS], axis=1))
            labels.append(table.labels[SKIM])
            futures.append(pool.submit(_rerun, table, first, number, seed))
        for future in futures:
            found.append(future.result())
            progress.add(len(found[-1]) * number)
    with atomic_file(output) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            keys=np.concatenate(keys),
            label=np.concatenate(labels),
            passes=np.concatenate(found),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=Path, required=True, help="folder of `sample`")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--number", type=int, default=50, help="reruns of each event")
    parser.add_argument("--seed", type=int, default=1000, help="of the detector")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rerun(
        options.sample / f"{options.part}.h5",
        options.output,
        number=options.number,
        seed=options.seed,
        workers=options.workers,
    )


if __name__ == "__main__":
    guarded(main, debug=False)
