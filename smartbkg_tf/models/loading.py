"""Load a saved model, with a clear message for everything that can be wrong with it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.models.registry import import_class
from smartbkg_tf.settings.errors import ConfigurationError, InputError

_MADE_BY = "models are made by: python -m smartbkg_tf.train model=resnet"
_PARTS = ("config.json", "metadata.json", "model.weights.h5")


def load_model(path: str | Path, target: str | None = None) -> Any:
    """Load a ``.keras`` file for application.

    Code inside the file is never run (Keras' safe mode); layers come from installed
    modules only.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    target : str, optional
        Import path of the network's class (``model._target_`` of the run's
        ``config.yaml``). Its module is imported first, because it may define layers.

    Returns
    -------
    keras.Model
        Not compiled; reads a dict of arrays by name, gives logits [batch, n_skims].

    Raises
    ------
    InputError
        When the file is missing, truncated, no Keras model, or needs a class that cannot
        be imported.
    """
    # The layers of the package must be known to Keras.
    from smartbkg_tf.models import layers, losses, network  # noqa: F401

    path = Path(path)
    _check_file(path)
    import_problem: ConfigurationError | None = None
    if target is not None:
        try:
            import_class(target)
        except ConfigurationError as error:
            # Only networks with layers of their own need their module.
            import_problem = error
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        if import_problem is not None:
            raise InputError(
                f"the model cannot be rebuilt, and its class cannot be imported: "
                f"{import_problem.message}",
                where=path,
                next_step=import_problem.next_step,
            ) from error
        text = str(error).strip().splitlines()
        first = text[0] if text else type(error).__name__
        raise InputError(
            f"the model cannot be rebuilt ({type(error).__name__}: {first[:300]})",
            where=path,
            next_step="it was probably written by another version of smartbkg_tf or Keras, or "
            "uses layers that are not registered with "
            "@keras.saving.register_keras_serializable(); train again or load it there",
        ) from error


def copy_weights(source: Any, destination: Any, *, where: str | Path | None = None) -> None:
    """Copy all weights between models of one architecture.

    Parameters
    ----------
    source : keras.Model
        Where from.
    destination : keras.Model
        Where to.
    where : str or pathlib.Path, optional
        The file of `source`, for the message.

    Raises
    ------
    InputError
        When names or shapes of the inputs or weights differ; the first difference is named.
    """

    def description(model: Any) -> list[tuple[str, tuple[int, ...]]]:
        return [(weight.path, tuple(weight.shape)) for weight in model.weights]

    ours, theirs = description(destination), description(source)
    if ours != theirs:
        different = next(
            (
                f"{a[0]} {a[1]} against {b[0]} {b[1]}"
                for a, b in zip(ours, theirs, strict=False)
                if a != b
            ),
            f"{len(ours)} weights against {len(theirs)}",
        )
        raise InputError(f"the model has another architecture ({different})", where=where)
    destination.set_weights(source.get_weights())


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError("the model file does not exist", where=path, next_step=_MADE_BY)
    if not path.is_file():
        raise InputError("is a folder, not a model file", where=path, next_step=_MADE_BY)
    if path.stat().st_size == 0:
        raise InputError("the model file is empty", where=path, next_step=_MADE_BY)
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            raise InputError(
                "is no Keras model (a .keras file is a zip archive)", where=path, next_step=_MADE_BY
            )
    truncated = InputError(
        "the model file is truncated or damaged",
        where=path,
        next_step="use last.keras of the same run, copy the file again, or train again",
    )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise truncated from error
    if bad is not None:
        raise truncated
    missing = [name for name in _PARTS if name not in names]
    if missing:
        raise InputError(f"is no Keras model: {missing[0]} is missing in it", where=path)
