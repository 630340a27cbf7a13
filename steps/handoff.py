"""Hand-offs between builders: a build starts the next builds and does not wait for them.

A fast target never waits for a slow one. Only listed properties are handed on: no other property that the user who
started a build has set (in a try client, in a form) reaches the next builders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildbot.process.properties import Properties
from buildbot.process.results import FAILURE
from buildbot.steps.trigger import Trigger

from steps import names

TO_TARGETS = ("package", "commit", "nevr", "source_url", "build_requires", "owner")
TO_PROMOTE = ("package", "commit", "nevr", "target", "identity", "build_url", "source_buildid", "owner")


def chosen_targets(requested: object, possible: Sequence[str]) -> tuple[str, ...]:
    """Return the requested targets of a package, or all of its targets if none is requested.

    :param requested: a property: nothing, a name, names separated by commas or spaces, or a list of names.
    :raises ValueError: with the names of targets that the package is not built for.
    """
    if isinstance(requested, str):
        requested = requested.replace(",", " ").split()
    if not requested or not isinstance(requested, (list, tuple)):
        return tuple(possible)
    if unknown := [str(name) for name in requested if name not in possible]:
        raise ValueError(f"not built for {', '.join(unknown)}; it is built for {', '.join(possible)}")
    return tuple(name for name in possible if name in requested)


class HandOff(Trigger):
    """Starts builders with listed properties of this build."""

    haltOnFailure = True
    flunkOnFailure = True

    def __init__(self, *, hand_on: Sequence[str], **kwargs: Any) -> None:
        super().__init__(waitForFinish=False, updateSourceStamp=True, parent_relationship="Handed on from", **kwargs)
        self.hand_on = tuple(hand_on)
        self._message = ""

    def handed_properties(self) -> dict[str, Any]:
        """Return the properties of this build that are handed on."""
        return {name: self.getProperty(name) for name in self.hand_on if self.getProperty(name) is not None}

    def createTriggerProperties(self, properties: Mapping[str, Any]) -> Properties:
        """Return the properties of the new builds, with this builder as their source."""
        handed = Properties()
        handed.update(dict(properties), self.build.builder.name)
        return handed

    def getCurrentSummary(self) -> dict[str, str]:
        """Return the names of the builders that were started."""
        return {"step": self._message or "handing on"}

    def getResultSummary(self) -> dict[str, str]:
        """Return the names of the builders that were started, or the error."""
        return {"step": self._message or "interrupted"}


class HandToTargets(HandOff):
    """Starts a build of a source package on each of its targets."""

    name = names.HAND_TO_TARGETS

    def __init__(self, *, schedulers: Mapping[str, str], targets: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """Make the step.

        :param schedulers: target → the scheduler that starts its builder.
        :param targets: package → the targets it is built for.
        """
        super().__init__(schedulerNames=list(schedulers.values()), hand_on=TO_TARGETS, **kwargs)
        self.schedulers = dict(schedulers)
        self.targets = {package: tuple(built_for) for package, built_for in targets.items()}
        self.chosen: tuple[str, ...] = ()

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:
        """Return one entry for each target."""
        properties = self.handed_properties() | {
            "source_buildid": self.build.buildid,
            "reason": f"{self.getProperty('nevr')} from source build {self.build.number}",
        }
        count = f"{len(self.chosen)} target{'' if len(self.chosen) == 1 else 's'}"
        self._message = f"handed to {count}: {', '.join(self.chosen)}"
        return [
            {"sched_name": self.schedulers[name], "props_to_set": properties | {"target": name}, "unimportant": False}
            for name in self.chosen
        ]

    async def run(self) -> int:
        """Start the builds, or fail if the package is not built for a requested target."""
        possible = self.targets.get(self.getProperty("package"), ())
        try:
            self.chosen = chosen_targets(self.getProperty("targets"), possible)
        except ValueError as error:
            self._message = str(error)
            return int(FAILURE)
        return int(await super().run())


class HandToPromote(HandOff):
    """Starts the promotion of a build that passed."""

    name = names.HAND_TO_PROMOTE

    def __init__(self, *, scheduler: str, **kwargs: Any) -> None:
        super().__init__(schedulerNames=[scheduler], hand_on=TO_PROMOTE, **kwargs)

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:
        """Return the only entry."""
        self._message = "handed to promote"
        reason = f"{self.getProperty('nevr')} from {self.getProperty('target')} build {self.build.number}"
        properties = self.handed_properties() | {"reason": reason}
        return [{"sched_name": self.schedulerNames[0], "props_to_set": properties, "unimportant": False}]
