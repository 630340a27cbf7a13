"""The contract of every command that has ``--json``: it leaves a result file, however it ends.

Steps read that file and the exit status, and both must agree. So one function does a command's work, writes the file,
prints the result and ends with the status of its outcome. The classes of result files are in a higher layer; the
protocol here states what this module needs from them.
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
    """What this module needs of :class:`workers.results.Result`."""

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
    """Do a command's work, write its result file, print the result; return the result if it passed.

    :param known: fields of the result that are known before the work; the work may add to them.
    :param show: prints details of a result before its summary.
    :raises CheckFailed: the work ran and failed (exit status 1).
    :raises CannotRun: the work could not run (exit status 2). An unexpected error becomes one, too; its traceback is
        printed for the log.
    :raises ConfigError: the site's files have mistakes (exit status 2).
    """
    begun = time.monotonic()
    try:
        result = work()
    except Exception as caught:
        error = _known_error(caught)
        if json_file is not None:
            fields = {**(known or {}), "seconds": time.monotonic() - begun}
            try:
                _write(_result_of_error(kind, error, fields), json_file)
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
    message = (
        result.summary if not result.cause or result.cause in result.summary else f"{result.summary}\n{result.cause}"
    )
    raise CheckFailed(message) if result.outcome == "failed" else CannotRun(message)


def _known_error(error: Exception) -> Exception:
    """Return the error in a class that the command line knows; print the traceback of an unexpected one."""
    if isinstance(error, (CheckFailed, CannotRun, ConfigError, click.ClickException)):
        return error
    if isinstance(error, OSError) and (full := no_space(error)):
        return full
    traceback.print_exception(error)
    what = (str(error).strip() or "no message").splitlines()[0]
    return CannotRun(f"internal error: {type(error).__name__}: {what}", "report it with the traceback above")


def _result_of_error(kind: type[ResultT], error: Exception, known: Mapping[str, object]) -> ResultT:
    """Return the result of a command that ended with an error; required fields that are not known are empty."""
    what, hint = (error.what, error.hint) if isinstance(error, CannotRun) else (str(error), "")
    cause = what.strip() or type(error).__name__
    ending = {
        "outcome": "failed" if isinstance(error, CheckFailed) else "cannot-run",
        "summary": cause.splitlines()[0].rstrip(":"),
        "cause": cause,
        "hint": hint,
    }
    fields: Mapping[str, FieldInfo] = kind.model_fields  # type: ignore[attr-defined]  # pydantic's, of each class
    unknown = {name: "" for name, field in fields.items() if field.is_required()}
    return kind.model_validate({**unknown, **known, **ending})


def _write(result: ResultFile, path: Path) -> None:
    try:
        result.write(path)
    except OSError as error:
        raise no_space(error) or CannotRun(
            f"cannot write the result file {path}: {error.strerror or error}", "give another file: --json FILE"
        ) from None
