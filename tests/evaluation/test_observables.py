"""Reading bias observables: formats, keys of four parts, and what is refused or counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uproot

from smartbkg_tf.errors import InputError
from smartbkg_tf.evaluation.observables import read_observables
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.filtering.predictions import Predictions, SkimPredictions


def make_predictions(n: int) -> Predictions:
    """Events of which the first one passes no skim."""
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.arange(n) // 5,
        "event": np.arange(n) % 5,  # the event number alone identifies nothing
        "production": np.full(n, 1),
    }
    label = np.ones(n, np.int8)
    label[0] = 0
    one = SkimPredictions(np.zeros(n, np.float32), np.ones(n), np.ones(n, bool), np.ones(n), label)
    return Predictions(keys, np.zeros(n, np.int8), {"one": one}, {})


def make_frame(n: int = 20) -> pd.DataFrame:
    keys: dict[str, Any] = make_predictions(n).keys
    return pd.DataFrame({**keys, "thrust": np.arange(float(n)), "event_type": "mixed"})


def test_joined_on_the_whole_key_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "observables.parquet"
    frame = make_frame().assign(comment="text", label_one=1, n_particles=3)
    frame["Mbc"] = pd.array([None, None, *range(18)], dtype="Int64")
    frame.drop(index=3).sample(frac=1, random_state=1).to_parquet(path)
    found = read_observables(str(path), make_predictions(20))
    assert list(found.values) == ["thrust", "Mbc"]
    # Only events that pass: all but the first one.
    assert found.rows.tolist() == list(range(1, 20))
    expected = np.arange(1.0, 20.0)
    expected[2] = np.nan
    np.testing.assert_array_equal(found.values["thrust"], expected)
    assert np.isnan(found.values["Mbc"][0])
    assert found.values["Mbc"][18] == 17
    assert found.found.sum() == 18
    assert found.notes == [
        "observables: 1 of 19 passing events have no row and are left out",
        "observables: without numbers and left out: comment",
    ]
    some = found.of(np.arange(20) >= 18)
    assert some.rows.tolist() == [18, 19]
    assert some.values["thrust"].tolist() == [18.0, 19.0]


def test_several_files_each_with_some_events(tmp_path: Path) -> None:
    frame = make_frame()
    frame.iloc[:8].to_parquet(tmp_path / "a.parquet")
    frame.iloc[8:].rename(columns={"thrust": "R2"}).to_parquet(tmp_path / "b.parquet")
    found = read_observables(str(tmp_path / "*.parquet"), make_predictions(20))
    np.testing.assert_array_equal(np.isfinite(found.values["thrust"]), np.arange(1, 20) < 8)
    np.testing.assert_array_equal(np.isfinite(found.values["R2"]), np.arange(1, 20) >= 8)
    frame.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"more than once \(or another file holds them"):
        read_observables(str(tmp_path / "*.parquet"), make_predictions(20))


@pytest.mark.parametrize("suffix", ["h5", "parquet"])
def test_training_tables_themselves(suffix: str, tmp_path: Path) -> None:
    n = 20
    table = EventTable(
        {},
        np.zeros(n + 1, np.int64),
        make_predictions(n).keys,
        np.zeros(n, np.int8),
        {"one": np.ones(n, np.int8)},
        {"thrust": np.arange(float(n)), "Mbc": np.full(n, np.nan)},
        np.array([" 511"] * n, dtype=object),
    )
    path = tmp_path / f"table.{suffix}"
    (write_hdf5 if suffix == "h5" else write_parquet)(path, table)
    found = read_observables(str(path), make_predictions(n))
    assert list(found.values) == ["thrust", "Mbc"]
    np.testing.assert_array_equal(found.values["thrust"], np.arange(1.0, 20.0))
    assert found.notes == []


def test_ntuple_of_basf2_with_candidates(tmp_path: Path) -> None:
    path = tmp_path / "ntuple.root"
    keys = {
        f"__{name}__": part.astype(np.int32) for name, part in make_predictions(20).keys.items()
    }
    rows = np.array([*range(20), 4, 4])  # one event has three candidates
    columns = {name: part[rows] for name, part in keys.items()}
    columns["__candidate__"] = np.array([*np.zeros(20), 1, 2], dtype=np.int32)
    columns["Mbc"] = np.arange(22.0)
    with uproot.recreate(path) as file:
        file.mktree("variables", {name: v.dtype for name, v in columns.items()}).extend(columns)
        file.mktree("other", {"x": "f8"}).extend({"x": np.zeros(3)})
    found = read_observables(str(path), make_predictions(20))
    np.testing.assert_array_equal(found.values["Mbc"], np.arange(1.0, 20.0))
    assert found.notes == [
        "observables: of events with several candidates the first one counts (2 further ones were "
        "left out)"
    ]
    with uproot.recreate(path) as file:
        file.mktree("other", {"x": "f8"}).extend({"x": np.zeros(3)})
    with pytest.raises(InputError, match="no trees with the event key; its trees are other"):
        read_observables(str(path), make_predictions(20))
    path.write_bytes(b"root, but damaged")
    with pytest.raises(InputError, match="probably damaged"):
        read_observables(str(path), make_predictions(20))


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.parquet"
    predictions = make_predictions(5)

    def refused(words: str, frame: pd.DataFrame | None = None) -> None:
        if frame is not None:
            frame.to_parquet(path)
        with pytest.raises(InputError, match=words):
            read_observables(str(path), predictions)

    whole = pd.DataFrame({**predictions.keys, "x": 1.0})
    refused("nothing matches")
    path.write_text("nothing")
    refused("not a complete parquet")
    path.write_bytes(b"PAR1 and nothing else")
    refused("not a complete parquet")
    refused("lacks the column production", whole.drop(columns="production"))
    refused("no column of numbers", whole.drop(columns="x"))
    refused("row 2 of x holds 1e\\+308", whole.assign(x=[1.0, np.nan, 1e308, 2.0, np.inf]))
    refused("4 events more than once", pd.concat([whole, whole]))
    refused("none of the predicted events", whole.assign(experiment=9))
    for column in ([0.5, 1, 2, 3, 4], [None, 1, 2, 3, 4]):
        refused("not a whole number", whole.assign(event=column))
    refused("lacks the column event", whole.assign(event="x"))
    legacy = tmp_path / "old.h5"
    pd.DataFrame({"a": [1]}).to_hdf(legacy, key="train_events")
    with pytest.raises(InputError, match="no key 'events'"):
        read_observables(str(legacy), predictions)
    with pytest.raises(InputError, match="is a folder"):
        read_observables(str(tmp_path), predictions)
