"""The options by which somebody lets a package pass a rule of a gate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from workers.promotion.gate.override import Overrides


def overridable(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``--override``, ``--reason`` and ``--as``, handed over as ``overrides``."""

    @functools.wraps(command)
    def wrapped(*, rules: tuple[str, ...], reason: str, user: str, **others: object) -> object:
        return command(overrides=_given(rules, reason, user), **others)

    for option in (
        click.option(
            "--as", "user", default="", metavar="USER", help="Who overrides: one whose role may override-gate."
        ),
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
