"""Checkpoints on the disk: whole or refused, the last two kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartbkg_tf.errors import InputError
from smartbkg_tf.training.checkpoints import Checkpoint, Checkpoints, read_checkpoint

VALUES = {"best": None, "rows": [{"epoch": 1, "loss": 0.1}], "text": "ä", "large": float("inf")}


def example(epoch: int = 3, batch: int = 17) -> Checkpoint:
    arrays = {
        "model/00000": np.random.default_rng(epoch).normal(size=(3, 4)).astype(np.float32),
        "model/00001": np.array(7, np.int64),
        "random/00000": np.array([1, 2**32 - 1], np.uint32),
    }
    return Checkpoint(epoch, batch, VALUES, arrays)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    got = read_checkpoint(Checkpoints(tmp_path / "new").write(example()))
    assert (got.epoch, got.batch, got.values) == (3, 17, VALUES)
    assert got.arrays.keys() == example().arrays.keys()
    for name, array in example().arrays.items():
        assert got.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(got.arrays[name], array)


def test_the_last_two_are_kept_in_the_order_of_training(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path)
    (tmp_path / "letter.txt").touch()
    for epoch, batch in [(0, 9), (0, 10), (0, 200), (1, 0), (9, 3), (10, 0)]:
        folder.write(example(epoch, batch))
    names = [path.name for path in folder.paths()]
    assert names == ["epoch_00010_batch_000000000.npz", "epoch_00009_batch_000000003.npz"]
    assert len(list(tmp_path.iterdir())) == 3
    newest = folder.newest()
    assert newest is not None
    assert (newest.epoch, newest.batch) == (10, 0)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").newest() is None
    assert Checkpoints(tmp_path).newest() is None


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999999))
def test_a_piece_is_refused_by_name_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    folder = Checkpoints(tmp_path)
    folder.write(example(1, 0))
    newest = folder.write(example(2, 5))
    content = newest.read_bytes()
    newest.write_bytes(content[: int(share * len(content))])
    got = folder.newest()
    assert got is not None
    assert (got.epoch, got.batch) == (1, 0)
    out = capsys.readouterr().out
    assert newest.name in out
    assert "truncated or damaged" in out


def test_a_changed_byte_of_a_value_is_seen(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).write(example())
    content = bytearray(path.read_bytes())
    array = example().arrays["model/00000"].tobytes()
    content[content.index(array) + 5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="truncated or damaged"):
        read_checkpoint(path)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    np.savez(tmp_path / "epoch_00001_batch_000000000.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(tmp_path / "epoch_00001_batch_000000000.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="no name of a checkpoint"):
        read_checkpoint(tmp_path / "other.npz")
    assert Checkpoints(tmp_path).newest() is None
