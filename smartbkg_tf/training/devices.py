"""Where the arithmetic runs, how precise it is, and that it repeats itself."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from smartbkg_tf.errors import ConfigurationError, Problems
from smartbkg_tf.models.keras_internals import mirrored_strategy, seed_generators, set_loss_tracker
from smartbkg_tf.models.replicas import over_replicas, replica, replicas
from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.settings.training import TrainingSettings
from smartbkg_tf.training.input_pipeline import EVENTS

#: Seeds of Keras's generators are below this.
_SEEDS = 1_000_000_007


def check_devices(training: TrainingSettings) -> int:
    """Find the devices, and refuse before any work what cannot run on them, all of it at once."""
    problems = Problems()
    n = _available(training, problems)
    size = training.batch_size
    parts = 1 if training.micro_batches == "auto" else training.micro_batches
    if size % n:
        larger = (size // n + 1) * n
        problems.add(
            f"training.batch_size={size}: {n} devices cannot share it evenly; use {larger}"
            + (f" or {size // n * n}" if size > n else "")
        )
    elif size // n < parts:
        share = "a batch has" if n == 1 else f"each of {n} devices gets"
        problems.add(
            f"training.micro_batches={parts}: {share} only {size // n} events; use fewer, or a "
            "larger training.batch_size"
        )
    if parts > 1 and training.xla:
        problems.add(
            f"training.micro_batches={parts}: XLA compiles every length anew; use auto, or "
            "training.xla=false"
        )
    if n > 1 and training.xla:
        problems.add(
            f"training.xla=true: sums over {n} devices cannot be compiled; use training.devices=1 "
            "or training.xla=false"
        )
    if n > 1 and training.steps_per_execution > 1:
        problems.add(
            f"training.steps_per_execution={training.steps_per_execution}: on {n} devices Keras "
            "can take one batch a call only; use 1, or training.devices=1"
        )
    problems.raise_if_any("the training cannot run like this", kind=ConfigurationError)
    return n


def _available(training: TrainingSettings, problems: Problems) -> int:
    """Count the devices that are asked for, and note what there is not."""
    load_tensorflow()
    import tensorflow as tf

    gpus = [] if training.device == "cpu" else tf.config.list_physical_devices("GPU")
    wanted = max(len(gpus), 1) if training.devices == "auto" else training.devices
    if training.device == "gpu" and not gpus:
        reason = (
            "this TensorFlow was built without CUDA"
            if not tf.test.is_built_with_cuda()
            else "TensorFlow finds no GPU it can use"
        )
        problems.add(
            f"training.device=gpu: {reason}; check nvidia-smi (TF_CPP_MIN_LOG_LEVEL=0 shows "
            "TensorFlow's reasons), install 'smartbkg_tf[gpu]', or use training.device=auto"
        )
    elif training.device == "cpu":
        there = _logical_processors(wanted)
        if there < wanted:
            problems.add(
                f"training.devices={wanted}: TensorFlow has already been started with {there} "
                "logical CPU device(s) in this process; use a new process"
            )
    elif wanted > max(len(gpus), 1):
        found = {0: "there is no GPU", 1: "there is 1 GPU"}.get(
            len(gpus), f"there are {len(gpus)} GPUs"
        )
        problems.add(
            f"training.devices={wanted}: {found}; use training.devices=auto, or, to try several "
            "devices without GPUs, training.device=cpu"
        )
    return wanted


def _logical_processors(n: int) -> int:
    """Divide the processor into logical devices, as long as TensorFlow has not begun to use it."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    if n <= len(tf.config.get_logical_device_configuration(processor) or [processor]):
        return n
    try:
        logical = [tf.config.LogicalDeviceConfiguration()] * n
        tf.config.set_logical_device_configuration(processor, logical)
    except RuntimeError:
        return len(tf.config.list_logical_devices("CPU"))
    return n


def _visible_gpus(training: TrainingSettings) -> list[Any]:
    load_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if training.device == "cpu":
        # Too late if the process has used a GPU already; the strategy then decides.
        with contextlib.suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
        return []
    for gpu in gpus:
        # Take memory as needed: others may use the same GPU.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    return list(gpus)


def _set_determinism(training: TrainingSettings) -> None:
    """Make every operation repeat itself, or take that back for XLA.

    Keras does not compile with XLA while TensorFlow is told to be deterministic. On a CPU
    compiled steps repeat themselves anyway.
    """
    from tensorflow.python.framework import config

    if training.deterministic and not training.xla:
        config.enable_op_determinism()
    else:
        # An earlier run of the same process, in a sweep, may have switched it on.
        config.disable_op_determinism()


@contextlib.contextmanager
def device_scope(training: TrainingSettings) -> Iterator[Any]:
    """Set seeds, determinism, precision and the distribution strategy."""
    load_tensorflow()
    import keras
    import tensorflow as tf

    n = check_devices(training)
    gpus = _visible_gpus(training)
    keras.backend.clear_session()
    keras.utils.set_random_seed(training.seed)
    _set_determinism(training)
    if n > 1:
        kind = "GPU" if gpus else "CPU"
        strategy: Any = mirrored_strategy([f"{kind}:{i}" for i in range(n)])
    elif training.device == "cpu":
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    else:
        strategy = tf.distribute.get_strategy()
    policy = keras.config.dtype_policy()
    if training.mixed_precision is not None:
        keras.config.set_dtype_policy(f"mixed_{training.mixed_precision}")
    try:
        yield strategy
    finally:
        keras.config.set_dtype_policy(policy)


def share_batches(model: Any) -> None:
    """Let a compiled model learn on several devices what it learns on one.

    Keras lets dropout draw the same numbers on every device, looks for overflows of float16 on the
    first device only, and counts the rows that fill a batch up in the mean loss of an epoch.
    """
    import keras

    for generator in seed_generators(model):
        generator.next = functools.partial(_draw, generator.next)
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        check = model.optimizer.check_finite
        model.optimizer.check_finite = functools.partial(_finite_everywhere, check)
    tracker, here = _event_mean()
    set_loss_tracker(model, tracker)
    for name in ("train_step", "test_step"):
        setattr(model, name, functools.partial(_counted, getattr(model, name), here))


def _draw(draw: Callable[..., Any], ordered: bool = True) -> Any:
    """Draw a seed that is another one on every device."""
    import tensorflow as tf

    seed = draw(ordered)
    if replicas() == 1:
        return seed
    return seed + tf.stack([tf.cast(replica(), seed.dtype) * _SEEDS, tf.zeros((), seed.dtype)])


def _finite_everywhere(check: Callable[..., Any], gradients: Any) -> Any:
    """Tell whether the gradients of all devices are finite, so that all take the step or none."""
    import tensorflow as tf

    return over_replicas(tf.cast(tf.logical_not(check(gradients)), tf.float32)) == 0


def _event_mean() -> tuple[Any, threading.local]:
    """Make a mean loss, and where its events are told: each device has a thread of its own."""
    import keras

    here = threading.local()

    class EventMean(keras.metrics.Mean):
        def update_state(self, values: Any, sample_weight: Any = None) -> Any:
            events = getattr(here, "events", None)
            return super().update_state(values, sample_weight if events is None else events)

    return EventMean(name="loss"), here


def _counted(step: Callable[..., Any], here: threading.local, data: Any) -> Any:
    """Do a step with a batch of `smartbkg_tf.training.input_pipeline.filled`."""
    import tensorflow as tf

    inputs, *rest = data
    here.events = None
    if isinstance(inputs, dict) and EVENTS in inputs:
        here.events = tf.reduce_sum(inputs[EVENTS])
        inputs = {name: values for name, values in inputs.items() if name != EVENTS}
    return step((inputs, *rest))
