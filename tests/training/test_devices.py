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
from smartbkg_tf.training.devices import check_devices
from tests.training.samples import TINY, history, tiny_settings, without_times
from tests.training.several_devices import run_cases
from tests.training.test_micro_batches import GCN

#: A process of its own: the number of logical devices is fixed when TensorFlow starts.
_STEPS = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.devices import device_scope, share_batches
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

# Dropout draws other numbers on every device, and an overflow on one of them stops all.
with device_scope(
    validate(TrainingSettings, {"device": "cpu", "devices": several, "batch_size": 24,
                                "mixed_precision": "float16"})
) as strategy:
    with strategy.scope():
        inputs = keras.Input((16,))
        dropout = keras.layers.Dropout(0.5)
        model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(dropout(inputs)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.optimizer.build(model.trainable_variables)
        share_batches(model)
    ones = tf.ones((4, 16))
    masks = tf.function(lambda: strategy.run(lambda: dropout(ones, training=True)))
    drawn = [[part.numpy() for part in strategy.experimental_local_results(masks())] for _ in "ab"]
    drawn = [part for parts in drawn for part in parts]
    assert all((a != b).any() for i, a in enumerate(drawn) for b in drawn[:i])
    x = np.ones((8, 16), np.float32)
    before = [w.numpy() for w in model.trainable_weights]
    x[-1] = np.inf  # On the last device only.
    model.fit(x, np.zeros((8, 1)), batch_size=8, verbose=0)
    scale = float(model.optimizer.dynamic_scale.numpy())
    for a, b in zip(before, model.trainable_weights):
        np.testing.assert_array_equal(a, b.numpy())
    x[-1] = 1
    model.fit(x, np.zeros((8, 1)), batch_size=8, verbose=0)
    assert scale == 2.0**14 == float(model.optimizer.dynamic_scale.numpy())
    assert any((a != b.numpy()).any() for a, b in zip(before, model.trainable_weights))

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


#: Without dropout, and with gradients that are not divided by their own size as Adam's are, so that
#: rounding is not magnified. The last one of 305 events is alone in its batch.
CURVES = (
    *("model.head.dropout=0", "training/optimizer=sgd", "training.learning_rate=0.01"),
    *("training.gradient_clipping=0.1", "training.class_weights=balanced", "training.ema=0.8"),
    *("training.batch_size=76", "data.balance=1.5"),
)
PACKED = (*TINY, *CURVES)
DIVIDED = (*GCN, *CURVES, "training.micro_batches=2")


def _compare(folder: Path, one: str, *others: str) -> None:
    expected = without_times(history(open_run(folder / one)))
    assert len(expected) == 2
    assert abs(expected[1]["loss"] - expected[0]["loss"]) > 1e-4
    for other in others:
        found = without_times(history(open_run(folder / other)))
        for a, b in zip(expected, found, strict=True):
            assert b == pytest.approx(a, abs=1e-6), other


def test_curves_of_two_devices_are_those_of_one(dataset_path: Path, tmp_path: Path) -> None:
    run_cases(dataset_path, tmp_path, [("2", 2, PACKED), ("1", 1, PACKED)])
    _compare(tmp_path, "1", "2")
    models = [load_model(open_run(tmp_path / name).model) for name in ("1", "2")]
    for a, b in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-6, err_msg=a.path)


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_devices(dataset_path: Path, tmp_path: Path) -> None:
    cases = [("half!", 1, PACKED), ("half", 4, PACKED), ("1", 1, PACKED)]
    out = run_cases(dataset_path, tmp_path, cases)
    assert "was begun on 1 device and goes on on 4" in out
    _compare(tmp_path, "1", "half")


@pytest.mark.slow
def test_curves_in_micro_batches(dataset_path: Path, tmp_path: Path) -> None:
    run_cases(dataset_path, tmp_path, [(str(n), n, DIVIDED) for n in (4, 1, 2)])
    _compare(tmp_path, "1", "2", "4")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_curves_of_every_network(precision: str, tmp_path: Path) -> None:
    """The table of docs/performance.md: 1e-6, or what rounding makes on one device."""
    script = Path(__file__).parents[2] / "benchmarks/devices.py"
    command = [sys.executable, str(script), "--output", str(tmp_path), "--precisions", precision]
    done = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def _training(**values: object) -> TrainingSettings:
    return validate(TrainingSettings, values)


def test_all_that_the_devices_cannot_do_is_said_at_once() -> None:
    assert len(tf.config.list_logical_devices("CPU")) == 1
    with pytest.raises(ConfigurationError) as caught:
        check_devices(
            _training(
                device="cpu", devices=3, batch_size=64, xla=True,
                micro_batches=4, steps_per_execution=8,
            )
        )  # fmt: skip
    for text in (
        "training.devices=3: TensorFlow has already been started with 1",
        "training.batch_size=64: 3 devices cannot share it evenly; use 66 or 63",
        "training.micro_batches=4: XLA",
        "training.xla=true: sums over 3 devices",
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
