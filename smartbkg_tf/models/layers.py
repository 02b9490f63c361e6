"""Masked layers: what stands behind the end of an event never changes its score.

An event is a row of particles or tokens, padded at its end. A mask [batch, length] is
true where there is something. Each layer takes it as ``mask``; padding is multiplied away
before a convolution (a bias or a normalisation would have filled it) and left out of means.
"""

from __future__ import annotations

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.convolutions import ConvolutionBlock, MaskedConv1D, ResidualBlock
from smartbkg_tf.models.masks import MaskedAveragePooling, PaddingMask, apply_mask
from smartbkg_tf.models.normalisation import ParticleNormalisation

__all__ = [
    "ConvolutionBlock",
    "MaskedAveragePooling",
    "MaskedBatchNormalization",
    "MaskedConv1D",
    "PaddingMask",
    "ParticleNormalisation",
    "ResidualBlock",
    "activation_layer",
    "apply_mask",
]
