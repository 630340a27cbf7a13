"""What the commands about repositories have in common: the stage, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

CommandT = TypeVar("CommandT", bound=Callable[..., object])


def stage(command: CommandT) -> CommandT:
    """Add ``--stage``, handed over as ``stage_name``: empty for the last."""
    return click.option(
        "--stage", "stage_name", default="", help="A signed one of stages.yaml.  [default: the last, what users have]"
    )(command)


def console() -> Console:
    """Where tables go; wide enough in a log, which has no width, that none is folded."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)
