"""What `evaluate runs=` may name: run directories, sweeps of them, and tables of predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from smartbkg_tf.errors import InputError, UserError
from smartbkg_tf.evaluation.results import MADE_BY
from smartbkg_tf.runtime.files import expand_inputs, read_json
from smartbkg_tf.runtime.run_directory import RunDirectory


def find_models(runs: str | Sequence[str]) -> tuple[list[Path], list[str]]:
    """List what is evaluated; of a sweep, its finished jobs. Notes tell of the other jobs."""
    found: dict[Path, None] = {}
    notes: list[str] = []
    for path in expand_inputs(runs, option="runs", made_by=MADE_BY):
        jobs = [] if RunDirectory(path).predictions.exists() else _jobs(path)
        done = [job for job in jobs if job.predictions.is_file()]
        if jobs and not done:
            raise InputError(
                f"none of the {len(jobs)} jobs of this sweep has predictions",
                where=path,
                next_step="their log.txt says why; the same command repeats them",
            )
        found.update((job.path, None) for job in done)
        notes += [_state(job) for job in jobs if job not in done]
        if not jobs:
            found[path] = None
    return list(found), notes


def _jobs(folder: Path) -> list[RunDirectory]:
    """List the jobs of a sweep, in their order; none where the folder is something else."""
    from smartbkg_tf.runtime.sweep import job_number

    if not folder.is_dir() or RunDirectory(folder).config.exists():
        return []
    jobs = [RunDirectory(path) for path in sorted(folder.iterdir(), key=job_number)]
    return [
        job
        for job in jobs
        if any(file.is_file() for file in (job.predictions, job.config, job.failure))
    ]


def _state(job: RunDirectory) -> str:
    """Say why a job of a sweep has no predictions."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        message = str(read_json(job.failure)["message"]).partition("\n")[0]
        return f"{job.path.name}: this job failed: {message.removeprefix('error: ')}"
    return f"{job.path.name}: this job is not finished"


def first_skim(paths: Sequence[Path]) -> str:
    """Name the first skim of the first predictions that name one, else "skim"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        file = RunDirectory(path).predictions if path.is_dir() else path
        names: list[str] = []
        # What cannot be read is refused where it is read.
        with contextlib.suppress(pa.ArrowException, OSError, UnicodeDecodeError):
            if file.suffix == ".csv":
                with file.open(encoding="utf-8") as stream:
                    names = [name.strip().strip('"') for name in stream.readline().split(",")]
            else:
                names = pq.read_schema(file).names
        for name in names:
            if name.startswith("score_"):
                return name.removeprefix("score_")
    return "skim"


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Give each path its last part, with as many folders before it as tell it from the others."""
    resolved = [path.resolve() for path in paths]
    parts = []
    for path in resolved:
        if path.name == "predictions.parquet":  # its folder says more
            path = path.parent
        known = path.suffix in (".parquet", ".csv")
        parts.append((path.with_suffix("") if known else path).parts)
    depth = 1
    while depth < max(len(p) for p in parts) and len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    names = ["/".join(p[-depth:]) for p in parts]
    # x and x.parquet in one folder differ by their suffix alone.
    return names if len(set(names)) == len(names) else [str(path) for path in resolved]
