"""Load a saved model, with a clear message for everything that can be wrong with it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.plugins import TARGET, import_class

_MADE_BY = "models are made by: python -m smartbkg_tf.train model=resnet"
_WEIGHTS = "model.weights.h5"
_TEXTS = ("config.json", "metadata.json")

#: Largest JSON member; that of a ResNet has 35 kB.
_LARGEST_TEXT = 16 * 2**20
#: Keras compresses nothing: beyond this many times its own size, and that for small files, an
#: archive does not unpack, nor weights.
_EXPANSION, _SMALL = 4, 64 * 2**20


def load_model(path: str | Path, target: str | Sequence[str] | None = None) -> Any:
    """Load a ``.keras`` file for application.

    Code inside the file is never run (Keras' safe mode); layers come from installed
    modules only.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    target : str or sequence of str, optional
        Import paths of the classes that the network is made of (`target_of`). Their modules
        may define layers; they are imported only if Keras does not know a class of the file,
        which is said on the terminal.

    Returns
    -------
    keras.Model
        Not compiled; reads a dict of arrays by name, gives logits [batch, n_skims].

    Raises
    ------
    InputError
        When the file is missing, truncated, not a Keras model, or needs a class that cannot
        be imported.
    """
    # The layers of the package must be known to Keras.
    from smartbkg_tf.models import layers, legacy  # noqa: F401

    path = Path(path)
    _check_file(path)
    try:
        return _load(path)
    except Exception as error:
        missing = _UNKNOWN.search(str(error))
        targets = [target] if isinstance(target, str) else list(target or ())
        custom = [one for one in targets if not one.startswith("smartbkg_tf.")]
        if missing is None or not custom:
            raise _cannot_be_rebuilt(path, error) from error
    for one in custom:
        say(f"{path} needs '{missing[1]}': importing {one.rpartition('.')[0]}")
        try:
            import_class(one)
        except ConfigurationError as error:
            raise InputError(
                f"the model cannot be rebuilt: it needs '{missing[1]}', and its class cannot be "
                f"imported: {error.message}",
                where=path,
                next_step=error.next_step,
            ) from error
    try:
        return _load(path)
    except Exception as error:
        raise _cannot_be_rebuilt(path, error) from error


def target_of(config: Mapping[str, Any]) -> list[str]:
    """Read the classes of a network and its parts from a run's configuration, for `load_model`."""

    def targets(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            target = node.get(TARGET)
            if isinstance(target, str) and "." in target:
                yield target
            for value in node.values():
                yield from targets(value)

    return list(dict.fromkeys(targets(config.get("model"))))


#: How Keras says that a class or function of a file is not known.
_UNKNOWN = re.compile(r"Could not locate \w+ '([^']*)'")


def _load(path: Path) -> Any:
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _cannot_be_rebuilt(path: Path, error: Exception) -> InputError:
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return InputError(
        f"the model cannot be rebuilt ({type(error).__name__}: {first[:300]})",
        where=path,
        next_step="it was probably written by another version of smartbkg_tf or Keras, or "
        "uses layers that are not registered with "
        "@keras.saving.register_keras_serializable(); train again or load it there",
    )


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
                "is not a Keras model (a .keras file is a zip archive)",
                where=path,
                next_step=_MADE_BY,
            )
    truncated = InputError(
        "the model file is truncated or damaged",
        where=path,
        next_step="use last.keras of the same run, copy the file again, or train again",
    )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            names = archive.namelist()
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise truncated from error
    if bad is not None:
        raise truncated
    missing = [name for name in (*_TEXTS, _WEIGHTS) if name not in names]
    if missing:
        raise InputError(f"is not a Keras model: {missing[0]} is missing in it", where=path)
    _check_weights(path)


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that would unpack to more than any model; nothing is read."""
    members = archive.infolist()
    for member in members:
        if member.filename in _TEXTS and member.file_size > _LARGEST_TEXT:
            raise _too_large(path, member.filename, member.file_size)
    total = sum(member.file_size for member in members)
    if total > _EXPANSION * path.stat().st_size + _SMALL:
        raise _too_large(path, "all of it", total)


def _check_weights(path: Path) -> None:
    """Refuse weights that claim to be larger than their file; none is read."""
    found = 0

    def count(_: str, node: Any) -> None:
        nonlocal found
        if isinstance(node, h5py.Dataset):
            found += int(node.size or 0) * node.dtype.itemsize

    try:
        with zipfile.ZipFile(path) as archive:
            # As Keras does it: an archive's members are slow to read in any other order.
            content = io.BytesIO(archive.read(_WEIGHTS))
        with h5py.File(content, "r") as file:
            file.visititems(count)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"the model file is damaged: {_WEIGHTS} is not an HDF5 file", where=path
        ) from error
    if found > _EXPANSION * path.stat().st_size + _SMALL:
        raise _too_large(path, _WEIGHTS, found)


def _too_large(path: Path, what: str, size: int) -> InputError:
    return InputError(
        f"is not a model of this package: {what} unpacks to {size / 1e6:,.0f} MB, the file has "
        f"{path.stat().st_size / 1e6:,.1f} MB",
        where=path,
        next_step=_MADE_BY,
    )
