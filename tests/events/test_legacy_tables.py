"""Files that others wrote with pandas: the original project, old versions, both layouts."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tables

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.legacy_tables import content_number, earlier_appearances
from smartbkg_tf.events.readers import count_events
from smartbkg_tf.events.table import EventTable, concatenate
from tests.events.comparison import iterate_hdf5
from tests.samples import make_events

NUMBERS = ("mass", "charge", "energy", "prodTime", "x", "y", "z", "px", "py", "pz")


def write_foreign(
    path: Path,
    table: EventTable,
    particles: str = "fixed",
    strings: str = "table",
    label: Any = np.int64,
    **options: Any,
) -> None:
    """Write the two keys of the original project with pandas itself."""
    labels = next(iter(table.labels.values())).astype(label)
    event = table.event_of_particle()
    place = np.arange(table.n_particles) - table.offsets[:-1][event]
    index = pd.MultiIndex.from_arrays(
        [labels[event], table.keys["event"][event], place], names=["label", "evtNum", "arrayIndex"]
    )
    frame = pd.DataFrame(dict(table.particles), index=index)
    if options.pop("floats", False):
        frame = frame.astype(np.float64)
    frame.to_hdf(path, key="train_events", format=particles, **options)
    assert table.decay_strings is not None
    pd.DataFrame(
        {"label": labels, "decay_str": table.decay_strings.tolist()},
        index=pd.Index(table.keys["event"], name="evtNum"),
    ).to_hdf(path, key="decay_strings", format=strings, **options)


@pytest.mark.parametrize("particles", ["fixed", "table"])
@pytest.mark.parametrize("strings", ["fixed", "table"])
@pytest.mark.parametrize("chunk", [3, 1000])
def test_both_layouts(tmp_path: Path, particles: str, strings: str, chunk: int) -> None:
    table = make_events(40)
    write_foreign(tmp_path / "a.h5", table, particles, strings)
    found = concatenate(list(iterate_hdf5(tmp_path / "a.h5", chunk_events=chunk)))
    for name, values in table.particles.items():
        assert found.particles[name].dtype == values.dtype
        np.testing.assert_array_equal(found.particles[name], values, err_msg=name)
    np.testing.assert_array_equal(found.offsets, table.offsets)
    assert found.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]
    assert found.labels["label"].tolist() == table.labels["fei_hadronic_b0"].tolist()
    assert (found.event_type == -1).all()
    assert count_events(tmp_path / "a.h5") == 40


@pytest.mark.parametrize("complib", ["zlib", "bzip2", "blosc", "blosc:zstd", "blosc:lz4"])
@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_compressed_files(tmp_path: Path, complib: str, layout: str) -> None:
    table = make_events(300)
    write_foreign(tmp_path / "a.h5", table, layout, complevel=9, complib=complib)
    found = concatenate(list(iterate_hdf5(tmp_path / "a.h5", chunk_events=77)))
    for name, values in table.particles.items():
        np.testing.assert_array_equal(found.particles[name], values, err_msg=name)
    assert found.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]


def test_a_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_foreign(tmp_path / "a.h5", make_events(20))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        rows = file["decay_strings/table"][:]
        attributes = dict(file["decay_strings/table"].attrs)
        del file["decay_strings/table"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((20,))
        properties.set_filter(305, h5py.h5z.FLAG_OPTIONAL)  # LZO
        kind = h5py.h5t.py_create(rows.dtype)
        space = h5py.h5s.create_simple((20,))
        group = file["decay_strings"].id
        h5py.h5d.create(group, b"table", kind, space, properties)
        file["decay_strings/table"].attrs.update(attributes)
    with pytest.raises(InputError, match="compressed with LZO") as error:
        next(iterate_hdf5(tmp_path / "a.h5"))
    assert "ptrepack" in str(error.value)


def test_other_byte_orders(tmp_path: Path) -> None:
    table = make_events(20)
    write_foreign(tmp_path / "a.h5", table)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["train_events"]
        for name in [name for name in group if name.endswith("_values")]:
            attributes, values = dict(group[name].attrs), group[name][:]
            del group[name]
            group[name] = values.astype(values.dtype.newbyteorder(">"))
            group[name].attrs.update(attributes)
    found = next(iterate_hdf5(tmp_path / "a.h5", key="train_events"))
    for name, values in table.particles.items():
        np.testing.assert_array_equal(found.particles[name], values, err_msg=name)
        assert found.particles[name].dtype == values.dtype


@pytest.mark.parametrize(
    ("label", "layout"),
    # pandas itself cannot write booleans to the index of a 'table'.
    [(bool, "fixed"), (np.int8, "fixed"), (np.int8, "table"), (np.float64, "table")],
)
def test_labels_and_codes_of_other_types(tmp_path: Path, label: Any, layout: str) -> None:
    # Known traps 5 and 8: bool labels, codes and charges as floats.
    table = make_events(30)
    write_foreign(tmp_path / "a.h5", table, layout, label=label, floats=True)
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    assert found.labels["label"].tolist() == table.labels["fei_hadronic_b0"].tolist()
    assert found.particles["PDG"].dtype == np.int32
    np.testing.assert_array_equal(found.particles["PDG"], table.particles["PDG"])


def test_events_of_equal_number_stay_apart(tmp_path: Path) -> None:
    # Known trap 3: neighbours and strangers of equal event number in one file.
    table = make_events(6)
    keys = {**table.keys, "event": np.array([4, 4, 4, 9, 4, 9])}
    labels = {"skim": np.array([0, 0, 1, 1, 0, 0], dtype=np.int8)}
    table = EventTable(
        table.particles, table.offsets, keys, table.event_type, labels, {}, table.decay_strings
    )
    write_foreign(tmp_path / "a.h5", table)
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    np.testing.assert_array_equal(found.offsets, table.offsets)
    assert found.keys["event"].tolist() == [4, 4, 4, 9, 4, 9]
    assert found.keys["run"].tolist() == [0, 1, 2, 0, 3, 1]
    assert found.labels["label"].tolist() == [0, 0, 1, 1, 0, 0]
    assert len({tuple(key) for key in zip(*found.keys.values(), strict=True)}) == 6


def test_events_of_different_files_stay_apart(tmp_path: Path) -> None:
    write_foreign(tmp_path / "a.h5", make_events(10, seed=1))
    write_foreign(tmp_path / "b.h5", make_events(10, seed=2))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "a.h5", tmp_path / "elsewhere" / "c.h5")
    keys = {
        name: next(iterate_hdf5(tmp_path / name)).keys
        for name in ("a.h5", "b.h5", "elsewhere/c.h5")
    }
    assert keys["a.h5"]["event"].tolist() == keys["b.h5"]["event"].tolist()
    assert keys["a.h5"]["production"][0] != keys["b.h5"]["production"][0]
    assert keys["a.h5"]["production"][0] == keys["elsewhere/c.h5"]["production"][0]
    assert (keys["a.h5"]["experiment"] == -1).all()
    # Each part alone gives the same key, so that predictions can be joined.
    for part in ("train_events", "decay_strings"):
        alone = next(iterate_hdf5(tmp_path / "a.h5", key=part)).keys  # type: ignore[arg-type]
        for name, values in alone.items():
            assert values.tolist() == keys["a.h5"][name].tolist()


def test_content_number_sees_every_byte_of_a_small_file(tmp_path: Path) -> None:
    data = bytearray(range(256)) * 20
    (tmp_path / "a").write_bytes(data)
    first = content_number(tmp_path / "a")
    assert 0 <= first < 2**48
    for place in (0, 2500, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / "b").write_bytes(changed)
        assert content_number(tmp_path / "b") != first
    (tmp_path / "c").write_bytes(data + b"\0")
    assert content_number(tmp_path / "c") != first
    (tmp_path / "d").write_bytes(b"")
    assert content_number(tmp_path / "d") != first


def test_earlier_appearances() -> None:
    assert earlier_appearances(np.array([], dtype=np.int64)).tolist() == []
    assert earlier_appearances(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]


def test_mother_links_that_count_removed_particles(tmp_path: Path) -> None:
    # basf2's places: particle 2 of the first event was removed; the first particle is its
    # own mother; the last one hangs on the removed one.
    index = pd.MultiIndex.from_arrays(
        [[0] * 7, [1] * 5 + [2] * 2, [0, 1, 3, 5, 6, 0, 4]],
        names=["label", "evtNum", "arrayIndex"],
    )
    frame = pd.DataFrame(
        {
            **dict.fromkeys(NUMBERS, 0.5),
            "PDG": [300553, 511, -511, 211, 22, 300553, 22],
            "nDaughters": 0,
            "status": 1,
            "motherPDG": [300553, 300553, 300553, -511, 421, 0, 300553],
            "motherIndex": [0, 0, 0, 3, 2, 3, 0],
        },
        index=index,
    )
    frame.to_hdf(tmp_path / "a.h5", key="train_events")
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    assert found.offsets.tolist() == [0, 5, 7]
    assert found.particles["motherIndex"].tolist() == [-1, 0, 0, 2, -1, -1, 0]
    assert found.decay_strings is not None
    assert found.decay_strings[0] == " 300553 (--> 511 -511 (--> 211 <--) <--) 22"


def test_index_levels_without_names(tmp_path: Path) -> None:
    table = make_events(12)
    write_foreign(tmp_path / "named.h5", table)
    for name in ("train_events", "decay_strings"):
        frame = pd.read_hdf(tmp_path / "named.h5", name)
        frame.index.names = [None] * frame.index.nlevels
        frame.to_hdf(tmp_path / "a.h5", key=name, format="table" if name[0] == "d" else "fixed")
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    assert found.keys["event"].tolist() == table.keys["event"].tolist()


def test_columns_in_the_wrong_place_and_too_many(tmp_path: Path) -> None:
    table = make_events(12)
    write_foreign(tmp_path / "a.h5", table)
    frame = pd.read_hdf(tmp_path / "a.h5", "train_events")
    frame = frame[sorted(frame.columns)].assign(isReconstructed=True, comment=1.5)
    frame.to_hdf(tmp_path / "b.h5", key="train_events")
    found = next(iterate_hdf5(tmp_path / "b.h5", key="train_events"))
    np.testing.assert_array_equal(found.particles["pz"], table.particles["pz"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("PDG", 211.5, "PDG: row 7 holds 211.5, which is not a whole number"),
        ("motherIndex", np.nan, "motherIndex: row 7 holds nan"),
        ("PDG", 1e12, "PDG: row 7 holds 1000000000000.0, which is not a whole number between"),
    ],
)
def test_broken_integers_are_never_rounded(
    tmp_path: Path, column: str, value: float, message: str
) -> None:
    write_foreign(tmp_path / "a.h5", make_events(5))
    frame = pd.read_hdf(tmp_path / "a.h5", "train_events")
    numbers = frame[column].to_numpy().astype(np.float64)
    numbers[7] = value
    frame.assign(**{column: numbers}).to_hdf(tmp_path / "b.h5", key="train_events")
    with pytest.raises(InputError, match=message):
        next(iterate_hdf5(tmp_path / "b.h5"))


@pytest.mark.parametrize("layout", ["fixed", "table"])
@pytest.mark.parametrize(
    ("column", "kind"),
    [("px", "datetime64[ns]"), ("px", "bool"), ("status", "bool"), ("x", "timedelta64[ns]")],
)
def test_dates_and_booleans_are_no_numbers(
    tmp_path: Path, layout: str, column: str, kind: str
) -> None:
    table = make_events(5)
    values = (np.arange(table.n_particles) % 2).astype(kind)
    write_foreign(
        tmp_path / "a.h5", replace(table, particles={**table.particles, column: values}), layout
    )
    with pytest.raises(InputError, match=f"{column}: holds no numbers but") as error:
        next(iterate_hdf5(tmp_path / "a.h5"))
    assert kind in str(error.value)


def test_a_label_that_is_none(tmp_path: Path) -> None:
    write_foreign(tmp_path / "a.h5", make_events(5))
    frame = pd.read_hdf(tmp_path / "a.h5", "train_events")
    frame.index = frame.index.set_levels([7, 8], level="label")
    frame.to_hdf(tmp_path / "b.h5", key="train_events")
    with pytest.raises(InputError, match="a label is 1"):
        next(iterate_hdf5(tmp_path / "b.h5"))


def test_tables_in_different_order_are_refused(tmp_path: Path) -> None:
    # Known trap 2: labels of one order met features of another.
    table = make_events(10)
    write_foreign(tmp_path / "a.h5", table)
    strings = pd.read_hdf(tmp_path / "a.h5", "decay_strings").iloc[::-1]
    strings.to_hdf(tmp_path / "a.h5", key="decay_strings", format="table")
    with pytest.raises(InputError, match=r"event 0 of the file .* has evtNum 1 there and 10 here"):
        next(iterate_hdf5(tmp_path / "a.h5"))
    shorter = strings.iloc[:4]
    shorter.to_hdf(tmp_path / "a.h5", key="decay_strings", format="table")
    with pytest.raises(InputError, match="'decay_strings' has 4 events, 'train_events' has 10"):
        next(iterate_hdf5(tmp_path / "a.h5"))


def test_decay_strings_of_their_own_are_always_read(tmp_path: Path) -> None:
    # They may tell more than the mother links of the particles that are left.
    table = make_events(12)
    write_foreign(tmp_path / "a.h5", table)
    found = next(iterate_hdf5(tmp_path / "a.h5", decay_text=False))
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["decay_strings"]
    assert next(iterate_hdf5(tmp_path / "a.h5", decay_text=False)).decay_strings is None


@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_a_missing_string(tmp_path: Path) -> None:
    for layout in ("table", "fixed"):
        write_foreign(tmp_path / "a.h5", make_events(5), strings=layout)
        frame = pd.read_hdf(tmp_path / "a.h5", "decay_strings").astype({"decay_str": object})
        frame.iloc[3, 1] = np.nan
        frame.to_hdf(tmp_path / "a.h5", key="decay_strings", format=layout)
        with pytest.raises(InputError, match="row 3"):
            next(iterate_hdf5(tmp_path / "a.h5"))


def test_decay_strings_without_labels(tmp_path: Path) -> None:
    table = make_events(5)
    write_foreign(tmp_path / "a.h5", table)
    frame = pd.read_hdf(tmp_path / "a.h5", "decay_strings")[["decay_str"]]
    frame.to_hdf(tmp_path / "b.h5", key="decay_strings", format="table")
    found = next(iterate_hdf5(tmp_path / "b.h5", key="decay_strings"))
    assert found.labels == {}
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == table.decay_strings.tolist()  # type: ignore[union-attr]
    frame.rename(columns={"decay_str": "decay_string"}).to_hdf(
        tmp_path / "c.h5", key="decay_strings", format="table"
    )
    with pytest.raises(InputError, match="no column 'decay_str'; did you mean 'decay_string'"):
        next(iterate_hdf5(tmp_path / "c.h5", key="decay_strings"))


def _replace_pickle(path: Path, data: bytes) -> None:
    """Put other bytes where pandas put the pickled column of texts."""
    with tables.open_file(str(path), "r+") as file:
        group = file.root.decay_strings
        name = next(
            n for n in group._v_children if type(group._v_children[n]).__name__ == "VLArray"
        )
        file.remove_node(group, name)
        array = file.create_vlarray(group, name, tables.UInt8Atom())
        array.append(np.frombuffer(data, dtype=np.uint8))
        array.attrs.PSEUDOATOM = "object"
        array.attrs.transposed = True


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("numpy_name", [b"numpy.core", b"numpy._core"])
def test_column_pickled_by_any_version(tmp_path: Path, protocol: int, numpy_name: bytes) -> None:
    table = make_events(15)
    write_foreign(tmp_path / "a.h5", table, strings="fixed")
    assert table.decay_strings is not None
    # pandas 0.2x kept the block as an array [events, 1].
    data = pickle.dumps(table.decay_strings.reshape(-1, 1), protocol)
    if protocol < 4:  # later protocols store the length of the name
        data = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", numpy_name)
    _replace_pickle(tmp_path / "a.h5", data)
    found = next(iterate_hdf5(tmp_path / "a.h5"))
    assert found.decay_strings is not None
    assert found.decay_strings.tolist() == table.decay_strings.tolist()


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "a.h5", make_events(15), strings="fixed")
    bomb = pickle.dumps(_Bomb(tmp_path / "ran"))
    pickle.loads(bomb)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    _replace_pickle(tmp_path / "a.h5", bomb)
    with pytest.raises(InputError, match="asks for more than plain values"):
        next(iterate_hdf5(tmp_path / "a.h5"))
    assert not (tmp_path / "ran").exists()


def test_an_attribute_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path / "a.h5", make_events(15))
    bomb = pickle.dumps(_Bomb(tmp_path / "ran"), 0)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["decay_strings"].attrs["levels"] = np.bytes_(bomb)
    with pytest.raises(InputError, match="asks for more than plain values"):
        next(iterate_hdf5(tmp_path / "a.h5"))
    assert not (tmp_path / "ran").exists()
