"""The hint of `train`: the rule, and when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.models.branches import ParticleBranch
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.advice import ADVICE, ANSWERS, SOURCE, better_model
from tests.conftest import ROOT


@settings
class OwnBranch(ParticleBranch):
    """A branch of the user's own."""


@pytest.fixture(scope="module")
def dataset(dataset_path: Path) -> Dataset:
    return open_dataset(dataset_path)


def hint(dataset: Dataset, passing: int, *overrides: str) -> str | None:
    return better_model(compose_settings("train", TrainSettings, overrides), dataset, passing)


@pytest.mark.parametrize(
    ("model", "passing", "better"),
    [
        ("resnet", 100, f"trees {ANSWERS}"),
        ("resnet", 9_999, f"trees {ANSWERS}"),
        ("resnet", 10_000, "treenet_trees"),
        ("treenet", 30_000, "treenet_trees"),
    ],
)
def test_networks_without_trees(dataset: Dataset, model: str, passing: int, better: str) -> None:
    text = hint(dataset, passing, f"model={model}")
    assert text is not None
    assert f"with {passing} passing training events model={better} is clearly better" in text
    assert text.count("\n") == 0


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=trees",),
        ("model=treenet_trees",),
        ("model=resnet", "model.head.forest={}"),
        ("model=resnet", "model.inputs=decay"),
        ("model=wide_cnn",),
        ("model=resnet", "training.init_from=run"),
        ("model=custom", "model._target_=my_module.Net"),
        ("model=gcn", f"model.particles={{_target_: {__name__}.OwnBranch}}"),
    ],
)
def test_no_hint(dataset: Dataset, overrides: tuple[str, ...]) -> None:
    assert hint(dataset, 5_000, *overrides) is None


def test_nothing_is_said_beyond_what_was_measured(dataset: Dataset) -> None:
    assert hint(dataset, 100_000) is None


@pytest.mark.parametrize(
    "lacking",
    [
        {"inputs": ["decay_input"]},
        {"vocabulary": {"size": 40}},
    ],
)
def test_no_hint_for_a_model_that_the_data_cannot_feed(
    dataset: Dataset, lacking: dict[str, object]
) -> None:
    other = Dataset(dataset.path, {**dataset.information, **lacking})
    assert hint(other, 5_000) is None
    assert hint(dataset, 5_000) is not None


def test_the_page_says_the_same() -> None:
    file, heading = SOURCE.split(", ")
    text = (ROOT / file).read_text(encoding="utf-8")
    section = text.partition(f"## {heading.strip(chr(39))}\n")[2].partition("\n## ")[0]
    for one in ADVICE:
        assert f"{one.passing:,}" in section or not one.passing
        assert one.model is None or f"`{one.model}`" in section
        assert not one.preset or ANSWERS in section


def test_the_preset_needs_its_vocabulary(dataset: Dataset) -> None:
    vocabulary = {**dataset.information["vocabulary"], "digest": "another"}
    other = Dataset(dataset.path, {**dataset.information, "vocabulary": vocabulary})
    text = hint(other, 100, "model=resnet")
    assert text is not None
    assert "model=trees is clearly better" in text
