"""Masked layers: what stands behind the end of an event never changes its score.

An event is a row of particles or tokens, padded at its end. A mask [batch, length] is
true where there is something. Each layer takes it as ``mask``; padding is multiplied away
before a convolution (a bias or a normalisation would have filled it) and left out of means.
"""

from __future__ import annotations

from smartbkg_tf.models.activations import Gelu, activation_layer
from smartbkg_tf.models.attention import AdditiveSelfAttention, ClassAttention, TreeAttentionBlock
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.codes import CodeProperties
from smartbkg_tf.models.convolutions import ConvolutionBlock, MaskedConv1D, ResidualBlock
from smartbkg_tf.models.graphs import GraphAttention, GraphConvolution
from smartbkg_tf.models.masks import MaskedAveragePooling, PaddingMask, apply_mask
from smartbkg_tf.models.normalisation import ParticleNormalisation
from smartbkg_tf.models.packing import PackedAveragePooling, PackedRows
from smartbkg_tf.models.physics import PhysicalVariables, Summaries
from smartbkg_tf.models.pooling import AttentionPooling, FixedLength, MaskedPairPooling, PairMask
from smartbkg_tf.models.recurrent import MaskedLSTM
from smartbkg_tf.models.relative import RelativeToFirst
from smartbkg_tf.models.residual import (
    BottleneckBlock,
    MaskedGroupedConv1D,
    PreactivationBlock,
    ResNeXtBlock,
)
from smartbkg_tf.models.tokens import EventToken, EventTypeOneHot, WithToken
from smartbkg_tf.models.tree import MotherMatrix, NormalisedAdjacency, TreeRelations
from smartbkg_tf.models.treenet import BothSides, Columns, GroupPooling, Sides, TreeLayer

__all__ = [
    "AdditiveSelfAttention",
    "AttentionPooling",
    "BothSides",
    "BottleneckBlock",
    "ClassAttention",
    "CodeProperties",
    "Columns",
    "ConvolutionBlock",
    "EventToken",
    "EventTypeOneHot",
    "FixedLength",
    "Gelu",
    "GraphAttention",
    "GraphConvolution",
    "GroupPooling",
    "MaskedAveragePooling",
    "MaskedBatchNormalization",
    "MaskedConv1D",
    "MaskedGroupedConv1D",
    "MaskedLSTM",
    "MaskedPairPooling",
    "MotherMatrix",
    "NormalisedAdjacency",
    "PackedAveragePooling",
    "PackedRows",
    "PaddingMask",
    "PairMask",
    "ParticleNormalisation",
    "PhysicalVariables",
    "PreactivationBlock",
    "RelativeToFirst",
    "ResNeXtBlock",
    "ResidualBlock",
    "Sides",
    "Summaries",
    "TreeAttentionBlock",
    "TreeLayer",
    "TreeRelations",
    "WithToken",
    "activation_layer",
    "apply_mask",
]
