"""The ceiling: known distributions of probabilities are found again from few reruns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.fei_b0.ceiling import Mixture, auc_of_subsets, ceiling, fit_mixture
from benchmarks.fei_b0.reruns import passes
from smartbkg_tf.errors import InputError
from smartbkg_tf.generation.chunks import label_events
from smartbkg_tf.generation.pythia_source import PythiaSource, generate_events
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.costs import CostSettings
from smartbkg_tf.settings.generation import ProduceSettings


def draw(n: int, number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels, and passes of reruns."""
    random = np.random.default_rng(seed)
    p = np.where(random.random(n) < 0.8, 0.0, random.beta(0.7, 2.0, n))
    return p, (random.random(n) < p).astype(np.int8), random.random((n, number)) < p[:, None]


def test_auc_and_speedup_of_a_mixture_by_hand() -> None:
    mixture = Mixture(np.array([0.0, 0.5]), np.array([0.75, 0.25]))
    # A passing event has p = 0.5; a failing one p = 0 with 0.75 / 0.875, else a tie.
    assert mixture.auc() == pytest.approx((0.75 + 0.5 * 0.125) / 0.875)
    assert mixture.retention == 0.125
    # Keep all with p = 0.5 and 1/20 of the others.
    kept = 0.25 + 0.75 / 20
    assert mixture.speedup(CostSettings()) == pytest.approx(1.01 / (0.011 + kept))


def test_the_fit_finds_the_limit_that_reruns_only_approach() -> None:
    p, label, again = draw(100_000, 20, 1)
    limit = roc_auc_score(label, p)
    found = fit_mixture(again.sum(axis=1), 20)
    assert found.retention == pytest.approx(p.mean(), abs=0.002)
    assert found.auc() == pytest.approx(limit, abs=0.004)
    assert roc_auc_score(label, again.mean(axis=1)) < limit - 0.006
    assert found.auc_of_counts(20) == pytest.approx(
        roc_auc_score(label, again.mean(axis=1)), abs=0.004
    )


def test_subsets_are_averaged_exactly() -> None:
    _, label, again = draw(300, 6, 2)
    found = auc_of_subsets(again, label, 1)
    # Passing and failing events are different ones: their columns are independent.
    high, low = again[label == 1].mean(axis=1), again[label == 0].mean(axis=1)
    p, q = high[:, None], low[None, :]
    assert found == pytest.approx(np.mean(p * (1 - q) + 0.5 * (p * q + (1 - p) * (1 - q))))
    assert auc_of_subsets(again, label, 6) == pytest.approx(roc_auc_score(label, again.sum(axis=1)))


def test_a_file_of_reruns(tmp_path: Path) -> None:
    p, label, again = draw(20_000, 10, 3)
    keys = np.zeros((len(p), 4), dtype=np.int64)
    np.savez(tmp_path / "reruns.npz", keys=keys, label=label, passes=again)
    found = ceiling(tmp_path / "reruns.npz", number=3)
    assert found.auc.value == pytest.approx(roc_auc_score(label, p), abs=0.01)
    assert found.auc.error > 0
    assert [entry["number"] for entry in found.reruns] == [5, 10]
    with pytest.raises(InputError, match="do not exist"):
        ceiling(tmp_path / "missing.npz")


def test_the_random_numbers_of_the_production_give_its_labels() -> None:
    """Training tables hold all that the detector needs."""
    settings = compose_settings("produce", ProduceSettings, ["skim=fei_hadronic_b0"])
    source = settings.source
    assert isinstance(source, PythiaSource)
    events = generate_events("mixed", source, 400, 3, 0, Counter())
    written = label_events(
        events, source.beams, settings.detector, settings.skim, np.random.default_rng(7)
    )
    found = passes(written, settings, np.random.default_rng(7))
    assert np.array_equal(found, written.labels["fei_hadronic_b0"] == 1)
    assert found.any()
    other = passes(written, settings, np.random.default_rng(8))
    assert not np.array_equal(found, other)
