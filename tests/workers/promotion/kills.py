"""kill -9 at each step of an action: Python's audit events say when it is about to change something."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable

_KINDS = {
    "open": "open",
    "os.rename": "rename",
    "os.link": "fill",
    "os.mkdir": "fill",
    "os.symlink": "symlink",
    "os.remove": "remove",
    "os.rmdir": "remove",
    "os.utime": "touch",
    "subprocess.Popen": "program",
    "kitten.sql": "sql",
}


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run an action in a child that kills itself just before its step of that number; False when it ended before.

    Of a row of equal steps (a thousand links), the first and the third count.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
        _audit_sql()
        sys.addaudithook(_killer(step))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the action failed by itself"
    return False


def _audit_sql() -> None:
    """SQLite's own effects raise no audit event; each statement that changes something stands for them."""
    connect = sqlite3.connect

    def connect_with_trace(*arguments: object, **more: object) -> sqlite3.Connection:
        connection = connect(*arguments, **more)  # type: ignore[call-overload]
        connection.set_trace_callback(
            lambda statement: None if statement.startswith(("SELECT", "PRAGMA")) else sys.audit("kitten.sql")
        )
        return connection  # type: ignore[no-any-return]

    sqlite3.connect = connect_with_trace  # type: ignore[assignment]


def _killer(step: int) -> Callable[[str, tuple[object, ...]], None]:
    # A row is one of a thread: the order of threads differs each time, and the steps after them keep their numbers.
    rows: dict[int, tuple[str, int]] = {}
    seen, counting = 0, threading.Lock()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        kind = _KINDS.get(event)
        if kind is None or (kind == "open" and not _writes(arguments)):
            return
        with counting:
            last, row = rows.get(threading.get_ident(), ("", 0))
            row = row + 1 if kind == last else 1
            rows[threading.get_ident()] = kind, row
            if row in (1, 3):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
