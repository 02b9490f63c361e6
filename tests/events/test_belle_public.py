"""The public Belle data set: small files of both layouts, against the events they were made of."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import InputError
from smartbkg_tf.events.belle_public import FEATURE_NAMES, public_codes
from smartbkg_tf.events.charges import charges
from smartbkg_tf.events.decay_strings import build_decay_strings
from smartbkg_tf.events.readers import count_events, find_reader, iterate_events
from smartbkg_tf.events.table import EventTable, concatenate
from tests.datasets import preprocess_settings
from tests.samples import make_events

LENGTH = 100


def arrays_of(table: EventTable, codes: bool = False) -> dict[str, np.ndarray]:
    """Pad events as the published file does: 0, and -1 for mothers."""
    n = len(table)
    place = {int(code): i for i, code in enumerate(public_codes())}
    features = np.zeros((n, LENGTH, 8), dtype=np.float32)
    pdg = np.zeros((n, LENGTH), dtype=np.int32)
    mother = np.full((n, LENGTH), -1, dtype=np.int32)
    for i in range(n):
        rows = slice(table.offsets[i], table.offsets[i + 1])
        size = min(table.offsets[i + 1] - table.offsets[i], LENGTH)
        for k, name in enumerate(FEATURE_NAMES):
            features[i, :size, k] = table.particles[name][rows][:size]
        values = table.particles["PDG"][rows][:size].tolist()
        pdg[i, :size] = values if codes else [place[v] for v in values]
        mother[i, :size] = table.particles["motherIndex"][rows][:size]
    label = next(iter(table.labels.values())).astype(np.int64)
    return {"features": features, "pdg": pdg, "mother": mother, "label": label}


def write_blocks(path: Path, *tables: EventTable, **options: Any) -> Path:
    arrays: dict[str, np.ndarray] = {"feature_names": np.array(FEATURE_NAMES)}
    for i, table in enumerate(tables):
        a = arrays_of(table, options.pop("codes", False))
        arrays |= {f"x_feature_{i}": a["features"], f"x_pdg_{i}": a["pdg"]}
        arrays |= {f"x_adjacency_{i}": a["mother"], f"y_{i}": a["label"]}
    np.savez(path, **{**arrays, **options})
    return path


def write_single(path: Path, train: EventTable, test: EventTable) -> Path:
    arrays = {}
    for part, table in (("train", train), ("test", test)):
        a = arrays_of(table)
        wide = np.concatenate([a["features"], a["pdg"][:, :, None].astype(np.float32)], axis=2)
        arrays |= {f"X_{part}_0": wide, f"X_{part}_1": a["mother"].astype(np.float32)}
        arrays[f"y_{part}"] = a["label"]
    np.savez_compressed(path, **arrays)
    return path


def read(path: Path, **options: Any) -> EventTable:
    return concatenate([table for _, table in iterate_events([path], **options)])


def assert_same_events(found: EventTable, made: EventTable) -> None:
    np.testing.assert_array_equal(found.offsets, made.offsets)
    for name in ("PDG", "motherIndex", "motherPDG", "nDaughters"):
        np.testing.assert_array_equal(found.particles[name], made.particles[name], err_msg=name)
    for name in FEATURE_NAMES:
        expected = made.particles[name].astype(np.float32).astype(np.float64)
        np.testing.assert_array_equal(found.particles[name], expected, err_msg=name)
    np.testing.assert_array_equal(found.particles["charge"], charges(made.particles["PDG"])[0])
    np.testing.assert_allclose(found.particles["mass"], made.particles["mass"], atol=2e-3)
    np.testing.assert_array_equal(found.labels["label"], next(iter(made.labels.values())))
    assert set(found.event_type.tolist()) == {0}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_blocks(tmp_path: Path, chunk: int) -> None:
    tables = [make_events(n, seed=n) for n in (15, 8)]
    path = write_blocks(tmp_path / "belle.npz", *tables)
    assert type(find_reader(path)).__name__ == "BellePublicReader"
    assert count_events(path) == 23
    found = read(path, chunk_events=chunk)
    assert_same_events(found, concatenate(tables))
    assert found.keys["run"].tolist() == [0] * 15 + [1] * 8
    assert found.keys["event"].tolist() == [*range(15), *range(8)]
    assert set(found.keys["experiment"].tolist()) == {-1}
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == build_decay_strings(found).tolist()


def test_single_file_of_pd4ml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = make_events(12, seed=1), make_events(5, seed=2)
    path = write_single(tmp_path / "6_belle_selective_400k.npz", train, test)
    found = read(path, chunk_events=4)
    assert_same_events(found, concatenate([train, test]))
    assert found.keys["run"].tolist() == [0] * 12 + [1] * 5
    assert "but md5" in capsys.readouterr().out  # our file is not the published one
    assert read(path, key="train_events").decay_strings is None
    alone = read(path, key="decay_strings")
    assert alone.particles == {}
    assert alone.decay_strings.tolist() == found.decay_strings.tolist()  # type: ignore[union-attr]


def test_identities_may_be_pdg_codes(tmp_path: Path) -> None:
    table = make_events(10, seed=4)
    assert_same_events(read(write_blocks(tmp_path / "a.npz", table, codes=True)), table)


def test_the_order_of_features_is_that_of_feature_names(tmp_path: Path) -> None:
    table = make_events(6, seed=4)
    features = arrays_of(table)["features"]
    path = write_blocks(
        tmp_path / "a.npz", table,
        x_feature_0=features[:, :, ::-1].copy(), feature_names=np.array(FEATURE_NAMES[::-1]),
    )  # fmt: skip
    assert_same_events(read(path), table)


def test_mothers_that_are_not_there_are_none(tmp_path: Path) -> None:
    table = make_events(3, seed=1)
    mother = arrays_of(table)["mother"]
    mother[0, 1], mother[0, 2], mother[1, 1] = 99, 2, 4000  # padding, itself, nowhere
    found = read(write_blocks(tmp_path / "a.npz", table, x_adjacency_0=mother))
    begin = int(found.offsets[1])
    assert found.particles["motherIndex"][[1, 2, begin + 1]].tolist() == [-1, -1, -1]
    assert found.particles["motherPDG"][[1, 2, begin + 1]].tolist() == [0, 0, 0]


def test_codes_are_known_to_belle2() -> None:
    codes = public_codes()
    assert len(codes) == len(set(codes.tolist())) == 540
    assert codes[0] == 0
    # The identities that the published data hold most often, in their order.
    assert codes[[506, 423, 236, 143, 321]].tolist() == [22, 111, 211, -211, -511]
    reference = Path(__file__).resolve().parents[2] / "smartbkg_tf/events/data/pdg_codes.txt"
    assert set(codes.tolist()) <= {int(line) for line in reference.read_text().split()}


def test_preprocessing(tmp_path: Path) -> None:
    from smartbkg_tf.dataset.build import build_dataset

    table = make_events(40, seed=3)
    path = write_single(tmp_path / "belle.npz", table.take(range(25)), table.take(range(25, 40)))
    dataset = open_dataset(build_dataset(preprocess_settings(str(path), tmp_path / "dataset")))
    assert len(dataset) == 40
    assert dataset.label_names == ("label",)
    assert sorted(dataset.n_particles.tolist()) == sorted(np.diff(table.offsets).tolist())
    assert dataset.information["n_unknown_codes"] == 0


def broken(change: dict[str, Any]) -> Any:
    def make(path: Path) -> None:
        write_blocks(path, make_events(6, seed=1), **change)

    return make


def without(name: str) -> Any:
    def make(path: Path) -> None:
        write_blocks(path.with_name("whole.npz"), make_events(6, seed=1))
        with np.load(path.with_name("whole.npz")) as whole:
            np.savez(path, **{k: whole[k] for k in whole.files if k != name})

    return make


def truncated(path: Path) -> None:
    write_blocks(path, make_events(30, seed=1))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flipped(path: Path, place: int = 900, n_bytes: int = 1) -> None:
    write_single(path, make_events(30, seed=1), make_events(5, seed=2))
    with zipfile.ZipFile(path) as archive:
        place += archive.getinfo("X_train_0.npy").header_offset
    data = bytearray(path.read_bytes())
    for i in range(place, place + n_bytes):
        data[i] ^= 0xFF
    path.write_bytes(data)


def overwritten(path: Path) -> None:
    """Leave what cannot be unpacked at all (zlib.error)."""
    flipped(path, 60, 800)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without("y_0"), "lacks the arrays y_0"),
        (without("x_adjacency_0"), "lacks the arrays x_adjacency_0"),
        (without("x_feature_0"), "is not an event file but a zip or npz archive"),
        (truncated, "is not an event file but a zip or npz archive"),
        (flipped, "is damaged"),
        (overwritten, "is damaged"),
        (broken({"y_0": np.zeros(5)}), r"y_0 has the shape \(5,\)"),
        (broken({"y_0": np.full(6, 2)}), "holds 2: a label is"),
        (broken({"x_pdg_0": np.full((6, 100), 0.5)}), "not a whole number"),
        (broken({"x_feature_0": np.zeros((6, 100, 7))}), r"not \[events, particles, 8\]"),
        (broken({"feature_names": np.array(["a"] * 8)}), "feature_names are"),
        (broken({"y_0": np.array([object()] * 6)}), "objects are never unpickled"),
        (broken({"x_feature_0": np.zeros((6, 100, 8), order="F")}), "by columns"),
    ],
)
def test_broken_files(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "belle.npz"
    make(path)
    with pytest.raises(InputError, match=message):
        read(path)
