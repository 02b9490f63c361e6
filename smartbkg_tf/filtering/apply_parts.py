"""Score events part by part: in processes or on a farm, and on after a killed run.

A part is a range of events of one input; how the input is divided depends on nothing but the input
and `chunk_events`, so that the number of workers changes no bit. Each part is a predictions file
in a folder beside the output, whose name is a hash of all that its content depends on: model,
rules, settings, code, and the input file. What an earlier run left is taken if the name is the
same, and otherwise done again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smartbkg_tf.encoding.encode import EncodingReport
from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.events.readers import Reader
from smartbkg_tf.filtering.decider import Decider
from smartbkg_tf.filtering.event_source import InputPart, scored_events
from smartbkg_tf.filtering.predictions import PredictionsWriter
from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer, open_scorer
from smartbkg_tf.runtime.cluster import run_tasks
from smartbkg_tf.runtime.code_digest import code_digests
from smartbkg_tf.runtime.differences import differences, some
from smartbkg_tf.runtime.files import PARTIAL, exclusive_lock, hash_of_values, sha256
from smartbkg_tf.runtime.outputs import remove
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.threads import one_thread
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.filtering import ApplySettings
from smartbkg_tf.settings.plugins import plain

_SOFTWARE = ("smartbkg_tf", "tensorflow", "keras", "onnxruntime", "numpy")
_PACKAGES = (
    "smartbkg_tf.filtering", "smartbkg_tf.encoding", "smartbkg_tf.events", "smartbkg_tf.dataset",
    "smartbkg_tf.models", "smartbkg_tf.generation",
)  # fmt: skip
#: Key of a part's record in its metadata.
_RECORD = b"smartbkg_tf_part"
_NAME = re.compile(r"[0-9a-f]{16}\.parquet")


@functools.lru_cache(maxsize=1)
def open_once(run: str, batch_size: int | None) -> tuple[Scorer, RunDirectory | None]:
    """Open the model, once in each process; `open_once.cache_clear` forgets it."""
    return open_scorer(run, batch_size)


@dataclass(frozen=True)
class ApplyJob:
    """What all parts of a run of `apply` have in common."""

    settings: ApplySettings
    rules: Mapping[str, Rule]
    folder: Path  # of the parts
    made_with: Mapping[str, Any]  # what every part depends on, in plain values

    @classmethod
    def of(
        cls,
        settings: ApplySettings,
        scorer: Scorer,
        rules: Mapping[str, Rule],
        readers: Sequence[Reader] = (),
    ) -> ApplyJob:
        """Put together what the parts of a run depend on."""
        d = scorer.description
        modules = {type(plugin).__module__: None for plugin in (*rules.values(), *readers)}
        # A user's own feature set, network and layers.
        paths = [d.encoding.features, *(scorer.targets if isinstance(scorer, KerasScorer) else ())]
        modules |= {path.rpartition(".")[0]: None for path in paths if "." in path}
        made_with = {
            "model": {
                "sha256": sha256(scorer.where),
                "encoding": plain(d.encoding),
                "max_particles": d.max_particles,
                "max_tokens": d.max_tokens,
                "label_names": list(d.label_names),
                "particles": d.particles,
            },
            "method": settings.method,
            "seed": settings.seed,
            "rules": {skim: plain(rule) for skim, rule in rules.items()},
            "key": settings.key,
            "reader": plain(settings.reader),
            "batch_size": scorer.batch_size,
            "chunk_events": settings.chunk_events,
            "versions": versions(_SOFTWARE),
            "code": hash_of_values(code_digests([__name__, *modules], _PACKAGES)),
        }
        output = Path(settings.output).absolute()
        return cls(settings, rules, output.with_name(f"{output.name}.parts"), made_with)

    def file(self, part: InputPart) -> Path:
        """Name the file of a part by what it depends on."""
        digest = hash_of_values({"made_with": self.made_with, "of": part.state()})
        return self.folder / f"{digest}.parquet"


def make_part(task: tuple[InputPart, Path], job: ApplyJob) -> int:
    """Score a part and write its predictions: the work of one process; gives its events."""
    if multiprocessing.parent_process() is not None:
        one_thread()
    part, file = task
    scorer, _ = open_once(job.settings.run, job.settings.batch_size)
    scorer.report = EncodingReport()
    decider = Decider(scorer, job.rules, job.settings.seed, job.settings.method)
    with PredictionsWriter(file, scorer.label_names, decider.information, alone=False) as writer:
        for chunk in scored_events(part, job.settings, scorer):
            decider.write(writer, chunk)
        record = {"made_with": job.made_with, "report": asdict(scorer.report)}
        writer.add_metadata(_RECORD, json.dumps(record))
        changed = sha256(scorer.where) != job.made_with["model"]["sha256"]
        if changed or job.file(part) != file:
            raise InputError(
                "changed while it was read",
                where=scorer.where if changed else part.path,
                next_step="run the same command again",
            )
    return part.n_events


def make_parts(parts: Sequence[InputPart], job: ApplyJob) -> list[Path]:
    """Make all parts that an earlier run did not finish; give their files in order."""
    files = [job.file(part) for part in parts]
    here = _finished(job.folder)
    todo = [task for task in zip(parts, files, strict=True) if task[1] not in here]
    if len(todo) < len(parts):
        say(f"{job.folder}: {len(parts) - len(todo)} of {len(parts)} parts are finished already")
    _say_why_not(job, [here[file] for file in here.keys() - set(files)])
    if not todo:
        return files
    results = run_tasks(
        todo,
        functools.partial(make_part, job=job),
        job.settings.workers,
        job.settings.cluster,
        unit="parts",
        name=lambda task: str(task[0]),
        where=job.folder,
        next_step="use fewer workers or a smaller chunk_events; the same command goes on where it "
        "stopped",
    )
    total = sum(part.n_events for part, _ in todo)
    with Progress("apply", total=total) as progress, contextlib.closing(results):
        for n_events in results:
            progress.add(n_events)
    return files


def _finished(folder: Path) -> dict[Path, dict[str, Any]]:
    """Read the records of the parts in a folder; a damaged part is removed."""
    found = {}
    for file in sorted(folder.iterdir()):
        if PARTIAL in file.name:
            remove(file)
            continue
        try:
            found[file] = json.loads(pq.read_metadata(file).metadata[_RECORD])
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            say(f"{file}: is damaged, this part is done again")
            remove(file)
    return found


def _say_why_not(job: ApplyJob, others: Sequence[Mapping[str, Any]]) -> None:
    """Say why finished parts are not used."""
    if not others:
        return
    different: dict[str, None] = {}
    for record in others:
        different |= dict.fromkeys(differences(record.get("made_with"), dict(job.made_with)))
    why = some(list(different)) if different else "their inputs changed or are no longer listed"
    say(f"{job.folder}: {len(others)} finished parts are not used ({why})")


@contextlib.contextmanager
def parts_folder(job: ApplyJob) -> Iterator[None]:
    """Hold the folder of the parts; it goes in the end, finished parts stay after a failure."""
    folder = job.folder
    if folder.exists():
        names = [] if not folder.is_dir() else [file.name for file in folder.iterdir()]
        others = [name for name in names if not _NAME.fullmatch(name) and PARTIAL not in name]
        if others or not folder.is_dir():
            raise OutputError(
                "is needed for unfinished parts, but holds what apply did not write"
                + (f" ({some(others)})" if others else ""),
                where=folder,
                next_step="choose another output, or move it away",
            )
    with exclusive_lock(
        folder,
        busy="another apply is writing this output",
        next_step="wait for it, or choose another output",
    ):
        try:
            yield
        except BaseException:
            finished = [file for file in folder.glob("*") if _NAME.fullmatch(file.name)]
            if finished:
                say(
                    f"{folder}: {len(finished)} finished part(s) stay; the same command goes on "
                    "from there"
                )
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder)


def read_part(file: Path, columns: list[str] | None = None) -> tuple[Iterator[Any], EncodingReport]:
    """Read the predictions of a part as Arrow tables, and what was lost in its encoding."""
    try:
        part = pq.ParquetFile(file, page_checksum_verification=True)
        report = EncodingReport(**json.loads(part.metadata.metadata[_RECORD])["report"])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(file) from error

    def tables() -> Iterator[Any]:
        with part:
            for group in range(part.num_row_groups):
                try:
                    yield part.read_row_group(group, columns)
                except (pa.ArrowException, OSError) as error:
                    raise _damaged(file) from error

    return tables(), report


def _damaged(file: Path) -> InputError:
    remove(file)
    return InputError(
        "the finished part is damaged, and was removed",
        where=file,
        next_step="run the same command again: only this part is done again",
    )
