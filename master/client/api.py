"""What Buildbot reports over its REST API: the builds, requests and steps of one moment, in one :class:`Snapshot`.

Two queries, and one for each build that runs; reading needs no account.
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
    """What Buildbot knew at one moment."""

    builders: Mapping[int, str]
    builds: Sequence[Mapping[str, Any]]
    requests: Sequence[Mapping[str, Any]]
    steps: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Steps by build id, of target builds and of the lab's."""
    waiting: Mapping[int, str] = field(default_factory=dict)
    """Reason for the wait, by build request id."""
    now: float = 0.0

    def without_failures_up_to(self, buildid: int) -> Snapshot:
        """The same, had the builds up to that one which failed never been: they are tried again."""
        kept = [b for b in self.builds if b["buildid"] > buildid or not b["complete"] or b["results"] in (0, 1, 5)]
        return replace(self, builds=kept)


class Api:
    """The REST API of a running master; reading needs no account.

    Steps of a finished build never change and are asked for once.
    """

    def __init__(self, url: str, packages: Iterable[str] = (), timeout: float = 30) -> None:
        """Connect.

        :param packages: whose releases to read too.
        """
        self.url = url.rstrip("/")
        self._properties = (*PROPERTIES, *map(released_property, packages))
        self._timeout = timeout
        self._session = requests.Session()
        self._steps: dict[int, Sequence[Mapping[str, Any]]] = {}
        self._builders: dict[int, str] = {}

    def get(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        """One collection of the data API.

        :raises requests.RequestException: when the master does not answer.
        """
        answer = self._session.get(f"{self.url}/api/v2/{path}", params=query, timeout=self._timeout)
        answer.raise_for_status()
        return list(answer.json()[key])

    def snapshot(self, targets: Iterable[str], most: int = 400) -> Snapshot:
        """Read the newest ``most`` builds, every open request, and the steps of builds on these targets and of the lab's."""
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
                found = self.get(f"builds/{number}/steps", "steps")
                if build["complete"]:
                    self._steps[number] = found
                steps[number] = found
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
        """The newest compose of each stage and clean, as the master tells them; none where it does not tell."""
        try:
            answer = self._session.get(f"{self.url}/plugins/kitten/packages.json", timeout=self._timeout)
            answer.raise_for_status()
            return list(answer.json()["housekeeping"])
        except (requests.RequestException, ValueError, KeyError):
            return []
