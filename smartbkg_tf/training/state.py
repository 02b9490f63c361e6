"""Everything that decides how a run goes on: variables, callbacks, random numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError
from smartbkg_tf.training.checkpoints import Arrays

_PLAIN = (bool, int, float, str, type(None))


def variable_groups(model: Any) -> dict[str, list[Any]]:
    """Collect the variables of a compiled model that is built.

    Parameters
    ----------
    model : keras.Model
        With optimiser and metrics.

    Returns
    -------
    dict of str to list of keras.Variable
        Weights and the states of dropout (``model``), moments, rate, step and averages of
        weights (``optimizer``), running sums of the epoch (``metrics``), and Keras's global
        random state.
    """
    from keras.src.random.seed_generator import global_seed_generator

    metrics = [variable for metric in model.metrics for variable in metric.variables]
    known = {id(variable) for variable in metrics}
    return {
        "model": [variable for variable in model.variables if id(variable) not in known],
        "optimizer": list(model.optimizer.variables),
        "metrics": metrics,
        "random": [global_seed_generator().state],
    }


def read_variables(model: Any) -> Arrays:
    """Copy the values of all variables.

    Parameters
    ----------
    model : keras.Model
        Compiled and built.

    Returns
    -------
    dict of str to numpy.ndarray
        By group and position.
    """
    return {
        f"{group}/{i:05d}": np.array(_value(variable))
        for group, variables in variable_groups(model).items()
        for i, variable in enumerate(variables)
    }


def write_variables(model: Any, arrays: Arrays, where: Any = None) -> None:
    """Give all variables the values of a checkpoint.

    Parameters
    ----------
    model : keras.Model
        Compiled and built as the one that was saved.
    arrays : dict of str to numpy.ndarray
        From `read_variables`.
    where : path-like, optional
        For the message.

    Raises
    ------
    InputError
        When the checkpoint is of another model.
    """
    for group, variables in variable_groups(model).items():
        names = [name for name in arrays if name.startswith(f"{group}/")]
        if len(names) != len(variables):
            raise InputError(
                f"the checkpoint is of another program: it holds {len(names)} variables of the "
                f"{group}, not {len(variables)}",
                where=where,
                next_step="start again from the beginning in another run_dir",
            )
        for name, variable in zip(sorted(names), variables, strict=True):
            value = arrays[name]
            if value.shape != tuple(variable.shape):
                raise InputError(
                    f"the checkpoint is of another network: {variable.path} has the shape "
                    f"{tuple(variable.shape)}, not {value.shape}",
                    where=where,
                    next_step="start again from the beginning in another run_dir",
                )
            variable.assign(value)


def _value(variable: Any) -> Any:
    value = variable.numpy()
    # NumPy files know no bfloat16; float32 holds its values exactly.
    return value.astype(np.float32) if value.dtype.kind == "V" else value


def read_callbacks(callbacks: Iterable[Any]) -> tuple[list[dict[str, Any]], Arrays]:
    """Copy what callbacks remember.

    Parameters
    ----------
    callbacks : iterable of keras.callbacks.Callback
        One that has the methods ``state`` and ``restore`` is asked by them; of others (early
        stopping, plateau, one's own) all attributes with plain values or arrays are kept.

    Returns
    -------
    values : list of dict
        Plain values of each.
    arrays : dict of str to numpy.ndarray
        Arrays, by callback and attribute.
    """
    values: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for number, callback in enumerate(callbacks):
        kept: dict[str, Any] = {"class": type(callback).__name__}
        if hasattr(callback, "state"):
            kept["state"] = callback.state()
        else:
            plain: dict[str, Any] = {}
            for name, value in vars(callback).items():
                if name in ("params", "_model"):
                    continue
                if isinstance(value, np.generic):
                    value = value.item()
                if isinstance(value, _PLAIN):
                    plain[name] = value
                elif _is_arrays(value):
                    plain[name] = {"arrays": len(value)}
                    for i, array in enumerate(value):
                        arrays[f"callback/{number}/{name}/{i}"] = np.asarray(array)
            kept["attributes"] = plain
        values.append(kept)
    return values, arrays


def write_callbacks(
    callbacks: Sequence[Any], values: Sequence[dict[str, Any]], arrays: Arrays
) -> None:
    """Give callbacks back what they remembered; after ``on_train_begin``.

    Parameters
    ----------
    callbacks : sequence of keras.callbacks.Callback
        As those that were saved.
    values : sequence of dict
        From `read_callbacks`.
    arrays : dict of str to numpy.ndarray
        From `read_callbacks`.

    Raises
    ------
    InputError
        When they are others.
    """
    ours = [type(callback).__name__ for callback in callbacks]
    theirs = [kept["class"] for kept in values]
    if ours != theirs:
        raise InputError(
            f"the checkpoint is of another program: its callbacks are {', '.join(theirs)}, "
            f"not {', '.join(ours)}",
            next_step="start again from the beginning in another run_dir",
        )
    for number, (callback, kept) in enumerate(zip(callbacks, values, strict=True)):
        if "state" in kept:
            callback.restore(kept["state"])
            continue
        if getattr(callback, "monitor_op", 0) is None:
            # Keras turns the sign of min_delta when it first looks: before, not after this.
            callback._set_monitor_op()
        for name, value in kept["attributes"].items():
            if isinstance(value, dict):
                value = [arrays[f"callback/{number}/{name}/{i}"] for i in range(value["arrays"])]
            setattr(callback, name, value)


def _is_arrays(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, np.ndarray) for item in value)
    )


def read_random() -> tuple[dict[str, Any], Arrays]:
    """Copy the states of Python's and NumPy's global random numbers.

    Returns
    -------
    values : dict
        Plain values.
    arrays : dict of str to numpy.ndarray
        Arrays.
    """
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    values = {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), int(position), int(has_gauss), float(cached)],
    }
    return values, {"numpy_random": np.asarray(keys)}


def write_random(values: dict[str, Any], arrays: Arrays) -> None:
    """Give Python's and NumPy's global random numbers their states back.

    Parameters
    ----------
    values : dict
        From `read_random`.
    arrays : dict of str to numpy.ndarray
        From `read_random`.
    """
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, position, has_gauss, cached = values["numpy"]
    state = (name, arrays["numpy_random"], position, has_gauss, cached)
    np.random.set_state(state)  # noqa: NPY002


def finite(value: float) -> bool:
    """Tell whether a loss is one to go on with.

    Parameters
    ----------
    value : float
        A loss.

    Returns
    -------
    bool
        False for NaN, infinity, and what no loss of a network that learns ever is (1e6).
    """
    return math.isfinite(value) and abs(value) < HUGE


#: Losses beyond this mean that training has diverged.
HUGE = 1e6
