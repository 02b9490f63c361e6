"""Making things ahead: in order, one error in its place, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from smartbkg_tf.runtime.threads import ahead


@pytest.mark.parametrize("n_items", [1, 3])
def test_items_come_in_order_and_errors_in_their_place(n_items: int) -> None:
    def squares() -> Generator[int, None, None]:
        for i in range(20):
            if i == 7:
                raise ValueError("seven")
            yield i * i

    items = ahead(squares(), n_items)
    assert [next(items) for _ in range(7)] == [i * i for i in range(7)]
    with pytest.raises(ValueError, match="seven"):
        next(items)
    assert list(ahead((i for i in range(3)), n_items)) == [0, 1, 2]


def test_items_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for i in range(10):
            made.append(i)
            yield i

    found = ahead(items(), 2)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2]
    found.close()


def test_a_caller_that_stops_stops_everything() -> None:
    closed = threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    found = ahead(ahead(items()), 4)
    assert next(found) == 0
    found.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
