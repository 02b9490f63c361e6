"""From settings and a dataset to a network: import, check, pick arguments."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.answers import require_same_inputs
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.plugins import import_class

#: Settings of parts that a network may take as arguments of the same names.
_PARTS = ("particles", "decay", "head")

_STEP = (
    "a network inherits smartbkg_tf.models.base.NNBaseClass; its docstring has a complete example"
)


def constructor_arguments(cls: type) -> list[str]:
    """Name all arguments that a class takes, up to the first base that hands nothing on."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                names[parameter.name] = None
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return list(names)


#: What ``train`` gives to every network.
COMMON = tuple(constructor_arguments(NNBaseClass))


def model_name(model: ModelSettings) -> str:
    """Give a short name of a network, for folders and tables: ``resnet``, or its class's name."""
    module, _, name = model.target.rpartition(".")
    known = (module, name) == (BranchedNetwork.__module__, BranchedNetwork.__name__)
    return model.name if known and model.name else name


def check_model(model: ModelSettings) -> type[NNBaseClass]:
    """Find everything that can be wrong with a network without data, and give its class."""
    where = f"model._target_={model.target}"
    found = import_class(model.target, NNBaseClass)
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigurationError(
            f"'{found.__name__}' does not write {', '.join(missing)}", where=where, next_step=_STEP
        )
    accepted = constructor_arguments(found)
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
    return found


def build(
    model: ModelSettings,
    information: Mapping[str, Any],
    normalisation: NormalisationSettings | None = None,
    *,
    max_particles: int | None = None,
    max_tokens: int | None = None,
) -> NNBaseClass:
    """Make a network for a dataset; its Keras model is built at the first use.

    `information` are the values of ``dataset.json``; `normalisation`, `max_particles` and
    `max_tokens` are taken instead of those of the dataset.
    """
    found = check_model(model)
    if model.head.forest is not None and model.head.forest.answers is not None:
        setting = "model.head.forest.answers"
        require_same_inputs(model.head.forest.answers, information, setting)
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
    arguments = {name: getattr(model, name) for name in _PARTS if name in accepted}
    defaults = ModelSettings(_target_=model.target)
    ignored = [
        name
        for name in _PARTS
        if name not in accepted and getattr(model, name) != getattr(defaults, name)
    ]
    if ignored:
        say(f"{found.__name__} takes no {', '.join(ignored)}: these settings are ignored")
    try:
        return found(**{**arguments, **model.parameters, **common})
    except TypeError as error:
        raise ConfigurationError(
            f"{found.__name__}: {error}", where=f"model._target_={model.target}", next_step=_STEP
        ) from error
