"""What a PDG code tells about a particle, as a table that a model can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.vocabulary import FIRST_CODE, default_vocabulary
from smartbkg_tf.models.configurable import Float32Layer

#: Columns of the table of `code_table`.
CODE_COLUMNS = (
    "track",
    "photon",
    "lepton",
    "kaon",
    "proton",
    "neutrino",
    "long_lived_neutral",
    "neutral_pion",
    "short_kaon",
    "charm",
    "bottom",
    "tau",
)

#: Particles that leave a track: electron, muon, pion, kaon, proton, deuteron.
_TRACKS = (11, 13, 211, 321, 2212, 1000010020)
_GROUPS: dict[str, tuple[int, ...]] = {
    "track": _TRACKS,
    "photon": (22,),
    "lepton": (11, 13),
    "kaon": (321,),
    "proton": (2212,),
    "neutrino": (12, 14, 16),
    "long_lived_neutral": (130, 2112),
    "neutral_pion": (111,),
    "short_kaon": (310,),
    "tau": (15,),
}


def codes_of(vocabulary_size: int, codes: Sequence[int] | None = None) -> list[int]:
    """Give the PDG code of every token from the first on."""
    chosen = [int(code) for code in (default_vocabulary().codes if codes is None else codes)]
    if len(chosen) + 4 != vocabulary_size:
        raise ConfigurationError(
            f"the vocabulary has {vocabulary_size} tokens, but {len(chosen)} + 4 PDG codes are "
            "known",
            next_step="give the network's argument 'codes': the PDG code of each token",
        )
    return chosen


def _heaviest_quark(code: int) -> int:
    """Give the heaviest quark of a hadron by the digits of the PDG numbering scheme."""
    code = abs(code)
    if code < 100 or code >= 10_000_000:
        return 0
    return max(int(digit) for digit in f"{code:07d}"[3:6])


def kind_table(codes: Sequence[int], kinds: Mapping[str, Sequence[int]]) -> npt.NDArray[np.float32]:
    """Tell which kinds, by absolute PDG code, each token is: float32 0 or 1 [token, kind]."""
    table = np.zeros((len(codes) + 4, len(kinds)), dtype=np.float32)
    for column, members in enumerate(kinds.values()):
        table[FIRST_CODE : FIRST_CODE + len(codes), column] = np.isin(np.abs(codes), members)
    return table


def code_table(codes: Sequence[int]) -> npt.NDArray[np.float32]:
    """Tell the kinds of particles: float32 0 or 1 [token, column of `CODE_COLUMNS`].

    Zeros for padding, unknown and brackets. ``charm`` and ``bottom`` are hadrons with such a quark,
    hidden charm and bottom left out.
    """
    table = np.zeros((len(codes) + 4, len(CODE_COLUMNS)), dtype=np.float32)
    for row, code in enumerate(codes, FIRST_CODE):
        kind = abs(int(code))
        for column, name in enumerate(CODE_COLUMNS):
            if name in _GROUPS:
                table[row, column] = kind in _GROUPS[name]
            else:
                quark = {"charm": 4, "bottom": 5}[name]
                hidden = f"{kind:07d}"[3:6].count(str(quark)) > 1
                table[row, column] = _heaviest_quark(kind) == quark and not hidden
    return table


@keras.saving.register_keras_serializable(package="smartbkg_tf")
class CodeProperties(Float32Layer):
    """Look up what a PDG code tells: track, photon, neutrino, charm, ... (`CODE_COLUMNS`).

    With `kinds`, absolute PDG codes by name, which of these a particle is. Input: int [batch, n].
    Output: float32 [batch, n, property], under every precision.
    """

    def __init__(
        self,
        codes: Sequence[int],
        kinds: Mapping[str, Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codes = [int(code) for code in codes]
        self.kinds = None if kinds is None else {k: [int(c) for c in v] for k, v in kinds.items()}
        if self.kinds is None:
            self._table = code_table(self.codes)
        else:
            self._table = kind_table(self.codes, self.kinds)

    def call(self, tokens: Any) -> Any:
        """Look up, [batch, n, property]."""
        tokens = ops.clip(ops.cast(tokens, "int32"), 0, len(self._table) - 1)
        return ops.take(ops.convert_to_tensor(self._table), tokens, axis=0)
