"""The two ways a worker command ends badly, by exit status: 1 it failed, 2 it could not run."""

from __future__ import annotations

import errno


class CannotRun(Exception):
    """Bad input, a missing tool, no network: nothing was found out. One line says what, ``hint`` how to go on.

    The command line prints both and exits 2; nobody sees a traceback.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.hint}" if self.hint else self.what


class CheckFailed(Exception):
    """The work ran and its answer is no: a compile error, a failed test, a violated rule. Exit 1."""


class MalformedError(Exception):
    """A package file, its payload or an ELF file in it is not what it says it is. One line."""


def no_space(error: OSError) -> CannotRun | None:
    """Return what to say of an error that a full disk or a used-up quota caused; none for any other."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = error.filename2 or error.filename
    return CannotRun(
        f"no space left on the device{f' for {where}' if where else ''}",
        "free some room and run the same command again: nothing is half done",
    )
