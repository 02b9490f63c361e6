"""What a table, a part and a job cost beside the events in them, and whether that is linear.

    python -m benchmarks.scaling                     # 500 and 5000 tables, 1000 jobs, and the rest
    python -m benchmarks.scaling --parts plan,rates  # only planning of 10^9 events, and events/s

The functions behind the commands run as they are, on tables of four events each: planning, locks,
parts, records, joining and restarts do all their work, and the events hardly any. `produce` and
`apply` are killed (SIGKILL) when half of their tables or parts are finished, and started again.
Each runs in a process of its own, a copy of this one, so that imports are not counted. Printed are
CPU time, peak memory and file openings (by all processes, as the kernel sees them) for each table
beyond those of a run with a few tables, and the exponent of the growth between the two largest
numbers: 1 is a straight line. docs/scaling.md builds its model on these numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import json
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
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PARTS = ("overheads", "reading", "finished", "jobs", "plan", "rates")

#: Imported once, before processes are copied.
IMPORTED = (
    *("h5py", "pandas", "onnxruntime", "pyarrow.parquet", "smartbkg_tf.filtering.apply"),
    *("smartbkg_tf.dataset.build", "smartbkg_tf.generation.pythia_source"),
)

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


def forked(work: Callable[[], object], until: Callable[[], bool] | None = None) -> Cost:
    """Do some work in a copy of this process; it is killed when `until` says so."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        killed = False
        while until is not None and not killed:
            time.sleep(0.02)
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            if until():
                os.kill(child, signal.SIGKILL)
                killed = True
        _, status, used = os.wait4(child, 0)
        if os.waitstatus_to_exitcode(status) != (-signal.SIGKILL if until else 0):
            output.seek(0)
            raise RuntimeError(f"exit status {status}\n{output.read().decode()}")
    cpu = used.ru_utime + used.ru_stime
    return Cost(cpu, time.monotonic() - begin, used.ru_maxrss / 1024)


def produced(output: Path, n_events: int, chunk_size: int, *words: str) -> Callable[[], object]:
    """Give the work of `produce`."""
    from smartbkg_tf.generation.production import produce
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.generation import ProduceSettings

    given = [f"n_events={n_events}", f"chunk_size={chunk_size}", f"output={output}", *words]
    settings = compose_settings("produce", ProduceSettings, given)
    return lambda: produce(settings)


def preprocessed(tables: Path, output: Path, *words: str) -> Callable[[], object]:
    """Give the work of `preprocess`."""
    from smartbkg_tf.dataset.build import build_dataset
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.preprocessing import PreprocessSettings

    given = [f"input={tables}/*.h5", f"output={output}", "mode=lenient", *words]
    settings = compose_settings("preprocess", PreprocessSettings, given)
    return lambda: build_dataset(settings)


def applied(model: Path, tables: Path, output: Path, *words: str) -> Callable[[], object]:
    """Give the work of `apply`."""
    from smartbkg_tf.filtering.apply import apply
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.filtering import ApplySettings

    given = [f"run={model}", f"input={tables}/*.h5", f"output={output}"]
    given += ["sampling.a=1", "sampling.b=1", "overwrite=true", *words]
    settings = compose_settings("apply", ApplySettings, given)
    return lambda: apply(settings)


def files_in(folder: Path, end: str) -> int:
    """Count the finished files in a folder that may not exist."""
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir(folder)
        return sum(name.endswith(end) and name[0] != "." for name in names)
    return 0


def chain(folder: Path, n_tables: int, model: Path, sample: Path) -> dict[str, Cost]:
    """Send tables through the chain."""
    tables, parts = folder / "tables", folder / "scores.parquet.parts"
    found: dict[str, Cost] = {}

    def measured(
        name: str,
        work: Callable[[], object],
        until: Callable[[], bool] | None = None,
        also: Sequence[Path] = (),
    ) -> None:
        with Opens(tables, *also) as opens:
            cost = forked(work, until)
        found[name] = replace(cost, opens=opens.total())
        print(
            f"  {n_tables:6d} tables  {name:24s} {cost.cpu:7.1f} s of CPU {cost.wall:8.1f} s "
            f"{cost.memory:6.0f} MB {opens.total():7d} openings, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )

    half = n_tables // 2
    source = ("source._target_=benchmarks.sample_source.SampleSource", f"source.sample={sample}")
    making = produced(tables, EVENTS * n_tables, EVENTS, *CONTENT, *source)
    beside = (tables / "observables", tables / "records")
    measured("produce, half", making, lambda: files_in(beside[1], ".json") >= half, beside)
    measured("produce, the rest", making, also=beside)
    measured("produce, nothing left", making, also=beside)
    measured("preprocess", preprocessed(tables, folder / "dataset"))
    scoring = applied(model, tables, folder / "scores.parquet", f"events_output={folder}/kept.csv")
    measured("apply, half", scoring, lambda: files_in(parts, ".parquet") >= half, (parts,))
    measured("apply, the rest", scoring, also=(parts,))
    return found


def make_model(folder: Path, model: str = "resnet", inputs: str = "particles") -> Path:
    """Export a network that was not trained: its speed is that of a trained one."""
    forked(produced(folder / "sample", 200, 200, *CONTENT))
    forked(preprocessed(folder / "sample", folder / "sample_dataset"))
    # In a process that takes TensorFlow along.
    program = (
        "import sys; from pathlib import Path; from event_filter import make_run; "
        "print(make_run(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))"
    )
    words = [str(folder), str(folder / "sample_dataset"), model, inputs]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
    )
    return Path(done.stdout.splitlines()[-1])


def overheads(folder: Path, model: Path, numbers: Sequence[int]) -> None:
    """Print what a table costs in each stage."""
    forked(produced(folder / "sample", 200, 200, *CONTENT))
    found: dict[int, dict[str, Cost]] = {}
    for n in (FEW, *numbers):
        place = folder / str(n)
        place.mkdir()
        found[n] = chain(place, n, model, folder / "sample" / "mixed_00000.h5")
        sizes = {
            "production.json": (place / "tables" / "production.json").stat().st_size,
            "dataset.json": (place / "dataset" / "dataset.json").stat().st_size,
            "all.parquet": (place / "tables" / "observables" / "all.parquet").stat().st_size,
            "scores.parquet": (place / "scores.parquet").stat().st_size,
            "a table": (place / "tables" / "mixed_00000.h5").stat().st_size,
        }
        listed = ", ".join(f"{what} {size}" for what, size in sizes.items())
        print(f"  {n:6d} tables  bytes: {listed}", flush=True)
        shutil.rmtree(place)
    print_slopes(found, numbers)


def print_slopes(found: dict[int, dict[str, Cost]], numbers: Sequence[int]) -> None:
    """Print what each table costs beyond those of a run with a few."""
    few, most = found[FEW], numbers[-1]
    print(f"\nbeyond {FEW} tables, for each table; the exponent is that of the CPU time")
    print(f"{'stage':26s} {'fixed, s':>9s}" + "".join(f"{f'ms ({n})':>11s}" for n in numbers)
          + f"{'exponent':>10s}" + "".join(f"{f'opens ({n})':>13s}" for n in numbers)
          + f"{'kB of memory':>14s}")  # fmt: skip
    for stage in few:

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


def reading(folder: Path, numbers: Sequence[int]) -> None:
    """Preprocess many copies of a table that have other keys."""
    found = {}
    for n in (FEW, *numbers):
        tables = copies(folder, n)
        with Opens(tables) as opens:
            cost = forked(preprocessed(tables, folder / f"dataset_{n}"))
        found[n] = {"preprocess": replace(cost, opens=opens.total())}
        print(f"  {n:6d} tables  {found[n]}, load {os.getloadavg()[0]:.1f}", flush=True)
        size = (folder / f"dataset_{n}" / "dataset.json").stat().st_size
        print(f"  {n:6d} tables  dataset.json {size} bytes", flush=True)
        shutil.rmtree(tables)
    print_slopes(found, numbers)


def copies(folder: Path, n_tables: int) -> Path:
    """Copy a tiny table many times; each copy is of another run."""
    import h5py

    forked(produced(folder / "one", EVENTS, EVENTS, *CONTENT))
    content = (folder / "one" / "mixed_00000.h5").read_bytes()
    tables = folder / f"tables_{n_tables}"
    tables.mkdir()
    for number in range(n_tables):
        path = tables / f"mixed_{number:05d}.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            rows = file["events/table"][:]
            rows["values_block_0"][:, 1] = number + 1  # after the experiment
            file["events/table"][:] = rows
    return tables


def finished(folder: Path, model: Path, numbers: Sequence[int]) -> None:
    """Start `produce` and `apply` again where all tables and parts are finished: plan and join.

    One table and one part are made; the others are links to them, under the names and with the
    records that the package gives them.
    """
    found = {}
    forked(produced(folder / "sample", 200, 200, *CONTENT))
    sample = folder / "sample" / "mixed_00000.h5"
    for n in (FEW, *numbers):
        costs = found[n] = {}
        again = linked_tables(folder / f"made_{n}", n, sample)
        costs["produce, all finished"] = forked(again)
        tables, output = copies(folder, n), folder / f"scores_{n}.parquet"
        work = applied(model, tables, output)
        forked(lambda n=n, tables=tables, output=output: linked_parts(model, tables, output))
        with Opens(tables, output.with_name(f"{output.name}.parts")) as opens:
            cost = forked(work)
        costs["apply, all finished"] = replace(cost, opens=opens.total())
        for name, cost in costs.items():
            print(f"  {n:6d} tables  {name}: {cost}, load {os.getloadavg()[0]:.1f}", flush=True)
        sizes = {
            "production.json": (folder / f"made_{n}" / "production.json").stat().st_size,
            "all.parquet": (folder / f"made_{n}/observables/all.parquet").stat().st_size,
            "predictions": output.stat().st_size,
        }
        print(f"  {n:6d} tables  bytes: {sizes}", flush=True)
    print_slopes(found, numbers)


def linked_tables(folder: Path, n_tables: int, sample: Path) -> Callable[[], object]:
    """Fill an output folder of `produce` by links to one table; give the work that finds it so."""
    source = ("source._target_=benchmarks.sample_source.SampleSource", f"source.sample={sample}")
    forked(produced(folder, EVENTS, EVENTS, *CONTENT, *source))
    file = folder / "production.json"
    values = json.loads(file.read_text())
    (record,) = values["chunks"].values()
    text = json.dumps(record)
    for number in range(1, n_tables):
        stem = f"mixed_{number:05d}"
        for place in ("{}.h5", "observables/{}.parquet"):
            os.link(folder / place.format("mixed_00000"), folder / place.format(stem))
        mine = json.loads(text.replace("mixed_00000", stem))
        mine["made_from"]["chunk"] = number
        values["chunks"][f"{stem}.h5"] = mine
    file.write_text(json.dumps(values, indent=2) + "\n")
    (folder / "observables" / "all.parquet").unlink()
    return produced(folder, EVENTS * n_tables, EVENTS, *CONTENT, *source)


def linked_parts(model: Path, tables: Path, output: Path) -> None:
    """Make one part of `apply`, and give it the names of all others, too."""
    from smartbkg_tf.filtering.apply import rules_for
    from smartbkg_tf.filtering.apply_parts import ApplyJob, make_part, open_once
    from smartbkg_tf.filtering.event_source import EventsToScore
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.filtering import ApplySettings

    given = [f"run={model}", f"input={tables}/*.h5", f"output={output}", "overwrite=true"]
    settings = compose_settings("apply", ApplySettings, [*given, "sampling.a=1", "sampling.b=1"])
    settings = replace(settings, run=str(model.absolute()))
    source = EventsToScore(settings)
    scorer, run = open_once(settings.run, settings.batch_size)
    source.prepare(scorer, run)
    job = ApplyJob.of(settings, scorer, rules_for(scorer, settings), source.readers)
    first, *others = source.parts()
    job.folder.mkdir()
    make_part((first, job.file(first)), job)
    for part in others:
        os.link(job.file(first), job.file(part))


def jobs(folder: Path, model: Path, n_jobs: int) -> None:
    """Run many small jobs of a farm into one folder, half of them, then all of them again."""
    from smartbkg_tf.errors import OutputError
    from smartbkg_tf.filtering.apply import apply
    from smartbkg_tf.generation.production import produce
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.settings.filtering import ApplySettings
    from smartbkg_tf.settings.generation import ProduceSettings

    making = compose_settings("produce", ProduceSettings, [*CONTENT, f"n_events={EVENTS}"])
    words = [f"run={model}", "input=x", "output=x.parquet", "sampling.a=1", "sampling.b=1"]
    applying = compose_settings("apply", ApplySettings, words)
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


def rates(folder: Path, rounds: int) -> None:
    """Print events/s, memory and bytes of each stage, with one worker and with two, in turns."""
    few, many = 1_000, 6_000
    content = ("event_type=mixed", "skim=fei_hadronic_b0")
    made, again = folder / "tables", folder / "again"
    forked(produced(made, many, many // 4, *content))
    forked(produced(folder / "few", few, few // 4, *content))
    forked(produced(folder / "parquet", few, few, *content, "format=parquet"))
    repeated(made, folder / "repeated", 10)
    model = make_model(folder, "resnet", "combined")
    predictions = folder / "p.parquet"

    def by_workers(name: str, n: int, work: Callable[[str], Callable[[], object]]) -> None:
        found: dict[int, list[Cost]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers in found:
                shutil.rmtree(again, ignore_errors=True)
                found[workers].append(forked(work(f"workers={workers}")))
        rate = sorted(n / cost.cpu for cost in found[1])
        more = [(b.cpu - a.cpu) for a, b in zip(found[1], found[2], strict=True)]
        walls = sorted(a.wall / b.wall for a, b in zip(found[1], found[2], strict=True))
        memory = [max(cost.memory for cost in costs) for costs in found.values()]
        print(
            f"{name}: {statistics.median(rate):.0f} events for each second of CPU "
            f"({rate[0]:.0f} to {rate[-1]:.0f}) with one worker; with two {n} events cost "
            f"{statistics.median(more):.1f} s of CPU more, of which {start:.1f} s are the start of "
            f"two processes; wall with one / with two {statistics.median(walls):.2f} "
            f"({walls[0]:.2f} to {walls[-1]:.2f}) at load {os.getloadavg()[0]:.1f}; largest "
            f"process {memory[0]:.0f} and {memory[1]:.0f} MB",
            flush=True,
        )

    def small(work: Callable[[str], Callable[[], object]]) -> float:
        costs = []
        for workers in (1, 2):
            shutil.rmtree(again, ignore_errors=True)
            costs.append(forked(work(f"workers={workers}")).cpu)
        return costs[1] - costs[0]

    def producing(n: int) -> Callable[[str], Callable[[], object]]:
        return lambda words: produced(again, n, n // 4, *content, "overwrite=true", words)

    start = small(producing(few))
    by_workers("produce", many, producing(many))
    start = small(lambda words: preprocessed(folder / "few", again, words))
    by_workers(
        "preprocess", 10 * many, lambda words: preprocessed(folder / "repeated", again, words)
    )
    start = small(lambda words: applied(model, folder / "few", predictions, words))
    by_workers(
        "apply, combined resnet, ONNX", many, lambda words: applied(model, made, predictions, words)
    )
    dataset = folder / "dataset"
    forked(preprocessed(made, dataset))

    def size(place: Path, pattern: str) -> int:
        return sum(file.stat().st_size for file in place.glob(pattern))

    print(
        f"bytes an event: HDF5 {size(made, '*.h5') / many:.0f}, "
        f"Parquet {size(folder / 'parquet', '*.parquet') / few:.0f}, "
        f"observables {size(made, 'observables/mixed*') / many:.0f}, "
        f"their sum {size(made, 'observables/all.parquet') / many:.0f}, "
        f"dataset {size(dataset, '*.memmap') / many:.0f}, "
        f"predictions {size(folder, 'p.parquet') / many:.0f}"
    )


def repeated(tables: Path, output: Path, times: int) -> None:
    """Write tables several times, each time with the keys of another run."""
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
    parser.add_argument("--model", type=Path, help="an exported model; else one is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    parts = options.parts.split(",")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        for part in parts:
            (folder / part).mkdir()
        model = options.model
        if model is None and {"overheads", "finished", "jobs"} & set(parts):
            model = make_model(folder)
        if "overheads" in parts:
            numbers = [int(n) for n in options.tables.split(",")]
            overheads(folder / "overheads", model, numbers)
        if "reading" in parts:
            reading(folder / "reading", [int(n) for n in options.tables.split(",")])
        if "finished" in parts:
            finished(folder / "finished", model, [int(n) for n in options.tables.split(",")])
        if "jobs" in parts:
            jobs(folder / "jobs", model, options.jobs)
        if "plan" in parts:
            plan()
        if "rates" in parts:
            rates(folder / "rates", options.rounds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
