"""A client of Buildbot's REST API, which returns the builds, requests and steps of one moment as a :class:`Snapshot`.

It sends two queries, and one for each build that runs. To read needs no account.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from steps.names import LAB, released_property

PROPERTIES = ("package", "commit", "target", "nevr", "suites")
RESULT = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")


@dataclass(frozen=True)
class Snapshot:
    """Builders, builds, requests and steps, as Buildbot reported them at one moment."""

    builders: Mapping[int, str]
    builds: Sequence[Mapping[str, Any]]
    requests: Sequence[Mapping[str, Any]]
    steps: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Build id → its steps, for builds of targets and of ``lab``."""
    waiting: Mapping[int, str] = field(default_factory=dict)
    """Build request id → why it waits."""
    now: float = 0.0

    def without_failures_up_to(self, buildid: int) -> Snapshot:
        """Return the snapshot without the failed builds up to this one, which the demo runs again."""
        kept = [b for b in self.builds if b["buildid"] > buildid or not b["complete"] or b["results"] in (0, 1, 5)]
        return replace(self, builds=kept)


class Api:
    """The REST API of a running master. To read needs no account.

    The steps of a finished build never change: they are read once.
    """

    def __init__(self, url: str, packages: Iterable[str] = (), timeout: float = 30) -> None:
        """Prepare a session.

        :param packages: packages whose releases are read too.
        """
        self.url = url.rstrip("/")
        self._properties = (*PROPERTIES, *map(released_property, packages))
        self._timeout = timeout
        self._session = requests.Session()
        self._steps: dict[int, Sequence[Mapping[str, Any]]] = {}
        self._builders: dict[int, str] = {}

    def get(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        """Return one collection of the data API.

        :raises requests.RequestException: the master does not answer.
        """
        answer = self._session.get(f"{self.url}/api/v2/{path}", params=query, timeout=self._timeout)
        answer.raise_for_status()
        return list(answer.json()[key])

    def snapshot(self, targets: Iterable[str], most: int = 400) -> Snapshot:
        """Read the newest ``most`` builds, all open requests, and the steps of builds of targets and of ``lab``."""
        if not self._builders:
            self._builders = {b["builderid"]: b["name"] for b in self.get("builders", "builders")}
        names = {*targets, LAB}
        builds = self.get("builds", "builds", order="-buildid", limit=most, property=self._properties)
        open_requests = self.get(
            "buildrequests", "buildrequests", complete="false", claimed="false", property=PROPERTIES
        )
        steps: dict[int, Sequence[Mapping[str, Any]]] = {}
        for build in builds:
            number = build["buildid"]
            if self._builders.get(build["builderid"]) not in names:
                continue
            if number not in self._steps or not build["complete"]:
                steps[number] = self.get(f"builds/{number}/steps", "steps")
                if build["complete"]:
                    self._steps[number] = steps[number]
            else:
                steps[number] = self._steps[number]
        return Snapshot(self._builders, builds, open_requests, steps, self._reasons(), time.time())

    def _reasons(self) -> dict[int, str]:
        try:
            answer = self._session.get(f"{self.url}/plugins/kitten/waiting.json", timeout=self._timeout)
            answer.raise_for_status()
            return {int(w["buildrequestid"]): str(w["reason"]) for w in answer.json()["waiting"]}
        except (requests.RequestException, ValueError, KeyError):
            return {}

    def housekeeping(self) -> list[Mapping[str, Any]]:
        """Return the newest compose of each stage and the newest cleans; empty if the master does not answer."""
        try:
            answer = self._session.get(f"{self.url}/plugins/kitten/packages.json", timeout=self._timeout)
            answer.raise_for_status()
            return list(answer.json()["housekeeping"])
        except (requests.RequestException, ValueError, KeyError):
            return []
