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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.training.fit import fit
from smartbkg_tf.training.resume import (
    Checkpoint,
    EpochPlan,
    checkpoint_paths,
    newest_checkpoint,
    read_callbacks,
    read_checkpoint,
    read_variables,
    variable_groups,
    write_callbacks,
    write_checkpoint,
    write_variables,
)
from smartbkg_tf.training.run_folder import check_run_folder, training_lock
from smartbkg_tf.training.skim_losses import SkimCrossentropy  # noqa: F401 (Keras loads it)
from tests.training.samples import SHARED_RUN, small_dataset, tiny_settings

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_TIMES = ("seconds", "events_per_second", "waiting_share")

#: Executions of training and validation of the shared run: fewer than these.
_STEPS = 26

_END = "epoch_00004.npz"

#: Kills itself after so many executions (of training or validation) or at such a rename of a file.
_KILLED = """
import os, signal, sys
from pathlib import Path
import keras
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.training.devices import check_devices
from smartbkg_tf.training.fit import fit
from tests.training.samples import SHARED_RUN, tiny_settings

dataset, folder, kind, number, *options = sys.argv[1:]
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
    for name in ("on_train_batch_end", "on_test_batch_end"):
        real = getattr(keras.callbacks.CallbackList, name)
        setattr(keras.callbacks.CallbackList, name, counted(real, False))
else:
    os.replace = counted(os.replace, True)
settings = tiny_settings(Path(dataset), Path(folder), *SHARED_RUN, *options)
check_devices(settings.training)
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
        np.testing.assert_array_equal(value, last[1][name], err_msg=f"{name} {message}")
    results = [yaml.safe_load(r.metadata.read_text())["result"] for r in (run, expected)]
    assert results[0] == results[1], message


def process(dataset: Path, folder: Path, kind: str, number: int, *options: str) -> int:
    command = [sys.executable, "-c", _KILLED, str(dataset), str(folder), kind, str(number)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), f"{kind} {number}: {done.stdout}{done.stderr}"
    return done.returncode


def kill(dataset: Path, folder: Path, kind: str, number: int, *options: str) -> None:
    assert process(dataset, folder, kind, number, *options) == -signal.SIGKILL
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


@pytest.mark.slow
def test_killed_on_two_devices_between_parts_of_a_pass(dataset_path: Path, tmp_path: Path) -> None:
    options = ("training.device=cpu", "training.devices=2")
    options = (*options, "training.epochs=2", "training.sub_epochs=2")
    # An epoch has two steps of training and two of validation.
    number = random.SystemRandom().randrange(5, 16)
    kill(dataset_path, tmp_path / "run", "step", number, *options)
    for name in ("run", "whole"):
        assert process(dataset_path, tmp_path / name, "step", 10**9, *options) == 0
    runs = [RunDirectory(tmp_path / name) for name in ("run", "whole")]
    assert_same(*runs, f"killed after step {number}")


def copy_with(run: RunDirectory, folder: Path, *names: str) -> RunDirectory:
    """Copy a run as it stood when the named checkpoints were its last."""
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("*.npz", "last.keras"))
    (folder / "checkpoints").mkdir(exist_ok=True)
    for name in names:
        shutil.copy(run.checkpoints / name, folder / "checkpoints")
    return RunDirectory(folder)


def test_every_epoch_has_left_a_checkpoint(run: RunDirectory) -> None:
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == [f"epoch_{epoch:05d}.npz" for epoch in range(1, 5)]


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(
    run: RunDirectory, dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("epoch_00002.npz", "epoch_00003.npz")
    copy = copy_with(run, tmp_path / "run", *names)
    broken = copy.checkpoints / names[1]
    broken.write_bytes(broken.read_bytes()[:-1000])
    again = go_on(dataset_path, copy.path)
    out = capsys.readouterr().out
    assert re.search(rf"warning: .*{names[1]} is truncated or damaged", out)
    assert f"continuing {copy.path} after epoch 2" in out
    assert_same(again, run)
    assert "continued" in yaml.safe_load(again.metadata.read_text())["timings"]


def test_a_run_that_was_trained_to_the_end_takes_no_further_step(
    run: RunDirectory, dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The software has changed since, which is said."""
    copy = copy_with(run, tmp_path / "run", _END)
    shutil.copy(run.last_model, copy.last_model)
    before = copy.last_model.read_bytes()
    record: dict[str, Any] = yaml.safe_load(copy.metadata.read_text())
    record["software"]["keras"] = "3.0.0"
    copy.metadata.write_text(yaml.safe_dump(record))
    again = go_on(dataset_path, copy.path)
    assert re.search(r"warning: changed since .*: keras 3.0.0 -> ", capsys.readouterr().out)
    assert os.path.samefile(again.path, copy.path)
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
    with training_lock(copy):
        pass


@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_parts_of_passes_are_of_one_length(passes: int, batches: int, more: st.DataObject) -> None:
    parts = more.draw(st.integers(1, batches))
    plan = EpochPlan(passes, parts, batches)
    places = [plan.place(epoch) for epoch in range(plan.epochs)]
    assert {last - first for _, first, last in places} == {plan.steps}
    seen = [(number, b) for number, first, last in places for b in range(first, last)]
    whole = batches - batches % parts
    assert seen == [(number, b) for number in range(passes) for b in range(whole)]
    assert whole > batches - parts


VALUES = {
    "best": None,
    "rows": [{"epoch": 1, "loss": 0.1}],
    "text": "ä",
    "stop_training": False,
    "large": float("inf"),
}


def example(epoch: int = 3) -> Checkpoint:
    arrays = {
        "model/00000": np.random.default_rng(epoch).normal(size=(3, 4)).astype(np.float32),
        "model/00001": np.array(7, np.int64),
        "random/00000": np.array([1, 2**32 - 1], np.uint32),
    }
    return Checkpoint(epoch, VALUES, arrays)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    got = read_checkpoint(write_checkpoint(tmp_path / "new", example()))
    assert (got.epoch, got.values, got.stopped) == (3, VALUES, False)
    assert got.arrays.keys() == example().arrays.keys()
    for name, array in example().arrays.items():
        assert got.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(got.arrays[name], array)


def test_the_last_two_are_kept_in_the_order_of_training(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    for epoch in (1, 2, 9, 10):
        write_checkpoint(tmp_path, example(epoch))
    names = [path.name for path in checkpoint_paths(tmp_path)]
    assert names == ["epoch_00010.npz", "epoch_00009.npz"]
    assert len(list(tmp_path.iterdir())) == 3
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.epoch == 10


def test_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    assert newest_checkpoint(tmp_path) is None


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999999))
def test_a_piece_is_refused_by_name_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    write_checkpoint(tmp_path, example(1))
    newest = write_checkpoint(tmp_path, example(2))
    content = newest.read_bytes()
    newest.write_bytes(content[: int(share * len(content))])
    got = newest_checkpoint(tmp_path)
    assert got is not None
    assert got.epoch == 1
    out = capsys.readouterr().out
    assert newest.name in out
    assert "truncated or damaged" in out


def test_a_changed_byte_of_a_value_is_seen(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, example())
    content = bytearray(path.read_bytes())
    array = example().arrays["model/00000"].tobytes()
    content[content.index(array) + 5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="truncated or damaged"):
        read_checkpoint(path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    np.savez(tmp_path / "epoch_00001.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(tmp_path / "epoch_00001.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="not the name of a checkpoint"):
        read_checkpoint(tmp_path / "other.npz")
    assert newest_checkpoint(tmp_path) is None


def model_of(units: int, *, seed: int = 1, trained: bool = True) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    x = keras.layers.Dense(units)(inputs)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    if not trained:
        return model
    model.train_on_batch(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    return model


def test_variables_go_from_one_model_to_another() -> None:
    first, second = model_of(3), model_of(3, seed=2)
    groups = {name: len(variables) for name, variables in variable_groups(first).items()}
    # Four weights and the state of dropout; rate, step and two moments of each weight.
    assert groups == {"model": 5, "optimizer": 10, "random": 1}
    arrays = read_variables(first)
    others = read_variables(second)
    assert any((value != others[name]).any() for name, value in arrays.items())
    write_variables(second, arrays)
    for name, value in read_variables(second).items():
        np.testing.assert_array_equal(value, arrays[name], err_msg=name)
    x = np.ones((4, 2), np.float32)
    for model in (first, second):
        model.reset_metrics()
    results = [m.train_on_batch(x, x[:, :1], return_dict=True) for m in (first, second)]
    assert results[0] == results[1]


def test_a_checkpoint_of_another_network_is_refused() -> None:
    arrays = read_variables(model_of(3))
    with pytest.raises(InputError, match=r"kernel has the shape \(2, 4\), not \(2, 3\)"):
        write_variables(model_of(4), arrays)
    del arrays["optimizer/00000"]
    with pytest.raises(InputError, match="9 variables of the optimizer, not 10"):
        write_variables(model_of(3), arrays)


def feed(callback: keras.callbacks.Callback, values: list[float], first: int = 0) -> None:
    for epoch, value in enumerate(values, first):
        callback.on_epoch_end(epoch, {"val_loss": value})


@pytest.mark.parametrize("kind", ["stopping", "plateau"])
@pytest.mark.parametrize("at", range(7))
def test_callbacks_go_on_as_if_nothing_had_happened(kind: str, at: int) -> None:
    losses = [1.0, 0.9, 0.895, 0.8, 0.79, 0.795, 0.798]

    def make() -> keras.callbacks.Callback:
        if kind == "stopping":
            callback = keras.callbacks.EarlyStopping(
                "val_loss", min_delta=0.02, patience=3, restore_best_weights=True
            )
        else:
            callback = keras.callbacks.ReduceLROnPlateau(
                "val_loss", min_delta=0.02, patience=1, cooldown=1, factor=0.5
            )
        callback.set_model(model_of(2, trained=False))
        callback.on_train_begin()
        return callback

    whole = make()
    feed(whole, losses)
    first = make()
    feed(first, losses[:at])
    values, arrays = read_callbacks([first])
    second = make()
    write_callbacks([second], values, arrays)
    second.model.optimizer.learning_rate = float(first.model.optimizer.learning_rate)
    feed(second, losses[at:], at)
    assert read_callbacks([second])[0] == read_callbacks([whole])[0]
    for name, array in read_callbacks([whole])[1].items():
        np.testing.assert_array_equal(read_callbacks([second])[1][name], array)
    rates = [float(c.model.optimizer.learning_rate) for c in (whole, second)]
    assert rates[0] == rates[1]
    # The case is one in which something happens.
    assert whole.model.stop_training if kind == "stopping" else rates[0] < 1e-3


def test_other_callbacks_are_refused() -> None:
    values, arrays = read_callbacks([keras.callbacks.EarlyStopping()])
    with pytest.raises(InputError, match="EarlyStopping, not ReduceLROnPlateau"):
        write_callbacks([keras.callbacks.ReduceLROnPlateau()], values, arrays)
