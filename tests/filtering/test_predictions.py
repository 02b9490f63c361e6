"""The predictions file: layout, round trip, whole or not at all, foreign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uproot

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.filtering.predictions import PredictionsWriter, read_predictions
from smartbkg_tf.filtering.rules import decide, random_numbers

SKIMS = ("one", "two")


def make_chunk(n: int, seed: int = 0) -> tuple[Any, Any, Any, Any, Any]:
    random = np.random.default_rng(seed)
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.full(n, seed),
        "event": np.arange(n) + 2**40,
        "production": np.full(n, 7),
    }
    event_type = random.integers(-1, 7, n).astype(np.int8)
    scores = random.normal(size=(n, 2)).astype(np.float32)
    uniform = random.random(n)
    decisions = [decide(random.uniform(0.05, 1, n), uniform) for _ in SKIMS]
    labels = {"one": random.integers(-1, 2, n).astype(np.int8), "other": np.zeros(n, np.int8)}
    return keys, event_type, scores, decisions, labels


def test_round_trip_over_chunks(tmp_path: Path) -> None:
    path = tmp_path / "new" / "predictions.parquet"
    chunks = [make_chunk(n, seed) for seed, n in enumerate((5, 0, 100))]
    with PredictionsWriter(path, SKIMS, {"method": "sampling", "seed": 3}) as writer:
        for chunk in chunks:
            writer.write(*chunk)
        assert not path.exists()
    assert writer.rows == 105
    found = read_predictions(path)
    assert len(found) == 105
    assert found.information == {"skims": ["one", "two"], "method": "sampling", "seed": 3}
    for name in ("experiment", "run", "event", "production"):
        np.testing.assert_array_equal(
            found.keys[name], np.concatenate([c[0][name] for c in chunks])
        )
    np.testing.assert_array_equal(found.event_type, np.concatenate([c[1] for c in chunks]))
    assert list(found.skims) == ["one", "two"]
    for i, skim in enumerate(found.skims.values()):
        np.testing.assert_array_equal(skim.score, np.concatenate([c[2][:, i] for c in chunks]))
        for part in ("probability", "kept", "weight"):
            expected = np.concatenate([getattr(c[3][i], part) for c in chunks])
            np.testing.assert_array_equal(getattr(skim, part), expected)
    labels = np.concatenate([c[4]["one"] for c in chunks])
    np.testing.assert_array_equal(found.skims["one"].label, labels)
    assert np.all(found.skims["two"].label == -1)


def test_a_tree_holds_what_the_parquet_file_holds(tmp_path: Path) -> None:
    chunks = [make_chunk(n, seed) for seed, n in enumerate((5, 0, 100))]
    for suffix in ("parquet", "root"):
        with PredictionsWriter(tmp_path / f"p.{suffix}", SKIMS, {"seed": 3}) as writer:
            for chunk in chunks:
                writer.write(*chunk)
    a, b = (read_predictions(tmp_path / f"p.{suffix}") for suffix in ("parquet", "root"))
    assert a.information == b.information == {"skims": ["one", "two"], "seed": 3}
    for name in a.keys:
        np.testing.assert_array_equal(a.keys[name], b.keys[name])
    np.testing.assert_array_equal(a.event_type, b.event_type)
    for skim in SKIMS:
        for part in ("score", "probability", "kept", "weight", "label"):
            mine, other = (getattr(table.skims[skim], part) for table in (a, b))
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)
    # As others read it, by names alone.
    with uproot.open(tmp_path / "p.root") as file:
        assert file["predictions"].classname == "TTree"
        frame = pd.read_parquet(tmp_path / "p.parquet")
        assert file["predictions"].keys() == list(frame.columns)
        arrays = file["predictions"].arrays(["event", "event_type", "kept", "weight_two"])
    assert arrays["event_type"].tolist() == frame["event_type"].tolist()
    assert arrays["event"].tolist() == frame["event"].tolist()
    assert arrays["kept"].tolist() == frame["kept"].tolist()
    assert arrays["weight_two"].tolist() == frame["weight_two"].tolist()


def test_broken_trees(tmp_path: Path) -> None:
    path = tmp_path / "p.root"
    with PredictionsWriter(path, SKIMS) as writer:
        writer.write(*make_chunk(500))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"p\.root: is not a complete ROOT file"):
        read_predictions(path)
    with uproot.recreate(path) as file:
        file.mktree("other", {"event": np.int64}).extend({"event": np.arange(3)})
    with pytest.raises(InputError, match=r"has no TTree 'predictions' \(it holds other"):
        read_predictions(path)
    with uproot.recreate(path) as file:
        file.mktree("predictions", {"event": np.int64}).extend({"event": np.arange(3)})
    with pytest.raises(InputError, match="lacks the column score_<skim>"):
        read_predictions(path)
    with pytest.raises(RuntimeError, match="stop"), PredictionsWriter(path, SKIMS) as writer:
        writer.write(*make_chunk(5))
        raise RuntimeError("stop")
    assert [file.name for file in tmp_path.iterdir()] == ["p.root"]


def test_layout_is_that_of_the_design(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    chunk = make_chunk(50)
    with PredictionsWriter(path, ["one"]) as writer:
        writer.write(chunk[0], chunk[1], chunk[2][:, :1], chunk[3][:1], chunk[4])
    frame = pd.read_parquet(path)
    assert list(frame.columns) == [
        "experiment",
        "run",
        "event",
        "production",
        "event_type",
        "kept",
        "weight",
        "score_one",
        "probability_one",
        "kept_one",
        "weight_one",
        "label_one",
    ]
    assert set(frame["event_type"]) <= {
        "mixed", "charged", "uubar", "ddbar", "ssbar", "ccbar", "taupair", "unknown"
    }  # fmt: skip
    # Unknown is missing, not a number that enters a mean.
    known = chunk[4]["one"] >= 0
    assert frame["label_one"].notna().tolist() == known.tolist()
    assert frame["label_one"].mean() == pytest.approx(chunk[4]["one"][known].mean())
    assert frame["kept_one"].dtype == bool


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(RuntimeError, match="stop"), PredictionsWriter(path, SKIMS) as writer:
        writer.write(*make_chunk(5))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        PredictionsWriter(tmp_path / "file" / "p.parquet", SKIMS).__enter__()


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")  # a device that is always full
    if not full.exists():
        pytest.skip("needs /dev/full")
    writer = PredictionsWriter(tmp_path / "p.parquet", SKIMS)
    with pytest.raises(OutputError, match="the disk is full"), writer:
        import pyarrow.parquet as pq

        # The writer's own file, moved onto the full device.
        writer._stack.enter_context(pq.ParquetWriter(full, writer._schema)).write_table(
            writer._schema.empty_table()
        )
    assert list(tmp_path.iterdir()) == []


def test_foreign_file_with_scores_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    keys = {name: [1, 2] for name in ("experiment", "run", "event", "production")}
    pd.DataFrame({**keys, "score_x": [0.5, -0.5], "event_type": ["mixed", None]}).to_parquet(path)
    found = read_predictions(path)
    assert found.event_type.tolist() == [0, -1]
    assert found.skims["x"].kept.all()
    assert found.skims["x"].weight.tolist() == [1.0, 1.0]
    assert found.skims["x"].label.tolist() == [-1, -1]


def test_tables_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("event,score,label\n1,-2.5,0\n2,1.5,1\n3,0,\n")
    found = read_predictions(path, unnamed_skim="mine")
    assert found.skims["mine"].score.tolist() == [-2.5, 1.5, 0.0]
    assert found.skims["mine"].label.tolist() == [0, 1, -1]
    assert found.keys["event"].tolist() == [1, 2, 3]
    assert found.keys["production"].tolist() == [0, 0, 0]
    assert found.notes == ["its table has no experiment, run, production: taken as 0"]
    frame = pd.DataFrame({"__experiment__": [1], "__run__": 2, "__event__": 3, "production": 4})
    frame.assign(score_x=0.5, label_x=True).to_parquet(tmp_path / "other.parquet")
    found = read_predictions(tmp_path / "other.parquet")
    assert [int(found.keys[name][0]) for name in found.keys] == [1, 2, 3, 4]
    assert found.skims["x"].label.tolist() == [1]
    assert found.notes == []
    path.write_text("event,score\n1,2,3\n")
    with pytest.raises(InputError, match="not a complete csv table"):
        read_predictions(path)
    path.write_text("event,score\n1,2\n1,3\n")
    with pytest.raises(InputError, match="1 of 2 events have the key of another one"):
        read_predictions(path)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(InputError, match="do not exist"):
        read_predictions(path)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="not a complete parquet"):
        read_predictions(path)
    with PredictionsWriter(path, SKIMS) as writer:
        writer.write(*make_chunk(500))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a complete parquet"):
        read_predictions(path)
    pd.DataFrame({"evnt": [1], "score_x": [0.0]}).to_parquet(path)
    with pytest.raises(InputError, match="lacks the column event"):
        read_predictions(path)
    pd.DataFrame({name: [1] for name in ("experiment", "run", "event", "production")}).to_parquet(
        path
    )
    with pytest.raises(InputError, match="score_<skim>"):
        read_predictions(path)


def foreign(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values()))) if columns else 2
    keys = {name: np.arange(n) for name in ("experiment", "run", "event", "production")}
    return pd.DataFrame({**keys, "score_x": np.linspace(-1, 1, n), **columns})


DECISION = {"probability_x": [0.5, 1.0], "kept_x": [True, True], "weight_x": [2.0, 1.0]}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"probability_x": [0.5, 2.0]}, r"probability_x is 2 .* row 1 .* in \[0, 1\]"),
        ({"probability_x": [0.5, np.nan]}, r"probability_x is (null|nan) .* in \[0, 1\]"),
        ({"probability_x": ["a", "b"]}, "probability_x holds (large_)?string"),
        ({"score_x": ["a", "b"]}, "score_x holds (large_)?string, expected numbers"),
        ({"score_x": [True, False]}, "score_x holds bool"),
        ({"score_x": [1.0, None]}, "score_x is (null|nan) .* row 1 .* finite"),
        ({"score_x": [1.0, np.inf]}, "score_x is inf .* row 1 .* finite"),
        ({"label_x": [7, 0]}, "label_x is 7 .* row 0 .* 0, 1 or empty"),
        ({"label_x": ["pass", "fail"]}, "label_x holds (large_)?string"),
        ({"label_x": [0.5, 1.0]}, r"label_x is 0\.5"),
        ({"kept_x": [2, 0]}, "kept_x holds int64"),
        ({"weight_x": [-1.0, 1.0]}, "weight_x is -1"),
        ({"weight_x": [2.0, 7.0]}, r"weight_x is 7 .* row 1 .* 1 / probability_x"),
        ({"kept_x": [True, False]}, r"weight_x is 1 .* row 1"),
        ({"event": [0.5, 1.0]}, "event holds double, expected whole numbers"),
        ({"event": ["1", "2"]}, r"event holds (large_)?string"),
        ({"run": pd.array([1, None], dtype="Int64")}, "run is null .* row 1"),
        ({"event_type": [1, 2]}, "event_type holds int64, expected text"),
    ],
)
def test_a_column_that_is_not_what_it_says(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    path = tmp_path / "p.parquet"
    foreign(**{**DECISION, **columns}).to_parquet(path)
    with pytest.raises(InputError, match=words) as error:
        read_predictions(path)
    assert str(path) in str(error.value)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    foreign(label_x=[7, 0], event=["1", "2"]).to_parquet(path)
    with pytest.raises(InputError, match=r"(?s)event holds (large_)?string.*label_x is 7"):
        read_predictions(path)


def test_an_event_stands_in_a_table_once(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    frame = foreign(label_x=[0, 1, 1, 0])
    frame.loc[3, ["experiment", "run", "event", "production"]] = 1
    frame.to_parquet(path)
    with pytest.raises(
        InputError, match=r"1 of 4 events .* experiment 1, run 1, event 1, production 1"
    ):
        read_predictions(path)


def test_half_a_decision_is_none(tmp_path: Path) -> None:
    # A weight alone would be evaluated as if every event had been simulated.
    path = tmp_path / "p.parquet"
    foreign(weight_x=[2.0, 1.0]).to_parquet(path)
    with pytest.raises(InputError, match="has weight_x without probability_x, kept_x"):
        read_predictions(path)


@pytest.mark.parametrize("labels", [[0, 1], [0.0, np.nan], [False, True], [-1, 1]])
def test_labels_of_other_programs(tmp_path: Path, labels: list[Any]) -> None:
    path = tmp_path / "p.parquet"
    foreign(label_x=labels).to_parquet(path)
    expected = [-1 if pd.isna(label) else int(label) for label in labels]
    assert read_predictions(path).skims["x"].label.tolist() == expected


def test_damaged_information(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "p.parquet"
    for text in (b"{", b"[1]", b"\xff"):
        table = pa.Table.from_pandas(foreign()).replace_schema_metadata({b"smartbkg_tf": text})
        pq.write_table(table, path)
        with pytest.raises(InputError, match="how the predictions were made"):
            read_predictions(path)


def test_combined_weight_is_unbiased_for_every_skim(tmp_path: Path) -> None:
    """Events kept for any skim, with one random number: p = max p_s, weight 1 / p."""
    n = 4000
    random = np.random.default_rng(5)
    p = random.uniform(0.05, 1, (n, 2))
    # Passing events of either skim, and an observable that follows both probabilities.
    passing = random.random((n, 2)) < p
    observable = p.sum(axis=1)
    keys = {name: np.arange(n) for name in ("experiment", "run", "event", "production")}
    sums, kept = [], []
    for seed in range(60):
        uniform = random_numbers(keys, seed)
        decisions = [decide(p[:, i], uniform) for i in range(2)]
        path = tmp_path / f"{seed}.parquet"
        with PredictionsWriter(path, SKIMS) as writer:
            writer.write(
                keys,
                np.zeros(n, np.int8),
                np.zeros((n, 2), np.float32),
                decisions,
            )
        frame = pd.read_parquet(path, columns=["kept", "weight", *(f"kept_{s}" for s in SKIMS)])
        assert (frame["kept"] == frame[[f"kept_{s}" for s in SKIMS]].any(axis=1)).all()
        assert (frame["weight"][~frame["kept"]] == 0).all()
        w = frame["weight"].to_numpy()
        kept.append(frame["kept"].sum())
        sums.append([w @ passing[:, 0], w @ passing[:, 1], w @ observable, w.sum()])
    largest = p.max(axis=1)
    truth = [passing[:, 0].sum(), passing[:, 1].sum(), observable.sum(), n]
    for i, value in enumerate((passing[:, 0], passing[:, 1], observable, np.ones(n))):
        error = np.sqrt(np.sum((1 - largest) / largest * value**2) / len(sums))
        assert abs(np.mean(sums, axis=0)[i] - truth[i]) < 4 * error
        # Narrow enough to see a wrong probability: independent numbers would keep more.
        independent = 1 - (1 - p).prod(axis=1)
        assert abs(np.sum(largest / independent * value) - truth[i]) > 20 * error
    assert abs(np.mean(kept) - largest.sum()) < 4 * np.sqrt(np.sum(largest * (1 - largest)) / 60)
