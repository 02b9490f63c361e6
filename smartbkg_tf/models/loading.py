"""Save and load models, with a clear message for everything that can be wrong with a file."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.models import layers  # noqa: F401 (Keras must know them)
from smartbkg_tf.runtime.files import atomic_file
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

#: How Keras says that a class or function of a file is not known.
_UNKNOWN = re.compile(r"Could not locate \w+ '([^']*)'")


def save_model(model: Any, path: str | Path) -> None:
    """Write a Keras model atomically to a name that ends in ``.keras``.

    Keras itself writes to the final name; a process that is killed then leaves a piece of
    the new file and nothing of the old one.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"{path}: the name of a saved model ends in .keras")
    with atomic_file(path) as partial, warnings.catch_warnings():
        # Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(partial)


def load_model(path: str | Path, target: str | Sequence[str] | None = None) -> Any:
    """Load a ``.keras`` file for application: not compiled, no code inside it is run.

    `target`: import paths of the classes that the network is made of (`target_of`). Their modules
    may define layers; they are imported only if Keras does not know a class of the file.
    """
    path = Path(path)
    _check_file(path)
    targets = [target] if isinstance(target, str) else list(target or ())
    custom = [one for one in targets if not one.startswith("smartbkg_tf.")]
    try:
        return _load(path)
    except Exception as error:
        missing = _UNKNOWN.search(str(error))
        if missing is None or not custom:
            raise _cannot_be_rebuilt(path, error) from error
    modules = ", ".join(dict.fromkeys(one.rpartition(".")[0] for one in custom))
    say(f"{path} needs '{missing[1]}': importing {modules}")
    for one in custom:
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


def _load(path: Path) -> Any:
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _cannot_be_rebuilt(path: Path, error: Exception) -> InputError:
    missing = _UNKNOWN.search(str(error))
    if missing is not None:
        reason = f"neither Keras nor this version of smartbkg_tf knows its '{missing[1]}'"
    else:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = f"{type(error).__name__}: {first[:300]}"
    return InputError(
        f"the model cannot be rebuilt ({reason})",
        where=path,
        next_step="train again if another version of smartbkg_tf or Keras has written it; a layer "
        "of your own must be registered with @keras.saving.register_keras_serializable()",
    )


def copy_weights(source: Any, destination: Any, *, where: str | Path | None = None) -> None:
    """Copy all weights between models of one architecture; `where` is the file of `source`."""
    theirs, ours = (
        [(weight.path, tuple(weight.shape)) for weight in model.weights]
        for model in (source, destination)
    )
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
    """Refuse what is not a whole Keras model, or unpacks to more than any model does."""
    problem = None
    if not path.exists():
        problem = "the model file does not exist"
    elif not path.is_file():
        problem = "is a folder, not a model file"
    elif path.stat().st_size == 0:
        problem = "the model file is empty"
    else:
        with path.open("rb") as stream:
            if stream.read(2) != b"PK":
                problem = "is not a Keras model (a .keras file is a zip archive)"
    if problem is not None:
        raise InputError(problem, where=path, next_step=_MADE_BY)
    truncated = InputError(
        "the model file is truncated or damaged",
        where=path,
        next_step="use last.keras of the same run, copy the file again, or train again",
    )
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            for name in _TEXTS:
                _check_size(path, name, sizes.get(name, 0), _LARGEST_TEXT)
            _check_size(path, "all of it", sum(sizes.values()))
            bad = archive.testzip()
            missing = [name for name in (*_TEXTS, _WEIGHTS) if name not in sizes]
            content = b"" if bad or missing else archive.read(_WEIGHTS)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise truncated from error
    if bad is not None:
        raise truncated
    if missing:
        raise InputError(f"is not a Keras model: {missing[0]} is missing in it", where=path)
    found = 0

    def count(_: str, node: Any) -> None:
        nonlocal found
        if isinstance(node, h5py.Dataset):
            found += int(node.size or 0) * node.dtype.itemsize

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            file.visititems(count)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"the model file is damaged: {_WEIGHTS} is not an HDF5 file", where=path
        ) from error
    # Weights may claim to be larger than their file.
    _check_size(path, _WEIGHTS, found)


def _check_size(path: Path, what: str, size: int, largest: int | None = None) -> None:
    if size > (_EXPANSION * path.stat().st_size + _SMALL if largest is None else largest):
        raise InputError(
            f"is not a model of this package: {what} unpacks to {size / 1e6:,.0f} MB, the file has "
            f"{path.stat().st_size / 1e6:,.1f} MB",
            where=path,
            next_step=_MADE_BY,
        )
