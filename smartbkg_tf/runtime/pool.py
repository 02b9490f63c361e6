"""A process pool whose workers are replaced when they die, and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.progress import say

T = TypeVar("T")
R = TypeVar("R")

#: So often a dead process is replaced before the work is given up.
_MOST_REVIVALS = 3


def run_in_processes(
    tasks: Sequence[T],
    work: Callable[[T], R],
    workers: int,
    *,
    in_order: bool = False,
    unit: str = "tasks",
    name: Callable[[T], str] = str,
    where: Path | None = None,
    next_step: str | None = None,
) -> Generator[R, None, None]:
    """Give the results of all tasks, as they come or in the order of the tasks.

    With one worker the work is done in this process; else tasks and results are pickled, and `work`
    once for each process.
    When a process dies, all tasks that have not ended begin again; `UserError` when that keeps
    happening, with `where` and `next_step`; `unit` is what tasks are called, `name` names one.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from map(work, tasks)
        return
    waiting = dict(enumerate(tasks))
    held: dict[int, R] = {}
    following = 0
    revivals = 0
    while waiting:
        try:
            for number, result in _run(waiting, work, workers):
                del waiting[number]
                if not in_order:
                    yield result
                    continue
                held[number] = result
                while following in held:
                    yield held.pop(following)
                    following += 1
        except BrokenProcessPool as error:
            revivals += 1
            if revivals > _MOST_REVIVALS:
                # Tasks begin in their order, so that it was one of the first that are missing.
                begun = ", ".join(name(task) for task in list(waiting.values())[:workers])
                raise UserError(
                    f"processes died {revivals} times; {len(waiting)} {unit} are missing, and "
                    f"{begun} {'was' if workers == 1 else 'were'} being worked on",
                    where=where,
                    next_step=next_step,
                ) from error
            say(f"a process died; {len(waiting)} {unit} start again")


def _run(tasks: dict[int, T], work: Callable[[T], R], workers: int) -> Iterator[tuple[int, R]]:
    """Run numbered tasks in a pool; finished results come before the error of a dead process."""
    # "spawn": a fork would copy the locks of threads, and the state of Pythia, numba, TensorFlow.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(work,),
    )
    try:
        futures: dict[Future[R], int] = {
            pool.submit(_do, task): number for number, task in tasks.items()
        }
        broken: BrokenProcessPool | None = None
        for future in as_completed(futures):
            number = futures.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool as error:
                broken = error
                continue
            yield number, result
        if broken is not None:
            raise broken
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


#: What a process of a pool does with its tasks.
_work: Callable[[Any], Any]


def _begin(work: Callable[[Any], Any]) -> None:
    """Begin a process of a pool.

    `work` is not sent with every task: the settings in it may name all inputs.
    """
    global _work
    _work = work
    _end_with_parent()


def _do(task: Any) -> Any:
    return _work(task)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone.

    The queue of tasks stays open as long as any worker lives, so that workers of a killed run
    would wait forever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
