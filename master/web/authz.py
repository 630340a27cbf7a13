"""Who may do what in the web UI: roles of web.yaml → Buildbot's rules. What no rule allows is denied, by the last one.

Buildbot allows whatever no rule matches, and its matcher for stopping builds never sees a build request: requests are
cancelled and reprioritised by actions of their own.
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
    """A control action on one kind of thing, by Buildbot's names of both."""

    def __init__(
        self, endpoint: str, action: str, what: str, role: str, only: Callable[[dict[str, Any]], bool] | None = None
    ) -> None:
        """Make the rule.

        :param only: whether it is about a thing with these parts of its path; none: about each.
        """
        super().__init__(role=role, defaultDeny=False)

        async def found(epobject: Any, epdict: dict[str, Any], options: dict[str, Any]) -> Match | None:  # noqa: ARG001
            if only is not None and not only(epdict):
                return None
            thing = await epobject.get({}, epdict) if what else None
            return Match(self.master, **({what: thing} if what else {}))

        setattr(self, f"match_{endpoint}_{action}", lambda *arguments: ensureDeferred(found(*arguments)))


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
    """The rules of all roles, ending in the one that denies."""
    made: list[EndpointMatcherBase] = []
    for role in roles:
        for capability in role.may:
            made += [_Action(*action, role=role.name) for action in _ACTIONS.get(capability, ())]
            if capability in ("force", "override-gate"):
                # One form is not for everybody who starts builds: by it packages reach users against the gate.
                override = capability == "override-gate"
                made.append(_Action(*_FORM, role=role.name, only=_is_promote_form if override else _is_build_form))
            if capability == "stop-own":
                made += [_Action(*action, role=OWNER) for action in _STOP]
    everything = [role.name for role in roles if "everything" in role.may]
    made += [util.AnyControlEndpointMatcher(role=name, defaultDeny=False) for name in everything]
    return [*made, util.AnyControlEndpointMatcher(role=NOBODY)]


def users(site: Site) -> list[str]:
    """Everybody who has a role."""
    return sorted({user for role in site.web.roles for user in role.users})


def try_users(site: Site) -> list[str]:
    """Everybody who may start try-builds."""
    return sorted({user for role in site.web.roles if {"try", "everything"} & set(role.may) for user in role.users})


def authz(site: Site) -> util.Authz:
    """Anonymous users look; every control action needs a role."""
    matchers: list[Any] = [
        util.RolesFromUsername(roles=[role.name], usernames=list(role.users)) for role in site.web.roles if role.users
    ]
    if any("stop-own" in role.may for role in site.web.roles):
        matchers.append(util.RolesFromOwner(role=OWNER))
    return util.Authz(allowRules=rules(site.web.roles), roleMatchers=matchers)
