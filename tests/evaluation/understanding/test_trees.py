"""Decay trees of encoded events, from links and from decay tokens."""

from __future__ import annotations

import numpy as np

from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.evaluation.understanding.trees import tree_of_tokens, trees_of
from smartbkg_tf.events.decay_strings import decay_tokens, tokenise
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.samples import CHARGES, make_events


def encoded(n_events: int = 30, **options: object) -> Events:
    table = make_events(n_events, seed=2, **options)  # type: ignore[arg-type]
    return encode(table, EncodingSettings(), default_vocabulary())


def test_tokens_and_links_tell_the_same_tree() -> None:
    events = encoded(empty=(3,))
    token, mother, offsets = tree_of_tokens(events["decay_input"], events.offsets["tokens"])
    # The sample lists its particles depth first, as the string does.
    np.testing.assert_array_equal(token, events["pdg_input"])
    np.testing.assert_array_equal(mother, events["mother_index_input"])
    np.testing.assert_array_equal(offsets, events.offsets["particles"])
    again, ends = decay_tokens(token, mother, offsets, default_vocabulary())
    np.testing.assert_array_equal(again, events["decay_input"])
    np.testing.assert_array_equal(ends, events.offsets["tokens"])


def test_trees_of_either_input() -> None:
    events = encoded()
    links = trees_of(events)
    text = trees_of(events.select(events.schema.select(["decay_input"])))
    assert links is not None
    assert text is not None
    for name in ("token", "mother", "offsets", "code", "event", "final"):
        np.testing.assert_array_equal(getattr(links, name), getattr(text, name), err_msg=name)
    assert trees_of(events.select(events.schema.select(["event_type_input"]))) is None


def test_charged_final_particles_are_counted() -> None:
    table = make_events(30, seed=2)
    trees = trees_of(encoded())
    assert trees is not None
    last = np.asarray(table.particles["nDaughters"]) == 0
    charged = np.array([CHARGES[abs(c)] != 0 for c in table.particles["PDG"].tolist()])  # type: ignore[attr-defined]
    expected = np.bincount(table.event_of_particle()[last & charged], minlength=30)
    np.testing.assert_array_equal(trees.charged_final(), expected)


def test_broken_brackets_do_no_harm() -> None:
    strings = ["511 <--) <--) 211", "(--> 211 <--)", "511 (--> 211", ""]
    tokens, offsets, _, _ = tokenise(strings, default_vocabulary())
    token, mother, ends = tree_of_tokens(tokens, offsets)
    codes = default_vocabulary().codes[token - 2].tolist()
    assert codes == [511, 211, 211, 511, 211]
    assert mother.tolist() == [-1, -1, -1, -1, 0]
    assert ends.tolist() == [0, 2, 3, 5, 5]
