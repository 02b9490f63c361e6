"""From training settings to optimiser, schedule and the callbacks that watch validation."""

from __future__ import annotations

from typing import Any

import keras

from smartbkg_tf.models.replicas import over_replicas, replicas
from smartbkg_tf.settings.training import TrainingSettings

#: Variables that weight decay leaves alone: it would pull them towards a meaningless zero.
_NOT_DECAYED = ["bias", "gamma", "beta", "embeddings"]


def make_optimizer(
    training: TrainingSettings, steps_per_epoch: int | None = None, model: Any = None
) -> Any:
    """Make the optimiser with its learning rate.

    Parameters
    ----------
    training : TrainingSettings
        Optimiser, rate, schedule, weight decay, clipping.
    steps_per_epoch : int, optional
        Batches of a pass; the cosine schedule needs it.
    model : keras.Model, optional
        Its layers get rates of their own when a backbone is fine-tuned layer by layer.

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
    if training.ema is not None:
        options |= {"use_ema": True, "ema_momentum": training.ema}
    if training.optimizer == "adam":
        optimizer = keras.optimizers.Adam(**options)
    elif training.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            momentum=0.9, nesterov=True, weight_decay=training.weight_decay, **options
        )
    else:
        optimizer = keras.optimizers.AdamW(weight_decay=training.weight_decay, **options)
    if optimizer.weight_decay is not None:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    tuning = training.fine_tuning
    if training.init_from is not None and tuning.backbone == "layerwise" and model is not None:
        optimizer = with_rates(optimizer, layer_rates(model, tuning.first_layer_rate))
    if training.gradient_clipping is not None:
        _clip_whole_batch(optimizer)
    return optimizer


def _clip_whole_batch(optimizer: Any) -> None:
    """Let the norm be that of the whole batch's gradient.

    Where several devices share a batch, Keras clips the gradient of each and adds up what is
    left. In the gradient of an embedding it squares the look-ups of a row one by one instead of
    their sum.
    """
    import tensorflow as tf

    clip = optimizer._clip_gradients

    def clip_sum(gradients: list[Any]) -> list[Any]:
        n = replicas()
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if n == 1:
            return clip(dense)  # type: ignore[no-any-return]
        # Keras adds up over the devices later: each gives its share of the clipped sum.
        return [gradient / n for gradient in clip(over_replicas(dense))]

    optimizer._clip_gradients = clip_sum


def layer_rates(model: Any, first: float) -> dict[str, float]:
    """Give every weight a factor on the learning rate, less far from the output.

    Parameters
    ----------
    model : keras.Model
        Functional: its layers stand in the order of the computation.
    first : float
        Factor of the first layer that learns; the output has 1, and the factors in between
        form a geometric series.

    Returns
    -------
    dict of str to float
        Factor by the path of the weight.
    """
    layers = [layer for layer in model.layers if layer.trainable_weights]
    last = max(len(layers) - 1, 1)
    return {
        weight.path: first ** ((last - position) / last)
        for position, layer in enumerate(layers)
        for weight in layer.trainable_weights
    }


class LayerRates:
    """What is mixed into an optimiser so that every weight has its own learning rate."""

    rates: dict[str, float]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one weight.

        Parameters
        ----------
        gradient : tensor
            Its gradient.
        variable : tf.Variable
            The weight.
        learning_rate : tensor []
            The common rate.
        """
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        path = self._trainable_variables[index].path  # type: ignore[attr-defined]
        rate = learning_rate * self.rates.get(path, 1.0)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        decay = self.weight_decay
        if decay is None:
            return
        for variable in variables:
            # The decay of a step is a product with the rate.
            self.weight_decay: Any = decay * self.rates.get(variable.path, 1.0)
            super()._apply_weight_decay([variable])  # type: ignore[misc]
        self.weight_decay = decay

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments, the factors too.

        Returns
        -------
        dict
            Plain values.
        """
        return {**super().get_config(), "rates": self.rates}  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class LayerwiseAdam(LayerRates, keras.optimizers.Adam):
    """Adam with a learning rate for every weight.

    Parameters
    ----------
    rates : dict of str to float
        Factor on the learning rate by the path of a weight; 1 for others.
    **kwargs
        As `keras.optimizers.Adam`.
    """

    def __init__(self, rates: dict[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates = dict(rates)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class LayerwiseAdamW(LayerRates, keras.optimizers.AdamW):
    """AdamW with a learning rate for every weight.

    Parameters
    ----------
    rates : dict of str to float
        Factor on the learning rate by the path of a weight; 1 for others.
    **kwargs
        As `keras.optimizers.AdamW`.
    """

    def __init__(self, rates: dict[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates = dict(rates)


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class LayerwiseSGD(LayerRates, keras.optimizers.SGD):
    """SGD with a learning rate for every weight.

    Parameters
    ----------
    rates : dict of str to float
        Factor on the learning rate by the path of a weight; 1 for others.
    **kwargs
        As `keras.optimizers.SGD`.
    """

    def __init__(self, rates: dict[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates = dict(rates)


def with_rates(optimizer: Any, rates: dict[str, float]) -> Any:
    """Make an optimiser like another one, with a learning rate for every weight.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Adam, AdamW or SGD.
    rates : dict of str to float
        Factor by the path of the weight.

    Returns
    -------
    keras.optimizers.Optimizer
        Not built.
    """
    classes: dict[str, Any] = {
        "Adam": LayerwiseAdam,
        "AdamW": LayerwiseAdamW,
        "SGD": LayerwiseSGD,
    }
    config = optimizer.get_config()
    made = classes[type(optimizer).__name__].from_config({**config, "rates": rates})
    if made.weight_decay is not None:
        made.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return made


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
    if training.patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor=training.monitor, mode=mode, patience=training.patience, verbose=0
            )
        )
    return callbacks
