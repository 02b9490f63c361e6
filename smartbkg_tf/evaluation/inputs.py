"""What `evaluate runs=` may name: run directories, sweeps of them, and tables of predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.results import MADE_BY
from smartbkg_tf.runtime.files import expand_inputs
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.sweeps.jobs import JOBS, Job, JobList


def find_models(runs: str | Sequence[str]) -> tuple[list[Path], list[str]]:
    """List what is evaluated; of a sweep, its jobs with predictions. Notes tell of the others."""
    found: dict[Path, None] = {}
    notes: list[str] = []
    for path in expand_inputs(runs, option="runs", made_by=MADE_BY):
        if not (path / JOBS).is_file():
            found[path] = None
            continue
        jobs = JobList.read(path).jobs
        done = [job for job in jobs if job.run.predictions.is_file()]
        if not done:
            raise InputError(
                f"none of the {len(jobs)} jobs of this sweep has predictions",
                where=path,
                next_step="table.txt and the logs there say why; the same command repeats them",
            )
        found.update((job.folder, None) for job in done)
        notes += [_state(job) for job in jobs if job not in done]
    return list(found), notes


def _state(job: Job) -> str:
    """Say why a job of a sweep has no predictions."""
    if job.state != "failed":
        return f"{job.name}: this job is {job.state}"
    message = job.failure()[1].partition("\n")[0]
    return f"{job.name}: this job failed: {message.removeprefix('error: ')}"


def named_skims(paths: Sequence[Path]) -> list[str]:
    """List the skims that predictions name, those of the first ones first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    skims: dict[str, None] = {}
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
                skims[name.removeprefix("score_")] = None
    return list(skims)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Give each path its last part, with as many folders before it as tell it from the others."""
    resolved = [path.resolve() for path in paths]
    parts = []
    for path in resolved:
        if path.name == "predictions.parquet":  # its folder says more
            path = path.parent
        known = path.suffix in (".parquet", ".root", ".csv")
        parts.append((path.with_suffix("") if known else path).parts)
    depth = 1
    while depth < max(len(p) for p in parts) and len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    names = ["/".join(p[-depth:]) for p in parts]
    # x, x.parquet and x.root in one folder differ by their suffix alone.
    return names if len(set(names)) == len(names) else [str(path) for path in resolved]
