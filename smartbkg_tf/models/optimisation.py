"""From training settings to optimiser, schedule and the callbacks that watch validation."""

from __future__ import annotations

from typing import Any

import keras

from smartbkg_tf.settings.training import TrainingSettings

#: Variables that weight decay leaves alone: it would pull them towards a meaningless zero.
_NOT_DECAYED = ["bias", "gamma", "beta", "embeddings"]


def make_optimizer(training: TrainingSettings, steps_per_epoch: int | None = None) -> Any:
    """Make the optimiser with its learning rate.

    Parameters
    ----------
    training : TrainingSettings
        Optimiser, rate, schedule, weight decay, clipping.
    steps_per_epoch : int, optional
        Batches of an epoch; the cosine schedule needs it.

    Returns
    -------
    keras.optimizers.Optimizer
        Ready for ``compile``.

    Raises
    ------
    ValueError
        When the cosine schedule is asked for without `steps_per_epoch`.
    """
    rate: Any = training.learning_rate
    schedule = training.schedule
    if schedule.name == "cosine":
        if steps_per_epoch is None:
            raise ValueError("the cosine schedule needs steps_per_epoch")
        warmup = round(schedule.warmup_epochs * steps_per_epoch)
        steps = training.epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else training.learning_rate,
            decay_steps=max(steps - warmup, 1),
            alpha=schedule.minimum / training.learning_rate,
            warmup_target=training.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    options: dict[str, Any] = {
        "learning_rate": rate,
        "global_clipnorm": training.gradient_clipping,
    }
    if training.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    if training.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            momentum=0.9, nesterov=True, weight_decay=training.weight_decay, **options
        )
    else:
        optimizer = keras.optimizers.AdamW(weight_decay=training.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


def watching_callbacks(training: TrainingSettings) -> list[Any]:
    """Make the callbacks that watch a validation quantity.

    Parameters
    ----------
    training : TrainingSettings
        What to watch and how patiently.

    Returns
    -------
    list of keras.callbacks.Callback
        Plateau schedule and early stopping, as asked for. Neither restores weights: the
        best epoch stands on the disk.
    """
    mode = "min" if training.monitor == "val_loss" else "max"
    callbacks: list[Any] = []
    if training.schedule.name == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=training.monitor,
                mode=mode,
                factor=training.schedule.factor,
                patience=training.schedule.patience,
                min_lr=training.schedule.minimum,
                min_delta=0.0,
                verbose=0,
            )
        )
    if training.early_stopping is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor=training.monitor, mode=mode, patience=training.early_stopping, verbose=0
            )
        )
    return callbacks
