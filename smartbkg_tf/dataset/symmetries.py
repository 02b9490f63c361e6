"""Training events as they could have happened as well: charge conjugation and reflection.

A collision and its mirror image in the plane of the beams are equally likely, and so are, but
for effects far below what a skim can tell, a collision and the one in which every particle is
replaced by its antiparticle. The label stays. In training each event is replaced by one of its
images with probability 1/2 for each symmetry, anew in every epoch: up to four times as many
different events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.events.vocabulary import FIRST_CODE, Vocabulary, default_vocabulary
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY
from smartbkg_tf.settings.plugins import import_class

#: Columns that change their sign, and whether tokens become those of antiparticles.
SYMMETRIES: dict[str, tuple[tuple[str, ...], bool]] = {
    "charge_conjugation": (("charge",), True),
    # The beams lie in the x-z plane.
    "mirror": (("y", "py"), False),
}

_TOKENS = ("pdg_input", "mother_pdg_input", "decay_input")


def antiparticle_tokens(vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Give the token of the antiparticle of every token, int64 [n_tokens].

    A particle that is its own antiparticle, or whose antiparticle is not in the vocabulary,
    padding, unknown and the brackets stay what they are.
    """
    table = np.arange(len(vocabulary.codes) + 4, dtype=np.int64)
    codes = np.asarray(vocabulary.codes, dtype=np.int64)
    known = np.isin(-codes, codes)
    table[FIRST_CODE : FIRST_CODE + len(codes)][known] = vocabulary.tokens(-codes[known])
    return table


def _stated(features: str, symmetry: str) -> bool:
    """Say whether a custom feature set states how it changes."""
    return features != LEGACY and symmetry in import_class(features, FeatureSet).symmetries


class Symmetries:
    """Replace events of a batch by their images.

    `chosen` are some of `SYMMETRIES`, `features` and `feature_names` those of the dataset.
    ConfigurationError when a symmetry is unknown or named twice, or it is not known how the columns
    change (arrays of the original project, custom feature sets whose class does not state it).

    Examples
    --------
    >>> import numpy as np
    >>> from smartbkg_tf.dataset.symmetries import Symmetries
    >>> mirror = Symmetries(["mirror"], "smartbackground", ["x", "y", "z", "py"])
    >>> arrays = {"particle_input": np.ones((1, 1, 4), np.float32)}
    >>> mirror.image(arrays, np.array([[True]]))["particle_input"].tolist()
    [[[1.0, -1.0, 1.0, -1.0]]]
    """

    def __init__(
        self,
        chosen: Sequence[str],
        features: str,
        feature_names: Sequence[str],
        vocabulary: Vocabulary | None = None,
    ) -> None:
        for i, name in enumerate(chosen):
            if name not in SYMMETRIES:
                raise ConfigurationError(
                    f"data.symmetries: no symmetry '{name}'; {did_you_mean(name, SYMMETRIES)}"
                )
            if name in chosen[:i]:
                raise ConfigurationError(f"data.symmetries: '{name}' is named twice")
        for name in chosen:
            if features not in FEATURE_SETS and not _stated(features, name):
                raise ConfigurationError(
                    f"data.symmetries: it is not known how the columns of features={features} "
                    f"change under {name}",
                    next_step="leave it out, preprocess with "
                    f"features={'|'.join(FEATURE_SETS)}, or state it in the class "
                    "(FeatureSet.symmetries)",
                )
        self.chosen = tuple(chosen)
        self._signs = np.ones((len(self.chosen), len(feature_names)), dtype=np.float32)
        for row, name in enumerate(self.chosen):
            for column, feature in enumerate(feature_names):
                if feature in SYMMETRIES[name][0]:
                    self._signs[row, column] = -1.0
        self._conjugates = np.array([SYMMETRIES[name][1] for name in self.chosen], dtype=np.bool_)
        self._antiparticle = antiparticle_tokens(vocabulary or default_vocabulary())

    def draw(self, n_events: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Draw which event is replaced by which image: bool [n_events, n_symmetries]."""
        return random.random((n_events, len(self.chosen))) < 0.5

    def image(self, arrays: Mapping[str, Any], which: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Give the images of events: arrays of a batch by name, those that change as copies.

        `which` bool [batch, n_symmetries] are the symmetries that are applied.
        """
        result = dict(arrays)
        if "particle_input" in arrays:
            signs = np.where(which[:, :, np.newaxis], self._signs, np.float32(1)).prod(axis=1)
            # No -0.0 in padding.
            result["particle_input"] = arrays["particle_input"] * signs[:, np.newaxis] + np.float32(
                0
            )
        conjugate = which[:, self._conjugates].sum(axis=1) % 2 == 1
        for name in _TOKENS:
            if name in arrays and conjugate.any():
                tokens = arrays[name].copy()
                tokens[conjugate] = self._antiparticle[tokens[conjugate]]
                result[name] = tokens
        return result
