"""Counts of scores: nothing is lost, resamples repeat, and what cannot be counted is refused."""

from __future__ import annotations

import numpy as np
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.score_counts import ScoreCounts


def test_every_distinct_score_of_a_small_sample_has_its_bin() -> None:
    counts = ScoreCounts.of([2.0, -1.0, 2.0, 0.5, 9.0], [1, 0, 0, 1, -1], [0, 6, -1, 0, 0])
    assert counts.lowest.tolist() == counts.score.tolist() == [-1.0, 0.5, 2.0]
    assert counts.passing.tolist() == [0, 1, 1]
    assert counts.failing.tolist() == [1, 0, 1]
    assert counts.counts.shape == (1, 8, 2, 3)
    assert counts.of_type(0).passing.tolist() == [0, 1, 1]
    assert counts.of_type(6).failing.tolist() == [1, 0, 0]
    assert counts.of_type(7).failing.tolist() == [0, 0, 1]  # an unknown type
    failing, passing = counts.above()
    assert failing.tolist() == [2, 1, 1]
    assert passing.tolist() == [2, 2, 1]


def test_halves_share_their_bins_and_the_means_of_other_values() -> None:
    scores, half = [0.0, 1.0, 1.0, 2.0], np.array([False, True, False, True])
    counts = ScoreCounts.of(scores, [0, 1, 1, 0], [0, 1, 0, 1], half)
    assert counts.counts.shape == (2, 8, 2, 3)
    assert counts.of_half(0).passing.tolist() == counts.of_half(1).passing.tolist() == [0, 1, 0]
    assert counts.of_half(1).of_type(1).failing.tolist() == [0, 0, 1]
    assert counts.everything.tolist() == [1, 2, 1]
    assert counts.mean([1.0, 1.5, 2.0], [3.0, 5.0, 7.0]).tolist() == [0, 4, 7]


def test_another_retention_keeps_the_passing_events_and_all_shapes() -> None:
    counts = ScoreCounts.of(np.arange(10.0), [0, 0, 0, 0, 0, 0, 1, 0, 1, 0])
    changed = counts.with_retention(0.5)
    assert changed.n_failing == pytest.approx(2)
    np.testing.assert_array_equal(changed.passing, counts.passing)
    np.testing.assert_allclose(changed.failing / 2, counts.failing / 8)


def test_many_events_fill_bins_of_equal_content_for_each_class() -> None:
    random = np.random.default_rng(0)
    labels = (np.arange(300_000) % 10 == 0).astype(np.int8)
    scores = (random.normal(size=300_000) + 2 * labels).astype(np.float32)
    counts = ScoreCounts.of(scores, labels)
    assert 4000 < len(counts.score) <= 8000
    assert counts.passing.sum() == 30_000
    assert counts.failing.sum() == 270_000
    assert counts.passing.max() <= 10  # 7.5, and equal scores
    assert counts.failing.max() <= 72
    assert np.all(np.diff(counts.score) > 0)
    assert np.all(counts.lowest <= counts.score.astype(np.float32))
    # What a threshold at any bin keeps is exact.
    for place in (0, 1000, 5000, len(counts.lowest) - 1):
        kept = scores >= counts.lowest[place]
        failing, passing = counts.above()
        assert passing[place] == kept[labels == 1].sum()
        assert failing[place] == kept[labels == 0].sum()


def test_resamples_keep_both_classes_and_repeat() -> None:
    counts = ScoreCounts.of(np.arange(5.0), [1, 0, 0, 0, 0])
    first, again, other = (list(counts.resamples(200, seed)) for seed in (1, 1, 2))
    for sample, same in zip(first, again, strict=True):
        assert sample.both_classes
        np.testing.assert_array_equal(sample.counts, same.counts)
    assert any(np.any(a.counts != b.counts) for a, b in zip(first, other, strict=True))


def test_resamples_fluctuate_like_independent_events() -> None:
    counts = ScoreCounts.of(np.repeat(np.arange(50.0), 40), np.tile([0, 0, 0, 1], 500))
    drawn = np.array([sample.counts[0, 0] for sample in counts.resamples(2000, 0)])
    expected = counts.counts[0, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=5 * np.sqrt(30 / 2000))
    np.testing.assert_allclose(drawn.var(axis=0) / expected, 1.0, atol=0.25)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [-1, -1], "no event has a known label"),
        ([], [], "no event has a known label"),
        ([1.0, np.inf], [0, 1], "1 of 2 scores are not finite"),
    ],
)
def test_what_cannot_be_counted(scores: list[float], labels: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ScoreCounts.of(scores, labels)
    with pytest.raises(ValueError, match="differ in length"):
        ScoreCounts.of([*scores, 0.0], labels)


@pytest.mark.parametrize(("label", "words"), [(0, "all 2 events fail"), (1, "all 2 events pass")])
def test_one_class_can_be_counted_but_not_separated(label: int, words: str) -> None:
    counts = ScoreCounts.of([1.0, 2.0], [label, label])
    assert not counts.both_classes
    with pytest.raises(InputError, match=words):
        counts.require_both_classes()
