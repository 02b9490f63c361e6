"""What is shuffled or taken away, and what that costs a known score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.evaluation.understanding.importance import TYPE_NAMES, changes, losses
from smartbkg_tf.events.decay_strings import build_decay_strings
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.samples import make_events

INPUTS = ("particle_input", "pdg_input", "mother_pdg_input", "mother_index_input", "decay_input")
FEATURES = EncodingSettings().feature_names
N = 120


def sample() -> EventTable:
    return make_events(N, seed=4)


def encoded(table: EventTable) -> Events:
    return encode(table, EncodingSettings(), default_vocabulary())


def without(table: EventTable, *codes: int) -> EventTable:
    """Take particles out of a table, one event after the other."""
    rows, mothers, offsets = [], [], [0]
    links = np.asarray(table.particles["motherIndex"])
    for begin, end in zip(table.offsets[:-1].tolist(), table.offsets[1:].tolist(), strict=True):
        stay = [i for i in range(begin, end) if abs(int(table.particles["PDG"][i])) not in codes]  # type: ignore[call-overload]
        new = {old - begin: i for i, old in enumerate(stay)}
        rows += stay
        mothers += [new.get(int(links[i]), -1) for i in stay]
        offsets.append(len(rows))
    particles = {name: values[rows] for name, values in table.particles.items()}
    particles["motherIndex"] = np.array(mothers, np.int32)
    particles["motherPDG"] = np.where(
        np.isin(np.abs(particles["motherPDG"]), codes), 0, particles["motherPDG"]
    )
    cut = replace(
        table, particles=particles, offsets=np.array(offsets, np.int64), decay_strings=None
    )
    return replace(cut, decay_strings=build_decay_strings(cut))


@pytest.mark.parametrize(
    ("name", "codes"),
    [("charged pions", (211,)), ("charmed hadrons", (411, 421, 413)), ("muons", (13,))],
)
def test_particles_that_are_taken_away_never_were(name: str, codes: tuple[int, ...]) -> None:
    events = encoded(sample())
    (change,) = [c for c in changes(events, INPUTS, FEATURES) if c.name == name]
    changed = change.apply(events, np.random.default_rng(0))
    expected = encoded(without(sample(), *codes))
    for column in INPUTS[:-1]:
        np.testing.assert_array_equal(changed[column], expected[column], err_msg=column)
    np.testing.assert_array_equal(changed.offsets["particles"], expected.offsets["particles"])
    if name != "charmed hadrons":
        # Of an inner particle the daughters stay where they are in the text.
        np.testing.assert_array_equal(changed["decay_input"], expected["decay_input"])
        np.testing.assert_array_equal(changed.offsets["tokens"], expected.offsets["tokens"])


def test_shuffling_keeps_values_and_all_other_columns() -> None:
    events = encoded(sample())
    for change in changes(events, INPUTS, FEATURES):
        if change.kind == "type":
            continue
        changed = change.apply(events, np.random.default_rng(0))
        different = [
            name for name in events.columns
            if not np.array_equal(events[name], changed[name])
        ]  # fmt: skip
        expected = {
            "list": [*INPUTS[:-1], "charge"],
            "feature": ["charge" if change.name == "charge" else "particle_input"],
            "input": [change.name, *(["charge"] if change.name == "particle_input" else [])],
        }[change.kind]
        assert sorted(different) == sorted(expected), change.name
        for name in different:
            one, other = (
                np.sort(e[name].reshape(len(e[name]), -1), axis=0) for e in (events, changed)
            )
            np.testing.assert_array_equal(one, other, err_msg=change.name)
        if change.name in ("mother_index_input", *FEATURES):
            for axis, offsets in events.offsets.items():
                np.testing.assert_array_equal(changed.offsets[axis], offsets)
        links, sizes = changed["mother_index_input"], changed.lengths("particles")
        assert np.all(links < np.repeat(sizes, sizes))


def test_losses_name_what_a_score_depends_on() -> None:
    events, labels = encoded(sample()), sample().labels["fei_hadronic_b0"]
    kaon = default_vocabulary().tokens([321, -321])

    def kaons(of: Events) -> np.ndarray:
        of_events = np.split(of["pdg_input"], of.offsets["particles"][1:-1])
        return np.array([np.isin(tokens, kaon).sum() for tokens in of_events], np.float32)

    labels = (kaons(events) > 1).astype(np.int8)
    told: list[int] = []
    entries = losses(events, labels, INPUTS, FEATURES, kaons, np.random.default_rng(0), told.append)
    assert sum(told) == N * (1 + len(entries))
    loss = {entry["name"]: entry["auc_loss"] for entry in entries}
    assert loss["charged kaons"] == 0.5  # all scores equal
    assert loss["pdg_input"] > 0.1
    assert loss["particles (all inputs)"] > 0.3
    zero = [name for name, value in loss.items() if value == 0]
    assert set(loss) - set(zero) == {"charged kaons", "pdg_input", "particles (all inputs)"}
    assert {e["name"] for e in entries if e["kind"] == "type"} <= set(TYPE_NAMES)
    (error,) = [e["auc_loss_error"] for e in entries if e["name"] == "pdg_input"]
    assert 0 < error < 0.1


def test_a_network_of_decay_strings_alone() -> None:
    events = encoded(sample())
    events = events.select(events.schema.select(["decay_input"]))
    kinds = {(c.kind, c.name) for c in changes(events, ("decay_input",), FEATURES)}
    assert ("input", "decay_input") in kinds
    assert {kind for kind, _ in kinds} == {"input", "type"}
