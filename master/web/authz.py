"""Permissions in the web UI: roles of web.yaml → Buildbot's rules. The last rule denies all that no other rule allows.

Without it, Buildbot allows what no rule matches. Its matcher for stopping builds matches no build requests: these have
other actions, to cancel them and to change their priority.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from buildbot.plugins import util
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase, Match
from twisted.internet.defer import ensureDeferred

from config.models import Role, Site
from master.runs import PROMOTE_FORM

NOBODY = "nobody"
OWNER = "owner"


class _Action(EndpointMatcherBase):
    """A rule for one control action on one kind of endpoint, with Buildbot's names of both."""

    def __init__(
        self, endpoint: str, action: str, what: str, role: str, only: Callable[[dict[str, Any]], bool] | None = None
    ) -> None:
        """Make the rule.

        :param what: the kind of object of which Buildbot needs the owner; empty: none.
        :param only: returns whether the rule is for an endpoint with these parts of its path; None: for each.
        """
        super().__init__(role=role, defaultDeny=False)

        async def match(epobject: Any, epdict: dict[str, Any], options: dict[str, Any]) -> Match | None:  # noqa: ARG001
            if only is not None and not only(epdict):
                return None
            return Match(self.master, **({what: await epobject.get({}, epdict)} if what else {}))

        setattr(self, f"match_{endpoint}_{action}", lambda *arguments: ensureDeferred(match(*arguments)))


_STOP = (("BuildEndpoint", "stop", "build"), ("BuildRequestEndpoint", "cancel", "buildrequest"))
_FORM = ("ForceSchedulerEndpoint", "force", "")
_ACTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "stop": (*_STOP, ("BuildRequestEndpoint", "set_priority", "buildrequest")),
    "rebuild": (("BuildEndpoint", "rebuild", "build"),),
    "pause-workers": tuple(("WorkerEndpoint", action, "") for action in ("stop", "kill", "pause", "unpause")),
    "schedulers": (("SchedulerEndpoint", "enable", ""),),
}


def _is_promote_form(path: dict[str, Any]) -> bool:
    return bool(path.get("schedulername") == PROMOTE_FORM)


def _is_build_form(path: dict[str, Any]) -> bool:
    return not _is_promote_form(path)


def rules(roles: tuple[Role, ...]) -> list[EndpointMatcherBase]:
    """Return the rules of all roles; the last one denies everything else."""
    allowed: list[EndpointMatcherBase] = []
    for role in roles:
        for capability in role.may:
            allowed += [_Action(*action, role=role.name) for action in _ACTIONS.get(capability, ())]
            if capability in ("force", "override-gate"):
                # One form is not for all users that may start builds: with it, packages reach users against the gate.
                override = capability == "override-gate"
                allowed.append(_Action(*_FORM, role=role.name, only=_is_promote_form if override else _is_build_form))
            if capability == "stop-own":
                allowed += [_Action(*action, role=OWNER) for action in _STOP]
    everything = [role.name for role in roles if "everything" in role.may]
    allowed += [util.AnyControlEndpointMatcher(role=name, defaultDeny=False) for name in everything]
    return [*allowed, util.AnyControlEndpointMatcher(role=NOBODY)]


def users(site: Site) -> list[str]:
    """Return all users that have a role."""
    return sorted({user for role in site.web.roles for user in role.users})


def try_users(site: Site) -> list[str]:
    """Return all users that may start try-builds."""
    return sorted({user for role in site.web.roles if {"try", "everything"} & set(role.may) for user in role.users})


def authz(site: Site) -> util.Authz:
    """Return Buildbot's authorization: anonymous users can read; every control action needs a role."""
    matchers: list[Any] = [
        util.RolesFromUsername(roles=[role.name], usernames=list(role.users)) for role in site.web.roles if role.users
    ]
    if any("stop-own" in role.may for role in site.web.roles):
        matchers.append(util.RolesFromOwner(role=OWNER))
    return util.Authz(allowRules=rules(site.web.roles), roleMatchers=matchers)
