"""The options by which a person lets packages pass a rule of a gate, the same for every command that asks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from workers.errors import CannotRun

if TYPE_CHECKING:
    from workers.repo.gate.override import Overrides

CommandT = TypeVar("CommandT", bound=Callable[..., object])


def options(command: CommandT) -> CommandT:
    """Add ``--override``, ``--reason`` and ``--as``, handed over as ``rules``, ``reason`` and ``user``."""
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
        command = option(command)
    return command


def given(rules: tuple[str, ...], reason: str, user: str) -> Overrides:
    """What the options say.

    :raises CannotRun: when a reason or a user is given for no rule.
    """
    from workers.repo.gate.override import Overrides

    if rules == () and (reason or user):
        raise CannotRun("--reason and --as without --override", "name the rule: --override RULE")
    return Overrides(rules, reason, user)
