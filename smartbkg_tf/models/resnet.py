"""The original's ResNet in its three variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import build_branch
from smartbkg_tf.settings.models import (
    DecayBranchSettings,
    HeadSettings,
    ParticleBranchSettings,
)


class ResNet(NNBaseClass):
    """Residual convolutions over particles and parallel ones over the decay string.

    The network of the project kahn-jms/smartBKG (2018-2020):

    * particles: normalised features, charge one-hot, embeddings of the particle's and its
      mother's PDG code; four residual blocks of 64 filters (kernels 4, 3, 3, 3); average;
    * decay string: embedding; six parallel convolutions of 64 filters (kernels 4 to 9), each
      with batch normalisation, leaky ReLU and average; dense 128, dropout, dense 32;
    * head: both joined, dense 256, dropout 0.4, dense 128, one logit for each skim.

    ``inputs`` chooses both branches or one of them.

    What differs from the original, and why:

    * Convolutions, batch normalisation and averages leave padding out. There, padding took
      part in all three, so that a score depended on the length an event was padded to.
    * Batch normalisation has momentum 0.9 instead of 0.99, which lags behind its batches at
      a few hundred steps an epoch.
    * Where the channels change, the way around a block is a convolution of width 1 with
      batch normalisation.
    * The output is a logit and not a probability; the loss is taken from logits.
    * Normalisation is a layer; the network reads GeV, cm and ns.

    Parameters
    ----------
    particles : mapping, optional
        `smartbkg_tf.settings.models.ParticleBranchSettings` as plain values.
    decay : mapping, optional
        `smartbkg_tf.settings.models.DecayBranchSettings` as plain values.
    head : mapping, optional
        `smartbkg_tf.settings.models.HeadSettings` as plain values.
    **common
        As `NNBaseClass`.

    Examples
    --------
    >>> from smartbkg_tf.models.resnet import ResNet
    >>> ResNet(vocabulary_size=100, inputs="decay").model.output_shape
    (None, 1)
    """

    description = "the original's ResNet: residual CNN over particles, wide CNN over decay strings"

    def __init__(
        self,
        particles: Mapping[str, Any] | None = None,
        decay: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.particles = dataclasses.asdict(ParticleBranchSettings(**(particles or {})))
        self.decay = dataclasses.asdict(DecayBranchSettings(**(decay or {})))
        self.head = dataclasses.asdict(HeadSettings(**(head or {})))

    def build_model(self) -> keras.Model:
        """Build the network.

        Returns
        -------
        keras.Model
            From the inputs of ``self.inputs`` to ``y_output`` [batch, n_outputs].
        """
        inputs = self.make_inputs()
        parts = []
        if self.inputs != "decay":
            parts.append(build_branch("particles", self, inputs, self.particles))
        if self.inputs != "particles":
            parts.append(build_branch("decay", self, inputs, self.decay))
        x = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="event")(parts)
        for number, units in enumerate(self.head["units"], 1):
            x = keras.layers.Dense(units, name=f"head_{number}")(x)
            x = activation_layer(self.head["activation"], name=f"head_{number}_activation")(x)
            if number == 1:
                x = keras.layers.Dropout(self.head["dropout"], name="head_dropout")(x)
        return keras.Model(inputs, self.output(x), name=f"resnet_{self.inputs}")
