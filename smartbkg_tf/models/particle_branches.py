"""The original's particle branches, padding left out everywhere.

Sizes are those of its files (kahn-jms/smartBKG, ``examples/train/models``, 2018-2020). Each
reads the normalised features, the charge as one-hot, and the embedded codes of the particle
and its mother.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.branches import ParticleBranch, PositiveInt, Share, sizes
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.models.blocks import Blocks
    from smartbkg_tf.models.inputs import ModelInputs


@settings
class NormalisedBranch(ParticleBranch):
    """A particle branch with batch normalisation.

    Parameters
    ----------
    batch_norm_momentum : float, default 0.9
        Share of the old moving average kept at each step. Keras' 0.99 lags behind at the
        few hundred steps of an epoch, and the validation loss jumps.
    """

    batch_norm_momentum: Share = 0.9

    def block_layers(self, mask: Any, epsilon: float = 1e-3) -> Blocks:
        """Give the blocks of layers for rows with a mask."""
        from smartbkg_tf.models.blocks import Blocks

        return Blocks(mask, self.activation, self.batch_norm_momentum, epsilon)

    def packed(
        self, event: ModelInputs, widths: list[int], halvings: int = 0
    ) -> tuple[Any, Any, Blocks]:
        """Give packed particles, their segments and blocks, for convolutions of some widths."""
        from smartbkg_tf.models.packing import gap_of

        gap = gap_of(widths, halvings)
        x, mask, segments = event.packed_particles(gap, align=2**halvings, **self.embeddings)
        return x, segments, self.block_layers(mask)


@settings
class ResNet(NormalisedBranch):
    """four residual blocks (64 filters, kernels 4, 3, 3, 3) over particles.

    Parameters
    ----------
    filters : int, default 64
        Filters of every convolution.
    kernel_sizes : list of int, default [4, 3, 3, 3]
        One residual block for each.
    """

    name: ClassVar[str] = "resnet"

    filters: PositiveInt = 64
    kernel_sizes: list[PositiveInt] = sizes(4, 3, 3, 3)

    def build(self, event: ModelInputs) -> Any:
        """Give the mean of the last block over the particles, [batch, filters]."""
        x, segments, blocks = self.packed(event, self.kernel_sizes)
        for number, width in enumerate(self.kernel_sizes, 1):
            x = blocks.residual(x, self.filters, width, f"residual_{number}")
        return event.average(x, blocks.mask, segments)


@settings
class ResNetPreactivation(NormalisedBranch):
    """100 blocks, normalisation and activation in front of each convolution.

    Parameters
    ----------
    filters : int, default 64
        Filters of every convolution.
    kernel_size : int, default 3
        Width of every convolution.
    blocks : int, default 100
        Residual blocks of two convolutions.
    """

    name: ClassVar[str] = "resnet_preact"

    filters: PositiveInt = 64
    kernel_size: PositiveInt = 3
    blocks: PositiveInt = 100

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, filters]."""
        from smartbkg_tf.models.layers import MaskedConv1D

        x, segments, blocks = self.packed(event, [self.kernel_size])
        first = MaskedConv1D(self.filters, self.kernel_size, use_bias=False, name="first")
        x = first(x, mask=blocks.mask)
        for number in range(1, self.blocks + 1):
            x = blocks.preactivation(x, self.kernel_size, f"residual_{number}")
        x = blocks.activate(blocks.normalise(x, "last_normalisation"), "last_activation")
        return event.average(x, blocks.mask, segments)


@settings
class Stage:
    """Equal residual blocks, one after the other.

    Parameters
    ----------
    blocks : int
        How many.
    filters : int
        Filters inside a block; its output has as many channels as its input.
    kernel_sizes : list of int, default [3, 3]
        Widths of the convolutions of a block.
    pool : bool, default False
        Average neighbouring pairs of particles behind the stage, which halves the length.
    """

    blocks: PositiveInt
    filters: PositiveInt
    kernel_sizes: list[PositiveInt] = sizes(3, 3)
    pool: bool = False


def _stages(*stages: tuple[int, int, list[int], bool]) -> Any:
    def make() -> list[Stage]:
        return [Stage(blocks=n, filters=f, kernel_sizes=k, pool=pool) for n, f, k, pool in stages]

    return Field(default_factory=make, min_length=1)


@settings
class StagedResNet(NormalisedBranch):
    """Residual blocks in stages; the base of `ResNet34`, `ResNet50` and `PointwiseResNet`.

    Parameters
    ----------
    first_filters : int or None, default 64
        Filters of a convolution in front of the blocks; None leaves it out.
    first_kernel_size : int, default 7
        Its width.
    stages : list of Stage
        The blocks.
    """

    first_filters: PositiveInt | None = 64
    first_kernel_size: PositiveInt = 7
    stages: list[Stage] = _stages((1, 64, [3, 3], False))

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, first_filters or columns of a particle]."""
        kernels = [width for stage in self.stages for width in stage.kernel_sizes]
        if self.first_filters is not None:
            kernels.append(self.first_kernel_size)
        halvings = sum(stage.pool for stage in self.stages)
        x, segments, blocks = self.packed(event, kernels, halvings)
        if self.first_filters is not None:
            x = blocks.convolution(x, self.first_filters, self.first_kernel_size, "first")
        for number, stage in enumerate(self.stages, 1):
            for block in range(1, stage.blocks + 1):
                name = f"residual_{number}_{block}"
                x = blocks.bottleneck(x, stage.filters, stage.kernel_sizes, name)
            if stage.pool:
                x = blocks.pool_pairs(x, "average", f"pool_{number}")
        return event.average(x, blocks.mask, segments, stride=2**halvings)


@settings
class ResNet34(StagedResNet):
    """3, 4, 6, 3 blocks of two convolutions, averages of pairs between the stages."""

    name: ClassVar[str] = "resnet34"

    stages: list[Stage] = _stages(
        (3, 64, [3, 3], True),
        (4, 128, [3, 3], True),
        (6, 256, [3, 3], True),
        (3, 512, [3, 3], False),
    )


@settings
class ResNet50(StagedResNet):
    """3, 4, 6, 3 blocks of three convolutions (1, 3, 1)."""

    name: ClassVar[str] = "resnet50"

    stages: list[Stage] = _stages(
        (3, 64, [1, 3, 1], False),
        (4, 128, [1, 3, 1], True),
        (6, 256, [1, 3, 1], True),
        (3, 512, [1, 3, 1], False),
    )


@settings
class PointwiseResNet(StagedResNet):
    """4 blocks of width 1, 8 of width 3; the channels stay those of a particle."""

    name: ClassVar[str] = "conv1x1_resnet"

    first_filters: PositiveInt | None = None
    stages: list[Stage] = _stages(
        (4, 64, [1, 1], False), (4, 128, [3, 3], False), (4, 64, [3, 3], False)
    )


@settings
class ResNeXt(NormalisedBranch):
    """max pooling, two residual blocks of convolutions in 16 groups of 4.

    Parameters
    ----------
    filters : int, default 64
        Channels of the blocks and of the convolution in front of them.
    first_kernel_size : int, default 3
        Width of that convolution.
    first_pool : bool, default True
        Max pooling of pairs of neighbours behind it.
    blocks : int, default 2
        Grouped blocks.
    cardinality : int, default 16
        Groups; divides `filters`.
    group_filters : int, default 4
        Filters inside each group.
    kernel_sizes : list of int, default [1, 3, 1]
        Widths of the convolutions of a block.
    """

    name: ClassVar[str] = "resnext"

    filters: PositiveInt = 64
    first_kernel_size: PositiveInt = 3
    first_pool: bool = True
    blocks: PositiveInt = 2
    cardinality: PositiveInt = 16
    group_filters: PositiveInt = 4
    kernel_sizes: list[PositiveInt] = sizes(1, 3, 1)

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, filters]."""
        self.must_divide("cardinality", self.cardinality, self.filters)
        halvings = int(self.first_pool)
        widths = [self.first_kernel_size, *self.kernel_sizes]
        x, segments, blocks = self.packed(event, widths, halvings)
        x = blocks.convolution(x, self.filters, self.first_kernel_size, "first")
        if self.first_pool:
            x = blocks.pool_pairs(x, "max", "pool_1")
        groups = (self.cardinality, self.group_filters, self.kernel_sizes)
        for number in range(1, self.blocks + 1):
            x = blocks.resnext(x, *groups, f"residual_{number}")
        return event.average(x, blocks.mask, segments, stride=2**halvings)


@settings
class Convolutions(NormalisedBranch):
    """Convolutions one after the other; the base of `Conv1x1` and `VanillaCnn`.

    Parameters
    ----------
    filters, kernel_sizes : list of int
        Filters and width of each convolution.
    pool : {"max", "average"} or None
        Joins pairs of neighbours behind each convolution.
    """

    filters: list[PositiveInt] = sizes(64)
    kernel_sizes: list[PositiveInt] = sizes(3)
    pool: Literal["max", "average"] | None = None

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, filters]."""
        if len(self.filters) != len(self.kernel_sizes):
            raise ConfigurationError(
                f"{self.label}: {len(self.filters)} filters, but {len(self.kernel_sizes)} "
                "kernel_sizes; one of each makes a convolution"
            )
        halvings = 0 if self.pool is None else len(self.filters)
        x, segments, blocks = self.packed(event, self.kernel_sizes, halvings)
        pairs = zip(self.filters, self.kernel_sizes, strict=True)
        for number, (filters, width) in enumerate(pairs, 1):
            x = blocks.convolution(x, filters, width, f"convolution_{number}")
            if self.pool is not None:
                x = blocks.pool_pairs(x, self.pool, f"pool_{number}")
        return event.average(x, blocks.mask, segments, stride=2**halvings)


@settings
class Conv1x1(Convolutions):
    """convolutions 32, 32 (width 1), 64, 64 (width 3)."""

    name: ClassVar[str] = "conv1x1"

    filters: list[PositiveInt] = sizes(32, 32, 64, 64)
    kernel_sizes: list[PositiveInt] = sizes(1, 1, 3, 3)


@settings
class VanillaCnn(Convolutions):
    """three convolutions of 64, max pooling behind each."""

    name: ClassVar[str] = "vanilla_cnn"

    filters: list[PositiveInt] = sizes(64, 64, 64)
    kernel_sizes: list[PositiveInt] = sizes(3, 3, 3)
    pool: Literal["max", "average"] | None = "max"


@settings
class Attention(NormalisedBranch):
    """13 layers of additive self-attention with batch normalisation.

    Parameters
    ----------
    units : int, default 32
        Hidden units of each layer.
    layers : int, default 13
        How many.
    """

    name: ClassVar[str] = "attention"

    units: PositiveInt = 32
    layers: PositiveInt = 13

    def build(self, event: ModelInputs) -> Any:
        """Give the mean over the particles, [batch, columns of a particle]."""
        from smartbkg_tf.models.layers import AdditiveSelfAttention

        x, mask = event.particles(**self.embeddings)
        first_and_last = self.block_layers(mask)
        # A channel that is the same in all events comes through every mean unchanged. With the
        # usual 0.001, each normalisation multiplies the rounding of its gradient, which is zero, by
        # 32: after 13 layers noise of 1e8 is all that the clipped gradient holds.
        inner = self.block_layers(mask, epsilon=1.0)
        for number in range(1, self.layers + 1):
            x = AdditiveSelfAttention(self.units, name=f"attention_{number}")(x, mask=mask)
            blocks = inner if 1 < number < self.layers else first_and_last
            x = blocks.normalise(x, f"normalisation_{number}")
        return event.average(x, mask)


@settings
class FeedForward(NormalisedBranch):
    """dense 2056, 2056, 2056, 512 over all particles side by side.

    Parameters
    ----------
    units : list of int, default [2056, 2056, 2056, 512]
        Widths of the dense layers.
    """

    name: ClassVar[str] = "feed_forward"

    units: list[PositiveInt] = sizes(2056, 2056, 2056, 512)

    def build(self, event: ModelInputs) -> Any:
        """Give the last dense layer, [batch, units]."""
        import keras

        from smartbkg_tf.models.layers import FixedLength

        x, mask = event.particles(**self.embeddings)
        x = FixedLength(event.fixed_length("max_particles"), name="fixed_particles")(x, mask=mask)
        x = keras.layers.Flatten(name="particles_flat")(x)
        # Rows without particles fill up a batch for several devices; they are no events.
        blocks = self.block_layers(mask[:, 0])
        for number, units in enumerate(self.units, 1):
            name = f"particles_dense_{number}"
            x = keras.layers.Dense(units, use_bias=False, name=name)(x)
            x = blocks.normalise(x, f"{name}_normalisation")
            x = blocks.activate(x, f"{name}_activation")
        return x
