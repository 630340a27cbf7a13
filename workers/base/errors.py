"""The two ways a worker command ends badly, by exit status: 1 it failed, 2 it could not run."""

from __future__ import annotations


class CannotRun(Exception):
    """Bad input, a missing tool, no network: nothing was found out. One line says what, ``mend`` how to go on.

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
