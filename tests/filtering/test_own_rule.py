"""A sampling rule of one's own, from a file outside the repository, chosen by ``_target_``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smartbkg_tf.apply import main
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.filtering import ApplySettings
from tests.filtering.conftest import SKIMS, Trained

OWN = """
import numpy as np

from smartbkg_tf.filtering.rules import Rule
from smartbkg_tf.settings.base import Field, settings


@settings
class RootOfOdds(Rule):
    floor: float = Field(default=0.1, gt=0, le=1)

    def probability(self, scores):
        return np.clip(np.exp(scores / 2), self.floor, 1.0)


@settings
class Hard(Rule):
    def probability(self, scores):
        return (scores > 0).astype(float)


@settings
class Single(Rule):
    def probability(self, scores):
        return 0.5


@settings
class Faulty(Rule):
    def probability(self, scores):
        return scores.no_such_thing


@settings
class Unfinished(Rule):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a module into the current folder; give its name."""
    name = f"own_rules_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def settings_of(trained: Trained, rule: dict[str, Any], **options: Any) -> ApplySettings:
    values = {"run": str(trained.run.path), "input": str(trained.tables), "output": "p.parquet"}
    return validate(ApplySettings, {**values, "rule": rule, **options})


def test_it_decides_for_every_skim(
    trained: Trained, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = f"rule={{_target_: {module}.RootOfOdds, floor: 0.25}}"
    given = [f"run={trained.run.path}", f"input={trained.tables}", "output=p.parquet", rule]
    monkeypatch.setattr(sys, "argv", ["apply", *given])
    main()
    frame = pd.read_parquet("p.parquet")
    for skim in SKIMS:
        expected = np.clip(np.exp(frame[f"score_{skim}"] / 2), 0.25, 1.0)
        np.testing.assert_allclose(frame[f"probability_{skim}"], expected, rtol=1e-6)
        kept = frame[f"kept_{skim}"]
        assert 0 < kept.sum() < len(frame)
        np.testing.assert_allclose(frame[f"weight_{skim}"][kept], 1 / expected[kept], rtol=1e-6)
    stored = read_predictions("p.parquet").information["rules"][SKIMS[0]]
    assert stored == {"_target_": f"{module}.RootOfOdds", "floor": 0.25}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Hard", r"rule .*Hard: gives the probability 0 to the score .*\n.*1 / probability"),
        ("Single", r"Single: probability\(scores\) gives shape \[\] for 600 scores"),
        ("Faulty", r"Faulty: probability\(scores\) failed \(AttributeError"),
        ("Unfinished", r"Unfinished has no method probability\(scores\)"),
    ],
)
def test_a_faulty_rule_is_named(trained: Trained, module: str, name: str, words: str) -> None:
    from smartbkg_tf.filtering.apply import apply

    with pytest.raises(ConfigurationError, match=words):
        apply(settings_of(trained, {"_target_": f"{module}.{name}"}))
    assert not Path("p.parquet").exists()


def test_wrong_settings_are_one_sentence(trained: Trained, module: str) -> None:
    target = f"{module}.RootOfOdds"
    for words, rule, options in (
        ("rule.flor: there is no such key; did you mean 'floor'", {"flor": 1}, {}),
        ("rule.floor: .*greater than 0", {"floor": 0}, {}),
        ("rule has no effect with method=score", {}, {"method": "score"}),
        ("no effect on a custom rule", {}, {"sampling": {"maximum_weight": 5}}),
    ):
        with pytest.raises(ConfigurationError, match=words):
            settings_of(trained, {"_target_": target, **rule}, **options)
    with pytest.raises(ConfigurationError, match="does not inherit Rule"):
        settings_of(trained, {"_target_": "smartbkg_tf.evaluation.score_plots.RocPlot"})
