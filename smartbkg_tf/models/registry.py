"""From settings and a dataset to a network: import, check, pick arguments."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from smartbkg_tf.errors import ConfigurationError, did_you_mean

# Every branch of the package must be registered.
from smartbkg_tf.models import network as _branches  # noqa: F401
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import Kind, find_branch
from smartbkg_tf.models.checks import constructor_arguments
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.models import CustomModelSettings, ModelSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings

#: What ``train`` gives to every network.
COMMON = tuple(constructor_arguments(NNBaseClass))

#: Settings that tell classes apart and are no arguments.
_NOT_ARGUMENTS = ("target", "name", "parameters")

_STEP = (
    "a network inherits smartbkg_tf.models.base.NNBaseClass; its docstring has a complete example"
)


def import_class(target: str) -> type[NNBaseClass]:
    """Import a network's class; modules in the current folder are found too.

    Parameters
    ----------
    target : str
        ``module.Class``.

    Returns
    -------
    type
        A class that inherits `NNBaseClass`.

    Raises
    ------
    ConfigurationError
        When the module or the class cannot be imported, it is no class, or it does not
        inherit `NNBaseClass` or leaves `build_model` out.
    """
    module_name, _, class_name = target.rpartition(".")
    where = f"model._target_={target}"
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        # Last, so that nothing here hides an installed package. It stays: classes in the
        # module may import their neighbours later.
        sys.path.append(folder)
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise ConfigurationError(
                f"there is no module '{missing}' in {folder} or among the installed packages",
                where=where,
                next_step="run the command in the folder of the file, or set PYTHONPATH",
            ) from error
        raise ConfigurationError(
            f"'{module_name}' needs the module '{missing}', which is not installed", where=where
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"'{module_name}' cannot be imported ({type(error).__name__}: {error})", where=where
        ) from error
    if not hasattr(module, class_name):
        names = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigurationError(
            f"'{module_name}' has no class '{class_name}'; {did_you_mean(class_name, names)}",
            where=where,
        )
    found = getattr(module, class_name)
    if not isinstance(found, type):
        raise ConfigurationError(
            f"'{class_name}' is a {type(found).__name__}, no class", where=where, next_step=_STEP
        )
    if not issubclass(found, NNBaseClass):
        raise ConfigurationError(
            f"'{class_name}' does not inherit NNBaseClass", where=where, next_step=_STEP
        )
    missing_methods = sorted(getattr(found, "__abstractmethods__", ()))
    if missing_methods:
        raise ConfigurationError(
            f"'{class_name}' does not write {', '.join(missing_methods)}",
            where=where,
            next_step=_STEP,
        )
    return found


def model_name(model: ModelSettings) -> str:
    """Give a short name of a network, for folders and tables.

    Parameters
    ----------
    model : ModelSettings
        Its settings.

    Returns
    -------
    str
        ``resnet``, or the class's name for a class of one's own.
    """
    if isinstance(model, CustomModelSettings) or model.target != _default_target(model):
        return model.target.rpartition(".")[2]
    return str(getattr(model, "name", "model"))


def check_model(model: ModelSettings) -> type[NNBaseClass]:
    """Find everything that can be wrong with a network without looking at any data.

    Parameters
    ----------
    model : ModelSettings
        Class and sizes.

    Returns
    -------
    type
        The network's class.

    Raises
    ------
    ConfigurationError
        When the class cannot be used, an argument in ``model.parameters`` is none of its
        constructor's, or a branch is not known.
    """
    found = import_class(model.target)
    accepted = constructor_arguments(found)
    where = f"model._target_={model.target}"
    lacking = [name for name in COMMON if name not in accepted]
    if lacking:
        raise ConfigurationError(
            f"the constructor of {found.__name__} does not take {', '.join(lacking)}",
            where=where,
            next_step="end its arguments with **common and call super().__init__(**common)",
        )
    for name in model.parameters:
        if name in COMMON or name not in accepted:
            own = [argument for argument in accepted if argument not in COMMON]
            raise ConfigurationError(
                f"model.parameters.{name}: {found.__name__} takes no such argument; "
                + did_you_mean(name, own),
                where=where,
            )
    kinds: tuple[tuple[Kind, str], ...] = (("particles", "decay"), ("decay", "particles"))
    for kind, other in kinds:
        sizes = getattr(model, kind, None)
        if sizes is not None and kind in accepted and model.inputs != other:
            find_branch(kind, sizes.branch)
    return found


def build(
    model: ModelSettings,
    information: Mapping[str, Any],
    normalisation: NormalisationSettings | None = None,
    *,
    max_particles: int | None = None,
    max_tokens: int | None = None,
) -> NNBaseClass:
    """Make a network for a dataset.

    Parameters
    ----------
    model : ModelSettings
        Class and sizes.
    information : mapping
        Values of ``dataset.json``: encoding, vocabulary, normalisation, label_names.
    normalisation : NormalisationSettings, optional
        Constants instead of those of the dataset.
    max_particles, max_tokens : int, optional
        Lengths that are read, if not those of the dataset.

    Returns
    -------
    NNBaseClass
        The network; its Keras model is built at the first use.

    Raises
    ------
    ConfigurationError
        As `check_model`, and when the constructor refuses its arguments.
    """
    found = check_model(model)
    encoding = information.get("encoding", {})
    constants: Mapping[str, Any]
    if normalisation is None:
        constants = information["normalisation"]["features"]
    else:
        constants = {k: dataclasses.asdict(v) for k, v in normalisation.features.items()}
    common = {
        "vocabulary_size": int(information["vocabulary"]["size"]),
        "inputs": model.inputs,
        "label_names": list(information["label_names"]),
        "feature_names": list(encoding.get("feature_names", ())),
        "normalisation": constants,
        "max_particles": max_particles or encoding.get("max_particles"),
        "max_tokens": max_tokens or encoding.get("max_tokens"),
        "event_type": model.event_type,
    }
    accepted = constructor_arguments(found)
    sizes = {
        key: value
        for key, value in dataclasses.asdict(model).items()
        if key not in (*_NOT_ARGUMENTS, *COMMON)
    }
    ignored = sorted(key for key in sizes if key not in accepted)
    if ignored:
        say(f"{found.__name__} takes no {', '.join(ignored)}: these settings are ignored")
    arguments = {key: value for key, value in sizes.items() if key in accepted}
    try:
        return found(**{**arguments, **model.parameters, **common})
    except TypeError as error:
        raise ConfigurationError(
            f"{found.__name__}: {error}", where=f"model._target_={model.target}", next_step=_STEP
        ) from error


def _default_target(model: ModelSettings) -> str:
    field = type(model).__dataclass_fields__["target"].default
    return str(getattr(field, "default", field))
