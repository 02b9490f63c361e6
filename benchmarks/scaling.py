"""What a table, a part and a job cost beside the events in them, and whether that is linear.

    python -m benchmarks.scaling                     # 500 and 5000 tables, 1000 jobs, and the rest
    python -m benchmarks.scaling --parts plan,rates  # only planning of 10^9 events, and events/s

The commands run as they are, on tables of four events each: planning, locks, parts, records,
joining and restarts do all their work, and the events hardly any. `produce` and `apply` are killed
(SIGKILL) when half of their tables or parts are finished, and started again. Printed are CPU time,
peak memory and file openings (by all processes, as the kernel sees them) for each table beyond
those of a run with a few tables, and the exponent of the growth between the two largest numbers: 1
is a straight line. docs/scaling.md builds its model on these numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import pickle
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("overheads", "jobs", "plan", "rates")

HERE = Path(__file__).resolve().parent

#: Events of a tiny table.
EVENTS = 4

#: Tables of the run whose costs are taken off the others.
FEW = 20

#: What the tables hold: a skim that many events pass, so that few events have both labels.
CONTENT = ("event_type=mixed", "skim=low_multiplicity")


class Opens:
    """Count how often the files of some folders are opened, by any process (inotify).

    Folders that do not exist yet are made. `by_file` counts by name; several openings of one file
    that follow each other before the kernel is asked count as one.
    """

    _OPEN, _CLOSED, _OVERFLOW, _FOLDER = 0x20, 0x18, 0x4000, 0x40000000

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.by_file: Counter[str] = Counter()

    def __enter__(self) -> Opens:
        library = ctypes.CDLL(None, use_errno=True)
        self._queue = library.inotify_init1(os.O_CLOEXEC)
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            # Closing is watched, too: equal events that follow each other are merged.
            mask = self._OPEN | self._CLOSED
            if library.inotify_add_watch(self._queue, os.fsencode(folder), mask) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        import select

        while True:
            ready, _, _ = select.select([self._queue, self._wake], [], [])
            if self._queue not in ready:
                return
            data, place = os.read(self._queue, 1 << 20), 0
            while place < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, place)
                place += 16
                name = data[place : place + length].rstrip(b"\0").decode()
                place += length
                if mask & self._OVERFLOW:
                    raise OverflowError("more openings than the kernel keeps")
                if mask & self._OPEN and not mask & self._FOLDER and name:
                    self.by_file[name] += 1

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._wake)
        os.close(self._queue)

    def total(self, suffix: str = "") -> int:
        """Count the openings of files whose names end so."""
        return sum(n for name, n in self.by_file.items() if name.endswith(suffix))


@dataclass(frozen=True)
class Cost:
    """What a command took, with all processes that it started."""

    cpu: float  # s
    wall: float  # s
    memory: float  # MB, of the largest process
    opens: int = 0


def command(*words: str, until: Callable[[], bool] | None = None, log: Path | None = None) -> Cost:
    """Run a command of the package; it is killed when `until` says so."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"smartbkg_tf.{words[0]}", *words[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        killed = False
        while until is not None and not killed:
            time.sleep(0.02)
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise RuntimeError(f"{words[0]} ended before it was killed")
            if until():
                process.kill()
                killed = True
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    if process.returncode != (-signal.SIGKILL if killed else 0):
        raise RuntimeError(f"{' '.join(words)}\n{text}")
    if log is not None:
        log.write_text(text)
    cpu = used.ru_utime + used.ru_stime
    return Cost(cpu, time.monotonic() - begin, used.ru_maxrss / 1024)


def files_in(folder: Path, end: str) -> int:
    """Count the finished files in a folder that may not exist."""
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir(folder)
        return sum(name.endswith(end) and name[0] != "." for name in names)
    return 0


def chain(folder: Path, n_tables: int, model: Path) -> dict[str, Cost]:
    """Send tables through the chain."""
    tables, dataset = folder / "tables", folder / "dataset"
    found: dict[str, Cost] = {}

    def watched(name: str, *words: str, **more: Any) -> None:
        # Tables that are read; what is written and read again; the rest is not of their number.
        with Opens(tables, *more.pop("also", ())) as opens:
            cost = command(*words, **more)
        found[name] = Cost(cost.cpu, cost.wall, cost.memory, opens.total())
        print(
            f"  {n_tables:6d} tables  {name:24s} {cost.cpu:7.1f} s of CPU {cost.wall:8.1f} s "
            f"{cost.memory:6.0f} MB {opens.total():7d} openings",
            flush=True,
        )

    produce = ("produce", *CONTENT, f"n_events={EVENTS * n_tables}", f"chunk_size={EVENTS}")
    produce = (*produce, f"output={tables}")
    also = (tables / "observables", tables / "records")
    half = n_tables // 2
    watched("produce, killed", *produce, also=also,
            until=lambda: files_in(tables / "records", ".json") >= half)  # fmt: skip
    watched("produce, continued", *produce, also=also)
    watched("produce, nothing left", *produce, also=also)
    reading = ("preprocess", f"input={tables}/*.h5", f"output={dataset}", "mode=lenient")
    watched("preprocess", *reading)
    output = folder / "scores.parquet"
    parts = folder / "scores.parquet.parts"
    apply = ("apply", f"run={model}", f"input={tables}/*.h5", f"output={output}")
    apply = (*apply, f"events_output={folder}/kept.csv", "sampling.a=1", "sampling.b=1")
    watched("apply, killed", *apply, also=(parts,),
            until=lambda: files_in(parts, ".parquet") >= half)  # fmt: skip
    watched("apply, continued", *apply, also=(parts,))
    return found


def make_model(folder: Path) -> Path:
    """Export a small network that was not trained: its speed is that of a trained one."""
    command("produce", *CONTENT, "n_events=200", f"output={folder / 'sample'}")
    dataset = folder / "sample_dataset"
    command("preprocess", f"input={folder / 'sample'}/*.h5", f"output={dataset}")
    # In a process of its own, which takes TensorFlow along.
    program = (
        "import sys; from pathlib import Path; from event_filter import make_run; "
        "print(make_run(Path(sys.argv[1]), Path(sys.argv[2]), 'resnet', 'particles'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(dataset)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
    )
    return Path(done.stdout.splitlines()[-1])


def overheads(folder: Path, numbers: Sequence[int]) -> None:
    """Print what a table costs in each stage."""
    found: dict[int, dict[str, Cost]] = {}
    model = make_model(folder)
    for n in (FEW, *numbers):
        place = folder / str(n)
        place.mkdir()
        found[n] = chain(place, n, model)
        sizes = {
            "production.json": (place / "tables" / "production.json").stat().st_size,
            "dataset.json": (place / "dataset" / "dataset.json").stat().st_size,
            "all.parquet": (place / "tables" / "observables" / "all.parquet").stat().st_size,
            "scores.parquet": (place / "scores.parquet").stat().st_size,
            "a table": (place / "tables" / "mixed_00000.h5").stat().st_size,
        }
        print(f"  {n:6d} tables  bytes: " + ", ".join(f"{k} {v}" for k, v in sizes.items()))
        shutil.rmtree(place)
    few, most = found[FEW], numbers[-1]
    print(f"\nbeyond {FEW} tables, for each table; the exponent is that of the CPU time")
    print(f"{'stage':26s} {'fixed, s':>9s}" + "".join(f"{f'ms ({n})':>11s}" for n in numbers)
          + f"{'exponent':>10s}" + "".join(f"{f'opens ({n})':>13s}" for n in numbers)
          + f"{'kB of memory':>14s}")  # fmt: skip
    for stage in few:
        if stage.endswith("killed"):
            continue

        def slope(what: str, n: int, stage: str = stage) -> float:
            more = getattr(found[n][stage], what) - getattr(few[stage], what)
            return float(more) / (n - FEW)

        cells = "".join(f"{1e3 * slope('cpu', n):11.2f}" for n in numbers)
        grown = "-"
        if len(numbers) > 1:
            low, high = numbers[-2:]
            if slope("cpu", low) > 0 and slope("cpu", high) > 0:  # else less than the noise
                ratio = slope("cpu", high) / slope("cpu", low)
                grown = f"{1 + math.log(ratio) / math.log((high - FEW) / (low - FEW)):.2f}"
        opens = "".join(f"{slope('opens', n):13.2f}" for n in numbers)
        memory = 1024 * slope("memory", most)
        print(f"{stage:26s} {few[stage].cpu:9.1f}{cells}{grown:>10s}{opens}{memory:14.1f}")
    print(flush=True)


def jobs(folder: Path, n_jobs: int) -> None:
    """Run many small jobs of a farm into one folder, half of them, then all of them again."""
    from dataclasses import replace

    from smartbkg_tf.errors import OutputError
    from smartbkg_tf.filtering.apply import apply
    from smartbkg_tf.generation.production import produce
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.filtering import ApplySettings
    from smartbkg_tf.settings.generation import ProduceSettings

    model = make_model(folder)
    making = compose_settings("produce", ProduceSettings, [*CONTENT, f"n_events={EVENTS}"])
    applying = compose_settings(
        "apply",
        ApplySettings,
        [f"run={model}", "input=x", "output=x.parquet", "sampling.a=1", "sampling.b=1"],
    )
    scores = folder / "scores"

    def make(number: int) -> None:
        produce(replace(making, seed=number, output=str(folder / f"tables_{number}")))

    def score(number: int) -> None:
        output = str(scores / f"scores_{number}.parquet")
        apply(replace(applying, input=f"{folder}/tables_{number}/*.h5", output=output))

    for name, job in (("produce", make), ("apply", score)):
        new, again = [], []
        for number in (*range(n_jobs // 2), *range(n_jobs)):
            begin = time.process_time()
            with (
                open(os.devnull, "w") as nothing,
                contextlib.redirect_stdout(nothing),
                contextlib.redirect_stderr(nothing),
                contextlib.suppress(OutputError),  # An output of the first half exists already.
            ):
                job(number)
            is_again = len(new) >= n_jobs // 2 and number < n_jobs // 2
            (again if is_again else new).append(time.process_time() - begin)
        tenth = n_jobs // 10
        early, late = statistics.median(new[tenth : 2 * tenth]), statistics.median(new[-tenth:])
        print(
            f"{n_jobs} jobs of {name}: {1e3 * early:.1f} ms of CPU for one of the second tenth, "
            f"{late / early:.2f} times as much for one of the last, "
            f"{1e3 * statistics.median(again):.1f} ms for one that was finished already "
            "(without the start of its process)",
            flush=True,
        )


def peak() -> float:
    """Give the largest memory of this process so far, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def plan() -> None:
    """Plan 10^9 events, and send as many empty tasks through the pool as a large run has."""
    from smartbkg_tf.generation.production import _refuse_equal_names
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.runtime.pool import run_in_processes
    from smartbkg_tf.settings.generation import ProduceSettings

    for chunk_size in (50_000, 2_000):
        words = [*CONTENT, "n_events=1000000000", f"chunk_size={chunk_size}"]
        settings = compose_settings("produce", ProduceSettings, words)
        before, begin = peak(), time.process_time()
        tasks, _ = settings.source.plan(settings)
        _refuse_equal_names(tasks)
        print(
            f"plan of 10^9 events, chunk_size={chunk_size}: {len(tasks)} tasks, "
            f"{time.process_time() - begin:.2f} s, {peak() - before:.0f} MB; "
            f"a task takes {len(pickle.dumps(tasks[0]))} bytes on its way to a process",
            flush=True,
        )
        del tasks
    for n_tasks in (2_000, 20_000):
        before, begin = peak(), time.process_time()
        for _ in run_in_processes(range(n_tasks), abs, 2):
            pass
        used = time.process_time() - begin
        print(
            f"{n_tasks} empty tasks through a pool of two: {1e3 * used / n_tasks:.2f} ms of CPU "
            f"and {1024 * (peak() - before) / n_tasks:.1f} kB for each",
            flush=True,
        )


def rates(folder: Path, rounds: int) -> None:
    """Print events/s, memory and bytes of each stage, with one worker and with two, in turns."""
    few, many = 2_000, 10_000
    for n in (few, many):
        words = ("produce", "event_type=mixed", "skim=fei_hadronic_b0", f"n_events={n}")
        command(*words, f"chunk_size={n // 4}", f"output={folder / f'events_{n}'}")
    command("produce", "event_type=mixed", "skim=fei_hadronic_b0", f"n_events={few}",
            "format=parquet", f"output={folder / 'parquet'}")  # fmt: skip
    repeated(folder / f"events_{many}", folder / "repeated", 10)
    dataset = folder / "dataset"
    command("preprocess", f"input={folder / f'events_{many}'}/*.h5", f"output={dataset}")
    run = folder / "run"
    command("train", "model=resnet", f"data.path={dataset}", f"run_dir={run}", "training.epochs=1")
    command("export", f"run={run}", f"output={folder / 'onnx'}")
    inputs = {few: f"{folder}/events_{few}/*.h5", many: f"{folder}/events_{many}/*.h5"}
    large = {many: inputs[many], 10 * many: f"{folder}/repeated/*.h5"}
    by_hand = ("sampling.a=1", "sampling.b=1", "overwrite=true", f"output={folder}/s.parquet")

    def produce_words(n: int) -> tuple[str, ...]:
        words = (
            "event_type=mixed",
            "skim=fei_hadronic_b0",
            f"n_events={n}",
            f"chunk_size={n // 4}",
        )
        return ("produce", *words, "overwrite=true", f"output={folder / 'again'}")

    stages: dict[str, tuple[Sequence[int], Callable[[int], tuple[str, ...]]]] = {
        "produce": ((few, many), produce_words),
        "preprocess": (
            tuple(large),
            lambda n: (
                "preprocess",
                f"input={large[n]}",
                "overwrite=true",
                f"output={folder / 'd'}",
            ),
        ),
        "apply, resnet, ONNX Runtime": (
            (few, many),
            lambda n: ("apply", f"run={folder}/onnx/model.onnx", f"input={inputs[n]}", *by_hand),
        ),
        "apply, resnet, Keras": (
            (few, many),
            lambda n: ("apply", f"run={run}", f"input={inputs[n]}", *by_hand),
        ),
    }
    for name, (sizes, words) in stages.items():
        found: dict[int, list[Cost]] = {1: [], 2: []}
        memory = dict.fromkeys(found, 0.0)
        fixed = dict.fromkeys(found, math.inf)
        for _ in range(rounds):
            for workers in found:
                pair = []
                for n in sizes:
                    shutil.rmtree(folder / "again", ignore_errors=True)
                    pair.append(command(*words(n), f"workers={workers}"))
                more, step = pair[1], sizes[1] - sizes[0]
                cost = Cost((more.cpu - pair[0].cpu) / step, (more.wall - pair[0].wall) / step, 0)
                found[workers].append(cost)
                memory[workers] = max(memory[workers], more.memory)
                fixed[workers] = min(fixed[workers], pair[0].cpu - sizes[0] * cost.cpu)
        one, two = ([cost.cpu for cost in found[workers]] for workers in (1, 2))
        walls = [a.wall / b.wall for a, b in zip(found[1], found[2], strict=True)]
        print(
            f"{name}: {1 / statistics.median(one):.0f} events for each second of CPU "
            f"({1 / max(one):.0f} to {1 / min(one):.0f}); CPU with 2 workers / with 1: "
            f"{statistics.median(b / a for a, b in zip(one, two, strict=True)):.2f}; "
            f"wall with 1 / with 2: {statistics.median(walls):.2f} "
            f"({min(walls):.2f} to {max(walls):.2f}), load {os.getloadavg()[0]:.1f}; "
            f"start {fixed[1]:.1f} and {fixed[2]:.1f} s of CPU; "
            f"largest process {memory[1]:.0f} and {memory[2]:.0f} MB",
            flush=True,
        )

    def size(place: Path, pattern: str) -> int:
        return sum(file.stat().st_size for file in place.glob(pattern))

    made = folder / f"events_{many}"
    print(
        f"bytes an event: HDF5 {size(made, '*.h5') / many:.0f}, "
        f"Parquet {size(folder / 'parquet', '*.parquet') / few:.0f}, "
        f"observables {size(made, 'observables/mixed*') / many:.0f}, "
        f"their sum {size(made, 'observables/all.parquet') / many:.0f}, "
        f"dataset {size(dataset, '*.memmap') / many:.0f}, "
        f"predictions {size(folder, 's.parquet') / many:.0f}"
    )


def repeated(tables: Path, output: Path, times: int) -> None:
    """Write tables several times, each time with the keys of another run."""
    from dataclasses import replace

    from smartbkg_tf.events.hdf5 import write_hdf5
    from smartbkg_tf.events.readers import iterate_events

    output.mkdir()
    for path, table in iterate_events(sorted(tables.glob("*.h5")), chunk_events=1_000_000):
        for number in range(times):
            keys = {**table.keys, "run": table.keys["run"] + 10_000 * number}
            write_hdf5(output / f"{path.stem}_{number}.h5", replace(table, keys=keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", default="500,5000")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    parts = options.parts.split(",")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        for part in parts:
            (folder / part).mkdir()
        if "overheads" in parts:
            overheads(folder / "overheads", [int(n) for n in options.tables.split(",")])
        if "jobs" in parts:
            jobs(folder / "jobs", options.jobs)
        if "plan" in parts:
            plan()
        if "rates" in parts:
            rates(folder / "rates", options.rounds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
