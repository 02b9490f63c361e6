"""What users bring on a normal day: each is one clear message, exit code 1, and no leftovers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from smartbkg_tf.config import command_named
from smartbkg_tf.events.hdf5 import write_hdf5
from tests.datasets import write_dataset
from tests.mdst_twin import write_mdst_twin
from tests.samples import make_events

Make = Callable[[Path], list[str]]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *overrides: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command, *overrides])
        capfd.readouterr()
        code = 0
        try:
            command_named(command)()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def refuse(run: Run, tmp_path: Path) -> Callable[..., str]:
    """Give a function that runs a command that must end with exit code 1; it gives its message."""

    def call(command: str, *overrides: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, message = run(command, *overrides)
        assert code == 1, out + message
        assert "Traceback" not in message
        assert message.count("error:") == 1
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        return message

    return call


def wrong_path(folder: Path) -> list[str]:
    write_hdf5(folder / "events.h5", make_events(5))
    return ["input=evnets.h5"]


def truncated(folder: Path) -> list[str]:
    write_hdf5(folder / "a.h5", make_events(50))
    content = (folder / "a.h5").read_bytes()
    (folder / "a.h5").write_bytes(content[: len(content) // 2])
    return ["input=a.h5"]


def without_key(folder: Path) -> list[str]:
    write_hdf5(folder / "a.h5", make_events(5))
    with h5py.File(folder / "a.h5", "a") as file:
        del file["train_events"]
    return ["input=a.h5", "key=train_events"]


def without_particles(folder: Path) -> list[str]:
    write_mdst_twin(folder / "a.root", without=("MCParticles",))
    return ["input=a.root"]


def not_a_number(folder: Path) -> list[str]:
    table = make_events(20)
    energy = table.particles["energy"].copy()
    energy[table.offsets[7]] = np.nan
    write_hdf5(folder / "a.h5", replace(table, particles={**table.particles, "energy": energy}))
    return ["input=a.h5"]


def empty_file(folder: Path) -> list[str]:
    (folder / "a.h5").touch()
    return ["input=a.h5"]


def no_events(folder: Path) -> list[str]:
    write_hdf5(folder / "a.h5", make_events(5).take([]))
    return ["input=a.h5"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (wrong_path, ["evnets.h5", "did you mean 'events.h5'", "smartbkg_tf.produce"]),
        (truncated, ["a.h5", "truncated"]),
        (without_key, ["a.h5", "train_events", "decay_strings"]),
        (without_particles, ["a.root", "MCParticles"]),
        (not_a_number, ["a.h5", "energy", "event 8", "mode=lenient"]),
        (empty_file, ["a.h5", "empty"]),
        (no_events, ["a.h5", "no events"]),
    ],
)
def test_preprocess_refuses(
    make: Make, words: list[str], refuse: Callable[..., str], tmp_path: Path
) -> None:
    overrides = make(tmp_path)
    message = refuse("preprocess", *overrides, "output=dataset")
    for word in words:
        assert word in message, message


def test_one_class_training_set(refuse: Callable[..., str], tmp_path: Path) -> None:
    """Rare passing events, all of them in one split: found before anything is trained."""
    write_dataset(tmp_path, make_events(60, passing=0.02))
    message = refuse("train", "data.path=dataset", "run_dir=run")
    assert "needs passing and failing events" in message
    assert "0 passing" in message


def test_wrong_dataset_and_wrong_run(refuse: Callable[..., str], tmp_path: Path) -> None:
    assert "smartbkg_tf.preprocess" in refuse("train", "data.path=nowhere")
    write_hdf5(tmp_path / "a.h5", make_events(5))
    message = refuse("apply", "model=nowhere", "input=a.h5", "output=p.parquet")
    assert "nowhere" in message
    assert "smartbkg_tf.train" in message


def test_unknown_pdg_code_is_counted_and_never_fails(run: Run, tmp_path: Path) -> None:
    table = make_events(20)
    codes = table.particles["PDG"].copy()
    codes[table.offsets[3] + 1] = 9990
    write_hdf5(tmp_path / "a.h5", replace(table, particles={**table.particles, "PDG": codes}))
    code, out, message = run("preprocess", "input=a.h5", "output=dataset")
    assert code == 0, message
    assert "9990" in out + message
