"""Every named experiment composes, validates, and says how it is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.fei_b0.sample import FRACTIONS
from smartbkg_tf.config import command_named
from smartbkg_tf.models.registry import check_model
from smartbkg_tf.runtime.command import compose_settings, configuration_directory
from smartbkg_tf.settings.training import TrainSettings

FOLDER = Path(str(configuration_directory())) / "experiment"
#: Parts of other experiments, not run by themselves.
PARTS = ("fei_b0_benchmark/base",)
NAMES = [
    name
    for path in sorted(FOLDER.rglob("*.yaml"))
    if (name := path.relative_to(FOLDER).with_suffix("").as_posix()) not in PARTS
]


@pytest.mark.parametrize("name", NAMES)
def test_it_composes_and_validates(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    command = re.search(r"^# python -m smartbkg_tf\.(\w+) (.*)$", text, re.MULTILINE)
    assert command, "the first comment is the command that runs it"
    assert command[1] == "train"
    overrides = command[2].split()
    assert overrides[0] == f"experiment={name}"
    settings = compose_settings("train", TrainSettings, overrides)
    assert check_model(settings.model)
    if name.startswith("fei_b0_benchmark/"):
        fractions = settings.data.fractions
        assert {part: getattr(fractions, part) for part in FRACTIONS} == FRACTIONS
        assert settings.data.balance is None
        own = name.rpartition("_")[2]
        expected = f"dataset_{own}" if own in ("skim", "candidates") else "dataset"
        assert settings.data.path == expected
    assert name in command_named("train").help()


def test_the_row_without_sums_differs_by_its_sums_only() -> None:
    first, second = (
        compose_settings("train", TrainSettings, [f"+experiment=fei_b0_benchmark/{name}"])
        for name in ("treenet", "treenet_without_sums")
    )
    assert (list(first.model.head.inputs), list(second.model.head.inputs)) == (["summaries"], [])
    assert second.model.particles.side_summaries is False
    assert first.training == second.training
