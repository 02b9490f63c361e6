"""The original's branches for the decay string, padding left out everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import register_branch
from smartbkg_tf.models.convolutions import ConvolutionBlock
from smartbkg_tf.models.packing import PackedAveragePooling, gap_of
from smartbkg_tf.models.particle_branches import fixed_length
from smartbkg_tf.models.pooling import FixedLength, MaskedPairPooling, PairMask
from smartbkg_tf.models.recurrent import MaskedLSTM

Sizes = Mapping[str, Any]
Inputs = Mapping[str, Any]


@register_branch("decay", "wide_cnn", "parallel 1D convolutions over the decay string")
def wide_cnn_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.DecayBranchSettings`.

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
    KerasTensor [batch, out]
        The second dense layer.
    """
    x, mask, segments = network.packed_token_features(
        inputs, gap=gap_of(sizes["kernel_sizes"]), embedding=sizes["embedding"]
    )
    columns = []
    for number, kernel_size in enumerate(sizes["kernel_sizes"], 1):
        column = ConvolutionBlock(
            sizes["filters"],
            kernel_size,
            sizes["activation"],
            sizes["batch_norm_momentum"],
            name=f"tokens_{number}",
        )(x, mask=mask)
        average = PackedAveragePooling(name=f"tokens_{number}_average")
        columns.append(average(column, mask, segments, inputs["decay_input"]))
    joined = columns[0]
    if len(columns) > 1:
        joined = keras.layers.Concatenate(name="decay_features")(columns)
    x = keras.layers.Dense(sizes["units"], name="decay_dense")(joined)
    x = activation_layer(sizes["activation"], name="decay_dense_activation")(x)
    x = keras.layers.Dropout(sizes["dropout"], name="decay_dropout")(x)
    x = keras.layers.Dense(sizes["out"], name="decay_out")(x)
    return activation_layer(sizes["activation"], name="decay_out_activation")(x)


@register_branch("decay", "cnn_lstm", "a convolution and an LSTM over the decay string")
def cnn_lstm_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.CnnLstmSettings`.

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
    KerasTensor [batch, dense]
        The last dense layer.
    """
    x, mask = network.token_features(inputs, embedding=sizes["embedding"])
    x = ConvolutionBlock(
        sizes["filters"],
        sizes["kernel_size"],
        sizes["activation"],
        sizes["batch_norm_momentum"],
        name="tokens_convolution",
    )(x, mask=mask)
    x = MaskedPairPooling("max", name="tokens_pool")(x, mask=mask)
    mask = PairMask(name="tokens_pool_mask")(mask)
    x = MaskedLSTM(sizes["units"], name="tokens_lstm")(x, mask=mask)
    for number, units in enumerate(sizes["dense"], 1):
        x = keras.layers.Dense(units, name=f"decay_dense_{number}")(x)
        x = activation_layer(sizes["activation"], name=f"decay_dense_{number}_activation")(x)
        if number == 1:
            x = keras.layers.Dropout(sizes["dropout"], name="decay_dropout")(x)
    return x


@register_branch("decay", "feed_forward", "dense layers over all tokens side by side")
def decay_feed_forward_branch(network: NNBaseClass, inputs: Inputs, sizes: Sizes) -> Any:
    """Build the branch of `smartbkg_tf.settings.branches.DecayFeedForwardSettings`.

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
        The last dense layer.

    Raises
    ------
    ConfigurationError
        When the network does not know how many tokens an event may have.
    """
    x, mask = network.token_features(inputs, embedding=sizes["embedding"])
    x = FixedLength(fixed_length(network, "max_tokens"), name="fixed_tokens")(x, mask=mask)
    x = keras.layers.Flatten(name="tokens_flat")(x)
    for number, units in enumerate(sizes["units"], 1):
        x = keras.layers.Dense(units, name=f"decay_dense_{number}")(x)
        x = activation_layer(sizes["activation"], name=f"decay_dense_{number}_activation")(x)
    return x
