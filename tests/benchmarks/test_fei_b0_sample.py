"""The benchmark's events: exact numbers, the package's own split, no dependence on the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fei_b0.sample import FRACTIONS, SKIM, choose, write_sample
from smartbkg_tf.dataset.split import split_events
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.hdf5_writer import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from tests.samples import make_events

N = 20_000


def keys_of(n: int) -> dict[str, np.ndarray]:
    return {
        "experiment": np.full(n, 1003),
        "run": np.arange(n) // 2000 + 1,
        "event": np.arange(n) % 2000 + 1,
        "production": np.full(n, 10),
    }


def labels_of(n: int) -> np.ndarray:
    return (np.random.default_rng(2).random(n) < 0.1).astype(np.int8)


def test_numbers_are_exact_and_parts_are_those_of_the_split() -> None:
    keys, labels = keys_of(N), labels_of(N)
    chosen = choose(keys, labels, n_each=700, n_test=400)
    parts = split_events(keys, FRACTIONS)
    assert labels[chosen["train"]].sum() == 700
    assert len(chosen["train"]) == 1400
    assert len(chosen["test"]) == 400
    assert np.array_equal(chosen["validation"], parts["validation"])
    for part, positions in chosen.items():
        assert np.isin(positions, parts[part]).all()
        assert len(np.unique(positions)) == len(positions)
    # The natural mixture stays: the choice does not look at labels of test events.
    other = choose(keys, 1 - labels, n_each=700, n_test=400)
    assert np.array_equal(other["test"], chosen["test"])


def test_the_order_of_the_events_does_not_matter() -> None:
    keys, labels = keys_of(N), labels_of(N)
    order = np.random.default_rng(3).permutation(N)
    chosen = choose(keys, labels, n_each=700, n_test=400)
    again = choose({k: v[order] for k, v in keys.items()}, labels[order], n_each=700, n_test=400)
    for part, positions in chosen.items():
        assert np.array_equal(np.sort(order[again[part]]), positions)


@pytest.mark.parametrize(
    ("n_each", "n_test", "text"),
    [(10_000, 10, "passing training events"), (10, 10_000, "test events")],
)
def test_too_few_events_are_told(n_each: int, n_test: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        choose(keys_of(N), labels_of(N), n_each=n_each, n_test=n_test)


def test_double_keys_and_unknown_labels_are_refused() -> None:
    keys, labels = keys_of(50), labels_of(50)
    keys["event"][1] = keys["event"][0]
    with pytest.raises(InputError, match="share one key"):
        choose(keys, labels, n_each=1, n_test=1)
    labels[3] = -1
    with pytest.raises(InputError, match="1 events have no label"):
        choose(keys_of(50), labels, n_each=1, n_test=1)


def test_files_hold_the_chosen_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [make_events(300, seed=s, skims=(SKIM, "other")) for s in (1, 2)]
    paths = [tmp_path / f"{i}.h5" for i in range(2)]
    for path, table in zip(paths, tables, strict=True):
        write_hdf5(path, table)
    monkeypatch.setattr("benchmarks.fei_b0.sample.choose.__kwdefaults__", small(30, 5))
    counts = write_sample(paths, tmp_path / "sample")
    assert (counts["train"], counts["train_passing"], counts["test"]) == (60, 30, 5)
    events = {}
    for part in ("train", "validation", "test"):
        for _, table in iterate_events([tmp_path / "sample" / f"{part}.h5"]):
            assert list(table.labels) == [SKIM, "other"]
            for i in range(len(table)):
                key = (int(table.keys["run"][i]), int(table.keys["event"][i]))
                events[key] = table.take([i])
    assert len(events) == counts["train"] + counts["validation"] + counts["test"]
    for (run, event), found in events.items():
        original = tables[run - 1].take([event - 1])
        assert {k: v[0] for k, v in found.labels.items()} == {
            k: v[0] for k, v in original.labels.items()
        }
        assert np.array_equal(found.particles["PDG"], original.particles["PDG"])


def small(n_each: int, n_test: int) -> dict[str, object]:
    return {"n_each": n_each, "n_test": n_test, "fractions": FRACTIONS}
