from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.settings.base import CommandSettings, Field, json_schema, settings, validate


@settings
class Square:
    name: Literal["square"] = "square"
    side: float = Field(default=1.0, gt=0)


@settings
class Circle:
    name: Literal["circle"] = "circle"
    radius: float = 1.0


@settings
class Example(CommandSettings):
    n_events: int = Field(ge=1)
    method: Literal["score", "sampling"] = "score"
    shape: Annotated[Square | Circle, Field(discriminator="name")]
    shapes: dict[str, Circle] = Field(default_factory=dict)


def message(**values: Any) -> str:
    given = {"n_events": 5, "shape": {"name": "square"}, **values}
    with pytest.raises(ConfigurationError) as caught:
        validate(Example, given)
    return str(caught.value)


def test_valid_values_become_typed_settings() -> None:
    result = validate(Example, {"n_events": 5, "shape": {"name": "circle", "radius": 2}})
    assert result.n_events == 5
    assert isinstance(result.shape, Circle)
    assert result.debug is False


def test_settings_cannot_be_changed() -> None:
    result = validate(Example, {"n_events": 5, "shape": {"name": "circle"}})
    with pytest.raises(AttributeError):
        result.n_events = 6  # type: ignore[misc]


def test_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert "n_evnts: there is no such key; did you mean 'n_events'?" in message(n_evnts=3)


def test_unknown_key_in_a_group_names_its_whole_path() -> None:
    text = message(shape={"name": "square", "sied": 2.0})
    assert "shape.sied: there is no such key; did you mean 'side'?" in text


def test_unknown_key_in_a_named_entry() -> None:
    text = message(shapes={"big": {"raduis": 2.0}})
    assert "shapes.big.raduis: there is no such key; did you mean 'radius'?" in text


def test_wrong_type_range_and_choice() -> None:
    assert "n_events" in message(n_events="many")
    assert "'many'" in message(n_events="many")
    assert "greater than or equal to 1" in message(n_events=0)
    assert "method: 'samplig' is not a choice; did you mean 'sampling'?" in message(
        method="samplig"
    )
    assert "shape.side" in message(shape={"name": "square", "side": -1})


def test_not_finite_numbers_are_refused() -> None:
    assert "finite" in message(shape={"name": "square", "side": float("nan")})


def test_every_problem_is_reported() -> None:
    text = message(n_events=0, method="x", other=1)
    assert "3 problems" in text


def test_missing_value_says_how_to_give_it() -> None:
    with pytest.raises(
        ConfigurationError, match="n_events: a value is needed; give n_events=VALUE"
    ):
        validate(Example, {"shape": {"name": "square"}})


def test_schema_lists_all_keys_and_forbids_others() -> None:
    schema = json_schema(Example)
    assert set(schema["properties"]) == {
        "debug",
        "overwrite",
        "n_events",
        "method",
        "shape",
        "shapes",
    }
    assert schema["additionalProperties"] is False
