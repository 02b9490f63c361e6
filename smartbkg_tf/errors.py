"""The errors that a user can mend, and how they are put into words.

An error says what is wrong, where, what was available (nearest match first) and what
to do next. The commands print it without a traceback and end with exit code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can mend, told in one clear message.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence, with the offending value.
    where : str or pathlib.Path, optional
        File, key or place in a file that is concerned.
    next_step : str, optional
        What to do about it: a command, a setting, another name.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | Path | None = None,
        next_step: str | None = None,
    ) -> None:
        self.message = message
        self.where = None if where is None else str(where)
        self.next_step = next_step
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return the whole message: what, where, next step."""
        text = self.message if self.where is None else f"{self.where}: {self.message}"
        return text if self.next_step is None else f"{text}\n  -> {self.next_step}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip through a process pool with all parts."""
        return (_rebuild, (type(self), self.message, self.where, self.next_step))


def _rebuild(
    kind: type[UserError], message: str, where: str | None, next_step: str | None
) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, message, where=where, next_step=next_step)
    return error


class ConfigurationError(UserError):
    """A key or value of the configuration that cannot be used."""


class InputError(UserError):
    """An input file that is missing, damaged or not what it should be."""


class OutputError(UserError):
    """An output that cannot be written, or exists already."""


#: Modules of the packages that an extra of smartbkg_tf installs.
_EXTRAS = {
    "train": ("tensorflow", "keras"),
    "generate": ("pythia8mc", "decaylanguage", "pyhepmc"),
    "onnx": ("tf2onnx", "onnx"),
    "distributed": ("distributed", "dask_jobqueue"),
    "search": ("optuna",),
    "tracking": ("mlflow", "tensorboard"),
}


def missing_package(error: ModuleNotFoundError) -> ConfigurationError | None:
    """Say which extra installs a package that is missing; None if none does."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in _EXTRAS.items():
        if module in modules:
            further = " (an exported .onnx file is applied without it)" if extra == "train" else ""
            return ConfigurationError(
                f"this needs the package {module}, which is not installed{further}",
                next_step=f"pip install 'smartbkg_tf[{extra}]' (in a checkout: pip install -e "
                f"'.[{extra}]')",
            )
    return None


def by_nearness(name: str, choices: Iterable[str]) -> list[str]:
    """Sort choices by likeness to a name, then by the alphabet."""
    return sorted(
        set(choices),
        key=lambda choice: (
            -difflib.SequenceMatcher(None, name.lower(), choice.lower()).ratio(),
            choice,
        ),
    )


def did_you_mean(name: str, choices: Iterable[str], limit: int = 12) -> str:
    """Say which name was probably meant, and at most `limit` of those that there are."""
    ordered = by_nearness(name, choices)
    if not ordered:
        return "there are none to choose from"
    listed = ", ".join(ordered[:limit]) + (", ..." if len(ordered) > limit else "")
    likeness = difflib.SequenceMatcher(None, name.lower(), ordered[0].lower()).ratio()
    if likeness >= 0.5:
        return f"did you mean '{ordered[0]}'? (there are: {listed})"
    return f"there are: {listed}"


class Problems:
    """Collect every problem first, then report all of them at once.

    Examples
    --------
    >>> problems = Problems()
    >>> problems.add("seed: negative")
    >>> problems.raise_if_any("cannot be used")
    Traceback (most recent call last):
    ...
    smartbkg_tf.errors.UserError: cannot be used: seed: negative
    """

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str | UserError) -> None:
        """Remember one problem."""
        self.texts.append(str(text))

    def raise_if_any(
        self,
        title: str,
        *,
        kind: type[UserError] = UserError,
        where: str | Path | None = None,
        next_step: str | None = None,
    ) -> None:
        """Raise one error of a kind that lists all problems, or do nothing."""
        if not self.texts:
            return
        if len(self.texts) == 1:
            message = f"{title}: {self.texts[0]}"
        else:
            lines = "\n".join(f"  {i}. {text}" for i, text in enumerate(self.texts, 1))
            message = f"{title}: {len(self.texts)} problems\n{lines}"
        raise kind(message, where=where, next_step=next_step)
