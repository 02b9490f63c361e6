"""Several devices learn what one learns, and what they cannot do is refused beforehand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.loading import load_model
from smartbkg_tf.runtime.run_directory import open_run
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.train import run as train
from smartbkg_tf.training import devices
from smartbkg_tf.training.devices import check_devices
from tests.training.samples import history, tiny_settings, without_times

#: A process of its own: the number of logical devices is fixed when TensorFlow starts.
_STEPS = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.devices import device_scope
from smartbkg_tf.training.input_pipeline import filled
from smartbkg_tf.training.micro_batches import use_micro_batches
from tests.training.test_micro_batches import GCN, _batch, _network

path, loss = Path(sys.argv[1]), sys.argv[2]
parts, several = map(int, sys.argv[3:])

def step(devices):
    settings = validate(
        TrainingSettings, {"device": "cpu", "devices": devices, "batch_size": 24}
    )
    with device_scope(settings) as strategy:
        with strategy.scope():
            network, dataset = _network(
                path, f"training/loss={loss}", "model.head.dropout=0", network=GCN
            )
            network.model.optimizer.build(network.model.trainable_variables)
        # Filled up to 22 or 24 rows.
        batch = tf.data.Dataset.from_tensors(_batch(network, dataset, 21))
        (data,) = strategy.experimental_distribute_dataset(filled(batch, devices))
        before = [w.numpy() for w in network.model.trainable_weights]
        use_micro_batches(network.model, parts if devices > 1 else 1)
        step = network.model.train_step
        tf.function(lambda d: strategy.run(step, args=(d,)))(data)
        after = [w.numpy() for w in network.model.trainable_weights]
        results = network.model.get_metrics_result()
        return [a - b for a, b in zip(after, before)], {k: float(v) for k, v in results.items()}

found, found_logs = step(several)
moved, logs = step(1)
largest = max(np.abs(m).max() for m in moved)
assert largest > 0 and logs["loss"] > 0
for name, value in logs.items():
    np.testing.assert_allclose(found_logs[name], value, rtol=1e-5, err_msg=name)
for a, b in zip(moved, found):
    np.testing.assert_allclose(b, a, atol=1e-4 * largest + 4 * np.finfo(np.float32).eps)
print("equal")
"""


@pytest.mark.parametrize(
    ("loss", "parts", "n"),
    [("speedup", 2, 2), pytest.param("crossentropy", 1, 4, marks=pytest.mark.slow)],
)
def test_the_step_of_several_devices_is_that_of_one(
    dataset_path: Path, loss: str, parts: int, n: int
) -> None:
    arguments = [str(dataset_path), loss, str(parts), str(n)]
    command = [sys.executable, "-c", _STEPS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "equal" in done.stdout


_RUNS = """
import sys
from pathlib import Path
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.training.fit import fit
from tests.training.samples import tiny_settings

dataset, folder = map(Path, sys.argv[1:])
options = ["model.head.dropout=0", "training.gradient_clipping=0.1", "training.device=cpu"]
# The last one of 305 events is alone in its batch, and 11 validation events in theirs.
options += ["training.batch_size=76", "data.balance=1.5"]
for n in (4, 1):
    chosen = tiny_settings(dataset, folder / str(n), f"training.devices={n}", *options)
    fit(chosen, open_dataset(dataset))
"""


@pytest.mark.slow
def test_four_devices_train_what_one_trains(dataset_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUNS, str(dataset_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = [open_run(tmp_path / name) for name in ("1", "4")]
    rows = [without_times(history(run)) for run in runs]
    models = [load_model(run.last_model) for run in runs]
    assert len(rows[0]) == 2
    assert rows[0][1]["loss"] < rows[0][0]["loss"]
    for one, four in zip(*rows, strict=True):
        # An epoch's mean loss counts the rows that fill the last batch.
        for name in one:
            assert four[name] == pytest.approx(one[name], rel=1e-2 if "loss" in name else 1e-5)
    for a, b in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-5, err_msg=a.path)


def _training(**values: object) -> TrainingSettings:
    return validate(TrainingSettings, values)


def test_all_that_the_devices_cannot_do_is_said_at_once() -> None:
    assert len(tf.config.list_logical_devices("CPU")) == 1
    with pytest.raises(ConfigurationError) as caught:
        check_devices(
            _training(
                device="cpu", devices=3, batch_size=64, xla=True, mixed_precision="float16",
                micro_batches=4, steps_per_execution=8,
            )
        )  # fmt: skip
    for text in (
        "training.devices=3: TensorFlow has already been started with 1",
        "training.batch_size=64: 3 devices cannot share it evenly; use 66 or 63",
        "training.micro_batches=4: XLA",
        "training.xla=true: sums over 3 devices",
        "training.mixed_precision=float16: on 3 devices",
        "training.steps_per_execution=8: on 3 devices",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"micro_batches": 4, "batch_size": 2}, "a batch has only 2 events"),
        (
            {"micro_batches": 4, "batch_size": 6, "devices": 2, "device": "cpu"},
            "only 3 events",
        ),
        ({"batch_size": 3, "devices": 4, "device": "cpu"}, "evenly; use 4$"),
    ],
)
def test_too_small_batches(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_devices(_training(**values))


def test_another_number_of_devices_needs_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_shared", 4)
    with pytest.raises(ConfigurationError, match="has already trained on 4 devices"):
        check_devices(_training(device="cpu", devices=2, batch_size=64))
    assert check_devices(_training(device="cpu", devices=1)) == 1


def test_what_one_device_can_do() -> None:
    values = {"batch_size": 63, "xla": True, "mixed_precision": "float16"}
    assert check_devices(_training(**values, devices=1)) == 1
    assert check_devices(_training(batch_size=1, micro_batches=1, device="cpu")) == 1


def test_gpus_that_are_not_there_are_missed_before_the_data_are_read(tmp_path: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    for override, message in (
        ("training.device=gpu", r"training\.device=gpu"),
        ("training.devices=2", r"training\.devices=2: there is no GPU"),
    ):
        settings = tiny_settings(tmp_path / "no_dataset", tmp_path / "run", override)
        with pytest.raises(ConfigurationError, match=message):
            train(settings)
