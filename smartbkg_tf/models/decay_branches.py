"""The original's branches for the decay string, padding left out everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smartbkg_tf.models.branches import DecayBranch, PositiveInt, Share, sizes
from smartbkg_tf.settings.base import settings

if TYPE_CHECKING:
    from smartbkg_tf.models.inputs import ModelInputs


@settings
class WideCnn(DecayBranch):
    """six parallel convolutions (widths 4 to 9), averages, dense.

    Parameters
    ----------
    filters : int, default 64
        Filters of each of the parallel convolutions.
    kernel_sizes : list of int, default [4, 5, 6, 7, 8, 9]
        One parallel convolution for each.
    units : int, default 128
        Width of the first dense layer.
    dropout : float, default 0.4
        Share of its outputs dropped in training.
    out : int, default 32
        Width of the branch's output.
    batch_norm_momentum : float, default 0.9
        As for the particle branches.
    """

    name: ClassVar[str] = "wide_cnn"

    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = sizes(4, 5, 6, 7, 8, 9)
    units: PositiveInt = 128
    dropout: Share = 0.4
    out: PositiveInt = 32
    batch_norm_momentum: Share = 0.9

    def build(self, event: ModelInputs) -> Any:
        """Give the second dense layer, [batch, out]."""
        import keras

        from smartbkg_tf.models.blocks import Blocks, dense
        from smartbkg_tf.models.packing import PackedAveragePooling, gap_of

        x, mask, segments = event.packed_tokens(gap_of(self.kernel_sizes), embedding=self.embedding)
        blocks = Blocks(mask, self.activation, self.batch_norm_momentum)
        columns = []
        for number, width in enumerate(self.kernel_sizes, 1):
            name = f"tokens_{number}"
            column = blocks.convolution(x, self.filters, width, name)
            average = PackedAveragePooling(name=f"{name}_average")
            columns.append(average(column, mask, segments, event.inputs["decay_input"]))
        x = columns[0]
        if len(columns) > 1:
            x = keras.layers.Concatenate(name="decay_features")(columns)
        x = dense(x, self.units, self.activation, "decay_dense")
        x = keras.layers.Dropout(self.dropout, name="decay_dropout")(x)
        return dense(x, self.out, self.activation, "decay_out")


@settings
class CnnLstm(DecayBranch):
    """convolution, max pooling, LSTM 64, dense 256, 64.

    Parameters
    ----------
    filters : int, default 64
        Filters of the convolution.
    kernel_size : int, default 3
        Its width.
    units : int, default 64
        Units of the LSTM.
    dense : list of int, default [256, 64]
        Widths of the dense layers behind it.
    dropout : float, default 0.5
        Share of the first one's outputs dropped in training.
    batch_norm_momentum : float, default 0.9
        As for the particle branches.
    """

    name: ClassVar[str] = "cnn_lstm"

    filters: PositiveInt = 64
    kernel_size: PositiveInt = 3
    units: PositiveInt = 64
    dense: list[PositiveInt] = sizes(256, 64)
    dropout: Share = 0.5
    batch_norm_momentum: Share = 0.9

    def build(self, event: ModelInputs) -> Any:
        """Give the last dense layer, [batch, dense]."""
        import keras

        from smartbkg_tf.models.blocks import Blocks, dense
        from smartbkg_tf.models.layers import MaskedLSTM

        x, mask = event.tokens(embedding=self.embedding)
        blocks = Blocks(mask, self.activation, self.batch_norm_momentum)
        x = blocks.convolution(x, self.filters, self.kernel_size, "tokens_convolution")
        x = blocks.pool_pairs(x, "max", "tokens_pool")
        x = MaskedLSTM(self.units, name="tokens_lstm")(x, mask=blocks.mask)
        for number, units in enumerate(self.dense, 1):
            x = dense(x, units, self.activation, f"decay_dense_{number}")
            if number == 1:
                x = keras.layers.Dropout(self.dropout, name="decay_dropout")(x)
        return x


@settings
class DecayFeedForward(DecayBranch):
    """dense 1024, 1024, 512 over all tokens side by side.

    Parameters
    ----------
    units : list of int, default [1024, 1024, 512]
        Widths of the dense layers.
    """

    name: ClassVar[str] = "feed_forward"

    units: list[PositiveInt] = sizes(1024, 1024, 512)

    def build(self, event: ModelInputs) -> Any:
        """Give the last dense layer, [batch, units]."""
        import keras

        from smartbkg_tf.models.blocks import dense
        from smartbkg_tf.models.layers import FixedLength

        x, mask = event.tokens(embedding=self.embedding)
        x = FixedLength(event.fixed_length("max_tokens"), name="fixed_tokens")(x, mask=mask)
        x = keras.layers.Flatten(name="tokens_flat")(x)
        for number, units in enumerate(self.units, 1):
            x = dense(x, units, self.activation, f"decay_dense_{number}")
        return x
