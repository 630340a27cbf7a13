"""Permissions on a real master over REST: every control action, by every user."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.process.results import CANCELLED, SUCCESS

from master.try_scheduler import GuardedTryPerspective
from tests.master.running import Service, eventually, service

pytestmark = pytest.mark.service
USERS = (None, "contributor", "asker", "release", "admin")
FORCE = {"builderNames": ["source"], "package": "zlib"}
ACTIONS = [
    # path, action, parameters, users that may do it
    ("forceschedulers/force", "force", FORCE, {"asker", "release", "admin"}),
    (
        "forceschedulers/force-lab",
        "force",
        {"builderNames": ["lab"], "target": "x86_64"},
        {"asker", "release", "admin"},
    ),
    ("forceschedulers/promote", "force", {"builderNames": ["promote"]}, {"release", "admin"}),
    ("builds/{build}", "stop", {"reason": "x"}, {"release", "admin"}),
    ("builds/{build}", "rebuild", {}, {"release", "admin"}),
    ("buildrequests/{request}", "cancel", {"reason": "x"}, {"release", "admin"}),
    ("buildrequests/{request}", "set_priority", {"priority": 1}, {"release", "admin"}),
    ("workers/{worker}", "pause", {"reason": "x"}, {"admin"}),
    ("workers/{worker}", "unpause", {"reason": "x"}, {"admin"}),
    ("workers/{worker}", "stop", {"reason": "x"}, {"admin"}),
    ("workers/{worker}", "kill", {"reason": "x"}, {"admin"}),
    ("schedulers/{scheduler}", "enable", {"enabled": True}, {"admin"}),
    ("masters/1", "shutdown", {}, {"admin"}),
    ("builds/{build}", "Stop", {"reason": "x"}, {"admin"}),  # spelled so that no specific rule matches
]


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("access"), workers=("build-1", "try-1")) as running:
        running.push("zlib", "first")
        eventually(running.idle_but_promote, "a build to ask about")
        yield running


@pytest.fixture(scope="module")
def things(ci: Service) -> dict[str, int]:
    """A finished build without an owner, its request, a disconnected worker, and a scheduler."""
    build = ci.builds("source")[0]
    workers = {row["name"]: row["workerid"] for row in ci.get("workers")["workers"]}
    schedulers = {row["name"]: row["schedulerid"] for row in ci.get("schedulers")["schedulers"]}
    return {
        "build": build["buildid"],
        "request": build["buildrequestid"],
        "worker": workers["publish-1"],
        "scheduler": schedulers["on-commit"],
    }


@pytest.mark.parametrize("user", USERS, ids=str)
@pytest.mark.parametrize(("path", "action", "parameters", "may"), ACTIONS, ids=[f"{a[1]}-{a[0]}" for a in ACTIONS])
def test_each_user_may_do_what_its_role_allows(
    ci: Service,
    things: dict[str, int],
    user: str | None,
    path: str,
    action: str,
    parameters: dict[str, object],
    may: set[str],
) -> None:
    status, text = ci.control(user, path.format(**things), action, **parameters)
    assert (status != 403) == (user in may), (status, text)


@pytest.mark.parametrize("path", ["builders", "builds", "changes", "workers", "buildrequests?complete=false"])
def test_anonymous_users_may_look(ci: Service, path: str) -> None:
    assert ci.get(path)


def test_a_wrong_password_is_refused(ci: Service) -> None:
    answer = ci.session(None).get(f"{ci.url}auth/login", auth=("admin", "x"), allow_redirects=False)
    assert answer.status_code == 401


def test_a_user_stops_only_own_builds(ci: Service) -> None:
    eventually(ci.idle_but_promote, "nothing else is under way")
    ci.behave("source", "hold")
    try:
        status, text = ci.control("asker", "forceschedulers/force", "force", **FORCE)
        assert status == 200, text
        build = ci.wait_for_running("source", "zlib")["buildid"]
        assert ci.control("contributor", f"builds/{build}", "stop", reason="x")[0] == 403
        assert ci.control("asker", f"builds/{build}", "stop", reason="x")[0] == 200
        eventually(lambda: ci.get(f"builds/{build}")["builds"][0]["results"] == CANCELLED, "it is cancelled")
    finally:
        ci.behave("source", "hold", on=False)


def try_client(ci: Service, patch: Path, user: str, *more: str) -> subprocess.CompletedProcess[str]:
    password = (ci.state / "secrets" / f"web-{user}").read_text().strip()
    command = ["try", "--connect=pb", f"--master=127.0.0.1:{ci.ports[2]}", f"--username={user}", f"--passwd={password}"]
    command += ["--vc=git", f"--diff={patch}", "--patchlevel=1", "--branch=c10s", "--builder=try", *more]
    buildbot = Path(sys.executable).with_name("buildbot")
    return subprocess.run(
        [buildbot, *command], cwd=patch.parent, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_try_build_is_built_and_proven_but_neither_staged_nor_published(ci: Service, tmp_path: Path) -> None:
    patch = tmp_path / "change.diff"
    patch.write_text("--- a/zlib.spec\n+++ b/zlib.spec\n@@ -1 +1 @@\n-first\n+mine\n")
    before = len(ci.builds("x86_64"))
    done = try_client(ci, patch, "contributor", "--property=package=zlib", "--property=targets=x86_64")
    assert done.returncode == 0, done.stdout + done.stderr
    build = ci.wait_for_finished("try-x86_64", 1)[0]
    assert build["results"] == SUCCESS, build
    assert build["properties"]["workername"] == "try-1"
    assert build["properties"]["owner"] == "contributor"
    ran = [step["name"] for step in ci.get(f"builds/{build['buildid']}/steps")["steps"]]
    assert not {"stage for next builds", "hand to promote"} & set(ran)
    assert not ci.builds("try-x86_64_v2")
    assert len(ci.builds("x86_64")) == before
    calls = (ci.state / "calls").read_text().splitlines()
    assert any('"source"' in call and "change.patch" in call for call in calls)


@pytest.mark.parametrize("name", ["owner", "virtual_builder_name", "state_folder"])
def test_a_try_build_with_a_property_that_is_not_allowed_is_refused(name: str) -> None:
    started: list[Any] = []
    scheduler = SimpleNamespace(packages=["zlib"], filterBuilderList=started.append)
    refused: list[Any] = []
    answer = GuardedTryPerspective(scheduler, "contributor").perspective_try(
        "c10s", None, (1, "x"), "ssh://elsewhere", "", ["promote"], properties={"package": "zlib", name: "x"}
    )
    answer.addErrback(refused.append)
    assert f"refused properties: {name}" in refused[0].getErrorMessage()
    assert not started
