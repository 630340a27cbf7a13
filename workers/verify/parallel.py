"""Work in several processes that share memory, and a time limit for one file.

The child processes are forked: they see the mapped files and the existing tables, and send back only results.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from workers.base.errors import CannotRun, MalformedError
from workers.base.run import die_with_parent

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# The children inherit this when they are forked. A local function and mapped files cannot be sent to them.
_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def spread(function: Callable[[_Item], _Answer], items: Sequence[_Item], jobs: int) -> list[_Answer]:
    """Return ``[function(item) for item in items]``, computed by at most ``jobs`` processes.

    :raises CannotRun: if a process was killed from outside, for example by a kernel that is out of memory.
    """
    global _work
    if jobs <= 1 or len(items) <= 1 or _work is not None:
        return [function(item) for item in items]
    _work = (function, items)
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(min(jobs, len(items)), context, initializer=_begin, initargs=(os.getpid(),)) as pool:
            return list(pool.map(_one, range(len(items))))
    except BrokenProcessPool:
        raise CannotRun("a process that read files was killed", "free some memory, or use fewer --jobs") from None
    finally:
        _work = None


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)


def _one(index: int) -> Any:
    if _work is None:
        raise RuntimeError("this process was forked before there was work")
    function, items = _work
    return function(items[index])


@contextlib.contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """End a block that takes too long, so that no hostile file delays the others.

    :raises MalformedError: when the time is over.
    """
    if threading.current_thread() is not threading.main_thread():  # signals reach only that one
        yield
        return

    def expire(*_: object) -> None:
        raise MalformedError(f"{what} was not read within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
