from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.vocabulary import Vocabulary, default_vocabulary

CODES_FILE = Path(__file__).resolve().parents[2] / "smartbkg_tf/events/data/pdg_codes.txt"
FACTS = Path(__file__).resolve().parents[2] / "../shared/reference/evtpdl_codes.txt"


def test_default_vocabulary_holds_the_file_in_its_order() -> None:
    codes = [int(line) for line in CODES_FILE.read_text().split()]
    vocabulary = default_vocabulary()
    assert vocabulary.codes.tolist() == codes
    assert len(vocabulary) == 563
    assert vocabulary.size == 567
    assert (vocabulary.opener, vocabulary.closer) == (565, 566)
    # Frozen: a change of the list makes every trained model useless, so it must be meant.
    assert vocabulary.digest == "531aac52b6b345c1"


@pytest.mark.skipif(not FACTS.exists(), reason="the reference list is not part of the package")
def test_default_vocabulary_covers_belle2() -> None:
    needed = {int(line) for line in FACTS.read_text().split()}
    assert needed | {10221} == set(default_vocabulary().codes.tolist())


def test_every_code_has_a_token_of_its_own() -> None:
    # Known trap 7: the last code of a vocabulary had no token.
    vocabulary = default_vocabulary()
    tokens = vocabulary.tokens(vocabulary.codes)
    assert tokens.dtype == np.int16
    assert tokens.tolist() == list(range(2, 2 + len(vocabulary)))
    assert tokens.max() < vocabulary.opener < vocabulary.closer < vocabulary.size


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_tokens_do_not_depend_on_the_type_of_the_codes(dtype: type) -> None:
    # Known trap 8: codes stored as floats.
    codes = np.array([211, -211, 22, 300553, -9152513])
    expected = default_vocabulary().tokens(codes)
    assert (expected > 1).all()
    assert default_vocabulary().tokens(codes.astype(dtype)).tolist() == expected.tolist()


def test_unseen_codes_are_token_1_and_counted() -> None:
    vocabulary = Vocabulary([211, -211, 22])
    codes = np.array([211, 5122, 5122, -3, 22])
    assert vocabulary.tokens(codes).tolist() == [2, 1, 1, 1, 4]
    assert vocabulary.unknown(codes) == {5122: 2, -3: 1}
    assert vocabulary.unknown([]) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 211.5, 1e300, -1e19, float(2**63)])
def test_broken_numbers_are_unknown_and_no_code(value: float) -> None:
    vocabulary = Vocabulary([0, 211])
    assert vocabulary.tokens(np.array([value, 211.0])).tolist() == [1, 3]
    assert vocabulary.unknown(np.array([value])) == {}


def test_unsigned_codes_do_not_wrap_around() -> None:
    vocabulary = Vocabulary([-1, 7])
    huge = np.array([np.iinfo(np.uint64).max, 7], dtype=np.uint64)
    assert vocabulary.tokens(huge).tolist() == [1, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40, unique=True),
    st.lists(st.integers(-(10**12), 10**12), max_size=40),
)
def test_lookup_equals_a_dictionary(codes: list[int], asked: list[int]) -> None:
    vocabulary = Vocabulary(codes)
    table = {code: 2 + i for i, code in enumerate(codes)}
    asked = asked + codes
    assert vocabulary.tokens(asked).tolist() == [table.get(code, 1) for code in asked]
    for token in range(vocabulary.size):
        code = vocabulary.code_of(token)
        assert code is None or table[code] == token


def test_shape_is_kept() -> None:
    assert default_vocabulary().tokens(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert default_vocabulary().tokens([]).shape == (0,)


def test_texts_are_no_codes() -> None:
    with pytest.raises(TypeError, match="must be numbers"):
        default_vocabulary().tokens(np.array(["211"]))


def test_digest_and_equality_follow_the_order() -> None:
    one, other = Vocabulary([1, 2]), Vocabulary([2, 1])
    assert one == Vocabulary([1, 2])
    assert hash(one) == hash(Vocabulary([1, 2]))
    assert one != other
    assert one.digest != other.digest


def test_is_fixed() -> None:
    vocabulary = Vocabulary([1, 2])
    with pytest.raises(AttributeError, match="cannot assign"):
        vocabulary.size = 9
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.codes[0] = 5


def test_survives_a_process_pool() -> None:
    assert pickle.loads(pickle.dumps(default_vocabulary())) == default_vocabulary()


@pytest.mark.parametrize("codes", [[], [1, 2, 1], range(40000), [2**31]])
def test_impossible_lists_are_refused(codes: list[int]) -> None:
    with pytest.raises(ConfigurationError):
        Vocabulary(codes)


def test_large_vocabulary_is_still_exact() -> None:
    codes = np.random.default_rng(0).integers(0, 10**9, 3000)
    codes = np.unique(codes)
    vocabulary = Vocabulary(codes.tolist())
    assert vocabulary.tokens(codes).tolist() == list(range(2, 2 + len(codes)))
    assert (vocabulary.tokens(codes + 10**9) == 1).all()
