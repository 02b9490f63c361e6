"""What the head reads beside the branches: one class each, listed in ``model.head.inputs``.

Nothing here imports Keras before `build` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.branches import Activation, Branch, PositiveInt, Share
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.models.inputs import ModelInputs

#: Soft thresholds of event columns, in standard deviations.
_THRESHOLDS = (-1.0, -0.4, 0.4, 1.0)


@settings
class HeadInput(Branch):
    """A vector for the head of a network, beside those of its branches.

    Inherit, declare settings as annotated fields, and write `build`, as for a branch.
    """

    reads: ClassVar[tuple[str, ...]] = ("particle_input", "pdg_input")

    @property
    def not_for_particles(self) -> list[str]:
        """Columns that this input reads, and that particle branches then do not."""
        return []


@settings
class SummaryInput(HeadInput):
    """sums and counts over the detectable particles, computed in the model.

    Energies, missing momentum, Fox-Wolfram R2, multiplicities, ...:
    `smartbkg_tf.models.physics.Summaries`.
    """

    reads: ClassVar[tuple[str, ...]] = ("particle_input", "pdg_input", "mother_index_input")

    def build(self, event: ModelInputs) -> Any:
        """Give the sums, [batch, 21]."""
        import keras

        from smartbkg_tf.models.layers import Summaries

        layer = Summaries(
            event.feature_names, event.beams, event.acceptance, name="event_summaries"
        )
        sums = layer(event.values(), event.codes(), event.mothers(), mask=event.mask())
        return keras.layers.Flatten(name="event_summaries_flat")(sums)


@settings
class QuantityInput(HeadInput):
    """generic quantities of the event and of both sides, what boosted trees would read.

    `smartbkg_tf.models.quantities`, each as its place between its quantiles, and a dense layer.

    Parameters
    ----------
    bins : int, default 12
        Bins of equally many training events for each quantity.
    units : int, default 128
        Width of the dense layer.
    dropout : float, default 0.3
        Share of its inputs and outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        Behind it.
    """

    reads: ClassVar[tuple[str, ...]] = ("particle_input", "pdg_input", "mother_index_input")

    bins: PositiveInt = 12
    units: PositiveInt = 128
    dropout: Share = 0.3
    activation: Activation = "silu"

    def build(self, event: ModelInputs) -> Any:
        """Give the outputs of the dense layer, [batch, units]."""
        import keras

        from smartbkg_tf.models.blocks import dense
        from smartbkg_tf.models.layers import PiecewiseLinear

        x = PiecewiseLinear(self.bins, name="quantity_bins")(event.quantities())
        x = keras.layers.Dropout(self.dropout, name="quantity_bins_dropout")(x)
        x = dense(x, self.units, self.activation, "quantity_dense")
        return keras.layers.Dropout(self.dropout, name="quantity_dropout")(x)


@settings
class EventColumnInput(HeadInput):
    """columns of the feature set that have one value for the whole event.

    Parameters
    ----------
    names : list of str
        The columns.
    units : int, default 0
        Width of a dense layer that reads soft thresholds of the columns and gives its outputs to
        the head beside them; 0: the columns alone.
    dropout : float, default 0.2
        Share of its inputs and outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        Behind it.
    for_particles : bool, default True
        Particle branches read the columns, too: what they make of a particle may depend on them.
    """

    names: list[str] = Field(min_length=1)
    units: int = Field(default=0, ge=0)
    dropout: Share = 0.2
    activation: Activation = "leaky_relu"
    for_particles: bool = True

    @property
    def not_for_particles(self) -> list[str]:
        """The columns, if they are for the head alone."""
        return [] if self.for_particles else list(self.names)

    def build(self, event: ModelInputs) -> Any:
        """Give the normalised columns and the outputs of the dense layer, [batch, column]."""
        import keras

        from smartbkg_tf.models.blocks import dense
        from smartbkg_tf.models.layers import EventColumns, SoftThresholds

        for name in self.names:
            if name in event.relative_columns:
                raise ConfigurationError(
                    f"model.head.inputs: '{name}' counts from the event's first particle, so "
                    "that it has no value for the whole event",
                    next_step="leave it out, or give a column of another name",
                )
        layer = EventColumns(
            self.names, event.feature_names, event.normalisation, name="event_columns"
        )
        columns = layer(event.values(), mask=event.mask())
        if not self.units:
            return columns
        x = SoftThresholds(_THRESHOLDS, name="head_event_steps")(columns)
        x = keras.layers.Dropout(self.dropout, name="head_event_steps_dropout")(x)
        x = dense(x, self.units, self.activation, "head_event_dense")
        x = keras.layers.Dropout(self.dropout, name="head_event_dropout")(x)
        return keras.layers.Concatenate(name="head_event_columns")([columns, x])


@settings
class EventTypeInput(HeadInput):
    """the embedded event type; ``model.event_type=true`` adds it.

    Parameters
    ----------
    units : int, default 8
        Dimensions of the embedding.
    """

    reads: ClassVar[tuple[str, ...]] = ("event_type_input",)

    units: PositiveInt = 8

    def build(self, event: ModelInputs) -> Any:
        """Give the embedding, [batch, units]; zero for a type that is not known."""
        return event.event_type(self.units)
