"""The route of the original project (2018-2020) from tables to arrays, written anew.

Only for comparison. What it does, step by step, as its published code describes it: the
whole table through `pandas.read_hdf`; min-max of the continuous columns; `get_dummies` of
the charge with a double transpose to fix the columns; one `apply` of a Keras `Tokenizer`
for every PDG code, mother code and decay string (`texts_to_sequences`, a code or a word at
a time); `groupby().cumcount()`; `pivot`; `fillna`; padding; `numpy.save` of float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from keras.src.legacy.preprocessing.text import Tokenizer

from smartbkg_tf.events.vocabulary import CLOSER, OPENER, default_vocabulary

CONTINUOUS = ["energy", "prodTime", "x", "y", "z", "px", "py", "pz"]
LOW = pd.Series([0.0, 0.0, -700.0, -700.0, -700.0, -3.0, -3.0, -2.0], index=CONTINUOUS)
HIGH = pd.Series([11.0, 150.0, 700.0, 700.0, 700.0, 3.0, 3.0, 4.0], index=CONTINUOUS)
CHARGES = [f"charge_{float(c)}" for c in range(-2, 3)]


class OriginalRoute:
    """Tables in, padded `.npy` arrays out."""

    def __init__(self, max_particles: int = 100, max_tokens: int = 150) -> None:
        words = [OPENER, CLOSER, "0", *(str(c) for c in default_vocabulary().codes.tolist())]
        self._tokenizer = Tokenizer(num_words=len(words) + 1, filters='!"#$%&*+,./:;=?@[\\]^_`{|}~')
        self._tokenizer.fit_on_texts(words)
        self._max_particles = max_particles
        self._max_tokens = max_tokens

    def tokens_of_string(self, text: str) -> list[int]:
        found = self._tokenizer.texts_to_sequences(text.split())
        return [token for word in found for token in word]

    def token_of_code(self, code: Any) -> int:
        found = self._tokenizer.texts_to_sequences([str(code)])
        return found[0][0] if found[0] else 0

    def decay_tokens(self, frame: pd.DataFrame) -> np.ndarray:
        tokens = frame["decay_str"].apply(self.tokens_of_string)
        return _padded(list(tokens.to_numpy()), self._max_tokens, np.int64)

    def particles(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        continuous = (frame[CONTINUOUS] - LOW) / (HIGH - LOW)
        discrete = frame[["charge", "PDG", "motherPDG"]]
        dummies = pd.get_dummies(discrete["charge"].astype(float), prefix="charge", dtype=float)
        dummies = dummies.T.reindex(CHARGES).T.fillna(0)
        discrete = pd.concat([discrete, dummies], axis=1).drop("charge", axis=1)
        for column in ("PDG", "motherPDG"):
            discrete[column] = pd.to_numeric(discrete[column].apply(self.token_of_code))
        frame = pd.concat([continuous, discrete], axis=1).astype(np.float64)
        frame = frame.reset_index(level=["label", "arrayIndex"], drop=True)
        frame["newIndex"] = frame.groupby("evtNum", sort=False).cumcount()
        pivot = frame.pivot(columns="newIndex").fillna(0.0)  # noqa: PD010 (the original's)
        length = pivot.columns.levels[1].shape[0]
        x = pivot.drop(["PDG", "motherPDG"], axis=1).to_numpy()
        x = x.reshape(len(pivot), -1, length).swapaxes(1, 2)
        return (
            _padded(list(x), self._max_particles, np.float64),
            _padded(list(pivot["PDG"].to_numpy()), self._max_particles, np.float64),
            _padded(list(pivot["motherPDG"].to_numpy()), self._max_particles, np.float64),
        )

    def run(self, path: Path, folder: Path) -> None:
        frame = pd.read_hdf(path, "train_events")
        particle, pdg, mother_pdg = self.particles(frame)
        labels = frame.reset_index(level=["label", "arrayIndex"])
        y = labels.groupby("evtNum", sort=False).first()["label"].to_numpy()
        decay = self.decay_tokens(pd.read_hdf(path, "decay_strings"))
        arrays = {
            "particle_input": particle,
            "pdg_input": pdg,
            "mother_pdg_input": mother_pdg,
            "decay_input": decay,
            "y_output": y,
        }
        for name, values in arrays.items():
            np.save(folder / f"{path.stem}_{name}.npy", values)


def _padded(rows: list[Any], length: int, dtype: Any) -> np.ndarray:
    """Pad and cut at the end, event by event, as Keras' `pad_sequences` does."""
    trailing = np.asarray(rows[0]).shape[1:]
    out = np.zeros((len(rows), length, *trailing), dtype=dtype)
    for i, row in enumerate(rows):
        cut = np.asarray(row[:length], dtype=dtype)
        out[i, : len(cut)] = cut
    return out
