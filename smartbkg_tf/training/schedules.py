"""How the learning rate changes: plug-ins of ``training.schedule``."""

from __future__ import annotations

from typing import Any, ClassVar

from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import Plugin


@settings
class Schedule(Plugin):
    """How the learning rate changes; validation events decide, never training events.

    Inherit, declare the arguments as fields, and write `rate`, `callbacks` or both.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.settings.base import Field, settings
        from smartbkg_tf.training.schedules import Schedule

        @settings
        class Halving(Schedule):
            every: int = Field(default=5, gt=0)

            def rate(self, highest, steps, steps_per_epoch):
                import keras

                return keras.optimizers.schedules.ExponentialDecay(
                    highest, self.every * steps_per_epoch, 0.5, staircase=True
                )

    trains with ``training.schedule._target_=my_module.Halving training.schedule.every=3``.
    """

    #: Whether the rate falls only towards the last epoch: early stopping is then off by default.
    falls_to_the_end: ClassVar[bool] = False

    def rate(self, highest: float, steps: int, steps_per_epoch: int) -> Any:
        """Give the learning rate.

        Parameters
        ----------
        highest : float
            ``training.learning_rate``.
        steps : int
            Steps of the whole training, if nothing stops it.
        steps_per_epoch : int
            Steps of a pass over the training events.

        Returns
        -------
        float or keras.optimizers.schedules.LearningRateSchedule
            The number itself by default.
        """
        return highest

    def callbacks(self, monitor: str, mode: str) -> list[Any]:
        """Make the callbacks that change the rate after an epoch.

        Parameters
        ----------
        monitor : str
            ``val_loss`` or ``val_auc``.
        mode : {"min", "max"}
            Which value of it is better.

        Returns
        -------
        list of keras.callbacks.Callback
            None by default. Attributes that JSON holds are saved with the run and restored.
        """
        return []


@settings
class Plateau(Schedule):
    """Lower the rate when the monitored validation quantity stands still.

    Parameters
    ----------
    factor : float, default 0.3
        Factor of each lowering.
    patience : int, default 2
        Epochs without improvement before it.
    minimum : float, default 1e-6
        The rate falls no lower.
    """

    factor: float = Field(default=0.3, gt=0, lt=1)
    patience: int = Field(default=2, ge=0)
    minimum: float = Field(default=1e-6, ge=0)

    def callbacks(self, monitor: str, mode: str) -> list[Any]:
        """Give Keras's ReduceLROnPlateau."""
        import keras

        return [
            keras.callbacks.ReduceLROnPlateau(
                monitor=monitor,
                mode=mode,
                factor=self.factor,
                patience=self.patience,
                min_lr=self.minimum,
                min_delta=0.0,
                verbose=0,
            )
        ]


@settings
class Cosine(Schedule):
    """Follow half a cosine over all epochs.

    Parameters
    ----------
    warmup_epochs : float, default 0
        The rate first rises linearly over so many epochs.
    minimum : float, default 1e-6
        The rate falls to this value.
    """

    falls_to_the_end: ClassVar[bool] = True

    warmup_epochs: float = Field(default=0.0, ge=0)
    minimum: float = Field(default=1e-6, ge=0)

    def rate(self, highest: float, steps: int, steps_per_epoch: int) -> Any:
        """Give Keras's CosineDecay."""
        import keras

        warmup = round(self.warmup_epochs * steps_per_epoch)
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else highest,
            decay_steps=max(steps - warmup, 1),
            alpha=self.minimum / highest,
            warmup_target=highest if warmup else None,
            warmup_steps=warmup,
        )


@settings
class Constant(Schedule):
    """Leave the rate as it is."""
