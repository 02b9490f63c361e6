"""What `training.xla=auto` means for each network."""

from __future__ import annotations

import pytest

from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training import compiler
from smartbkg_tf.training.compiler import resolve_xla


@pytest.fixture(autouse=True)
def gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "FASTER_WITH_XLA", frozenset({"transformer"}))


@pytest.mark.parametrize(
    ("overrides", "xla"),
    [
        (["model=transformer"], True),
        (["model=resnet"], False),
        # A branch that does not gain decides.
        (["model=transformer", "model.inputs=combined", "model.decay={branch: wide_cnn}"], False),
        (["model=custom", "model._target_=my_module.MyNet"], False),
        (["model=transformer", "training.xla=false"], False),
        (["model=resnet", "training.xla=true"], True),
    ],
)
def test_choice_on_a_cpu(overrides: list[str], xla: bool) -> None:
    settings = compose_settings("train", TrainSettings, [*overrides, "training.device=cpu"])
    assert resolve_xla(settings.training, settings.model).xla is xla


def test_never_by_itself_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = compose_settings("train", TrainSettings, ["model=transformer"])
    monkeypatch.setattr(compiler, "_on_gpu", lambda training: True)
    assert resolve_xla(settings.training, settings.model).xla is False
