"""Two devices that share a batch do what one does with all of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from smartbkg_tf.models.replicas import over_replicas

#: A process of its own: the number of logical devices is fixed when TensorFlow starts.
_TWO_DEVICES = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import keras
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.replicas import over_replicas
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainingSettings

random = np.random.default_rng(3)
x = random.normal(2.0, 3.0, (8, 5, 3)).astype(np.float32)
x[4:] += 7.0  # The halves differ in mean,
mask = random.random((8, 5)) < 0.6
mask[4:, 2:] = False  # and in what there is.
target = random.normal(size=x.shape).astype(np.float32) * mask[..., None]
assert mask[:4].sum() != mask[4:].sum()


def step(layer, values, weights, targets):
    values = tf.convert_to_tensor(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        out = layer(values, mask=weights, training=True)
        loss = tf.reduce_sum(out * targets)
    return out, *tape.gradient(loss, [values, layer.gamma.value, layer.beta.value])


def new():
    layer = MaskedBatchNormalization(momentum=0.5)
    layer.build(x.shape)
    layer.gamma.assign([0.5, 1.0, 2.0])
    return layer


whole = new()
expected = [value.numpy() for value in step(whole, x, mask, target)]

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    shared = new()


def half(context, values):
    part = context.replica_id_in_sync_group
    return tf.constant(values[4 * part : 4 * part + 4])


def distributed(values):
    return strategy.experimental_distribute_values_from_function(lambda c: half(c, values))


function = tf.function(lambda v, w, t: strategy.run(lambda *a: step(shared, *a), args=(v, w, t)))
got = [
    [part.numpy() for part in strategy.experimental_local_results(value)]
    for value in function(*map(distributed, (x, mask, target)))
]
inside = mask[..., None]
for i, name in enumerate(("output", "gradient of the rows")):
    np.testing.assert_allclose(
        np.concatenate(got[i]) * inside, expected[i] * inside, atol=2e-5, err_msg=name
    )
for i, name in ((2, "gradient of gamma"), (3, "gradient of beta")):
    np.testing.assert_allclose(np.sum(got[i], axis=0), expected[i], rtol=1e-4, err_msg=name)
for name in ("moving_mean", "moving_variance"):
    for copy in strategy.experimental_local_results(getattr(shared, name).value):
        np.testing.assert_allclose(copy, getattr(whole, name).value, rtol=1e-5, err_msg=name)
per_replica = [x[i : i + 4][mask[i : i + 4]].mean(axis=0) for i in (0, 4)]
assert np.abs(per_replica[0] - per_replica[1]).min() > 1.0, "halves alike would prove nothing"

# The sum itself has a gradient, and several tensors go in one exchange.
def squared(values):
    with tf.GradientTape() as tape:
        tape.watch(values)
        total, count = over_replicas([tf.reduce_sum(values), tf.constant(1.0)])
        result = total * total
    return total, count, tape.gradient(result, values)


totals, counts, slopes = strategy.run(squared, args=(distributed(x),))
for i, part in enumerate(strategy.experimental_local_results(slopes)):
    # Each of the two replicas has this result; the gradient is that of their sum.
    np.testing.assert_allclose(part, np.full((4, 5, 3), 4 * x.sum()), rtol=1e-4)
assert [float(c) for c in strategy.experimental_local_results(counts)] == [2.0, 2.0]

# One step of training, with a gradient that is clipped: its norm is that of the whole batch.
def network():
    keras.utils.set_random_seed(4)
    inputs = keras.Input((5, 3))
    codes = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(9, 3)(codes)
    hidden = MaskedBatchNormalization()(keras.layers.Concatenate()([inputs, embedded]))
    output = keras.layers.Dense(1)(keras.layers.Flatten()(hidden))
    model = keras.Model([inputs, codes], output)
    settings = validate(
        TrainingSettings,
        {"optimizer": {"_target_": "smartbkg_tf.training.optimizers.SGD"}, "learning_rate": 1.0,
         "gradient_clipping": 0.01, "epochs": 1},
    )
    optimizer = settings.optimizer.for_training(settings, 1)
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


codes = random.integers(0, 9, (8, 5)).astype(np.int32)
y = np.array([[1], [0], [0], [0], [1], [1], [1], [0]], np.float32)
alone = network()
before = [weight.numpy() for weight in alone.trainable_weights]
alone.train_step(((tf.constant(x), tf.constant(codes)), tf.constant(y)))
moved = np.sqrt(sum(np.sum((w.numpy() - b) ** 2) for w, b in zip(alone.trainable_weights, before)))
# The step is the clipped gradient times 1.9 (Nesterov), and little weight decay.
assert 0.015 < moved < 0.02, moved
with strategy.scope():
    pair = network()
data = ((distributed(x), distributed(codes)), distributed(y))
tf.function(lambda d: strategy.run(pair.train_step, args=(d,)))(data)
for a, b in zip(alone.weights, pair.weights):
    np.testing.assert_allclose(b.numpy(), a.numpy(), atol=2e-6, err_msg=a.path)
print("equal")
"""


def test_two_devices_normalise_as_one_with_the_whole_batch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TWO_DEVICES], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "equal" in done.stdout


def test_one_device_keeps_its_sums() -> None:
    value = np.ones(3)
    assert over_replicas(value) is value
