"""What the commands of this room have in common: the stage, rules that somebody lets packages pass, result files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from workers.base.errors import CannotRun, DidNotHold

if TYPE_CHECKING:
    from rich.console import Console

    from workers.promotion.gate.override import Overrides
    from workers.results import Result

CommandT = TypeVar("CommandT", bound=Callable[..., object])
ResultT = TypeVar("ResultT", bound="Result")


def stage(command: CommandT) -> CommandT:
    """Add ``--stage``, handed over as ``stage_name``: empty for the last."""
    return click.option(
        "--stage", "stage_name", default="", help="A signed one of stages.yaml.  [default: the last, what users have]"
    )(command)


def overridable(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``--override``, ``--reason`` and ``--as``, handed over as ``overrides``."""

    @functools.wraps(command)
    def wrapped(*, rules: tuple[str, ...], reason: str, user: str, **others: object) -> object:
        return command(overrides=_given(rules, reason, user), **others)

    for option in (
        click.option("--as", "user", default="", metavar="USER", help="Who overrides: one whose role may override-gate."),
        click.option("--reason", default="", metavar="TEXT", help="Why, in at least 10 characters; it is kept."),
        click.option(
            "--override",
            "rules",
            metavar="RULE",
            multiple=True,
            help="Let what this rule refuses pass; may be given again.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _given(rules: tuple[str, ...], reason: str, user: str) -> Overrides:
    """What the options say.

    :raises CannotRun: when a reason or a user is given for no rule.
    """
    from workers.promotion.gate.override import Overrides

    if rules == () and (reason or user):
        raise CannotRun("--reason and --as without --override", "name the rule: --override RULE")
    return Overrides(rules, reason, user)


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
            kind.model_validate({name: about[name] for name in about if name in kind.model_fields} | words).write(json_file)
        raise
    if json_file:
        result.write(json_file)
    return result


def tell(result: Result) -> None:
    """Say what came of it.

    :raises DidNotHold: when it did not hold.
    """
    if result.outcome != "held":
        raise DidNotHold(f"{result.summary}\n{result.cause}" if "\n" in result.cause else result.summary)
    click.echo(result.summary)


def console() -> Console:
    """Where tables go; wide enough in a log, which has no width, that none is folded."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)
