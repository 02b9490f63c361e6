"""What is minimised: plug-ins of ``training.loss``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.plugins import Plugin


@settings
class TrainingLoss(Plugin):
    """What is minimised.

    Inherit, declare the arguments as fields, and write `make`.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.settings.base import settings
        from smartbkg_tf.training.losses import TrainingLoss

        @settings
        class Hinge(TrainingLoss):
            margin: float = 1.0

            def make(self, n_skims, retention):
                from keras import ops

                def hinge(labels, logits):
                    return ops.relu(self.margin - (2 * labels - 1) * logits)

                return hinge

    trains with ``training.loss._target_=my_module.Hinge``.
    """

    #: Whether weights of classes have a meaning.
    takes_class_weights: ClassVar[bool] = True

    def make(self, n_skims: int, retention: Sequence[float] | None) -> Any:
        """Make the loss.

        Parameters
        ----------
        n_skims : int
            Outputs of the network.
        retention : sequence of float, optional
            Natural fraction of passing events of each skim, where it is known.

        Returns
        -------
        keras.losses.Loss or callable
            Of labels and logits, float [batch, n_skims]. Where a label is not known it is 0 and its
            weight is 0.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write make")


@settings
class Crossentropy(TrainingLoss):
    """Binary cross-entropy.

    Parameters
    ----------
    label_smoothing : float, default 0
        Labels 0 and 1 become s / 2 and 1 - s / 2.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def make(self, n_skims: int, retention: Sequence[float] | None) -> Any:
        """Make the loss."""
        from smartbkg_tf.training.skim_losses import SkimCrossentropy

        return SkimCrossentropy(self.label_smoothing)


@settings
class Focal(TrainingLoss):
    """Cross-entropy that counts well classified events less (Lin et al., arXiv:1708.02002).

    Parameters
    ----------
    gamma : float, default 2
        Cross-entropies are multiplied by |label - probability| to this power.
    label_smoothing : float, default 0
        Labels 0 and 1 become s / 2 and 1 - s / 2.
    """

    gamma: float = Field(default=2.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def make(self, n_skims: int, retention: Sequence[float] | None) -> Any:
        """Make the loss."""
        from smartbkg_tf.training.skim_losses import SkimFocal

        return SkimFocal(self.gamma, self.label_smoothing)


@settings
class Speedup(TrainingLoss):
    """Time with a sampling filter over the time without, at equal effective statistics.

    The filter keeps an event with the sigmoid of its logit. Needs passing and failing events in
    every batch.

    Parameters
    ----------
    cost : CostSettings
        What an event costs.
    retention : float, optional
        Natural fraction of passing events; null takes that of the training events, for each skim.
    maximum_weight : float, default 20
        Sampling probabilities are at least 1 / maximum_weight.
    """

    takes_class_weights: ClassVar[bool] = False

    cost: CostSettings = Field(default_factory=CostSettings)
    retention: float | None = Field(default=None, gt=0, lt=1)
    maximum_weight: float = Field(default=20.0, gt=1)

    def make(self, n_skims: int, retention: Sequence[float] | None) -> Any:
        """Make the loss."""
        from smartbkg_tf.training.skim_losses import SkimSpeedup

        if self.retention is not None:
            retention = [self.retention] * n_skims
        if retention is None:
            raise ConfigurationError("training.loss.retention is needed: the data do not tell it")
        return SkimSpeedup(
            retention,
            generation=self.cost.generation / self.cost.simulation,
            network=self.cost.network / self.cost.simulation,
            maximum_weight=self.maximum_weight,
        )
