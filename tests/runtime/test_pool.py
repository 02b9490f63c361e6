"""Processes that work; that they are replaced and end is tested with ``produce``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from smartbkg_tf.runtime.pool import run_in_processes


def square(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError("negative")
    return number * number, os.getpid()


def test_one_worker_is_this_process() -> None:
    assert list(run_in_processes([2, 3], square, 1)) == [(4, os.getpid()), (9, os.getpid())]
    assert list(run_in_processes([], square, 4)) == []


def test_several_workers_do_every_task_once() -> None:
    results = list(run_in_processes(range(6), square, 2))
    assert sorted(result for result, _ in results) == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in results}


def late(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0.0)
    return number


def test_results_in_the_order_of_the_tasks() -> None:
    assert list(run_in_processes(range(5), late, 2, in_order=True)) == list(range(5))


def dying(task: tuple[int, Path]) -> int:
    number, flag = task
    if number == 1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_dies_is_replaced_and_the_order_stays(tmp_path: Path) -> None:
    tasks = [(number, tmp_path / "flag") for number in range(5)]
    assert list(run_in_processes(tasks, dying, 2, in_order=True)) == list(range(5))
    assert (tmp_path / "flag").exists()


def test_errors_of_a_task_come_through() -> None:
    with pytest.raises(ValueError, match="negative"):
        list(run_in_processes([1, -1], square, 2))


class Counted:
    """Work that counts how often it is sent."""

    sent = 0

    def __call__(self, number: int) -> int:
        return -number

    def __reduce__(self) -> tuple[type[Counted], tuple[()]]:
        Counted.sent += 1
        return Counted, ()


def test_the_work_is_sent_once_to_each_process() -> None:
    assert sorted(run_in_processes(range(20), Counted(), 2)) == list(range(-19, 1))
    assert 1 <= Counted.sent <= 2
