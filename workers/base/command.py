"""The contract of every command that has ``--json``: it leaves a result file, however it ends.

Steps read that file and the exit status; both must agree. So one function does a command's work, writes the file, prints
the result and ends as its outcome says. The classes of result files are above this package: it knows what it needs of them.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import click

from config.problems import ConfigError
from workers.base.errors import CannotRun, CheckFailed, no_space

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class ResultFile(Protocol):
    """What a command reports: :class:`workers.results.Result`."""

    @property
    def outcome(self) -> str: ...  # noqa: D102

    @property
    def summary(self) -> str: ...  # noqa: D102

    @property
    def cause(self) -> str: ...  # noqa: D102

    def write(self, path: Path) -> None: ...  # noqa: D102

    @classmethod
    def model_validate(cls, obj: Any) -> Self: ...  # noqa: D102


ResultT = TypeVar("ResultT", bound=ResultFile)


def conclude(
    kind: type[ResultT],
    json_file: Path | None,
    work: Callable[[], ResultT],
    *,
    known: Mapping[str, object] | None = None,
    show: Callable[[ResultT], None] | None = None,
) -> ResultT:
    """Do a command's work, write its result file, print the result; return a result that passed.

    :param known: fields of the result that are known before the work, or become known while it is done.
    :param show: prints what this command shows of a result before its summary.
    :raises CheckFailed: the work ran and failed (exit status 1).
    :raises CannotRun: it could not run (exit status 2). That includes an error that nobody expected: its traceback is
        printed, for the log.
    :raises ConfigError: the same, with the site's mistakes.
    """
    begun = time.monotonic()
    try:
        result = work()
    except Exception as caught:
        error = _expected(caught)
        if json_file is not None:
            early = _early(kind, error, {**(known or {}), "seconds": time.monotonic() - begun})
            try:
                _write(early, json_file)
            except CannotRun as unwritten:
                click.echo(f"kitten: {unwritten}", err=True)
        if error is caught:
            raise
        raise error from None
    if json_file is not None:
        _write(result, json_file)
    if show is not None:
        show(result)
    if result.outcome == "passed":
        click.echo(result.summary)
        return result
    words = (
        result.summary if not result.cause or result.cause in result.summary else f"{result.summary}\n{result.cause}"
    )
    raise CheckFailed(words) if result.outcome == "failed" else CannotRun(words)


def _expected(error: Exception) -> Exception:
    """Return the error as the command line knows it; one that it does not know is printed with its traceback."""
    if isinstance(error, (CheckFailed, CannotRun, ConfigError, click.ClickException)):
        return error
    if isinstance(error, OSError) and (full := no_space(error)):
        return full
    traceback.print_exception(error)
    what = (str(error).strip() or "no message").splitlines()[0]
    return CannotRun(f"internal error: {type(error).__name__}: {what}", "report it with the traceback above")


def _early(kind: type[ResultT], error: Exception, known: Mapping[str, object]) -> ResultT:
    """Return the result of a command that ended before it had one; text that is not known yet is empty."""
    what, hint = (error.what, error.hint) if isinstance(error, CannotRun) else (str(error), "")
    cause = what.strip() or type(error).__name__
    words = {
        "outcome": "failed" if isinstance(error, CheckFailed) else "cannot-run",
        "summary": cause.splitlines()[0].rstrip(":"),
        "cause": cause,
        "hint": hint,
    }
    fields: Mapping[str, FieldInfo] = kind.model_fields  # type: ignore[attr-defined]  # pydantic's, of each class
    unknown = {name: "" for name, field in fields.items() if field.is_required()}
    return kind.model_validate({**unknown, **known, **words})


def _write(result: ResultFile, path: Path) -> None:
    try:
        result.write(path)
    except OSError as error:
        raise no_space(error) or CannotRun(
            f"cannot write the result file {path}: {error.strerror or error}", "give another one: --json FILE"
        ) from None
