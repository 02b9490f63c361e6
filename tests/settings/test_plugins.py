"""A class is chosen by ``_target_``; what is wrong with it or its arguments is said by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.settings.base import Field, json_schema, settings, validate
from smartbkg_tf.settings.plugins import Plugin, filled, import_class, plain, plugin

HERE = __name__


@settings
class Shape(Plugin):
    """A base class."""


@settings
class Circle(Shape):
    radius: float = Field(default=1.0, gt=0)
    colour: str = "red"


@settings
class Nested(Shape):
    inner: Annotated[Any, plugin(f"{HERE}.Shape")] = Field(default_factory=Circle)


class Undeclared(Shape):
    sides: int = 3


class Stranger:
    """Inherits nothing."""


@settings
class Picture:
    shape: Annotated[Any, plugin(f"{HERE}.Shape")] = Field(default_factory=Circle)
    shapes: list[Annotated[Any, plugin(f"{HERE}.Shape")]] = Field(default_factory=list)
    title: str = ""
    frame: Annotated[Any, plugin(f"{HERE}.Shape")] | None = None


@settings
class Needing:
    name: str = Field(min_length=4, examples=["four"])
    n: int = Field(default=1, gt=0)


def picture(**values: Any) -> Picture:
    return validate(Picture, values)


def test_an_instance_is_made_from_plain_values() -> None:
    made = picture(shape={"_target_": f"{HERE}.Circle", "radius": 2})
    assert made.shape == Circle(radius=2.0)
    assert picture(shape=Circle(radius=3)).shape.radius == 3.0
    assert picture().shape == Circle()


def test_plain_values_make_the_same_settings() -> None:
    made = picture(shapes=[Nested(inner=Circle(radius=2)), Circle()], title="two")
    values = plain(made)
    assert values["shapes"][0]["inner"] == {
        "_target_": f"{HERE}.Circle",
        "radius": 2.0,
        "colour": "red",
    }
    assert validate(Picture, values) == made


def test_all_defaults_are_filled_in() -> None:
    circle = {"_target_": f"{HERE}.Circle", "radius": 1.0, "colour": "red"}
    assert filled(Picture, {"title": "x"}) == {
        "shape": circle,
        "shapes": [],
        "title": "x",
        "frame": None,
    }
    assert filled(Needing, {"n": 2}) == {"name": "???", "n": 2}
    with pytest.raises(ConfigurationError, match="n: "):
        filled(Needing, {"n": 0})


def test_the_schema_lists_the_known_classes() -> None:
    schema = json_schema(Picture)["properties"]["shape"]
    known = {choice["properties"]["_target_"].get("const"): choice for choice in schema["anyOf"]}
    assert {*known} >= {f"{HERE}.Circle", f"{HERE}.Nested", None}
    assert set(known[f"{HERE}.Circle"]["properties"]) == {"_target_", "radius", "colour"}


def test_a_key_in_another_place_is_found() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'shape\.radius'"):
        picture(radius=3)


def test_problems_of_a_plug_in_that_may_be_absent_are_told_once() -> None:
    assert picture(frame=None).frame is None
    with pytest.raises(ConfigurationError) as caught:
        picture(frame={"_target_": f"{HERE}.Circle", "radiu": 1})
    assert "used: frame.radiu: there is no such key; did you mean 'radius'?" in str(caught.value)


def test_all_problems_are_reported_with_their_keys() -> None:
    with pytest.raises(ConfigurationError) as caught:
        picture(
            shape={
                "_target_": f"{HERE}.Nested",
                "inner": {"_target_": f"{HERE}.Circle", "radus": 1},
            },
            shapes=[{"_target_": f"{HERE}.Circle", "radius": -1, "colour": 3}],
            titel="x",
        )
    text = str(caught.value)
    assert "shape.inner.radus: there is no such key; did you mean 'radius'?" in text
    assert "shapes.0.radius: input should be greater than 0" in text
    assert "shapes.0.colour: " in text
    assert "titel: there is no such key; did you mean 'title'?" in text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"_target_": f"{HERE}.Stranger"}, "does not inherit Shape"),
        ({"_target_": f"{HERE}.Undeclared"}, "'Undeclared' is not declared with @settings"),
        ({"_target_": f"{HERE}.Cirle"}, "did you mean 'Circle'?"),
        ({"_target_": "no_such_module.Circle"}, "there is no module 'no_such_module'"),
        ({"_target_": "Circle"}, "is not an import path"),
        ({"radius": 2}, "a mapping with _target_"),
        (3, "a mapping with _target_"),
        (None, "is needed, not null"),
    ],
)
def test_what_cannot_be_a_plug_in_is_said(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match="shape: ") as caught:
        picture(shape=value)
    assert message in str(caught.value)


def test_a_key_of_another_class_is_said_to_be_one() -> None:
    with pytest.raises(ConfigurationError, match="no such key of Circle, only of Nested"):
        picture(shape={"_target_": f"{HERE}.Circle", "inner": 1})


def test_a_class_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_shapes.py").write_text(
        f"from {HERE} import Shape\n"
        "from smartbkg_tf.settings.base import settings\n"
        "@settings\nclass Square(Shape):\n    side: int = 4\n"
    )
    monkeypatch.chdir(tmp_path)
    made = picture(shape={"_target_": "own_shapes.Square", "side": 5})
    assert made.shape.side == 5
    assert plain(made)["shape"] == {"_target_": "own_shapes.Square", "side": 5}


def test_a_module_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_shapes.py").write_text("import no_such_package\n")
    (tmp_path / "worse_shapes.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="needs the module 'no_such_package'"):
        import_class("broken_shapes.Square")
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        import_class("worse_shapes.Square")
