"""The errors of worker commands. They set the exit status: 1 if the work failed, 2 if it could not run."""

from __future__ import annotations

import errno


class CannotRun(Exception):
    """The work could not run: bad input, a missing tool, no network.

    ``what`` says in one line what is wrong, ``hint`` what to do. The command line prints both, without a traceback, and
    exits with 2.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.hint}" if self.hint else self.what


class CheckFailed(Exception):
    """The work ran and failed: a compile error, a failed test, a broken rule. The exit status is 1."""


class MalformedError(Exception):
    """A package file, its payload or an ELF file in it breaks its format. The message is one line."""


def no_space(error: OSError) -> CannotRun | None:
    """Return the error to raise if a full disk or an exceeded quota caused an ``OSError``; None for other causes."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    path = error.filename2 or error.filename
    return CannotRun(
        f"no space left on the device{f' for {path}' if path else ''}",
        "free some room and run the same command again: nothing is half done",
    )
