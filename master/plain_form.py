"""A form that starts builds which need no source: the fields of a commit are hidden, the others are its own."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers, util


def plain_form(name: str, builder: str, label: str, properties: list[Any]) -> schedulers.ForceScheduler:
    """A force scheduler.

    :param label: of the form and of the button that opens it.
    """
    nothing = {
        field: util.FixedParameter(name=field, default="") for field in ("branch", "revision", "repository", "project")
    }
    return schedulers.ForceScheduler(
        name=name,
        builderNames=[builder],
        label=label,
        buttonName=label,
        reason=reason(),
        priority=priority(),
        codebases=[util.CodebaseParameter(codebase="", hide=True, **nothing)],
        properties=properties,
    )


def reason() -> Any:
    """Why somebody starts a build."""
    return util.StringParameter(name="reason", label="Reason", default="asked for", size=60, maxsize=200)


def priority() -> Any:
    """What comes first is decided by what others wait for, not in a form."""
    return util.IntParameter(name="priority", default=0, hide=True)
