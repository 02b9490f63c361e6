from __future__ import annotations

import io

from smartbkg_tf.runtime.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_lines_hold_no_control_characters() -> None:
    stream = io.StringIO()
    with Progress("read", total=3, interval=0.0, stream=stream) as progress:
        for _ in range(3):
            progress.add(1, note="loss 0.5")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert "3/3 events" in lines[-1]
    assert "loss 0.5" in lines[-1]
    assert "s left" in lines[0]
    assert all(character.isprintable() for line in lines for character in line)


def test_few_lines_when_work_is_quick() -> None:
    stream = io.StringIO()
    with Progress("read", interval=100.0, stream=stream) as progress:
        for _ in range(1000):
            progress.add(1)
    assert len(stream.getvalue().splitlines()) == 1
    assert progress.done == 1000


def test_no_last_line_after_a_failure() -> None:
    stream = io.StringIO()
    try:
        with Progress("read", interval=100.0, stream=stream):
            raise ValueError
    except ValueError:
        pass
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with Progress("read", total=2, stream=stream) as progress:
        progress.add(2, note="done")
    assert "100%" in stream.getvalue()
