from __future__ import annotations

import pytest

from smartbkg_tf.config import CONFIGURED, command_named


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_explains_every_setting(name: str) -> None:
    text = command_named(name).help()
    fields = command_named(name).settings_class.__pydantic_fields__  # type: ignore[attr-defined]
    for key, field in fields.items():
        assert f"{field.alias or key}:" in text or f"{key}=" in text, key
    assert "hydra:" not in text
    assert "override hydra" not in text


def test_help_lists_every_choice_with_one_line() -> None:
    text = command_named("train").help()
    for choice in ("resnet", "custom", "original", "physical", "quickstart"):
        assert any(
            line.split()[:1] == [choice] and len(line.split()) > 2 for line in text.splitlines()
        ), choice


def test_help_follows_the_chosen_group() -> None:
    text = command_named("train").help(["model=custom"])
    assert "model=custom  (keys begin with 'model.')" in text
    assert "kernel_sizes" not in text
