"""Hand-offs between builders: a build starts those that go on from it and does not wait for them.

A fast target never waits for a slow one. What is handed on is an explicit list: a property set by whoever started a
build (a try client, a form) reaches no other builder unless it is on that list.
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


def chosen_targets(asked: object, possible: Sequence[str]) -> tuple[str, ...]:
    """The package's targets, or those of them somebody asked for.

    :param asked: a property: nothing, a name, names separated by commas or blanks, or a list of names.
    :raises ValueError: naming a target that the package is not built for.
    """
    if isinstance(asked, str):
        asked = asked.replace(",", " ").split()
    if not asked or not isinstance(asked, (list, tuple)):
        return tuple(possible)
    if unknown := [str(name) for name in asked if name not in possible]:
        raise ValueError(f"not built for {', '.join(unknown)}; it is built for {', '.join(possible)}")
    return tuple(name for name in possible if name in asked)


class HandOff(Trigger):
    """Starts builders with an allow-list of this build's properties."""

    haltOnFailure = True
    flunkOnFailure = True

    def __init__(self, *, hand_on: Sequence[str], **kwargs: Any) -> None:
        super().__init__(waitForFinish=False, updateSourceStamp=True, parent_relationship="Handed on from", **kwargs)
        self.hand_on = tuple(hand_on)
        self._said = ""

    def handed_on(self) -> dict[str, Any]:
        """The properties that go along."""
        return {name: self.getProperty(name) for name in self.hand_on if self.getProperty(name) is not None}

    def createTriggerProperties(self, properties: Mapping[str, Any]) -> Properties:
        """The properties of the new builds, with this builder as their source."""
        handed = Properties()
        handed.update(dict(properties), self.build.builder.name)
        return handed

    def getCurrentSummary(self) -> dict[str, str]:
        """To whom."""
        return {"step": self._said or "handing on"}

    def getResultSummary(self) -> dict[str, str]:
        """To whom."""
        return {"step": self._said or "interrupted"}


class HandToTargets(HandOff):
    """One source package, one build on each of its targets."""

    name = names.HAND_TO_TARGETS

    def __init__(self, *, schedulers: Mapping[str, str], targets: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """Make the step.

        :param schedulers: target → the scheduler that starts its builder.
        :param targets: package → the targets it is built for.
        """
        super().__init__(schedulerNames=list(schedulers.values()), hand_on=TO_TARGETS, **kwargs)
        self.schedulers = dict(schedulers)
        self.targets = {package: tuple(names) for package, names in targets.items()}

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:
        """One entry for each target."""
        properties = self.handed_on() | {
            "source_buildid": self.build.buildid,
            "reason": f"{self.getProperty('nevr')} from source build {self.build.number}",
        }
        possible = self.targets.get(self.getProperty("package"), ())
        chosen = chosen_targets(self.getProperty("targets"), possible)
        self._said = f"handed to {len(chosen)} target{'' if len(chosen) == 1 else 's'}: {', '.join(chosen)}"
        return [
            {"sched_name": self.schedulers[name], "props_to_set": properties | {"target": name}, "unimportant": False}
            for name in chosen
        ]

    async def run(self) -> int:
        """Start the builds; a target that the package is not built for is a mistake of whoever asked."""
        status: int = FAILURE
        try:
            chosen_targets(self.getProperty("targets"), self.targets.get(self.getProperty("package"), ()))
            status = await super().run()
        except ValueError as error:
            self._said = str(error)
        return status


class HandToPromote(HandOff):
    """A build that held goes on to the gate."""

    name = names.HAND_TO_PROMOTE

    def __init__(self, *, scheduler: str, **kwargs: Any) -> None:
        super().__init__(schedulerNames=[scheduler], hand_on=TO_PROMOTE, **kwargs)

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:
        """The one entry there is."""
        self._said = "handed to promote"
        reason = f"{self.getProperty('nevr')} from {self.getProperty('target')} build {self.build.number}"
        properties = self.handed_on() | {"reason": reason}
        return [{"sched_name": self.schedulerNames[0], "props_to_set": properties, "unimportant": False}]
