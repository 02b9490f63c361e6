"""What the terminal showed, kept in the folder of a run or of a job of a sweep."""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

#: Name of the file.
LOG = "log.txt"


class _Log:
    """The text of a job, in memory until `keep_log_in` says where it belongs."""

    def __init__(self, title: str) -> None:
        time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.text = [f"{time} {title}".rstrip() + "\n"]
        self.path: Path | None = None
        self.file: TextIO | None = None

    def write(self, text: str) -> None:
        self.text.append(text)
        if self.file is not None:
            # A job is worth more than its log: it continues when the disk is full.
            with contextlib.suppress(OSError, ValueError):
                self.file.write(text)

    def keep_in(self, folder: Path) -> None:
        path = folder / LOG
        if path == self.path and path.exists():
            return
        self.close()
        with contextlib.suppress(OSError):
            self.file = path.open("a", encoding="utf-8", buffering=1, errors="backslashreplace")
            self.path = path
            self.file.write("".join(self.text))

    def close(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()


_current: _Log | None = None


class _Copy:
    """A stream that also writes to the log; of progress bars only what `log_line` says."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_bar = False

    def write(self, text: str) -> int:
        if text.startswith("\r"):
            self._in_bar = True
        elif not (self._in_bar and text == "\n"):
            self._in_bar = False
            log_line(text)
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Stay open: absl's handler closes what it has found as standard error."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def recording(title: str) -> Iterator[None]:
    """Copy both standard streams, and what libraries log, into a log; see `keep_log_in`."""
    global _current
    before = _current
    log = _current = _Log(title)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Copy(sys.stdout), _Copy(sys.stderr)  # type: ignore[assignment]
    # Hydra has set up handlers that hold the streams of before.
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in streams
    ]
    for handler in handlers:
        handler.setStream(sys.stdout if handler.stream is streams[0] else sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(streams[0] if handler.stream is sys.stdout else streams[1])
        sys.stdout, sys.stderr = streams
        _current = before
        log.close()


def keep_log_in(folder: Path) -> None:
    """Append this job's log, from its first line on, to ``log.txt`` in a folder."""
    if _current is not None:
        _current.keep_in(folder)


def log_line(text: str) -> None:
    """Write text to the log only, because the terminal shows it in another form."""
    if _current is not None:
        _current.write(text)
