"""Images of events: what changes, what stays, and that streams with images can be continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.stream import EpochCounter, training_stream
from smartbkg_tf.dataset.symmetries import SYMMETRIES, Symmetries, antiparticle_tokens
from smartbkg_tf.encoding.feature_sets import FeatureSet
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import Vocabulary, default_vocabulary
from smartbkg_tf.settings.encoding import FEATURE_SETS
from tests.datasets import write_dataset
from tests.samples import make_events

NAMES = FEATURE_SETS["original"]
BOTH = tuple(SYMMETRIES)


def test_antiparticles_of_a_small_vocabulary() -> None:
    """Self-conjugate codes, codes without partner, padding, unknown and brackets stay."""
    vocabulary = Vocabulary([211, -211, 22, 321])
    before = vocabulary.tokens([211, -211, 22, 321]).tolist()
    table = antiparticle_tokens(vocabulary)
    assert table[before].tolist() == vocabulary.tokens([-211, 211, 22, 321]).tolist()
    rest = sorted(set(range(8)) - set(before))
    assert table[rest].tolist() == rest


def test_antiparticle_of_the_antiparticle() -> None:
    """The whole vocabulary: an involution that flips the sign of the code or keeps it."""
    vocabulary = default_vocabulary()
    table = antiparticle_tokens(vocabulary)
    assert np.array_equal(table[table], np.arange(len(table)))
    codes = [vocabulary.code_of(int(token)) for token in table]
    for token, code in enumerate(codes):
        mine = vocabulary.code_of(token)
        assert (code is None and mine is None) or (code is not None and abs(code) == abs(mine or 0))
    b_meson, anti = vocabulary.tokens([511, -511]).tolist()
    assert table[b_meson] == anti


def _event(codes: list[int], values: list[list[float]]) -> dict[str, np.ndarray]:
    tokens = default_vocabulary().tokens(codes).astype(np.int32)
    padded = np.append(tokens, 0)[np.newaxis]
    rows = np.array([*values, [0.0] * len(NAMES)], dtype=np.float32)[np.newaxis]
    return {
        "particle_input": rows,
        "pdg_input": padded,
        "mother_pdg_input": padded[:, ::-1].copy(),
        "mother_index_input": np.array([[-1, 0, -1]], dtype=np.int32),
        "decay_input": padded,
        "event_type_input": np.array([1], dtype=np.int32),
    }


def test_image_of_one_event() -> None:
    """By hand: a pion and a kaon."""
    values = [[1, 2, 3, 4, 5, 6, 7, 8, 1], [9, 8, 7, -6, 5, 4, -3, 2, -1]]
    arrays = _event([211, -321], values)
    images = Symmetries(BOTH, "original", NAMES).image(arrays, np.array([[True, True]]))
    expected = [
        [1, 2, 3, -4, 5, 6, -7, 8, -1],
        [9, 8, 7, 6, 5, 4, 3, 2, 1],
        [0] * 9,
    ]
    assert images["particle_input"][0].tolist() == expected
    assert not np.signbit(images["particle_input"][0, 2]).any()
    anti = default_vocabulary().tokens([-211, 321]).tolist()
    assert images["pdg_input"].tolist() == [[*anti, 0]]
    assert images["mother_pdg_input"].tolist() == [[0, *anti[::-1]]]
    assert images["decay_input"].tolist() == [[*anti, 0]]
    for name in ("mother_index_input", "event_type_input"):
        assert images[name] is arrays[name]
    assert arrays["particle_input"][0, 0].tolist() == values[0], "the original was changed"


def test_what_is_not_drawn_stays(dataset: Dataset) -> None:
    """Events without an image are the same in every bit; images differ where they should."""
    arrays = dataset.batch(np.arange(6), "combined", *dataset.lengths(None, None))
    which = np.array([[False, False], [True, False], [False, True]] * 2)
    symmetries = Symmetries(BOTH, "original", dataset.feature_names)
    images = symmetries.image(arrays, which)
    for name, array in arrays.items():
        assert np.array_equal(images[name][[0, 3]], array[[0, 3]]), name
        assert images[name].dtype == array.dtype
    mirrored = images["particle_input"][2, :, NAMES.index("py")]
    assert np.array_equal(mirrored, -arrays["particle_input"][2, :, NAMES.index("py")])
    assert np.array_equal(images["pdg_input"][2], arrays["pdg_input"][2])
    assert not np.array_equal(images["pdg_input"][1], arrays["pdg_input"][1])


@given(st.integers(0, 2**32 - 1))
def test_twice_is_the_event_itself(seed: int) -> None:
    """An image of an image is the event."""
    random = np.random.default_rng(seed)
    codes = random.choice(np.asarray(default_vocabulary().codes), 2)
    arrays = _event(codes.tolist(), random.normal(size=(2, 9)).tolist())
    symmetries = Symmetries(BOTH, "original", NAMES)
    which = symmetries.draw(1, random)
    twice = symmetries.image(symmetries.image(arrays, which), which)
    for name, array in arrays.items():
        assert np.array_equal(twice[name], array), name


class Unstated(FeatureSet):
    """Says nothing about symmetries."""

    names = ("py", "charge")
    units = ("GeV", "e")

    def compute(self, table: EventTable) -> np.ndarray:
        return np.stack([table.particles["py"], table.particles["charge"]], axis=1)


class Stated(Unstated):
    """States one."""

    symmetries = ("charge_conjugation",)


def test_a_feature_set_states_its_symmetries() -> None:
    arrays = {"particle_input": np.array([[[2.0, 1.0]]], np.float32)}
    features = "tests.dataset.test_symmetries.Stated"
    images = Symmetries(["charge_conjugation"], features, ["py", "charge"])
    image = images.image(arrays, np.array([[True]]))
    assert image["particle_input"].tolist() == [[[2.0, -1.0]]]


@pytest.mark.parametrize(
    ("chosen", "features", "message"),
    [
        (["parity"], "original", "no symmetry 'parity'"),
        (["mirror", "mirror"], "original", "named twice"),
        (["mirror"], "legacy", "features=legacy"),
        (["mirror"], "tests.dataset.test_symmetries.Unstated", "FeatureSet.symmetries"),
        (["mirror"], "tests.dataset.test_symmetries.Stated", "under mirror"),
    ],
)
def test_what_is_refused(chosen: list[str], features: str, message: str) -> None:
    """Each with its reason."""
    with pytest.raises(ConfigurationError, match=message):
        Symmetries(chosen, features, NAMES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Make a hundred random trees."""
    directory: Path = tmp_path_factory.mktemp("symmetries")
    return open_dataset(write_dataset(directory, make_events(100, seed=3)))


def _batches(dataset: Dataset, **options: object) -> list[dict[str, np.ndarray]]:
    stream = training_stream(
        dataset,
        np.arange(100),
        batch_size=16,
        inputs="combined",
        seed=4,
        symmetries=BOTH,
        **options,  # type: ignore[arg-type]
    )
    return [{name: x.numpy() for name, x in inputs.items()} for inputs, *_ in stream]


def test_stream_of_images(dataset: Dataset) -> None:
    """A function of (seed, epoch, batch): equal again, continued, and new in the next epoch."""
    first = _batches(dataset)
    counter = EpochCounter(parts=True)
    counter.first_batch = 3
    for other in (_batches(dataset), _batches(dataset, counter=counter)):
        for mine, again in zip(first[-len(other) :], other, strict=True):
            for name, array in mine.items():
                assert np.array_equal(array, again[name]), name
    charges = np.concatenate([batch["particle_input"][:, 0, -1] for batch in first])
    plain = dataset.batch(np.arange(100), "combined", *dataset.lengths(None, None))
    assert np.array_equal(
        np.sort(np.abs(charges)), np.sort(np.abs(plain["particle_input"][:, 0, -1]))
    )
    values = [np.concatenate([b["particle_input"][:, 1, 6] for b in batches]) for batches in
              (first, _batches(dataset, counter=EpochCounter(1)))]  # fmt: skip
    assert np.array_equal(*(np.sort(np.abs(v)) for v in values))
    assert not np.array_equal(*(np.sort(v) for v in values))
