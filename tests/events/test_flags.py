from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.flags import PassingEvents
from smartbkg_tf.events.passing_keys import read_passing_keys
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable
from tests.mdst_twin import write_mdst_twin
from tests.samples import make_events

KEYS = np.array([[7, 1, 100, 3], [7, 2, 100, 3], [8, 1, -5, 2**40]], dtype=np.int64)


def structured(names: tuple[str, ...] = KEY_COLUMNS) -> np.ndarray:
    array = np.zeros(len(KEYS), dtype=[(name, np.int64) for name in names])
    for i, name in enumerate(names):
        array[name] = KEYS[:, i]
    return array


def test_npy(tmp_path: Path) -> None:
    for i, array in enumerate(
        (KEYS, KEYS.astype(np.float64), structured(), structured(("exp", "run", "evtNum", "prod")))
    ):
        np.save(tmp_path / f"{i}.npy", array)
        found = read_passing_keys(tmp_path / f"{i}.npy")
        assert found.dtype == np.int64
        assert found.tolist() == KEYS.tolist()


def test_csv_and_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(structured()).iloc[:, ::-1].assign(comment="x", score=0.5)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_passing_keys(tmp_path / "a.csv").tolist() == KEYS.tolist()
    assert read_passing_keys(tmp_path / "a.parquet").tolist() == KEYS.tolist()
    text = "# passed\n exp, run, evt, prod\n7, 1, 100, 3\n"
    (tmp_path / "b.csv").write_text(text)
    assert read_passing_keys(tmp_path / "b.csv").tolist() == KEYS[:1].tolist()


def test_skim_file_of_basf2(tmp_path: Path) -> None:
    keys = {name: np.abs(KEYS[:, i]) % 2**30 for i, name in enumerate(KEY_COLUMNS)}
    # A skim file need not hold MCParticles.
    write_mdst_twin(tmp_path / "a.root", 3, keys=keys, without=("MCParticles",))
    expected = np.stack([keys[name] for name in KEY_COLUMNS], axis=1)
    assert read_passing_keys(tmp_path / "a.root").tolist() == expected.tolist()


def test_nothing_passed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 4)))
    np.save(tmp_path / "b.npy", np.zeros(0))
    (tmp_path / "c.csv").write_text("experiment,run,event,production\n")
    pd.DataFrame(structured()[:0]).to_parquet(tmp_path / "d.parquet")
    for name in ("a.npy", "b.npy", "c.csv", "d.parquet"):
        assert read_passing_keys(tmp_path / name).shape == (0, 4)


def test_bare_event_numbers_need_the_rest_of_the_key(tmp_path: Path) -> None:
    # Known trap 3.
    np.save(tmp_path / "a.npy", np.array([5, 9]))
    with pytest.raises(InputError, match="2 bare event numbers: they do not say of which run"):
        read_passing_keys(tmp_path / "a.npy")
    fill = {"experiment": 0, "run": 4, "production": 1}
    assert read_passing_keys(tmp_path / "a.npy", fill=fill).tolist() == [[0, 4, 5, 1], [0, 4, 9, 1]]
    (tmp_path / "a.csv").write_text("event,run\n5,8\n")
    with pytest.raises(InputError, match="lacks experiment, production of the event key"):
        read_passing_keys(tmp_path / "a.csv")
    # What the file says wins.
    assert read_passing_keys(tmp_path / "a.csv", fill=fill).tolist() == [[0, 8, 5, 1]]
    with pytest.raises(InputError, match="no part 'runs'; did you mean 'run'"):
        read_passing_keys(tmp_path / "a.csv", fill={"runs": 1})


def test_broken_lists(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([tmp_path]), allow_pickle=True)
    np.save(tmp_path / "shape.npy", np.zeros((3, 3)))
    np.save(tmp_path / "broken.npy", np.full((2, 4), 1.5))
    np.save(tmp_path / "nan.npy", np.full((2, 4), np.nan))
    np.save(tmp_path / "text.npy", np.array([["a"] * 4]))
    data = (tmp_path / "shape.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-8])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "words.csv").write_text("experiment,run,event,production\n1,2,three,4\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2,3\n4,5,6,7\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(160, 256)))
    pd.DataFrame({"n": [1]}).to_parquet(tmp_path / "other.parquet")
    pd.DataFrame(structured()).astype("Int64").mask(KEYS == 100).to_parquet(
        tmp_path / "holes.parquet"
    )
    parquet = (tmp_path / "holes.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(parquet[:-50])
    (tmp_path / "table.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    write_mdst_twin(tmp_path / "whole.root", 9)
    root = (tmp_path / "whole.root").read_bytes()
    (tmp_path / "cut.root").write_bytes(root[: len(root) // 2])
    for name, message in {
        "pickled.npy": "holds pickled objects",
        "shape.npy": r"shape \(3, 3\)",
        "broken.npy": "row 0 holds 1.5",
        "nan.npy": "row 0 holds nan",
        "text.npy": "holds no numbers",
        "cut.npy": "damaged NumPy file",
        "empty.csv": "is empty",
        "words.csv": "holds no numbers",
        "ragged.csv": "is not a CSV table",
        "binary.csv": "is not a CSV table",
        "other.parquet": "no column of the event key",
        "holes.parquet": "2 entries are missing",
        "cut.parquet": "is not a Parquet table, or damaged",
        "table.h5": "is not a list of passing events",
        "cut.root": "truncated or damaged",
        "missing.npy": "does not exist",
        ".": "is a folder",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            read_passing_keys(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def with_keys(keys: list[tuple[int, ...]]) -> EventTable:
    table = make_events(len(keys), skims=())
    columns = np.array(keys, dtype=np.int64).reshape(-1, 4)
    return EventTable(
        table.particles,
        table.offsets,
        {name: columns[:, i] for i, name in enumerate(KEY_COLUMNS)},
        table.event_type,
        {"old": np.ones(len(keys), dtype=np.int8)},
    )


key = st.tuples(*[st.sampled_from([-(2**63), -1, 0, 1, 2, 2**63 - 1])] * 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(key, max_size=6), st.lists(key, max_size=15))
def test_labels_equal_those_of_a_set(
    events: list[tuple[int, ...]], listed: list[tuple[int, ...]]
) -> None:
    table = with_keys(events)
    passing = np.array(listed, dtype=np.int64).reshape(-1, 4)
    assert PassingEvents(passing).passed(table.keys).tolist() == [k in set(listed) for k in events]
    assert not PassingEvents(np.zeros((0, 4), np.int64)).passed(table.keys).any()


def test_every_part_of_the_key_counts() -> None:
    base = (7, 1, 100, 3)
    neighbours = [
        base,
        (8, 1, 100, 3),
        (7, 2, 100, 3),
        (7, 1, 101, 3),
        (7, 1, 100, 4),
        (1, 7, 100, 3),
    ]
    found = PassingEvents([base]).passed(with_keys(neighbours).keys)
    assert found.tolist() == [True, False, False, False, False, False]


def test_report_over_pieces() -> None:
    listed = PassingEvents([(0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 3, 0), (9, 9, 9, 9), (5, 0, 0, 0)])
    first = listed.passed(with_keys([(0, 0, 1, 0), (0, 0, 2, 0)]).keys)
    second = listed.passed(with_keys([(0, 0, 3, 0), (0, 0, 3, 0), (0, 0, 4, 0)]).keys)
    assert first.tolist() == [True, False]
    assert second.tolist() == [True, True, False]
    assert (listed.n_keys, listed.n_repeated, listed.n_passing) == (4, 1, 3)
    assert listed.not_met().tolist() == [[5, 0, 0, 0], [9, 9, 9, 9]]
    assert listed.text("skim") == (
        "skim: 3 of 5 events pass (60.00 %); 1 keys occur more than once in the list; 1 keys "
        "match more than one event; 2 of 4 keys match no event, such as (5, 0, 0, 0)"
    )
    other = PassingEvents([])
    other.passed(with_keys([(0, 0, 1, 0)] * 5).keys)
    assert other.text("b") == "b: 0 of 5 events pass (0.00 %)"


def test_a_million_keys_take_seconds_at_most() -> None:
    import time

    random = np.random.default_rng(0)
    keys = random.integers(0, 1000, (1_000_000, 4))
    table = make_events(1, skims=())
    n = 200_000
    big = EventTable(
        {}, np.zeros(n + 1, np.int64), {k: keys[:n, i] for i, k in enumerate(KEY_COLUMNS)},
        np.zeros(n, np.int8),
    )  # fmt: skip
    assert len(table) == 1
    start = time.perf_counter()
    found = PassingEvents(keys[::2]).passed(big.keys)
    assert time.perf_counter() - start < 20
    assert found[::2].all()
    assert found[1::2].mean() < 0.001
