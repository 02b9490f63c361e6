"""What can be asked of the padding, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.encoding.pad import INPUT_NAMES, INPUTS_OF, inputs_of, pad
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from tests.samples import make_events

ENCODED = encode(make_events(5), EncodingSettings(), default_vocabulary())


def test_only_what_was_asked_for_is_made() -> None:
    for variant, names in INPUTS_OF.items():
        assert tuple(pad(ENCODED, [0], variant, 10, 10)) == names
    assert tuple(pad(ENCODED, [0], ["event_type_input"], 10, 10)) == ("event_type_input",)


def test_event_types() -> None:
    batch = pad(ENCODED, [3, 1], ["event_type_input"], 10, 10)
    np.testing.assert_array_equal(batch["event_type_input"], ENCODED["event_type_input"][[3, 1]])
    assert batch["event_type_input"].dtype == np.int32


@pytest.mark.parametrize("rows", [[5], [-1], [0, 7]])
def test_positions_outside_are_refused(rows: list[int]) -> None:
    # Compiled code would read foreign memory.
    with pytest.raises(IndexError, match=r"0\.\.4"):
        pad(ENCODED, rows, "combined", 10, 10)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'particles'"):
        inputs_of("particle")
    # Names are exact: pdg_input never stands for mother_pdg_input.
    with pytest.raises(ConfigurationError, match="did you mean 'pdg_input'"):
        inputs_of(["pdg_inpt"])
    assert inputs_of(INPUT_NAMES) == INPUT_NAMES


def test_every_call_gives_new_arrays() -> None:
    first, second = (pad(ENCODED, [0, 1], "combined", 10, 10) for _ in range(2))
    for name in first:
        assert not np.shares_memory(first[name], second[name])
        kept = second[name].copy()
        first[name][:] = 9
        np.testing.assert_array_equal(second[name], kept)
