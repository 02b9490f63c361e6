"""The predictions file: layout, round trip, whole or not at all, foreign files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smartbkg_tf.filtering.predictions import PredictionsWriter, read_predictions
from smartbkg_tf.filtering.rules import decide
from smartbkg_tf.settings.errors import InputError, OutputError

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
    decisions = [decide(random.uniform(0.05, 1, n), random.random(n)) for _ in SKIMS]
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


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(InputError, match="do not exist"):
        read_predictions(path)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="no whole parquet"):
        read_predictions(path)
    with PredictionsWriter(path, SKIMS) as writer:
        writer.write(*make_chunk(500))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="no whole parquet"):
        read_predictions(path)
    pd.DataFrame({"evnt": [1], "score_x": [0.0]}).to_parquet(path)
    with pytest.raises(InputError, match="lacks the column experiment, run, event"):
        read_predictions(path)
    pd.DataFrame({name: [1] for name in ("experiment", "run", "event", "production")}).to_parquet(
        path
    )
    with pytest.raises(InputError, match="score_<skim>"):
        read_predictions(path)
