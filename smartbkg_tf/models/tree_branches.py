"""Particle branches that use the decay tree: gcn, gatgap, transformer, treenet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from smartbkg_tf.models.branches import Activation, ParticleBranch, PositiveInt, Share
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.models.inputs import ModelInputs


@settings
class TreeBranch(ParticleBranch):
    """A particle branch that reads the mother indices, too."""

    reads: ClassVar[tuple[str, ...]] = (*ParticleBranch.reads, "mother_index_input")


@settings
class ParticleStates(TreeBranch):
    """A state for each particle, from features and physical variables; base of the next two.

    Parameters
    ----------
    units : int, default 64
        Width of a particle's state.
    layers : int, default 4
        Encoder blocks, or rounds of messages.
    heads : int, default 4
        Heads of the attention, or of the pooling over each B; divides `units`.
    dropout : float, default 0.1
        Share of hidden values dropped in training.
    """

    share_embedding: bool = False
    units: PositiveInt = 64
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    dropout: Share = 0.1

    def columns(self, event: ModelInputs) -> tuple[Any, Any]:
        """Give features and physical variables side by side, and the mask of the particles."""
        import keras

        self.must_divide("heads", self.heads, self.units)
        features, mask = event.particles(**self.embeddings)
        joined = keras.layers.Concatenate(name="particle_columns")([features, event.physical()])
        return joined, mask


@settings
class Gcn(TreeBranch):
    """three dense layers, three graph convolutions of 128, mean.

    Parameters
    ----------
    units : int, default 128
        Width of every layer.
    dense_layers : int, default 3
        Dense layers on each particle, in front.
    graph_layers : int, default 3
        Graph convolutions.
    """

    name: ClassVar[str] = "gcn"

    activation: Activation = "relu"
    units: PositiveInt = 128
    dense_layers: int = Field(default=3, ge=0)
    graph_layers: PositiveInt = 3

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, units]."""
        from smartbkg_tf.models.blocks import dense
        from smartbkg_tf.models.layers import GraphConvolution, NormalisedAdjacency

        x, mask = event.particles(**self.embeddings)
        adjacency = NormalisedAdjacency(name="adjacency")(event.mothers(), mask=mask)
        for number in range(1, self.dense_layers + 1):
            x = dense(x, self.units, self.activation, f"dense_{number}")
        for number in range(1, self.graph_layers + 1):
            graph = GraphConvolution(self.units, self.activation, name=f"graph_{number}")
            x = graph(x, adjacency)
        return event.average(x, mask)


@settings
class GatGap(TreeBranch):
    """six graph attention layers, 4 heads of 32, attention pooling after each into one vector.

    Parameters
    ----------
    units : int, default 32
        Width of each head and of the event's vector.
    heads : int, default 4
        Heads of each layer.
    layers : int, default 6
        Graph attention layers.
    """

    name: ClassVar[str] = "gatgap"

    units: PositiveInt = 32
    heads: PositiveInt = 4
    layers: PositiveInt = 6

    def build(self, event: ModelInputs) -> Any:
        """Give the event's vector, made anew after each layer from itself and the pool."""
        import keras

        from smartbkg_tf.models.blocks import dense
        from smartbkg_tf.models.layers import AttentionPooling, GraphAttention, NormalisedAdjacency

        x, mask = event.particles(**self.embeddings)
        adjacency = NormalisedAdjacency(name="adjacency")(event.mothers(), mask=mask)
        vector: Any = None
        for number in range(1, self.layers + 1):
            attend = GraphAttention(self.units, self.heads, self.activation, name=f"graph_{number}")
            x = attend(x, adjacency)
            pooled = AttentionPooling(name=f"pool_{number}")(x, mask=mask)
            if vector is not None:
                join = keras.layers.Concatenate(name=f"event_{number}_joined")
                pooled = join([vector, pooled])
            vector = dense(pooled, self.units, self.activation, f"event_{number}")
        return vector


@settings
class Transformer(ParticleStates):
    """four pre-norm blocks, attention biased by the tree, an event token, class attention.

    Parameters
    ----------
    expansion : int, default 3
        Width of the feed-forward part of a block, in `units`.
    distance : int, default 4
        Ancestors up to this distance have a bias of their own; all others share one.
    pooling : {"class", "attention"}
        A class token that attends to all particles, or a learned weight for each.
    """

    name: ClassVar[str] = "transformer"

    embedding: PositiveInt = 16
    activation: Activation = "gelu"
    expansion: PositiveInt = 3
    distance: PositiveInt = 4
    pooling: Literal["class", "attention"] = "class"

    def build(self, event: ModelInputs) -> Any:
        """Give the class token, or the pooled particles, [batch, units]."""
        import keras

        from smartbkg_tf.models import layers

        columns, mask = self.columns(event)
        relations = layers.TreeRelations(self.distance, name="relations")(event.mothers())
        x = keras.layers.Dense(self.units, name="particle_dense")(columns)
        # A token for the event, in front of the particles; it knows the event type, if asked.
        token = layers.EventToken(self.units, name="event_token")(mask)
        if "event_type_input" in event.inputs:
            kind = event.event_type(self.units, name="event_type_token")
            token = keras.layers.Add(name="event_token_with_type")([token, kind])
        x, mask, relations = layers.WithToken(name="with_token")(x, token, relations, mask)
        for number in range(1, self.layers + 1):
            block = layers.TreeAttentionBlock(
                self.heads,
                self.expansion * self.units,
                self.dropout,
                self.activation,
                name=f"block_{number}",
            )
            x = block(x, relations, mask=mask)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="last_normalisation")(x)
        if self.pooling == "attention":
            return layers.AttentionPooling(self.heads, name="particle_pooling")(x, mask=mask)
        asking = layers.EventToken(self.units, name="class_token")(mask)
        return layers.ClassAttention(self.heads, name="class_attention")(x, asking, mask=mask)


@settings
class TreeNet(ParticleStates):
    """messages along the tree, a vector for each B, sums over detectable particles.

    The design is described in docs/models.md.

    Parameters
    ----------
    hidden : int, default 96
        Width inside a layer.
    side_units : int, default 64
        Width of the vector of a B.
    side_summaries : bool, default True
        Sums and counts over the detectable particles of each B go into its vector.
    """

    name: ClassVar[str] = "treenet"

    embedding: PositiveInt = 12
    activation: Activation = "silu"
    hidden: PositiveInt = 96
    side_units: PositiveInt = 64
    side_summaries: bool = True

    def build(self, event: ModelInputs) -> Any:
        """Give sum and maximum of the sides and the event, [batch, 2 side_units + units]."""
        import keras

        from smartbkg_tf.models import layers
        from smartbkg_tf.models.blocks import dense

        columns, mask = self.columns(event)
        values, properties, matrix = event.values(), event.codes(), event.mothers()
        sides = event.sides()
        x = keras.layers.Concatenate(name="particle_columns_and_sides")([columns, sides])
        x = keras.layers.Dense(self.units, name="particle_dense")(x)
        for number in range(1, self.layers + 1):
            messages = layers.TreeLayer(
                self.hidden, self.dropout, self.activation, name=f"messages_{number}"
            )
            x = messages(x, matrix, sides, mask=mask)
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="last_normalisation")(x)
        leaders = layers.SliceFeatures(0, 2, name="leaders")(sides)
        members = layers.SliceFeatures(2, 2, name="members")(sides)
        side = layers.GroupPooling(self.heads, name="side_pooling")(x, members, leaders)
        if self.side_summaries:
            summaries = layers.Summaries(
                event.feature_names, event.beams, event.acceptance, name="side_summaries"
            )(values, properties, matrix, members, mask=mask)
            side = keras.layers.Concatenate(name="side_columns")([side, summaries])
        for number in (1, 2):
            side = dense(side, self.side_units, self.activation, f"side_dense_{number}")
        both = layers.BothSides(name="both_sides")(side)
        pooled = layers.AttentionPooling(self.heads, name="particle_pooling")(x, mask=mask)
        return keras.layers.Concatenate(name="sides_and_event")([both, pooled])
