"""What the commands about repositories have in common: the stage, result files, tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from workers.base.errors import CannotRun, CheckFailed

if TYPE_CHECKING:
    from rich.console import Console

    from workers.results import Result

CommandT = TypeVar("CommandT", bound=Callable[..., object])
ResultT = TypeVar("ResultT", bound="Result")


def stage(command: CommandT) -> CommandT:
    """Add ``--stage``, handed over as ``stage_name``: empty for the last."""
    return click.option(
        "--stage", "stage_name", default="", help="A signed one of stages.yaml.  [default: the last, what users have]"
    )(command)


def ran(work: Callable[[], ResultT], kind: type[ResultT], json_file: Path | None, **known: object) -> ResultT:
    """Do the work and write its result file; work that could not run leaves one too.

    :param known: of the result, what is known before the work.
    :raises CannotRun: what the work raises.
    """
    try:
        result = work()
    except CannotRun as error:
        if json_file:
            about = {"target": "", "package": "", "nevr": "", "stage": "", **known}
            words = {"outcome": "cannot-run", "summary": error.what, "cause": error.what}
            kind.model_validate({name: about[name] for name in about if name in kind.model_fields} | words).write(
                json_file
            )
        raise
    if json_file:
        result.write(json_file)
    return result


def tell(result: Result) -> None:
    """Say what came of it.

    :raises CheckFailed: when it did not hold.
    """
    if result.outcome != "passed":
        raise CheckFailed(f"{result.summary}\n{result.cause}" if "\n" in result.cause else result.summary)
    click.echo(result.summary)


def console() -> Console:
    """Where tables go; wide enough in a log, which has no width, that none is folded."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)
