"""Masked layers: what stands behind the end of an event never changes its score.

An event is a row of particles or tokens, padded at its end. A mask [batch, length] is
true where there is something. Each layer takes it as ``mask``; padding is multiplied away
before a convolution (a bias or a normalisation would have filled it) and left out of means.
"""

# ruff: noqa: F401

from __future__ import annotations

from smartbkg_tf.models.attention import (
    AdditiveSelfAttention,
    ClassAttention,
    EventToken,
    EventTypeOneHot,
    TreeAttentionBlock,
    WithToken,
)
from smartbkg_tf.models.batch_normalisation import MaskedBatchNormalization
from smartbkg_tf.models.codes import CodeProperties
from smartbkg_tf.models.configurable import Gelu, activation_layer
from smartbkg_tf.models.convolutions import MaskedConv1D, MaskedGroupedConv1D, MaskedLSTM
from smartbkg_tf.models.forest import Forest, MeanWithForest
from smartbkg_tf.models.normalisation import EventColumns, ParticleNormalisation, RelativeToFirst
from smartbkg_tf.models.packing import PackedAveragePooling, PackedRows
from smartbkg_tf.models.physics import PhysicalVariables, Summaries
from smartbkg_tf.models.pooling import (
    AttentionPooling,
    FixedLength,
    MaskedAveragePooling,
    MaskedPairPooling,
    PaddingMask,
    PairMask,
    apply_mask,
)
from smartbkg_tf.models.quantities import EventQuantities
from smartbkg_tf.models.thresholds import PiecewiseLinear, SoftThresholds
from smartbkg_tf.models.tree import (
    GraphAttention,
    GraphConvolution,
    MotherMatrix,
    NormalisedAdjacency,
    TreeRelations,
)
from smartbkg_tf.models.treenet import BothSides, GroupPooling, Sides, SliceFeatures, TreeLayer
