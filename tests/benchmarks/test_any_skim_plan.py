"""The benchmark of many skims: what it trains, and that the judged skims are unseen."""

from __future__ import annotations

import pytest

from benchmarks.any_skim.plan import MODELS, READS_PRESET, SIZES, TASKS, overrides_of
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import open_trained
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import flat_settings


def composed(model: str, size: int, preset: str | None = None) -> dict[str, object]:
    settings = compose_settings("train", TrainSettings, overrides_of(model, size, preset))
    return flat_settings(plain(settings))


@pytest.mark.parametrize("model", MODELS)
def test_another_network_stands_wherever_the_preset_does(model: str) -> None:
    ours, other = composed(model, SIZES[0]), composed(model, SIZES[0], "other/run")
    places = tuple(sorted(key for key, value in ours.items() if value == "preset:belle2"))
    assert places == READS_PRESET.get(model, ())
    assert dict.fromkeys(places, "other/run") == {
        key: value for key, value in other.items() if value != ours[key]
    }


def test_few_events_are_passed_more_often() -> None:
    epochs = [composed("treenet_trees_preset", n)["training.epochs"] for n in (400, 2000, 25_000)]
    assert epochs == [50, 10, 6]


def test_the_preset_has_learned_no_skim_that_is_judged() -> None:
    learned = set(open_trained("preset:belle2").dataset_information()["label_names"])
    chosen = {task.skim for task in TASKS if task.chosen_on}
    assert {task.skim for task in TASKS} - chosen
    assert chosen <= learned
    assert not learned & ({task.skim for task in TASKS} - chosen)


def test_scratch_differs_from_fine_tuning_by_the_preset_and_its_passes() -> None:
    ours, other = (composed(f"treenet_trees_{name}", 10_000) for name in ("preset", "scratch"))
    assert {key for key in ours if ours[key] != other[key]} == {
        *READS_PRESET["treenet_trees_preset"],
        "training.epochs",
    }
