"""A run that is killed and started again ends with the weights of one that was not."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import OutputError
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.training.checkpoints import read_checkpoint
from smartbkg_tf.training.fit import fit
from smartbkg_tf.training.run_folder import check_run_folder
from tests.training.samples import SHARED_RUN, small_dataset, tiny_settings

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_TIMES = ("seconds", "events_per_second", "waiting_share")

#: Steps of training and validation, and renames of files, of the shared run: fewer than these.
_STEPS, _RENAMES = 26, 18

_END = "epoch_00004_batch_000000000.npz"

#: Kills itself after so many steps (of training or validation) or at such a rename of a file.
_KILLED = """
import os, signal, sys
from pathlib import Path
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.training import loop
from smartbkg_tf.training.checkpoints import read_checkpoint
from smartbkg_tf.training.fit import fit
from smartbkg_tf.training.run_folder import check_run_folder
from tests.training.samples import SHARED_RUN, tiny_settings

dataset, folder, kind, number = sys.argv[1:]
left = int(number)

def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(real, before):
    def wrapped(*arguments):
        if before:
            count()
        result = real(*arguments)
        if not before:
            count()
        return result
    return wrapped

if kind == "step":
    loop._Function.__call__ = counted(loop._Function.__call__, False)
else:
    os.replace = counted(os.replace, True)
settings = tiny_settings(Path(dataset), Path(folder), *SHARED_RUN, "training.checkpoint.batches=2")
fit(settings, open_dataset(dataset))
"""


def rows(run: RunDirectory) -> list[dict[str, str]]:
    table = list(csv.DictReader(run.history.read_text().splitlines()))
    return [{k: v for k, v in row.items() if k not in _TIMES} for row in table]


def state(path: Path) -> list[np.ndarray]:
    model = keras.saving.load_model(path)
    return [np.asarray(v.numpy()) for v in (*model.weights, *model.optimizer.variables)]


def assert_same(run: RunDirectory, expected: RunDirectory, message: str = "") -> None:
    assert rows(run) == rows(expected), message
    for ours, theirs in ((run.model, expected.model), (run.last_model, expected.last_model)):
        for a, b in zip(state(ours), state(theirs), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=message)
    # The last checkpoint holds everything, the states of dropout too.
    last = [read_checkpoint(r.checkpoints / _END).arrays for r in (run, expected)]
    assert last[0].keys() == last[1].keys()
    for name, value in last[0].items():
        # Nobody draws from NumPy's global numbers, but tests before this one may have.
        if name != "numpy_random":
            np.testing.assert_array_equal(value, last[1][name], err_msg=f"{name} {message}")
    results = [yaml.safe_load(r.metadata.read_text())["result"] for r in (run, expected)]
    assert results[0] == results[1], message


def kill(dataset: Path, folder: Path, kind: str, number: int) -> None:
    command = [sys.executable, "-c", _KILLED, str(dataset), str(folder), kind, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, f"{kind} {number}: {done.stdout}{done.stderr}"
    assert not (folder / "done.json").exists()


def go_on(dataset: Path, folder: Path) -> RunDirectory:
    return fit(tiny_settings(dataset, folder, *SHARED_RUN), open_dataset(dataset))


def test_killed_at_a_random_step(run: RunDirectory, dataset_path: Path, tmp_path: Path) -> None:
    number = random.SystemRandom().randrange(2, _STEPS)
    kill(dataset_path, tmp_path / "run", "step", number)
    again = go_on(dataset_path, tmp_path / "run")
    assert_same(again, run, f"killed after step {number}")
    assert not any(".partial-" in path.name for path in again.path.rglob("*"))


@pytest.mark.slow
def test_killed_again_and_again(run: RunDirectory, dataset_path: Path, tmp_path: Path) -> None:
    """Also while files are written, and before the first checkpoint."""
    numbers = random.SystemRandom()
    kills = [("rename", numbers.randrange(1, 4)), ("step", 1), ("rename", numbers.randrange(7, 12))]
    kills += [("step", numbers.randrange(2, 6)), ("rename", numbers.randrange(1, 4))]
    for kind, number in kills:
        kill(dataset_path, tmp_path / "run", kind, number)
    assert_same(go_on(dataset_path, tmp_path / "run"), run, str(kills))


def copy_with(run: RunDirectory, folder: Path, *names: str) -> RunDirectory:
    """Copy a run as it stood when the named checkpoints were its last."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("*.npz", "last.keras"))
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in names:
        shutil.copy(run.checkpoints / name, folder / "checkpoints")
    return RunDirectory(folder)


def test_every_batch_has_left_a_checkpoint(run: RunDirectory) -> None:
    names = sorted(path.name for path in run.checkpoints.iterdir())
    steps = -(-yaml.safe_load(run.metadata.read_text())["dataset"]["events_per_epoch"] // 64)
    places = [(e, b) for e in range(4) for b in range(steps) if (e, b) != (0, 0)] + [(4, 0)]
    assert names == [f"epoch_{e:05d}_batch_{b:09d}.npz" for e, b in places]


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(
    run: RunDirectory, dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("epoch_00002_batch_000000003.npz", "epoch_00002_batch_000000004.npz")
    copy = copy_with(run, tmp_path / "run", *names)
    broken = copy.checkpoints / names[1]
    broken.write_bytes(broken.read_bytes()[:-1000])
    again = go_on(dataset_path, copy.path)
    out = capsys.readouterr().out
    assert re.search(rf"warning: .*{names[1]} is truncated or damaged", out)
    assert f"continuing {copy.path} in epoch 3 after 3 batches" in out
    assert_same(again, run)
    assert "continued" in yaml.safe_load(again.metadata.read_text())["timings"]


def test_a_run_that_was_trained_to_the_end_takes_no_further_step(
    run: RunDirectory, dataset_path: Path, tmp_path: Path
) -> None:
    copy = copy_with(run, tmp_path / "run", _END)
    shutil.copy(run.last_model, copy.last_model)
    before = copy.last_model.read_bytes()
    again = go_on(dataset_path, copy.path)
    assert_same(again, run)
    assert again.last_model.read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.learning_rate=0.002"], ["training.learning_rate: 0.001 -> 0.002"]),
        (
            ["training.ema=null", "model.head.units=[8, 8]"],
            ["training.ema: 0.8 -> None", "model.head.units: [8] -> [8, 8]"],
        ),
    ],
)
def test_another_configuration_is_refused_by_the_names_of_its_keys(
    run: RunDirectory, dataset_path: Path, overrides: list[str], words: list[str]
) -> None:
    with pytest.raises(OutputError) as caught:
        check_run_folder(tiny_settings(dataset_path, run.path, *SHARED_RUN, *overrides))
    for word in words:
        assert word in str(caught.value)
    assert "training.checkpoint" not in str(caught.value)


def test_other_data_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    other = small_dataset(tmp_path, 300)
    with pytest.raises(OutputError, match="unfinished run on other data"):
        fit(tiny_settings(other, run.path, *SHARED_RUN), open_dataset(other))


def test_two_processes_do_not_train_in_one_folder(
    run: RunDirectory, dataset_path: Path, tmp_path: Path
) -> None:
    copy = copy_with(run, tmp_path / "run", _END)
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(copy.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(OutputError, match="another process is training"):
            go_on(dataset_path, copy.path)
    finally:
        process.communicate()
    go_on(dataset_path, copy.path)


def test_warning_when_the_software_has_changed(
    run: RunDirectory, dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_with(run, tmp_path / "run", _END)
    record: dict[str, Any] = yaml.safe_load(copy.metadata.read_text())
    record["software"]["keras"] = "3.0.0"
    copy.metadata.write_text(yaml.safe_dump(record))
    go_on(dataset_path, copy.path)
    assert re.search(r"warning: changed since .*: keras 3.0.0 -> ", capsys.readouterr().out)
    assert os.path.samefile(copy.path, tmp_path / "run")
