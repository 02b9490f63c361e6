"""The whole of ``produce`` against the generation alone, and memory on a long mDST file.

    python benchmarks/production.py [--events 2000] [--rounds 7]
    python benchmarks/production.py --memory MDST --events 200000

Both sides of a pair run in turn in this process, with the same engine and settings; printed are the
medians of the paired ratios, with their error (the spread of the ratios over the square root of
their number).

The generation alone is the loop that everybody writes first: ``next()``, then one Python tuple per
particle. The rest of such a loop (labels, tables) is not counted on its side.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.generation.b_pairs import b_momenta
from smartbkg_tf.generation.beams import random_collisions, random_vertices
from smartbkg_tf.generation.extract import extract
from smartbkg_tf.generation.pythia import _B_MESON, PAIRS_PER_RECORD
from smartbkg_tf.generation.pythia_source import PythiaSource, engine_for
from smartbkg_tf.generation.record import UPSILON_4S, read_batch
from smartbkg_tf.generation.source import Task
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def as_tuples(event: Any) -> list[tuple[Any, ...]]:
    """One tuple per particle: what an extraction without arrays does."""
    return [
        (
            p.id(), p.status(), p.mother1(), p.px(), p.py(), p.pz(), p.e(), p.m(),
            p.xProd(), p.yProd(), p.zProd(), p.tProd(),
        )
        for p in event
    ]  # fmt: skip


def pairs(n: int, kind: str, source: PythiaSource, random: np.random.Generator) -> list[Any]:
    """Draw n B pairs at once, as plain numbers: neither side pays for drawing them one by one."""
    mass = 5.2797 if kind == "mixed" else 5.2793
    collisions = random_collisions(source.beams, n, 2 * mass, random)
    momenta = b_momenta(collisions, mass, random)
    lives = random.exponential(0.459, (n, 2))
    columns = (collisions.total, collisions.mass, momenta, lives)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def fill(event: Any, drawn: list[Any], kind: str) -> None:
    """Append B pairs to Pythia's record."""
    species = _B_MESON[kind]
    for i, (total, mass, momenta, lives) in enumerate(drawn):
        row = event.append(
            UPSILON_4S, -22, 0, 0, 3 * i + 2, 3 * i + 3, 0, 0, *total, mass
        )  # fmt: skip
        for b in (0, 1):
            event.append(species * (1 - 2 * b), 1, row, 0, 0, 0, 0, 0, *momenta[b], 5.28)
            event.back().tau(lives[b])


def naive(n: int, kind: str, source: PythiaSource) -> None:
    pythia = engine_for(kind, source)._pythia
    drawn = pairs(n, kind, source, np.random.default_rng(1)) if kind in _B_MESON else []
    table = []
    for i in range(n):
        if drawn:
            pythia.event.reset()
            fill(pythia.event, drawn[i : i + 1], kind)
        pythia.next()
        table.append(as_tuples(pythia.event))


def told(what: str, ratios: list[float]) -> None:
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    print(f"{what}: {np.median(ratios):.2f} +- {error:.2f} ({len(ratios)} pairs)", flush=True)


def whole_chain(n: int, repeats: int, folder: Path) -> None:
    for kind in ("mixed", "ccbar"):
        for form in ("hdf5", "parquet"):
            settings = compose_settings(
                "produce", ProduceSettings, ["skim=all", f"format={form}", f"chunk_size={n}"]
            )
            source = settings.source
            assert isinstance(source, PythiaSource)

            def ours(chunk: int, kind: str = kind, settings: ProduceSettings = settings) -> None:
                settings.source.make(Task("table.h5", settings, kind, n, chunk), folder)

            ours(0)
            naive(20, kind, source)
            ratios, rates = [], []
            for repeat in range(repeats):
                slow = seconds(lambda: naive(n, kind, source))  # noqa: B023
                fast = seconds(lambda: ours(repeat + 1))  # noqa: B023
                ratios.append(fast / slow)
                rates.append((n / fast, n / slow))
            fast, slow = np.median(rates, axis=0)
            told(
                f"{kind}, {form}: time of generation + detector + {len(settings.skim)} skims + "
                f"writing ({fast:.0f} events/s) / generation alone in a loop ({slow:.0f} events/s)",
                ratios,
            )


def extraction(n: int, repeats: int) -> None:
    """From a record that Pythia has made to a table: both sides start from the same record."""
    settings = compose_settings("produce", ProduceSettings, [])
    source = settings.source
    assert isinstance(source, PythiaSource)
    pythia = engine_for("mixed", source)._pythia
    random = np.random.default_rng(3)
    zero = np.zeros(PAIRS_PER_RECORD, dtype=np.int64)
    keys = dict.fromkeys(("experiment", "run", "event", "production"), zero)
    ratios = []
    for _ in range(repeats):
        slow = fast = 0.0
        for _ in range(max(n // PAIRS_PER_RECORD, 1)):
            pythia.event.reset()
            fill(pythia.event, pairs(PAIRS_PER_RECORD, "mixed", source, random), "mixed")
            pythia.next()
            slow += seconds(lambda: as_tuples(pythia.event))

            def bulk() -> None:
                # Everything is final by now: the call hands over the record and does nothing else.
                record = read_batch(pythia.nextBatch(1, "skip"), pairs=True)
                extract(
                    record, random_vertices(source.beams, PAIRS_PER_RECORD, random),
                    source.detector_radius, source.detector_z, keys, 0,
                )  # fmt: skip

            fast += seconds(bulk)
        ratios.append(slow / fast)
    told("one Python tuple per particle / bulk reading and the finished table, time", ratios)


def memory(n: int, mdst: str, folder: Path) -> None:
    """Peak resident memory of the whole command on one long file, in a process of its own.

    The long file repeats the events of an mDST file.
    """
    import awkward as ak
    import uproot

    with uproot.open(mdst) as file:
        tree = file["tree"]
        times = -(-2000 // tree.num_entries)
        columns = {
            name: ak.concatenate([tree[name].array()] * times)[:2000]
            for name in tree.keys()  # noqa: SIM118
            if not name.startswith("nMCParticles")
        }
    with uproot.recreate(folder / "long.root", compression=uproot.LZ4(1)) as file:
        kinds = {
            name: values.type.content if values.ndim == 1 else values.type.content.content
            for name, values in columns.items()
        }
        tree = file.mktree(
            "tree",
            {
                name: np.dtype(str(kind)) if columns[name].ndim == 1 else f"var * {kind}"
                for name, kind in kinds.items()
            },
        )
        for start in range(0, n, 2000):
            number = ak.values_astype(np.arange(start + 1, start + 2001), "uint32")
            tree.extend({**columns, "EventMetaData.m_event": ak.to_numpy(number)})
    size = (folder / "long.root").stat().st_size
    np.save(folder / "pass.npy", np.array([[0, 0, e, 0] for e in range(1, n, 20)]))
    command = [
        sys.executable, "-m", "smartbkg_tf.produce", "source=mdst", f"input={folder}/long.root",
        f"skim_files={folder}/pass.npy", "event_type=mixed", f"output={folder}/tables",
        "format=parquet",
    ]  # fmt: skip
    took = seconds(lambda: subprocess.run(command, check=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{n} events, {size / 1e9:.2f} GB, {took:.0f} s: peak memory {peak:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", metavar="MDST", help="only the memory on a long mDST file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.memory:
            memory(options.events, options.memory, Path(name))
            return
        extraction(options.events, options.rounds)
        whole_chain(options.events, options.rounds, Path(name))


if __name__ == "__main__":
    main()
