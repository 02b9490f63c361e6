"""Threads that share Python's lock."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

#: Seconds after which a thread has to hand over Python's lock to one that waits for it.
_TURN = 0.0002


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let threads wait for Python's lock for a fraction of a millisecond only, not for five.

    Threads whose work is done by compiled code need the lock often and briefly; with long
    turns both of two processors stand still in turns. Holds for the whole process until the
    block ends.

    Yields
    ------
    None
        Nothing; start the threads inside the block.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
