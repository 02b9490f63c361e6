from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smartbkg_tf.errors import InputError, OutputError
from smartbkg_tf.runtime.files import (
    atomic_directory,
    atomic_file,
    exclusive_lock,
    expand_inputs,
    hash_of_values,
    read_json,
    sha256,
    write_json,
)
from smartbkg_tf.runtime.outputs import check_output, refuse_existing


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_file_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.csv"
    with atomic_file(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        assert partial.suffix == ".csv"
    assert target.read_text() == "half"
    assert names(target.parent) == ["a.csv"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_stays_of_a_failed_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_file(target) as partial:
        partial.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="disk is full"),
        atomic_file(tmp_path / "a.csv") as partial,
    ):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_really_full_device() -> None:
    # /dev/full answers every write with ENOSPC; a file system of that kind cannot be made here.
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "w") as stream:
        stream.write("x" * 100_000)


def test_a_file_of_the_block_that_is_missing_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.csv") as partial:
        partial.write_text((tmp_path / "not there").read_text())


def test_path_without_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_file("a.txt") as partial:
        partial.write_text("x")
    assert names(tmp_path) == ["a.txt"]


def test_directory_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    with atomic_directory(target) as partial:
        (partial / "x").write_text("1")
        assert not target.exists()
    assert names(tmp_path) == ["dataset"]
    assert names(target) == ["x"]


def test_nothing_stays_of_a_failed_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), atomic_directory(tmp_path / "d") as partial:
        (partial / "x").write_text("1")
        raise ValueError("bad")
    assert names(tmp_path) == []


OWN = ("mark.json", "*.data")


def made_earlier(path: Path) -> Path:
    with atomic_directory(path, own=OWN) as partial:
        (partial / "mark.json").write_text("1")
    return path


def test_directory_is_replaced_only_when_asked_and_only_when_whole(tmp_path: Path) -> None:
    target = made_earlier(tmp_path / "d")
    with pytest.raises(OutputError, match="exists already"), atomic_directory(target, own=OWN):
        raise AssertionError("the block must not run")
    with (
        pytest.raises(ValueError, match="bad"),
        atomic_directory(target, own=OWN, overwrite=True),
    ):
        raise ValueError("bad")
    assert names(target) == ["mark.json"]
    with atomic_directory(target, own=OWN, overwrite=True) as partial:
        (partial / "mark.json").write_text("2")
        (partial / "new.data").write_text("2")
    assert names(target) == ["mark.json", "new.data"]
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize(
    "there", [["model.keras", "mark.json"], ["a.data"], ["mark.json", "notes"]]
)
def test_only_what_the_command_made_is_replaced(tmp_path: Path, there: list[str]) -> None:
    target = tmp_path / "run"
    target.mkdir()
    for name in there:
        (target / name).touch()
    with (
        pytest.raises(OutputError, match="is not replaced"),
        atomic_directory(target, own=OWN, overwrite=True),
    ):
        raise AssertionError("the block must not run")
    assert names(target) == sorted(there)
    with (
        pytest.raises(OutputError, match="is a file, and is not replaced by a folder"),
        atomic_directory(target / there[0], own=OWN, overwrite=True),
    ):
        raise AssertionError("the block must not run")


def test_an_output_neither_is_nor_contains_nor_lies_inside_an_input(tmp_path: Path) -> None:
    run = made_earlier(tmp_path / "runs" / "run")
    (tmp_path / "link").symlink_to(run)
    for output, words in [
        (run, "is the input"),
        (tmp_path / "link", "is the input"),
        (tmp_path / "runs" / "run" / ".." / "run", "is the input"),
        (tmp_path / "runs", "contains the input"),
        (run / "report", "lies inside the input"),
        (tmp_path / "link" / "report", "lies inside the input"),
    ]:
        for source in (run, tmp_path / "link"):
            with pytest.raises(OutputError, match=words):
                check_output(output, own=OWN, overwrite=True, inputs=[source])
    check_output(tmp_path / "runs" / "run2", own=OWN, overwrite=False, inputs=[run])


def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target = made_earlier(tmp_path / "disk" / "data")
    link = tmp_path / "link"
    link.symlink_to(target)
    with atomic_directory(link, own=OWN, overwrite=True) as partial:
        assert partial.parent == target.parent
        (partial / "mark.json").write_text("2")
    assert link.is_symlink()
    assert (target / "mark.json").read_text() == "2"
    later = tmp_path / "later"
    later.symlink_to(tmp_path / "disk" / "file.txt")
    with atomic_file(later, alone=True) as partial:
        partial.write_text("x")
    assert later.is_symlink()
    assert names(tmp_path / "disk") == ["data", "file.txt"]


def test_impossible_places_are_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    places = [
        file / "out",
        file / "a" / "b",
        tmp_path / ("x" * 300),
        loop,
        "a\0b",
        "/dev/null",
        "/",
    ]
    for place in (*places, "", " "):
        for way in (atomic_directory, atomic_file):
            with pytest.raises(OutputError), way(str(place)):  # type: ignore[operator]
                raise AssertionError("the block must not run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="holds what this command did not write"):
        check_output(".", own=OWN, overwrite=True)
    assert names(tmp_path) == ["file", "loop"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(OutputError, match="read-only, or not yours"):
            check_output(tmp_path / "a" / "b", overwrite=False)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("length", [180, 240, 255])
def test_long_names(tmp_path: Path, length: int) -> None:
    name = "x" * (length - 8)
    with atomic_file(tmp_path / f"{name}.parquet", alone=True) as partial:
        assert partial.suffix == ".parquet"
        partial.write_text("1")
    with atomic_directory(tmp_path / ("y" * length)):
        pass
    assert names(tmp_path) == [f"{name}.parquet", "y" * length]


KILLED = """
import os, signal, sys
from smartbkg_tf.runtime.files import atomic_directory, atomic_file
from smartbkg_tf.runtime import outputs
folder, moment = sys.argv[1:]
if moment == "replace":
    rename = outputs.os.rename
    def once(source, target):
        rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    outputs.os.rename = once
if moment == "lock":
    mkdir = outputs.Path.mkdir
    def before_the_lock(path, **rest):
        mkdir(path, **rest)
        if ".d.partial-" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
    outputs.Path.mkdir = before_the_lock
if moment == "rename":
    outputs.os.rename = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
with atomic_file(folder + "/f.csv", alone=True) as file:
    with atomic_directory(folder + "/d", own=("mark.json",), overwrite=True) as partial:
        (partial / "mark.json").write_text("2")
        if moment == "wait":
            print("begun", flush=True)
            sys.stdin.read()
        if moment == "write":
            os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, moment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_process_left_is_removed_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with killed(tmp_path, "write") as process:
        process.wait()
    others = [".other.partial-01234567.csv", ".d.partial-notours", ".d.partial-01234567.csv"]
    for name in others:
        (tmp_path / name).touch()
    assert len(names(tmp_path)) == 2 + len(others)
    with atomic_file(tmp_path / "f.csv", alone=True) as partial:
        partial.write_text("x")
    made_earlier(tmp_path / "d")
    assert names(tmp_path) == sorted([*others, "d", "f.csv"])
    assert names(tmp_path / "d") == ["mark.json"]
    assert capsys.readouterr().out.count("which a killed process left") == 2


@pytest.mark.parametrize("moment", ["lock", "rename"])
def test_a_partial_folder_can_be_told_abandoned_at_any_moment(tmp_path: Path, moment: str) -> None:
    with killed(tmp_path, moment) as process:
        process.wait()
    assert any(name.startswith(".d.partial-") for name in names(tmp_path))
    made_earlier(tmp_path / "d")
    assert names(tmp_path / "d") == ["mark.json"]
    assert not any(name.startswith(".d.partial-") for name in names(tmp_path))


def test_a_folder_that_was_whole_when_its_process_was_killed_is_clean(tmp_path: Path) -> None:
    with killed(tmp_path, "replace") as process:
        process.wait()
    assert names(tmp_path / "d") == [".lock", "mark.json"]
    with pytest.raises(OutputError, match="exists already"):
        check_output(tmp_path / "d", overwrite=False, own=OWN)
    assert names(tmp_path / "d") == ["mark.json"]


def test_a_folder_comes_back_whose_replacement_was_killed(tmp_path: Path) -> None:
    made_earlier(tmp_path / "d")
    with killed(tmp_path, "replace") as process:
        process.wait()
    assert not (tmp_path / "d").exists()
    with pytest.raises(OutputError, match="exists already"), atomic_directory(tmp_path / "d"):
        raise AssertionError("the block must not run")
    assert (tmp_path / "d" / "mark.json").read_text() == "1"


def test_one_process_at_a_time_writes_an_output(tmp_path: Path) -> None:
    with killed(tmp_path, "wait") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "begun\n"
        with (
            pytest.raises(OutputError, match="another process is writing this output"),
            atomic_directory(tmp_path / "d", own=OWN),
        ):
            raise AssertionError("two at once")
        with (
            pytest.raises(OutputError, match="another process is writing this output"),
            atomic_file(tmp_path / "f.csv", alone=True),
        ):
            raise AssertionError("two at once")
        process.stdin.close()
    assert process.returncode == 0
    assert names(tmp_path / "d") == ["mark.json"]
    assert names(tmp_path) == ["d", "f.csv"]


def test_what_another_process_wrote_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    with (
        pytest.raises(OutputError, match="exists already"),
        atomic_file(file, alone=True, overwrite=False) as partial,
    ):
        partial.write_text("2")
        file.write_text("1")
    assert file.read_text() == "1"
    assert names(tmp_path) == ["f.csv"]


def test_an_empty_folder_counts_as_free(tmp_path: Path) -> None:
    refuse_existing(tmp_path, overwrite=False)
    with pytest.raises(OutputError, match="overwrite=true"):
        refuse_existing(tmp_path.parent, overwrite=False)


def test_one_at_a_time_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        exclusive_lock(tmp_path, busy="in use"),
        pytest.raises(OutputError, match=r"in use[\s\S]*wait for it"),
        exclusive_lock(tmp_path, busy="in use", next_step="wait for it"),
    ):
        raise AssertionError("two at once")
    with exclusive_lock(tmp_path, busy="in use", wait=True):
        assert names(tmp_path) == []
    assert capsys.readouterr().out == ""


def test_inputs_by_name_pattern_list_and_commas(tmp_path: Path) -> None:
    for name in ("b.h5", "a.h5", "c.root"):
        (tmp_path / name).touch()
    found = expand_inputs(f"{tmp_path}/*.h5,{tmp_path}/c.root")
    assert [path.name for path in found] == ["a.h5", "b.h5", "c.root"]
    twice = expand_inputs([f"{tmp_path}/a.h5", f"{tmp_path}/*.h5"])
    assert [path.name for path in twice] == ["a.h5", "b.h5"]


def test_half_written_files_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    (tmp_path / ".b.partial-1234.h5").touch()
    (tmp_path / "c.partial-1234.h5").touch()
    assert [path.name for path in expand_inputs(f"{tmp_path}/*.h5")] == ["a.h5"]


def test_missing_input_names_what_is_there_and_who_makes_it(tmp_path: Path) -> None:
    (tmp_path / "events.h5").touch()
    with pytest.raises(InputError) as caught:
        expand_inputs(str(tmp_path / "event.h5"), made_by="python -m smartbkg_tf.produce")
    assert "did you mean 'events.h5'?" in str(caught.value)
    assert "smartbkg_tf.produce" in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        expand_inputs(str(tmp_path / "no" / "*.h5"))
    with pytest.raises(InputError, match="no input"):
        expand_inputs(None)


def test_json_round_trip_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [1, 2.5, None]}
    path.write_text('{"a": [1, 2')
    with pytest.raises(InputError, match="is not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "b.json", made_by="python -m smartbkg_tf.train")


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")
    assert hash_of_values({"a": 1, "b": 2}) == hash_of_values({"b": 2, "a": 1})
    assert hash_of_values({"a": 1}) != hash_of_values({"a": 2})
