"""The whole chain as a user runs it, real events: each command in a process of its own once.

`test_preprocess.py` does so for `preprocess`, `test_apply.py` for `apply`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import concatenate


def run(command: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a process of its own; fail with its output when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", f"smartbkg_tf.{command}", *overrides],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=400,
    )
    assert done.returncode == 0, f"{command} {overrides}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def run_here(command: str, *overrides: str, cwd: Path) -> None:
    """Run one command in this process: TensorFlow takes longer to start than they to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [command, *overrides])
        import_module(f"smartbkg_tf.{command}").main()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run steps 1 to 3 on 200 events from Pythia in an empty folder."""
    folder = tmp_path_factory.mktemp("chain")
    run(
        "produce",
        "source=pythia",
        "event_type=[mixed,charged]",
        "n_events=100",
        "seed=3",
        "skim=fei_hadronic_b0",
        "output=tables",
        "workers=2",
        cwd=folder,
    )
    tables = sorted((folder / "tables").glob("*.h5"))
    assert tables
    # The skim keeps a few per cent, too few of 200 events for three splits. A label that
    # keeps half of them takes its place; everything else is as produced.
    relabel(tables)
    run_here("preprocess", "input=tables/*.h5", "output=dataset", cwd=folder)
    done = run(
        "train",
        "model=resnet",
        "model.particles.kernel_sizes=[4]",
        "model.decay.kernel_sizes=[4,5]",
        "data.path=dataset",
        "training.epochs=2",
        "training.batch_size=32",
        "run_dir=run",
        cwd=folder,
    )
    assert done.stdout.strip().splitlines()[-1] == "run"
    assert "AUC" in done.stdout
    assert not any(ord(c) < 32 and c not in "\n\t" for c in done.stdout + done.stderr)
    return folder


def test_training_writes_a_whole_run_directory(chain: Path) -> None:
    information = json.loads((chain / "dataset" / "dataset.json").read_text())
    assert information["n_events"] == 200
    files = {path.name for path in (chain / "run").iterdir()}
    assert files >= {
        "config.yaml",
        "metadata.yaml",
        "model.keras",
        "last.keras",
        "history.csv",
        "tensorboard",
        "model.txt",
        "metrics.json",
        "predictions.parquet",
        "done.json",
    }
    for plot in ("roc.png", "roc.pdf", "training.png", "training.pdf"):
        assert (chain / "run" / "plots" / plot).stat().st_size > 1000
    metrics = json.loads((chain / "run" / "metrics.json").read_text())
    assert 0.0 <= metrics["auc"] <= 1.0
    config = yaml.safe_load((chain / "run" / "config.yaml").read_text())
    assert config["training"]["epochs"] == 2


def test_apply_gives_the_scores_of_the_run(chain: Path) -> None:
    run_here(
        "apply",
        "run=run",
        "input=tables/*.h5",
        "output=scores.parquet",
        "method=sampling",
        "seed=5",
        cwd=chain,
    )
    scores = pd.read_parquet(chain / "scores.parquet")
    assert len(scores) == 200
    kept = scores["kept_fei_hadronic_b0"].astype(bool)
    probability = scores["probability_fei_hadronic_b0"]
    assert probability.between(0, 1, inclusive="right").all()
    np.testing.assert_allclose(
        scores["weight_fei_hadronic_b0"], np.where(kept, 1 / probability, 0.0), rtol=1e-5
    )
    # The events of the test split get the very scores that the run itself wrote.
    keys = ["experiment", "run", "event", "production"]
    own = pd.read_parquet(chain / "run" / "predictions.parquet")
    both = own.merge(scores, on=keys, suffixes=("", "_applied"))
    assert len(both) == len(own) > 20
    np.testing.assert_allclose(
        both["score_fei_hadronic_b0"], both["score_fei_hadronic_b0_applied"], atol=1e-5
    )


def test_evaluate_compares_a_run_with_predictions(chain: Path) -> None:
    run("evaluate", "runs=[run,run/predictions.parquet]", "output=comparison", cwd=chain)
    assert (chain / "comparison" / "report.html").stat().st_size > 10_000
    assert json.loads((chain / "comparison" / "metrics.json").read_text())


def test_test_events_were_never_trained_on(chain: Path) -> None:

    dataset = open_dataset(chain / "dataset")
    config = yaml.safe_load((chain / "run" / "config.yaml").read_text())
    parts = dataset.split(config["data"]["fractions"])
    sizes = [len(parts[name]) for name in ("train", "validation", "test")]
    assert sum(sizes) == len(dataset)
    assert len(np.unique(np.concatenate(list(parts.values())))) == len(dataset)
    own = pd.read_parquet(chain / "run" / "predictions.parquet")
    event = np.asarray(dataset.keys["event"])[parts["test"]]
    run_number = np.asarray(dataset.keys["run"])[parts["test"]]
    assert set(zip(own["run"], own["event"], strict=True)) == set(
        zip(run_number, event, strict=True)
    )


def test_real_mdst_file_through_the_chain(chain: Path, mdst_file: Path) -> None:
    """Tables, dataset and scores from a basf2 file, with the model of this chain."""
    run_here(
        "produce",
        "source=mdst",
        f"input={mdst_file}",
        "event_type=charged",
        "output=mdst",
        cwd=chain,
    )
    (table,) = sorted((chain / "mdst").glob("*.h5"))
    strings = pd.read_hdf(table, "decay_strings")
    assert len(strings) == 10
    assert strings["decay_str"].str.startswith(" 300553 (-->").all()
    for source in ("mdst/*.h5", str(mdst_file)):
        run_here(
            "apply",
            "model=run",
            f"input={source}",
            "output=mdst.parquet",
            "overwrite=true",
            cwd=chain,
        )
        scores = pd.read_parquet(chain / "mdst.parquet")
        assert len(scores) == 10
        assert np.isfinite(scores["score_fei_hadronic_b0"]).all()


def relabel(tables: list[Path]) -> None:
    """Give every event a label that keeps about half: enough charged, stable particles."""
    for path in tables:
        table = concatenate([piece for _, piece in iterate_events(path)])
        stable = (table.particles["nDaughters"] == 0) & (table.particles["charge"] != 0)
        tracks = np.bincount(table.event_of_particle()[stable], minlength=len(table))
        label = (tracks > np.median(tracks)).astype(np.int8)
        write_hdf5(path, replace(table, labels={"fei_hadronic_b0": label}))
