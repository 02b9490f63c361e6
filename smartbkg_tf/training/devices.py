"""Where the arithmetic runs, how precise it is, and that it repeats itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.settings.errors import UserError
from smartbkg_tf.settings.training import TrainingSettings


def require_device(training: TrainingSettings) -> None:
    """Fail before any work when a GPU is asked for and there is none.

    Parameters
    ----------
    training : TrainingSettings
        With ``device``.

    Raises
    ------
    UserError
        For ``device=gpu`` without a GPU that TensorFlow can use.
    """
    if training.device != "gpu":
        return
    load_tensorflow()
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return
    reason = (
        "this TensorFlow was built without CUDA"
        if not tf.test.is_built_with_cuda()
        else "TensorFlow finds no GPU it can use"
    )
    raise UserError(
        f"training.device=gpu: {reason}",
        next_step="check nvidia-smi; TF_CPP_MIN_LOG_LEVEL=0 shows TensorFlow's reasons; install "
        "'smartbkg_tf[gpu]', or use training.device=auto",
    )


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
    """Set seeds, determinism, precision and the distribution strategy.

    Parameters
    ----------
    training : TrainingSettings
        Seed, device, precision, determinism.

    Yields
    ------
    tf.distribute.Strategy
        Models must be built and compiled under its ``scope()``. Several GPUs share each
        batch (MirroredStrategy).

    Raises
    ------
    UserError
        For ``device=gpu`` without a GPU.
    """
    load_tensorflow()
    import keras
    import tensorflow as tf

    require_device(training)
    gpus = _visible_gpus(training)
    keras.backend.clear_session()
    keras.utils.set_random_seed(training.seed)
    _set_determinism(training)
    if len(gpus) > 1:
        strategy: Any = tf.distribute.MirroredStrategy()
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
