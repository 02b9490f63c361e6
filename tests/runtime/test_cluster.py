"""Dask workers: the same bytes as one process, and a killed worker loses nothing."""

from __future__ import annotations

import sys

import pytest

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.errors import ConfigurationError, UserError
from smartbkg_tf.generation.production import produce
from smartbkg_tf.runtime import cluster as module
from smartbkg_tf.runtime.cluster import make_cluster
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from tests.generation.test_production import chosen, hashes, killer  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_a_killed_worker_loses_nothing_and_changes_nothing(tmp_path, killer):  # noqa: F811
    """One of two local worker processes kills itself in the middle of a table."""
    produce(chosen(tmp_path / "two", *killer, "cluster=local"))
    assert (tmp_path / "flag").exists()
    assert not list((tmp_path / "two").glob("**/*.partial*"))
    # The flag is there now: nobody dies.
    produce(chosen(tmp_path / "one", *killer, "workers=1"))
    one, two = hashes(tmp_path / "one"), hashes(tmp_path / "two")
    assert len(one) == 7
    assert one == two
    # Preprocessed by workers as by this process.
    tables = str(tmp_path / "one" / "*.h5")
    for name, options in (("here", []), ("dask", ["cluster=local", "workers=2"])):
        texts = [f"input='{tables}'", f"output={tmp_path / name}", *options]
        build_dataset(compose_settings("preprocess", PreprocessSettings, texts))
    here, dask = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.memmap")}
        for name in ("here", "dask")
    )
    assert len(here) > 5
    assert here == dask


def text_of(*overrides):
    settings = compose_settings("produce", ProduceSettings, overrides).cluster
    with make_cluster(settings, 1) as cluster:
        return cluster.job_script()


def test_the_jobs_of_a_batch_farm():
    """What would be submitted; there is no farm here."""
    condor = text_of(
        "cluster=htcondor", "cluster.memory=3GB", "cluster.directives=['+Flavour = 7']"
    )
    lines = [line.strip() for line in condor.splitlines()]
    for line in ("MY.DaskWorkerMemory = 3000000000", "MY.DaskWorkerCores = 1", "+Flavour = 7"):
        assert line in lines, condor
    assert "distributed.cli.dask_worker" in condor
    assert sys.executable in condor
    slurm = text_of(
        "cluster=slurm", "cluster.queue=short", "cluster.walltime='01:30:00'",
        "cluster.prologue=['source setup.sh']", "cluster.directives=['--constraint=fast']",
    )  # fmt: skip
    lines = slurm.splitlines()
    for line in ("#SBATCH -p short", "#SBATCH -t 01:30:00", "#SBATCH --constraint=fast"):
        assert line in lines, slurm
    assert lines.index("source setup.sh") < next(
        i for i, line in enumerate(lines) if "dask_worker" in line
    )


def test_mistakes_in_the_cluster_are_named(tmp_path, monkeypatch):
    for overrides, text in (
        (["cluster=condor"], "did you mean 'htcondor'"),
        (["cluster=slurm", "cluster.memory=lots"], "memory"),
        (["cluster=htcondor", "cluster.directives=['fast']"], "'key = value'"),
        (["cluster=slurm", "cluster.wall_time='1:00'"], "no such key"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            compose_settings("produce", ProduceSettings, overrides)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"(?s)needs distributed and dask_jobqueue.*\[distributed\]"
    ):
        produce(chosen(tmp_path / "out", "cluster=slurm"))
    assert not (tmp_path / "out").exists()
