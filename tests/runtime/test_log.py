"""The log of a run or job."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest

from smartbkg_tf.runtime.log import keep_log_in, log_line, recording
from smartbkg_tf.runtime.progress import Progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().splitlines()


def test_both_streams_from_the_first_line_on(tmp_path: Path) -> None:
    with recording("train seed=1"):
        say("before the folder is known")
        keep_log_in(tmp_path)
        print("a message", file=sys.stderr)
    say("afterwards")
    log_line("afterwards\n")
    title, *rest = lines(tmp_path)
    assert title.endswith("+00:00 train seed=1")
    assert rest == ["before the folder is known", "a message"]


def test_a_second_process_appends_and_a_removed_file_is_written_anew(tmp_path: Path) -> None:
    for number in (1, 2):
        with recording(f"train {number}"):
            keep_log_in(tmp_path)
            say(f"line {number}")
    assert [line.split()[-1] for line in lines(tmp_path)] == ["1", "1", "2", "2"]
    with recording("train 3"):
        keep_log_in(tmp_path)
        say("line 3")
        (tmp_path / "log.txt").unlink()
        keep_log_in(tmp_path)
        say("line 4")
    assert [line.split()[-1] for line in lines(tmp_path)] == ["3", "3", "4"]


def test_lines_of_a_bar_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with recording("produce"):
        keep_log_in(tmp_path)
        with Progress("read", total=2, unit="file") as progress:
            progress.add(1)
            print("warning: in the middle", file=sys.stderr)
            progress.add(1)
        print("error: afterwards", file=sys.stderr)
    assert "\r" in terminal.getvalue()
    log = lines(tmp_path)
    assert len(log) == 4
    assert log[1] == "warning: in the middle"
    assert log[2].startswith("read: 2/2 files, ")
    assert log[3] == "error: afterwards"


def test_what_libraries_log_is_kept_and_their_handlers_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        with recording("train"):
            keep_log_in(tmp_path)
            logging.getLogger("some.library").warning("look out")
            sys.stderr.close()  # As absl's handler does when Hydra sets up logging again.
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.stream is stream
    assert not stream.closed
    assert any(line.endswith("look out") for line in lines(tmp_path))


def test_a_folder_that_cannot_hold_a_log_does_not_end_the_job(tmp_path: Path) -> None:
    with recording("train"):
        keep_log_in(tmp_path / "nothing")
        say("goes on")
    assert list(tmp_path.iterdir()) == []
