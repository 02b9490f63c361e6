from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import CommandSettings, Field, json_schema, settings, validate
from smartbkg_tf.settings.evaluation import EvaluateSettings
from smartbkg_tf.settings.filtering import ApplySettings
from smartbkg_tf.settings.generation import ProduceSettings
from smartbkg_tf.settings.training import TrainSettings


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


@settings
class Inner:
    share: float = 0.5
    flag: bool | None = None


@settings
class Outer:
    n_events: int = 1
    sizes: list[int] = Field(default_factory=list)
    inner: Inner = Field(default_factory=Inner)


def test_true_is_not_a_number() -> None:
    """Pydantic takes true for 1: a run of one event instead of an error."""
    with pytest.raises(ConfigurationError) as caught:
        validate(Outer, {"n_events": True, "sizes": [3, False], "inner": {"share": True}})
    for place in ("n_events: ", "sizes.1: ", "inner.share: "):
        assert f"{place}a number is needed, not " in str(caught.value)
    made = validate(Outer, {"n_events": 2, "inner": {"flag": True}})
    assert made.inner.flag is True


@pytest.mark.parametrize(
    ("command", "cls", "override"),
    [
        ("produce", ProduceSettings, "n_events=1e30"),
        ("apply", ApplySettings, "batch_size=1000000000000"),
        ("evaluate", EvaluateSettings, "metrics.bootstrap=100000000000"),
        ("train", TrainSettings, "training.batch_size=1000000000"),
    ],
)
def test_numbers_that_no_machine_can_serve_are_refused(
    command: str, cls: type[CommandSettings], override: str
) -> None:
    with pytest.raises(ConfigurationError, match=override.partition("=")[0]):
        compose_settings(command, cls, [override])
