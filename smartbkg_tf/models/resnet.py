"""The original's ResNet in its three variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartbkg_tf.models.network import BranchedNetwork


class ResNet(BranchedNetwork):
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
        `smartbkg_tf.settings.branches.ParticleBranchSettings` as plain values.
    decay : mapping, optional
        `smartbkg_tf.settings.branches.DecayBranchSettings` as plain values.
    head : mapping, optional
        `smartbkg_tf.settings.models.HeadSettings` as plain values.
    **others
        As `smartbkg_tf.models.network.BranchedNetwork`.

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
        **others: Any,
    ) -> None:
        super().__init__(particles or {}, decay or {}, head, **others)

    @property
    def name(self) -> str:
        """Name of the class, while the branches are its own."""
        own = (self.particles or {}).get("branch") == "resnet"
        return type(self).__name__ if own else super().name
