"""Preprocessing against the original's pandas route, the ceiling of the machine, and itself.

    python benchmarks/preprocessing.py [--events 40000] [--tables 'tables/*.h5'] [--rounds 5]
                                       [--large-gb 0] [--parts original,ceiling,...]

All sides of a ratio run in turns in one process on one core (`--cores 1`), on the same HDF5
file in the page cache; printed are medians of paired ratios. The original's route gets a part
of the events (it is slow, and linear), everything else all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np
import pandas as pd
from common import paired, preprocess_settings, ratio, report, sample, seconds

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.hashing import new_hash
from smartbkg_tf.encoding.checks import find_unusable_events
from smartbkg_tf.encoding.encode import check_and_encode, encode
from smartbkg_tf.events.decay_strings import decay_tokens, tokenise
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings

PARTS = ("original", "ceiling", "encode", "strings", "linear", "threads", "workers")


def fresh(folder: Path) -> Path:
    """Remove what stood there: deleting is nobody's time."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.unlink(missing_ok=True)
    return folder


def timed_build(files: Any, folder: Path, **options: Any) -> float:
    fresh(folder)
    return seconds(lambda: build(files, folder, **options))


def build(files: Any, folder: Path, **options: Any) -> Path:
    settings = preprocess_settings(files, folder, overwrite=True, **options)
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        return build_dataset(settings)


def read_raw(path: Path) -> int:
    """Read every block of every table as it stands."""
    total = 0
    with h5py.File(path) as file:
        for group in file.values():
            for node in group.values():
                total += node[:].nbytes
    return total


def ceiling(path: Path, folder: Path, n_bytes: int) -> None:
    """Read all blocks, write as many bytes as the dataset has, flush them to the disk."""
    read_raw(path)
    block = bytes(1 << 22)
    with open(folder / "ceiling.bin", "wb") as stream:
        for begin in range(0, n_bytes, len(block)):
            stream.write(block[: min(len(block), n_bytes - begin)])
        stream.flush()
        os.fsync(stream.fileno())


@numba.njit
def one_pass(
    energy: Any, time_: Any, x: Any, y: Any, z: Any, px: Any, py: Any, pz: Any, charge: Any,
    pdg: Any, mother_pdg: Any, mother: Any, slot_codes: Any, slot_tokens: Any,
) -> Any:  # fmt: skip
    """Do the least that an encoding can be: one loop, all columns, tables for the tokens."""
    n = len(energy)
    out = np.empty((n, 8), np.float32)
    thirds = np.empty(n, np.int8)
    tokens = np.empty((2, n), np.int16)
    index = np.empty(n, np.int16)
    slots = len(slot_codes)
    for i in range(n):
        out[i, 0] = energy[i]
        out[i, 1] = time_[i]
        out[i, 2] = x[i]
        out[i, 3] = y[i]
        out[i, 4] = z[i]
        out[i, 5] = px[i]
        out[i, 6] = py[i]
        out[i, 7] = pz[i]
        thirds[i] = np.int8(np.rint(charge[i] * 3.0))
        for k in range(2):
            code = pdg[i] if k == 0 else mother_pdg[i]
            slot = code % slots
            tokens[k, i] = slot_tokens[slot] if slot_codes[slot] == code else 1
        index[i] = mother[i]
    return out, thirds, tokens, index


def original(path: Path, folder: Path, options: argparse.Namespace) -> None:
    from original_route import OriginalRoute  # TensorFlow, which workers would import too

    small = folder / "small.h5"
    n_small = min(options.original_events, options.events)
    write_hdf5(small, sample(n_small, options.tables))
    route = OriginalRoute()
    times = paired(
        max(2, options.rounds // 2),
        ours=lambda: timed_build(str(path), folder / "ours") / options.events,
        theirs=lambda: seconds(lambda: route.run(small, folder)) / n_small,
    )
    ours, theirs = (1 / statistics.median(times[k]) for k in ("ours", "theirs"))
    print(f"end to end: {ours:,.0f} events/s; the original's route: {theirs:,.0f} events/s")
    report("end to end / the original's pandas route", ratio(times["theirs"], times["ours"]), 80)
    maps = sum(p.stat().st_size for p in (folder / "ours").glob("*.memmap"))
    npy = sum(p.stat().st_size for p in folder.glob("small_*.npy"))
    print(f"bytes an event: {maps / options.events:,.0f}; original: {npy / n_small:,.0f}")


def against_ceiling(path: Path, folder: Path, options: argparse.Namespace) -> None:
    dataset = build(str(path), folder / "ours")
    n_bytes = sum(p.stat().st_size for p in dataset.glob("*.memmap"))
    times = paired(
        options.rounds,
        ours=lambda: timed_build(str(path), folder / "ours"),
        ceiling=lambda: (
            fresh(folder / "ceiling.bin"),
            seconds(lambda: ceiling(path, folder, n_bytes)),
        )[1],
        raw=lambda: seconds(lambda: read_raw(path)),
    )
    for name in ("ours", "ceiling", "raw"):
        rate = options.events / statistics.median(times[name])
        print(f"  {name}: {rate:,.0f} events/s")
    report("end to end / ceiling", ratio(times["ceiling"], times["ours"]), 0.5)


def encoding(path: Path, options: argparse.Namespace) -> None:
    vocabulary, settings = default_vocabulary(), EncodingSettings()
    tables = [t for _, t in iterate_events(path, key="train_events", chunk_events=10000)]
    columns = ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge", "PDG",
               "motherPDG", "motherIndex")  # fmt: skip

    def least() -> None:
        for table in tables:
            one_pass(
                *(table.particles[c] for c in columns),
                vocabulary.slot_codes, vocabulary.slot_tokens,
            )  # fmt: skip
            tokens = vocabulary.tokens(table.particles["PDG"])
            decay_tokens(tokens, table.particles["motherIndex"], table.offsets, vocabulary)

    def ours() -> None:
        for table in tables:
            encode(table, settings, vocabulary)

    def checks() -> None:
        for table in tables:
            find_unusable_events(table)

    for function in (least, ours, checks):
        function()
    times = paired(
        options.rounds * 2,
        ours=lambda: seconds(ours), least=lambda: seconds(least), checks=lambda: seconds(checks),
    )  # fmt: skip
    for name, values in times.items():
        print(f"  {name}: {options.events / statistics.median(values):,.0f} events/s")
    report("encode / single numba pass", ratio(times["least"], times["ours"]), 0.5)


def strings(options: argparse.Namespace) -> None:
    from original_route import OriginalRoute

    table = sample(options.events, options.tables)
    listed = table.decay_strings
    assert listed is not None
    n_few = min(1000, len(listed))
    few = pd.DataFrame({"decay_str": listed[:n_few]})
    vocabulary, route = default_vocabulary(), OriginalRoute()
    words = {str(code): 2 + i for i, code in enumerate(vocabulary.codes.tolist())}

    def by_dictionary() -> None:
        few.apply(lambda row: [words.get(w, 1) for w in row["decay_str"].split()], axis=1)

    def from_trees() -> None:
        tokens = vocabulary.tokens(table.particles["PDG"])
        decay_tokens(tokens, table.particles["motherIndex"], table.offsets, vocabulary)

    tokenise(listed, vocabulary)
    from_trees()
    times = paired(
        options.rounds,
        # Files of ours: from mother links. Files with nothing but text: the text.
        ours=lambda: seconds(from_trees) / len(listed),
        text=lambda: seconds(lambda: tokenise(listed, vocabulary)) / len(listed),
        original=lambda: seconds(
            lambda: few["decay_str"].apply(route.tokens_of_string)
        ) / n_few,
        dictionary=lambda: seconds(by_dictionary) / n_few,
    )  # fmt: skip
    for name, values in times.items():
        print(f"  {name}: {1 / statistics.median(values):,.0f} strings/s")
    report("decay tokens / the original's tokeniser", ratio(times["original"], times["ours"]), 100)
    print(f"  text / the original's tokeniser: {ratio(times['original'], times['text']):.0f} x")
    print(f"  against a dictionary, row by row: {ratio(times['dictionary'], times['ours']):.0f} x")


def linear(path: Path, folder: Path, options: argparse.Namespace) -> None:
    sizes = [options.events // 4, options.events]
    files = [folder / f"part{n}.h5" for n in sizes]
    for file, n in zip(files, sizes, strict=True):
        write_hdf5(file, sample(n, options.tables))
    for file in files:
        build(str(file), folder / "ours")
    times = paired(
        options.rounds,
        small=lambda: timed_build(str(files[0]), folder / "ours") / sizes[0],
        large=lambda: timed_build(str(files[1]), folder / "ours") / sizes[1],
    )
    value = ratio(times["small"], times["large"])
    report(f"events/s at {sizes[1]} / at {sizes[0]} events (linear: >= 0.9)", value, 0.9)


@numba.njit(nogil=True)
def spin(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.sqrt(i + total)
    return total


def cores_at_hand() -> float:
    """Work that two threads do in the time of one: 2 on two idle cores, less on busy ones."""
    from concurrent.futures import ThreadPoolExecutor

    n = 60_000_000
    alone = seconds(lambda: spin(n))
    with ThreadPoolExecutor(2) as pool:
        return 2 * alone / seconds(lambda: list(pool.map(spin, [n, n])))


def threads(path: Path, folder: Path, options: argparse.Namespace) -> None:
    """Work that two threads do in the time of one, kernel by kernel, each with data of its own.

    Nothing is shared and Python's lock is free: this is what the machine allows.
    """
    from concurrent.futures import ThreadPoolExecutor

    vocabulary = default_vocabulary()
    tables = [next(iterate_events(path, chunk_events=5000))[1] for _ in range(2)]
    strings = [table.decay_strings for table in tables]
    data = [np.ones(1 << 26, np.uint8) for _ in range(2)]
    copies = [np.ones(1 << 26, np.uint8) for _ in range(2)]

    def write(i: int) -> None:
        with open(folder / f"thread{i}", "wb") as stream:
            for _ in range(16):
                stream.write(data[i][: 1 << 22].data)

    kernels: dict[str, Callable[[int], Any]] = {
        "plain arithmetic": lambda i: spin(20_000_000),
        "hash": lambda i: [new_hash().update(data[i]) for _ in range(4)],
        "check and encode": lambda i: [
            check_and_encode(tables[i], EncodingSettings(), vocabulary) for _ in range(8)
        ],
        "decay strings": lambda i: [tokenise(strings[i], vocabulary) for _ in range(4)],
        "copy": lambda i: [np.copyto(copies[i], data[i]) for _ in range(3)],
        "write": write,
    }
    with ThreadPoolExecutor(2) as pool:
        for name, kernel in kernels.items():
            kernel(0)
            times = paired(
                options.rounds,
                one=lambda: seconds(lambda: kernel(0)),  # noqa: B023
                two=lambda: seconds(lambda: list(pool.map(kernel, range(2)))),  # noqa: B023
            )
            print(f"  two threads / one, {name}: {2 * ratio(times['one'], times['two']):.2f}")


#: Preprocesses a list of files on one core whenever it is told to, and says how long it took.
_APART = """
import os, sys
sys.path[:0] = {paths!r}
os.sched_setaffinity(0, {{{core}}})
from pathlib import Path
from preprocessing import timed_build
files, output = {files!r}, Path({output!r})
timed_build(files, output)
print("ready", flush=True)
for line in sys.stdin:
    print(timed_build(files, output), flush=True)
"""


class TwoApart:
    """Two processes that share nothing, each with half of the files and a core of its own."""

    def __init__(self, files: list[Path], folder: Path) -> None:
        paths = [str(path) for path in Path(__file__).resolve().parents[:2]]
        cores = sorted(os.sched_getaffinity(0))
        self._processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _APART.format(
                        paths=paths,
                        core=cores[i % len(cores)],
                        files=[str(file) for file in files[i::2]],
                        output=str(folder / f"apart{i}"),
                    ),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a process of the benchmark died")

    def run(self) -> float:
        for process in self._processes:
            assert process.stdin is not None
            print(file=process.stdin, flush=True)
        return max(float(process.stdout.readline()) for process in self._processes)  # type: ignore[union-attr]

    def close(self) -> None:
        for process in self._processes:
            process.communicate()


def on_one_core(function: Callable[[], float]) -> float:
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:1])
    try:
        return function()
    finally:
        os.sched_setaffinity(0, every)


def workers(folder: Path, options: argparse.Namespace) -> None:
    spin(10)
    for size in options.worker_files.split(","):
        n_files, n_events = map(int, size.split("x"))
        tables = folder / "several"
        tables.mkdir()
        table = sample(n_events, options.tables)
        for i in range(n_files):
            table.keys["run"][:] = i
            write_hdf5(tables / f"{i}.h5", table)
        files = sorted(tables.iterdir())
        inputs = [str(file) for file in files]
        apart = TwoApart(files, folder)
        for n in (1, 2):
            build(inputs, folder / "ours", workers=n)
        times = paired(
            max(2, options.rounds // 2),
            cores=cores_at_hand,
            one=lambda: timed_build(inputs, folder / "ours", workers=1),  # noqa: B023
            two=lambda: timed_build(inputs, folder / "ours", workers=2),  # noqa: B023
            apart=apart.run,
            core=lambda: on_one_core(
                lambda: timed_build(inputs, folder / "ours", workers=1)  # noqa: B023
            ),
        )
        apart.close()
        cores = statistics.median(times.pop("cores"))
        print(f"{n_files} files of {n_events} events")
        print(f"  two threads of plain arithmetic: {cores:.2f} x one")
        names = {
            "one": "1 worker", "two": "2 workers", "apart": "2 processes, half of the files each",
            "core": "1 worker on one core",
        }  # fmt: skip
        for name, values in times.items():
            rate = n_files * n_events / statistics.median(values)
            print(f"  {names[name]}: {rate:,.0f} events/s")
        report(f"2 workers / 1 worker, {n_files} files", ratio(times["one"], times["two"]), 1.7)
        for numerator, denominator in (("core", "two"), ("core", "apart")):
            value = ratio(times[numerator], times[denominator])
            print(f"  {names[denominator]} / {names[numerator]}: {value:.2f}")
        shutil.rmtree(tables)


def large(folder: Path, options: argparse.Namespace) -> None:
    """Peak memory on a table of many GB, made by repeating events; in a process of its own."""
    tables = folder / "large"
    tables.mkdir()
    base = sample(options.events, options.tables)
    n_files, n_bytes = 0, 0
    while n_bytes < options.large_gb * 1e9:
        base.keys["run"][:] = n_files
        write_hdf5(tables / f"{n_files:04d}.h5", base)
        n_bytes += (tables / f"{n_files:04d}.h5").stat().st_size
        n_files += 1
    program = (
        "import sys, time\n"
        f"sys.path[:0] = {[str(p) for p in Path(__file__).resolve().parents[:2]]!r}\n"
        "from pathlib import Path\n"
        "from preprocessing import build\n"
        "start = time.perf_counter()\n"
        "build(sys.argv[1], Path(sys.argv[2]))\n"
        # Not ru_maxrss, which a child inherits from its parent.
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "peak = int(status['VmHWM'].split()[0]) / 1024\n"
        "print(f'{time.perf_counter() - start:.1f} s, peak {peak:.0f} MB')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tables / "*.h5"), str(folder / "ours")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    n_events = n_files * options.events
    print(f"{n_files} files, {n_bytes / 1e9:.1f} GB, {n_events} events: {done.stdout.strip()}")
    peak = float(done.stdout.split("peak ")[1].split()[0])
    report("1000 MB / peak memory", 1000 / peak, 1)
    shutil.rmtree(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40000)
    parser.add_argument("--original-events", type=int, default=2000)
    parser.add_argument("--tables", help="training tables to take events from")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument(
        "--worker-files", default="4x10000,8x50000", help="numbers of files and their events"
    )
    parser.add_argument("--large-gb", type=float, default=0)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    parts = options.parts.split(",")
    every = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        path = folder / "events.h5"
        table = sample(options.events, options.tables)
        write_hdf5(path, table)
        print(
            f"{options.events} events, {table.n_particles / options.events:.1f} particles each, "
            f"{path.stat().st_size / 1e6:.0f} MB of HDF5; load {os.getloadavg()[0]:.1f}"
        )
        del table
        os.sched_setaffinity(0, every[: options.cores])
        build(str(path), folder / "ours")  # compile
        if "original" in parts:
            original(path, folder, options)
        if "ceiling" in parts:
            against_ceiling(path, folder, options)
        if "encode" in parts:
            encoding(path, options)
        if "strings" in parts:
            strings(options)
        if "linear" in parts:
            linear(path, folder, options)
        os.sched_setaffinity(0, every)
        if "threads" in parts:
            threads(path, folder, options)
        if "workers" in parts:
            workers(folder, options)
        if options.large_gb:
            large(folder, options)
    print(f"done at load {os.getloadavg()[0]:.1f}; {time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
