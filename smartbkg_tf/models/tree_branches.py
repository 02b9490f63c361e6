"""Particle branches that use the decay tree: gcn, gatgap, transformer, treenet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.attention import ClassAttention, TreeAttentionBlock
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import READS, register_branch
from smartbkg_tf.models.graphs import GraphAttention, GraphConvolution
from smartbkg_tf.models.masks import MaskedAveragePooling
from smartbkg_tf.models.physics import Summaries
from smartbkg_tf.models.pooling import AttentionPooling
from smartbkg_tf.models.tokens import EventToken, WithToken, event_type_features
from smartbkg_tf.models.tree import NormalisedAdjacency, TreeRelations
from smartbkg_tf.models.treenet import BothSides, Columns, GroupPooling, Sides, TreeLayer

Sizes = Mapping[str, Any]
Inputs = Mapping[str, Any]

TREE_READS = (*READS["particles"], "mother_index_input")


def _physical(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> tuple[Any, Any, Any, Any]:
    """Make the columns of transformer and treenet: normalised, physical, embedded."""
    features, mask = network.particle_features(
        inputs, embedding=sizes["embedding"], share_embedding=sizes["share_embedding"]
    )
    matrix = network.mother_matrix(inputs)
    properties = network.code_properties(inputs)
    physical = network.physical_variables(inputs)
    joined = keras.layers.Concatenate(name="particle_columns")([features, physical])
    return joined, mask, matrix, properties


def _must_divide(what: str, heads: int, units: int) -> None:
    if units % heads:
        raise ConfigurationError(f"model.particles.{what}: {heads} heads do not divide {units}")


@register_branch(
    "particles", "gcn", "graph convolutions over the decay tree (Kipf and Welling)", TREE_READS
)
def gcn_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.GcnSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, units]
        The mean over the particles.
    """
    x, mask = network.particle_features(
        inputs, embedding=sizes["embedding"], share_embedding=sizes["share_embedding"]
    )
    adjacency = NormalisedAdjacency(name="adjacency")(network.mother_matrix(inputs), mask=mask)
    for number in range(1, sizes["dense_layers"] + 1):
        x = keras.layers.Dense(sizes["units"], name=f"dense_{number}")(x)
        x = activation_layer(sizes["activation"], name=f"dense_{number}_activation")(x)
    for number in range(1, sizes["graph_layers"] + 1):
        x = GraphConvolution(sizes["units"], sizes["activation"], name=f"graph_{number}")(
            x, adjacency
        )
    return MaskedAveragePooling(name="particle_average")(x, mask=mask)


@register_branch(
    "particles", "gatgap", "graph attention over the decay tree, attention pooling", TREE_READS
)
def gatgap_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.GatGapSettings`.

    After each graph attention layer the particles are pooled, and the event's vector is made
    anew from what it was and from the pool (the network GATGAP of Belle II's generators
    package).

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, units]
        The event's vector.
    """
    x, mask = network.particle_features(
        inputs, embedding=sizes["embedding"], share_embedding=sizes["share_embedding"]
    )
    adjacency = NormalisedAdjacency(name="adjacency")(network.mother_matrix(inputs), mask=mask)
    event: Any = None
    for number in range(1, sizes["layers"] + 1):
        x = GraphAttention(
            sizes["units"], sizes["heads"], sizes["activation"], name=f"graph_{number}"
        )(x, adjacency)
        pooled = AttentionPooling(name=f"pool_{number}")(x, mask=mask)
        if event is not None:
            pooled = keras.layers.Concatenate(name=f"event_{number}_joined")([event, pooled])
        event = keras.layers.Dense(sizes["units"], name=f"event_{number}")(pooled)
        event = activation_layer(sizes["activation"], name=f"event_{number}_activation")(event)
    return event


@register_branch(
    "particles", "transformer", "attention over particles, biased by the decay tree", TREE_READS
)
def transformer_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.TransformerSettings`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, units]
        The class token, or the pooled particles.

    Raises
    ------
    ConfigurationError
        When the heads do not divide the units, or columns are missing.
    """
    units, heads = sizes["units"], sizes["heads"]
    _must_divide("heads", heads, units)
    columns, mask, matrix, _ = _physical(network, inputs, sizes)
    relations = TreeRelations(sizes["distance"], name="relations")(matrix)
    x = keras.layers.Dense(units, name="particle_dense")(columns)
    # A token for the event, in front of the particles; it knows the event type, if asked.
    token = EventToken(units, name="event_token")(mask)
    if "event_type_input" in inputs:
        kind = event_type_features(inputs, units, name="event_type_token")
        token = keras.layers.Add(name="event_token_with_type")([token, kind])
    x, mask, relations = WithToken(name="with_token")(x, token, relations, mask)
    for number in range(1, sizes["layers"] + 1):
        x = TreeAttentionBlock(
            heads,
            sizes["expansion"] * units,
            sizes["dropout"],
            sizes["activation"],
            name=f"block_{number}",
        )(x, relations, mask=mask)
    x = keras.layers.LayerNormalization(epsilon=1e-5, name="last_normalisation")(x)
    if sizes["pooling"] == "attention":
        return AttentionPooling(heads, name="particle_pooling")(x, mask=mask)
    asking = EventToken(units, name="class_token")(mask)
    return ClassAttention(heads, name="class_attention")(x, asking, mask=mask)


@register_branch(
    "particles", "treenet", "messages along the decay tree, one vector for each B", TREE_READS
)
def treenet_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.TreeNetSettings`.

    The design is described in `smartbkg_tf.models.treenet`.

    Parameters
    ----------
    network : NNBaseClass
        The network.
    inputs : mapping of str to KerasTensor
        Its inputs.
    sizes : mapping
        The settings.

    Returns
    -------
    KerasTensor [batch, 2 side_units + 3 units]
        Sum and maximum of the sides, and the event as a whole.

    Raises
    ------
    ConfigurationError
        When the heads do not divide the units, or columns are missing.
    """
    units, activation = sizes["units"], sizes["activation"]
    _must_divide("heads", sizes["heads"], units)
    columns, mask, matrix, properties = _physical(network, inputs, sizes)
    energy = network.feature_names.index("energy")
    values = network.particle_values(inputs)
    sides = Sides(name="sides")(
        Columns(energy, 1, name="energy")(values), properties, matrix, mask=mask
    )
    x = keras.layers.Concatenate(name="particle_columns_and_sides")([columns, sides])
    x = keras.layers.Dense(units, name="particle_dense")(x)
    for number in range(1, sizes["layers"] + 1):
        x = TreeLayer(sizes["hidden"], sizes["dropout"], activation, name=f"messages_{number}")(
            x, matrix, sides, mask=mask
        )
    x = keras.layers.LayerNormalization(epsilon=1e-5, name="last_normalisation")(x)
    leaders, members = Columns(0, 2, name="leaders")(sides), Columns(2, 2, name="members")(sides)
    side = GroupPooling(sizes["heads"], name="side_pooling")(x, members, leaders)
    if sizes["side_summaries"]:
        summaries = Summaries(
            network.feature_names, network.beams, network.acceptance, name="side_summaries"
        )(values, properties, matrix, members, mask=mask)
        side = keras.layers.Concatenate(name="side_columns")([side, summaries])
    for number in (1, 2):
        side = keras.layers.Dense(sizes["side_units"], name=f"side_dense_{number}")(side)
        side = activation_layer(activation, name=f"side_dense_{number}_activation")(side)
    both = BothSides(name="both_sides")(side)
    event = AttentionPooling(sizes["heads"], name="particle_pooling")(x, mask=mask)
    return keras.layers.Concatenate(name="sides_and_event")([both, event])
