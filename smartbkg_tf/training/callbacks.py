"""What else happens while a network is trained: plug-ins of ``training.callbacks``."""

from __future__ import annotations

from typing import Any

from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.plugins import Plugin


@settings
class TrainingCallback(Plugin):
    r"""What else happens while a network is trained.

    Inherit, declare the arguments as fields, and write `make`.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.settings.base import settings
        from smartbkg_tf.training.callbacks import TrainingCallback

        @settings
        class Norms(TrainingCallback):
            layer: str = "y_output"

            def make(self, run):
                import keras

                layer = self.layer

                class Write(keras.callbacks.Callback):
                    def on_epoch_end(self, epoch, logs=None):
                        kernel = self.model.get_layer(layer).kernel
                        norm = float(keras.ops.norm(kernel))
                        with (run.path / "norms.txt").open("a") as file:
                            file.write(f"{epoch + 1} {norm}\n")

                return Write()

    is added by ``training.callbacks='[{_target_: my_module.Norms}]'``.
    """

    def make(self, run: RunDirectory) -> Any:
        """Make the callback.

        Parameters
        ----------
        run : RunDirectory
            Where the training writes.

        Returns
        -------
        keras.callbacks.Callback
            Attributes that JSON holds, and lists of arrays, are saved with the run and restored
            when it is continued. On ``on_epoch_end`` the model has the averages of its weights if
            ``training.ema`` asks for them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write make")
