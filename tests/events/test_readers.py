from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.events.readers import count_events, file_format, iterate_events
from tests.events.comparison import assert_same_events
from tests.mdst_twin import write_mdst_twin
from tests.samples import make_events


def test_formats_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    table = make_events(7)
    write_hdf5(tmp_path / "a.dat", table)
    write_parquet(tmp_path / "b.h5", table)
    twin = write_mdst_twin(tmp_path / "c.parquet", 5)
    paths = [tmp_path / name for name in ("c.parquet", "a.dat", "b.h5")]
    assert [file_format(path) for path in paths] == ["root", "hdf5", "parquet"]
    assert [count_events(path) for path in paths] == [5, 7, 7]
    pieces = list(iterate_events(paths, chunk_events=4))
    assert [(path.name, len(piece)) for path, piece in pieces] == [
        ("c.parquet", 4), ("c.parquet", 1), ("a.dat", 4), ("a.dat", 3), ("b.h5", 4), ("b.h5", 3),
    ]  # fmt: skip
    assert_same_events(pieces[0][1], twin.take(np.arange(4)))
    for _, piece in (pieces[2], pieces[4]):
        assert_same_events(piece, table.take(np.arange(4)))
    assert all(piece.decay_strings is not None for _, piece in pieces)


def test_one_name_is_a_list_of_one(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    assert len(list(iterate_events(tmp_path / "a.h5"))) == 1
    assert len(list(iterate_events(str(tmp_path / "a.h5")))) == 1
    assert list(iterate_events([])) == []


def test_key_is_passed_on(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    write_parquet(tmp_path / "b.parquet", make_events(3))
    write_mdst_twin(tmp_path / "c.root", 3)
    for path in ("a.h5", "b.parquet", "c.root"):
        _, piece = next(iterate_events(tmp_path / path, key="train_events"))
        assert piece.decay_strings is None
        _, piece = next(iterate_events(tmp_path / path, key="decay_strings"))
        assert piece.particles == {}


def test_labels_may_be_required(tmp_path: Path) -> None:
    write_mdst_twin(tmp_path / "a.root", 3)
    write_hdf5(tmp_path / "b.h5", make_events(3))
    assert len(list(iterate_events(tmp_path / "b.h5", require_labels=True))) == 1
    with pytest.raises(InputError, match="carry no labels") as error:
        list(iterate_events(tmp_path / "a.root", require_labels=True))
    assert "skim_files=" in str(error.value)


def test_hdf5_behind_a_user_block(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024):
        pass
    assert file_format(tmp_path / "a.h5") == "hdf5"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 and so on", "zip or npz"),
        (b"\x1f\x8b and so on", "unpack it first"),
        (b"\x93NUMPY and so on", "NumPy array"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"label,evtNum\n", "is no event file\n"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    for function in (file_format, count_events, lambda path: list(iterate_events(path))):
        with pytest.raises(InputError, match=message) as error:
            function(tmp_path / "a.h5")
        assert str(tmp_path / "a.h5") in str(error.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "data.h5").write_bytes(b"x")
    with pytest.raises(InputError, match=r"is a folder.*data.h5") as error:
        file_format(tmp_path)
    assert f"input='{tmp_path}/*.h5'" in str(error.value)
    with pytest.raises(InputError, match="does not exist"):
        file_format(tmp_path / "none.h5")


def test_a_bad_file_is_told_before_the_first_is_read(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", make_events(3))
    (tmp_path / "b.h5").write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        next(iterate_events([tmp_path / "a.h5", tmp_path / "b.h5"]))
