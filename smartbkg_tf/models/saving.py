"""Save a Keras model without ever leaving half of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from smartbkg_tf.runtime.files import atomic_file


def save_model(model: Any, path: str | Path) -> None:
    """Write a Keras model, whole or not at all: temporary name, flush, rename.

    Keras itself writes to the final name; a process that is killed then leaves a piece of
    the new file and nothing of the old one.

    Parameters
    ----------
    model : keras.Model
        The model.
    path : str or pathlib.Path
        A name that ends in ``.keras``.

    Raises
    ------
    ValueError
        For another suffix.
    OutputError
        When the disk is full or the place cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"{path}: the name of a saved model ends in .keras")
    with atomic_file(path) as partial, warnings.catch_warnings():
        # Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(partial)
