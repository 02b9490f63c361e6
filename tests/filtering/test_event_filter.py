"""Single events: scores and decisions of `apply`, from columns or tables, or a clear error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError, UserError
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS, PARTICLE_COLUMNS
from smartbkg_tf.filtering.apply import apply
from smartbkg_tf.filtering.event_filter import EventFilter
from smartbkg_tf.filtering.export import export
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.filtering.rules import KeepAll, Rule, SamplingRule
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.filtering import ApplySettings, ExportSettings
from tests.filtering.conftest import SKIMS, Trained
from tests.samples import make_events


@pytest.fixture(scope="module")
def model(fitted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("event_filter") / "onnx"
    return export(ExportSettings(run=str(fitted.run.path), output=str(output)))


@pytest.mark.parametrize("method", ["sampling", "threshold"])
def test_decisions_are_those_of_apply(
    method: str, model: Path, fitted: Trained, tmp_path: Path
) -> None:
    arguments = [
        f"run={model}", f"input={fitted.tables}", f"output={tmp_path}/p.parquet", "seed=4",
        f"method={method}", *(["threshold=0.1"] if method == "threshold" else []),
    ]  # fmt: skip
    apply(compose_settings("apply", ApplySettings, arguments))
    expected = read_predictions(tmp_path / "p.parquet")
    threshold = 0.1 if method == "threshold" else None
    decide = EventFilter(model, method=method, threshold=threshold, seed=4)  # type: ignore[arg-type]
    assert decide.skims == SKIMS
    kept = 0
    for i in range(0, 600, 7):
        decision = decide(fitted.events.take([i]))
        kept += decision.kept
        for skim in SKIMS:
            stored = expected.skims[skim]
            assert decision.scores[skim] == pytest.approx(stored.score[i], abs=1e-5)
            assert decision.weights[skim] == pytest.approx(stored.weight[i], rel=1e-4)
            assert (decision.weights[skim] > 0) == (stored.weight[i] > 0)
        assert decision.kept == any(decision.weights.values())
        best = max(decision.probabilities.values())
        assert decision.weight == (pytest.approx(1 / best) if decision.kept else 0)
    assert 0 < kept < 86


def test_columns_are_as_good_as_a_table(model: Path, fitted: Trained) -> None:
    decide = EventFilter(model, seed=3)
    table = fitted.events.take([11])
    columns = {
        name: np.asarray(table.particles[name])
        for name in PARTICLE_COLUMNS
        if name not in ("motherPDG", "nDaughters")
    }
    key = tuple(int(table.keys[name][0]) for name in KEY_COLUMNS)
    event_type = EVENT_TYPES[int(table.event_type[0])]
    assert decide(columns, event_type=event_type, key=key).scores == pytest.approx(  # type: ignore[arg-type]
        decide(table).scores, abs=1e-5
    )
    same = decide({**columns, **dict(zip(KEY_COLUMNS, key, strict=True)), "event_type": event_type})
    assert same.kept == decide(table).kept
    assert same.weight == pytest.approx(decide(table).weight, rel=1e-4)


def test_events_of_any_length(model: Path) -> None:
    decide = EventFilter(model, method="score")
    events = make_events(3, seed=9, skims=SKIMS, empty=(0,))
    for i in range(3):
        decision = decide(events.take([i]))
        assert decision.kept
        assert decision.weight == 1.0
        assert np.isfinite(list(decision.scores.values())).all()
    one = {name: np.zeros(1, dtype=kind) for name, kind in PARTICLE_COLUMNS.items()}
    one |= {"PDG": np.array([123456789]), "energy": np.array([1.0]), "motherIndex": np.array([-1])}
    assert np.isfinite(list(decide(one).scores.values())).all()
    # Longer events are cut at the model's 60 particles and 90 tokens.
    many = {name: np.repeat(values, 5000) for name, values in one.items()}
    cut = {name: values[:90] for name, values in many.items()}
    assert decide(many).scores == decide(cut).scores
    chain = {**many, "motherIndex": np.arange(-1, 4999)}
    assert np.isfinite(list(decide(chain).scores.values())).all()
    too_many = {name: np.repeat(values, 40_000) for name, values in one.items()}
    with pytest.raises(InputError, match="more than 32767 particles"):
        decide(too_many)


def test_choice_of_skims_and_rules(model: Path, fitted: Trained) -> None:
    table = fitted.events.take([5])
    alone = EventFilter(model, skims=[SKIMS[1]])(table)
    assert list(alone.probabilities) == [SKIMS[1]]
    assert list(alone.scores) == list(SKIMS)
    assert alone.weight == alone.weights[SKIMS[1]]
    never = SamplingRule(a=1.0, b=100.0, maximum_weight=1e9)
    ruled = EventFilter(model, rules={SKIMS[0]: never, SKIMS[1]: KeepAll()})(table)
    assert ruled.weights == {SKIMS[0]: 0.0, SKIMS[1]: 1.0}


@settings
class WrongRule(Rule):
    """Gives what is not a probability; NaN for a negative value."""

    value: float

    def probability(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.full(np.shape(scores), np.nan if self.value < 0 else self.value)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.5])
def test_a_rule_that_gives_no_probability_is_refused(
    value: float, model: Path, fitted: Trained
) -> None:
    decide = EventFilter(model, rules=dict.fromkeys(SKIMS, WrongRule(value=value)))
    with pytest.raises(ConfigurationError, match="gives the probability"):
        decide(fitted.events.take([5]))


def test_what_was_lost_is_reported(model: Path) -> None:
    decide = EventFilter(model, method="score")
    one = {name: np.zeros(70, dtype=kind) for name, kind in PARTICLE_COLUMNS.items()}
    one |= {"PDG": np.full(70, 123456789), "motherIndex": np.full(70, -1)}
    decide(one)
    assert decide.report.unknown_codes == {"123456789": 70}
    assert decide.report.truncated_particles == 1


def test_a_ring_is_found_by_networks_that_read_no_decay_tree(
    model: Path, fitted: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What such a network does not read is not built, and checked all the same."""
    decide = EventFilter(model, method="score")
    monkeypatch.setattr(decide._scorer, "input_names", ("particle_input", "pdg_input"))
    table = fitted.events.take([5])
    mother = np.roll(np.arange(table.n_particles, dtype=np.int32), -1)
    ring = replace(table, particles={**table.particles, "motherIndex": mother})
    with pytest.raises(InputError, match="circular"):
        decide(ring)


def test_wrong_use_is_refused(model: Path, fitted: Trained, tmp_path: Path) -> None:
    decide = EventFilter(model)
    table = fitted.events.take([5])
    columns = {name: np.array(table.particles[name]) for name in PARTICLE_COLUMNS}
    broken = {**columns, "energy": np.full(len(columns["PDG"]), np.nan)}
    short = {**columns, "energy": columns["energy"][:-1]}
    ring = {**columns, "motherIndex": np.roll(np.arange(len(columns["PDG"])), -1)}
    beyond = {**columns, "motherIndex": np.full(len(columns["PDG"]), 5000)}
    heavy = {**columns, "energy": columns["energy"] * 1e6}
    lacking = {name: values for name, values in columns.items() if name not in ("energy", "x")}
    for event, words in (
        (broken, "NaN, infinite or too large values in energy"),
        (ring, "mother indices out of range or circular"),
        (beyond, "mother indices out of range or circular"),
        (heavy, "above 10000 GeV"),
        (short, "different lengths"),
        (lacking, "lacks the particle columns energy, x"),
        (fitted.events.take([1, 2]), "holds 2 events"),
    ):
        with pytest.raises(InputError, match=words):
            decide(event, key=None if not isinstance(event, dict) else (0, 0, 1, 0))
    with pytest.raises(ConfigurationError, match="key="):
        decide(columns)
    with pytest.raises(ConfigurationError, match="a table has"):
        decide(table, event_type="mixed")
    with pytest.raises(UserError, match="did you mean 'mixed'"):
        decide(columns, event_type="mixd", key=(0, 0, 1, 0))
    with pytest.raises(InputError, match="must have four parts"):
        decide(columns, key=(0, 1, 0))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="column x: holds no numbers"):
        decide({**columns, "x": np.array(["a"] * len(columns["x"]))}, key=(0, 0, 1, 0))
    with pytest.raises(InputError, match="PDG"):
        decide({**columns, "PDG": columns["PDG"] + 0.5}, key=(0, 0, 1, 0))
    for options, words in (
        ({"skims": ["fei_hadronic_b"]}, "no skim 'fei_hadronic_b'"),
        ({"skims": []}, "no skim was chosen"),
        ({"threshold": 1.0}, "belong together"),
        ({"method": "threshold"}, "belong together"),
        ({"rules": {SKIMS[0]: KeepAll()}}, "needed for every chosen skim"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            EventFilter(model, **options)
    with pytest.raises(InputError, match="does not exist"):
        EventFilter(tmp_path / "none.onnx")


@pytest.mark.parametrize("method", ["scores", "smapling"])
def test_an_unknown_method_is_refused(model: Path, method: Any) -> None:
    with pytest.raises(ConfigurationError, match="there is no method"):
        EventFilter(model, method=method)
    with pytest.raises(TypeError):
        EventFilter(model, seed=1.0)  # type: ignore[arg-type]
