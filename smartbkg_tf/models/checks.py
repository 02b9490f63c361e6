"""Checks of a network class and of the model it builds."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.inputs import INPUTS, OUTPUT


def checked_model(name: str, model: Any, n_outputs: int) -> Any:
    """Refuse a network that the rest of the chain could not use; make inputs go by name.

    The result has the same layers and picks its arrays by name out of a dict that may hold more.
    """
    step = "see the example in the docstring of smartbkg_tf.models.base.NNBaseClass"
    if not isinstance(model, keras.Model):
        raise ConfigurationError(
            f"{name}.build_model returns a {type(model).__name__}, not a keras.Model",
            next_step=step,
        )
    if not getattr(model, "inputs", None):
        raise ConfigurationError(
            f"{name}.build_model must return a functional model: "
            "keras.Model(event.inputs, event.output(x))",
            next_step=step,
        )
    outputs = list(model.outputs)
    shape = tuple(outputs[0].shape) if len(outputs) == 1 else ()
    if (
        len(outputs) != 1
        or model.output_names != [OUTPUT]
        or shape != (None, n_outputs)
        or outputs[0].dtype != "float32"
    ):
        raise ConfigurationError(
            f"{name} must have one output '{OUTPUT}', float32 [batch, {n_outputs}], "
            f"not {model.output_names} {[(tuple(o.shape), o.dtype) for o in outputs]}",
            next_step="make it with event.output(x)",
        )
    # A list of inputs: Keras then picks them by name out of a dict that holds more.
    # With a dict it would take extra arrays by position.
    # Further columns of a feature set come last; a dataset refuses names that it does not have.
    known = list(INPUTS)
    ordered = sorted(
        model.inputs,
        key=lambda tensor: known.index(tensor.name) if tensor.name in known else len(known),
    )
    # A class of the user's own keeps its training step.
    kind = keras.Model if type(model).__module__.startswith("keras.") else type(model)
    return kind(ordered, outputs[0], name=model.name)


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
