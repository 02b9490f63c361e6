"""How gradients move the weights: plug-ins of ``training.optimizer``."""

from __future__ import annotations

from typing import Any

from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import Plugin


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

    def for_training(self, training: Any, steps_per_epoch: int, model: Any) -> Any:
        """Make the optimiser of a training: rate, clipping of whole batches, rates of layers."""
        from smartbkg_tf.training.optimisation import make_optimizer

        return make_optimizer(training, steps_per_epoch, model)


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
