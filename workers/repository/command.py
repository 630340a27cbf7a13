"""The option ``--stage`` and the console of the commands about repositories; promotion and mirrors share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

CommandT = TypeVar("CommandT", bound=Callable[..., object])


def stage(command: CommandT) -> CommandT:
    """Add the option ``--stage``, passed on as ``stage_name``: empty for the last stage."""
    return click.option(
        "--stage",
        "stage_name",
        default="",
        help="A signed stage of stages.yaml.  [default: the last, which users have]",
    )(command)


def console() -> Console:
    """The console for tables; in a log, which has no width, it is wide enough for every table."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)
