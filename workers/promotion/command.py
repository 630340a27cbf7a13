"""The options with which a user overrides a rule of a gate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from workers.promotion.gate.override import Overrides


def overridable(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options ``--override``, ``--reason`` and ``--as``, passed on as ``overrides``."""

    @functools.wraps(command)
    def wrapped(*, rules: tuple[str, ...], reason: str, user: str, **others: object) -> object:
        return command(overrides=_overrides(rules, reason, user), **others)

    for option in (
        click.option(
            "--as", "user", default="", metavar="USER", help="The user who overrides; the role must have override-gate."
        ),
        click.option(
            "--reason", default="", metavar="TEXT", help="Why, in at least 10 characters; stored with the packages."
        ),
        click.option(
            "--override",
            "rules",
            metavar="RULE",
            multiple=True,
            help="Let builds pass that this rule refuses; may be repeated.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _overrides(rules: tuple[str, ...], reason: str, user: str) -> Overrides:
    """The overrides from the options.

    :raises CannotRun: if a reason or a user is given without a rule.
    """
    from workers.promotion.gate.override import Overrides

    if rules == () and (reason or user):
        raise CannotRun("--reason and --as without --override", "name the rule: --override RULE")
    return Overrides(rules, reason, user)
