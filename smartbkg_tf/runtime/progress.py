"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from smartbkg_tf.runtime.log import log_line


def say(text: str) -> None:
    """Print a message on standard output, and flush it."""
    print(text, flush=True)


class Progress:
    """Count work that is done and show rate and time left.

    A terminal gets a bar; any other `stream` (default standard error) gets a plain line without
    control characters every `interval` seconds.

    Examples
    --------
    >>> with Progress("count", total=2, unit="file") as progress:
    ...     progress.add(1)
    ...     progress.add(1)
    >>> progress.done
    2
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "event",
        interval: float = 10.0,
        stream: TextIO | None = None,
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.interval = interval
        self.stream = sys.stderr if stream is None else stream
        self.done = 0
        self.note = ""
        self._start = self._last = time.monotonic()
        self._bar = None
        if self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=label, unit=unit, unit_scale=True, file=self.stream, leave=True
            )

    def add(self, amount: int, note: str = "") -> None:
        """Count work finished since the last call; the note is shown behind the rate."""
        self.done += amount
        self.note = note or self.note
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._last = now
            self._line(now)

    def _line(self, now: float, finished: bool = False) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = self.done / seconds
        text = f"{self.label}: {self.done}"
        if self.total is not None:
            text += f"/{self.total}"
        text += f" {self.unit}s, {rate:.4g} {self.unit}s/s"
        if finished:
            text += f", {seconds:.1f} s"
        elif self.total is not None and rate > 0:
            text += f", {max(self.total - self.done, 0) / rate:.0f} s left"
        if self.note:
            text += f", {self.note}"
        if self._bar is not None:
            log_line(text + "\n")
        else:
            print(text, file=self.stream, flush=True)

    def close(self, finished: bool = True) -> None:
        """End the counting; unfinished work writes no last line."""
        if self._bar is not None:
            self._bar.close()
        if finished:
            self._line(time.monotonic(), finished=True)

    def __enter__(self) -> Progress:
        """Start to count."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar or write the last line; after a failure there is none."""
        self.close(finished=kind is None)
