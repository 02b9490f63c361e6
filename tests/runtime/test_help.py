from __future__ import annotations

import re
from typing import Literal

import pytest

from smartbkg_tf.config import CONFIGURED, command_named
from smartbkg_tf.runtime.help import explanations, help_text
from smartbkg_tf.settings.base import CommandSettings, Field, fields_of, settings
from smartbkg_tf.settings.plugins import Plugin


def rows(text: str) -> dict[str, str]:
    """Give the explanation of every setting in a text of help."""
    _, _, text = text.partition("Settings and their defaults (???: needed):\n")
    text = re.sub(r"\n {42}", "  ", text.partition("\n\n")[0])
    parts = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in text.splitlines())
    return {part[0].partition("=")[0]: "".join(part[1:]) for part in parts}


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_setting_has_its_line(name: str) -> None:
    entry = command_named(name)
    explained = rows(entry.help())
    for key, field in fields_of(entry.settings_class).items():
        name = field.alias or key
        assert name in explained or any(k.startswith(f"{name}.") for k in explained), key
    assert not [key for key, text in explained.items() if not text], "without an explanation"
    assert not [key for key in explained if key.startswith("hydra")]


def test_every_choice_has_one_line() -> None:
    text = command_named("train").help()
    for choice in ("resnet", "custom", "original", "physical", "quickstart"):
        assert any(
            line.split()[:1] == [choice] and len(line.split()) > 2
            for line in text.replace("* ", "").splitlines()
        ), choice
    assert "quickstart                             The demo: mixed events" in text
    assert "smartbkg_tf.train experiment=" not in text.partition("Settings and")[0]


def test_the_chosen_group_is_shown() -> None:
    assert re.search(r"^  \* resnet ", command_named("train").help(), re.MULTILINE)
    text = command_named("train").help(["model=wide_cnn", "training.epochs=7"])
    assert re.search(r"^  \* wide_cnn ", text, re.MULTILINE)
    assert "model.decay.kernel_sizes=[" in text
    assert "model.particles=null" in text


@settings
class Shape(Plugin):
    """Anything with an area.

    Parameters
    ----------
    area : float, default 1
        In cm2. Never negative.
    """

    area: float = 1.0


@settings
class Circle(Shape):
    """A round one.

    Parameters
    ----------
    colour : {"red", "blue"}
        As it is
        painted, default red.

    Raises
    ------
    ValueError
        Never.
    """

    colour: Literal["red", "blue"] | None = "red"


@settings
class Drawing(CommandSettings):
    """A drawing.

    Parameters
    ----------
    output : str
        Where it goes; a file.
    shape : Shape
        What is drawn.
    more : dict of str to Shape
        Others.
    """

    output: str
    shape: Shape = Field(default_factory=Circle)
    more: dict[str, Shape] = Field(default_factory=dict)


def test_settings_of_plug_ins_are_explained(tmp_path) -> None:  # type: ignore[no-untyped-def]
    drawing = Drawing(output="x", more={"a": Circle(colour="blue")})
    text = help_text(
        "draw",
        "Draws.",
        drawing,
        needed=["output"],
        choices={"shape": "circle"},
        directory=tmp_path,
    )
    explained = rows(text)
    assert explained["shape._target_"] == "A round one"
    assert explained["shape.area"] == "In cm2"
    assert explained["more.a.colour"] == "[red | blue] As it is painted"
    assert "output=???" in text
    assert explanations(Circle) == {
        "area": "In cm2. Never negative.",
        "colour": "As it is painted, default red.",
    }
