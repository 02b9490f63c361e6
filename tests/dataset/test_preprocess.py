"""The command: from the command line to the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from tests.samples import make_events

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smartbkg_tf.preprocess", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )


def test_from_tables_to_a_verified_dataset(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(40))
    done = run(tmp_path, "input=*.h5", "output=d", "max_particles=30")
    assert done.returncode == 0, done.stderr
    assert "retention (30.00 +- 7.25) %" in done.stdout
    assert open_dataset(tmp_path / "d").encoding.max_particles == 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "d"]  # no litter
    assert run(tmp_path, "verify=true", "output=d").returncode == 0
    with (tmp_path / "d/labels.memmap").open("r+b") as stream:
        stream.write(b"\7")
    broken = run(tmp_path, "verify=true", "output=d")
    assert broken.returncode == 1
    assert "labels.memmap" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_missing_input_is_one_message_that_names_the_command(tmp_path: Path) -> None:
    done = run(tmp_path, "input=nothing*.h5", "output=d")
    assert done.returncode == 1
    assert "nothing matches" in done.stderr
    assert "python -m smartbkg_tf.produce" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_defaults_of_the_configuration_and_of_the_class_agree() -> None:
    composed = compose_settings("preprocess", PreprocessSettings, ["input=a.h5", "output=d"])
    plain = PreprocessSettings(input="a.h5", output="d", normalisation=composed.normalisation)
    assert composed == plain
    assert composed.normalisation.name == "physical"
    original = compose_settings(
        "preprocess", PreprocessSettings, ["output=d", "normalisation=original"]
    )
    assert original.normalisation.features["px"].centre == -3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("features=orginal", "did you mean 'original'"),
        ("max_particles=0", "max_particles"),
        ("max_partciles=9", "did you mean 'max_particles'"),
        ("workers=none", "workers"),
        ("key=events", "train_events"),
    ],
)
def test_wrong_settings_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        compose_settings("preprocess", PreprocessSettings, ["output=d", override])


def test_the_settings_import_nothing_heavy() -> None:
    program = (
        "import sys, smartbkg_tf.preprocess\n"
        "heavy = {'tensorflow', 'keras', 'numba', 'numpy', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


READER = """
from pathlib import Path
from smartbkg_tf.events.readers import Reader
from smartbkg_tf.settings.base import settings
from tests.samples import make_events

@settings
class TextReader(Reader):
    seed: int = 0

    def recognises(self, path):
        return path.suffix == ".txt"

    def count(self, path):
        return int(path.read_text())

    def iterate(self, path, *, chunk_events, key):
        yield make_events(self.count(path), seed=self.seed)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_of_ones_own(tmp_path: Path, workers: int) -> None:
    (tmp_path / "my_reader.py").write_text(READER)
    (tmp_path / "a.txt").write_text("20")
    write_hdf5(tmp_path / "b.h5", make_events(10, seed=9))
    done = run(
        tmp_path, "input='a.txt,b.h5'", "output=d", f"workers={workers}",
        "reader={_target_: my_reader.TextReader, seed: 4}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(set(open_dataset(tmp_path / "d").keys["run"].tolist())) == [4, 9]
    wrong = run(tmp_path, "input=a.txt", "output=e", "reader={_target_: my_reader.TextRead}")
    assert wrong.returncode == 1
    assert "did you mean 'TextReader'" in wrong.stderr
