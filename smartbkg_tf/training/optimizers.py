"""How gradients move the weights: plug-ins of ``training.optimizer``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import Plugin

if TYPE_CHECKING:
    from smartbkg_tf.settings.training import TrainingSettings

#: Variables that weight decay leaves alone: it would pull them towards a meaningless zero.
_NOT_DECAYED = ["bias", "gamma", "beta", "embeddings"]


@settings
class TrainingOptimizer(Plugin):
    """How gradients move the weights.

    Inherit, declare the arguments as fields, and write `make`.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.settings.base import settings
        from smartbkg_tf.training.optimizers import TrainingOptimizer

        @settings
        class Lion(TrainingOptimizer):
            beta: float = 0.95

            def make(self, **common):
                import keras

                return keras.optimizers.Lion(beta_1=self.beta, **common)

    trains with ``training.optimizer._target_=my_module.Lion``.
    """

    def make(self, **common: Any) -> Any:
        """Make the optimiser.

        Parameters
        ----------
        **common
            Arguments that all optimisers of Keras take: learning rate, clipping, averages.

        Returns
        -------
        keras.optimizers.Optimizer
            Not built. Biases, embeddings and normalisation are left out of a weight decay later.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write make")

    def for_training(
        self, training: TrainingSettings, steps_per_epoch: int, model: Any = None
    ) -> Any:
        """Make the optimiser of a training: rate, clipping of whole batches, rates of layers."""
        steps = training.epochs * steps_per_epoch
        options: dict[str, Any] = {
            "learning_rate": training.schedule.rate(training.learning_rate, steps, steps_per_epoch),
            "global_clipnorm": training.gradient_clipping,
        }
        if training.ema is not None:
            options |= {"use_ema": True, "ema_momentum": training.ema}
        optimizer = self.make(**options)
        tuning = training.fine_tuning
        if training.init_from is not None and tuning.backbone == "layerwise" and model is not None:
            optimizer = with_rates(optimizer, layer_rates(model, tuning.first_layer_rate))
        if optimizer.weight_decay is not None:
            optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
        if training.gradient_clipping is not None:
            _clip_whole_batch(optimizer)
        return optimizer


@settings
class AdamW(TrainingOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).

    Parameters
    ----------
    weight_decay : float, default 1e-4
        Of kernels only; embeddings, biases and normalisation are left alone.
    """

    weight_decay: float = Field(default=1e-4, ge=0)

    def make(self, **common: Any) -> Any:
        """Make Keras's optimiser."""
        import keras

        return keras.optimizers.AdamW(weight_decay=self.weight_decay, **common)


@settings
class Adam(TrainingOptimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980)."""

    def make(self, **common: Any) -> Any:
        """Make Keras's optimiser."""
        import keras

        return keras.optimizers.Adam(**common)


@settings
class SGD(TrainingOptimizer):
    """Stochastic gradient descent with Nesterov's momentum.

    Parameters
    ----------
    momentum : float, default 0.9
        Share of the last step that is kept.
    weight_decay : float, default 1e-4
        Of kernels only; embeddings, biases and normalisation are left alone.
    """

    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)

    def make(self, **common: Any) -> Any:
        """Make Keras's optimiser."""
        import keras

        return keras.optimizers.SGD(
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
            **common,
        )


def _clip_whole_batch(optimizer: Any) -> None:
    """Let the norm be that of the whole batch's gradient.

    Where several devices share a batch, Keras clips the gradient of each and adds up what is
    left. In the gradient of an embedding it squares the look-ups of a row one by one instead of
    their sum.
    """
    import tensorflow as tf

    from smartbkg_tf.models.keras_internals import wrap_clipping
    from smartbkg_tf.models.replicas import over_replicas, replicas

    def clip_sum(clip: Any, gradients: list[Any]) -> Any:
        n = replicas()
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if n == 1:
            return clip(dense)
        # Keras adds up over the devices later: each gives its share of the clipped sum.
        return [gradient / n for gradient in clip(over_replicas(dense))]

    wrap_clipping(optimizer, lambda clip: functools.partial(clip_sum, clip))


def layer_rates(model: Any, first: float) -> dict[str, float]:
    """Give every weight, by its path, a factor on the learning rate: the output has 1.

    Layers of a functional model stand in the order of the computation. The first one that learns
    has the factor `first`; those in between form a geometric series.
    """
    layers = [layer for layer in model.layers if layer.trainable_weights]
    last = max(len(layers) - 1, 1)
    return {
        weight.path: first ** ((last - position) / last)
        for position, layer in enumerate(layers)
        for weight in layer.trainable_weights
    }


class LayerRates:
    """Mixed into a class of optimisers: every weight has its own learning rate."""

    rates: dict[str, float]

    def __init__(self, rates: dict[str, float], **options: Any) -> None:
        super().__init__(**options)
        self.rates = dict(rates)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one weight."""
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
        """Give the constructor's arguments, the factors too."""
        return {**super().get_config(), "rates": self.rates}  # type: ignore[misc]


@functools.cache
def layerwise(cls: Any) -> Any:
    """Give the class of optimisers like `cls` whose layers have rates of their own."""
    return type(f"Layerwise{cls.__name__}", (LayerRates, cls), {})


def with_rates(optimizer: Any, rates: dict[str, float]) -> Any:
    """Make an optimiser like another one, not built, with a factor for the path of every weight."""
    cls: Any = type(optimizer)
    return layerwise(cls).from_config({**optimizer.get_config(), "rates": rates})
