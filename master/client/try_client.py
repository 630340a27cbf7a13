"""``kitten try``: build, verify and test a contributor's patch in the production buildroot; publish nothing.

Buildbot's try client sends the patch. This module fixes two of its problems: it waits without end on a refused
connection or a wrong password, and it does not show the address of the build.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from master.client.api import RESULT, Api
from master.errors import ServiceError
from steps.names import SOURCE, TRY

DELIVERY_SECONDS = 30


@dataclass(frozen=True)
class Try:
    """One patch for a branch of one package, and who sends it."""

    package: str
    patch: str
    branch: str
    commit: str
    targets: Sequence[str]
    user: str
    password: str


def patch_of_checkout(folder: Path, branch: str) -> tuple[str, str]:
    """Return what a dist-git checkout changes against its upstream branch: (patch, commit to which it applies).

    The patch has committed and uncommitted changes, and new files that git tracks.

    :raises ServiceError: no checkout, no upstream branch, or no change.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServiceError(
                f"{folder}: git {arguments[0]}: {done.stderr.strip()}\n"
                "  → run this in a clone of the package's dist-git, or give --patch FILE"
            )
        return done.stdout

    base = git("merge-base", "HEAD", f"origin/{branch}").strip()
    patch = git("diff", "--binary", base)
    if not patch:
        raise ServiceError(
            f"{folder} has no changes against origin/{branch}\n"
            "  → change something, `git add` new files, and run this again"
        )
    return patch, base


def deliver(attempt: Try, try_port: int, host: str = "127.0.0.1") -> None:
    """Send the patch to the master.

    :raises ServiceError: a refused connection, a wrong user or password, or a master that does not answer.
    """
    with socket.socket() as probe:
        probe.settimeout(10)
        try:
            probe.connect((host, try_port))
        except OSError as error:
            raise ServiceError(
                f"no master accepts try-builds on {host}:{try_port}: {error.strerror or error}\n  → start it: kitten up"
            ) from None
    with tempfile.TemporaryDirectory() as folder:
        patch = Path(folder, "patch")
        patch.write_text(attempt.patch)
        # The client reads the password from its options file, so no process list shows it.
        options = Path(folder, ".buildbot")
        options.mkdir()
        (options / "options").write_text(f"try_password = {attempt.password!r}\n")
        (options / "options").chmod(0o600)
        command = [
            *(str(Path(sys.executable).parent / "buildbot"), "try", "--connect=pb", f"--master={host}:{try_port}"),
            *(f"--username={attempt.user}", f"--who={attempt.user}", "--vc=git", f"--branch={attempt.branch}"),
            *(f"--baserev={attempt.commit}", f"--diff={patch}", "--patchlevel=1", f"--builder={TRY}"),
            f"--property=package={attempt.package}",
            *([f"--property=targets={' '.join(attempt.targets)}"] if attempt.targets else []),
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=DELIVERY_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"the master did not accept the patch within {DELIVERY_SECONDS} s; "
                f"check the password of user {attempt.user!r}"
            ) from None
    if done.returncode != 0 or (
        "Delivering job" not in done.stdout + done.stderr and "job has been delivered" not in done.stdout
    ):
        raise ServiceError(f"the master refused the patch: {(done.stdout + done.stderr).strip()[-500:]}")


def build_address(api: Api, attempt: Try, after: float) -> tuple[int, str] | None:
    """Return the id and address of the try-build of this patch; None if none starts in time."""
    for _ in range(DELIVERY_SECONDS):
        with contextlib.suppress(requests.RequestException):
            builders = {b["builderid"]: b["name"] for b in api.get("builders", "builders")}
            for build in api.get("builds", "builds", order="-buildid", limit=20, property=("package", "owner")):
                package = (build["properties"].get("package") or [""])[0]
                if (
                    builders.get(build["builderid"]) == TRY
                    and build["started_at"] >= after - 5
                    and package == attempt.package
                ):
                    return build["buildid"], f"{api.url}/#/builders/{build['builderid']}/builds/{build['number']}"
        time.sleep(1)
    return None


def wait_for(api: Api, buildid: int, say: Callable[[str], None]) -> bool:
    """Wait for a try's source build and the builds that it starts. Return whether all of them succeeded."""
    reported: set[int] = set()
    while True:
        builds = api.get("builds", "builds", order="-buildid", limit=100, property=("source_buildid", "target"))
        mine = [
            b for b in builds if b["buildid"] == buildid or (b["properties"].get("source_buildid") or [0])[0] == buildid
        ]
        for build in mine:
            if build["complete"] and build["buildid"] not in reported:
                reported.add(build["buildid"])
                where = (build["properties"].get("target") or [SOURCE])[0]
                say(f"{where}: {RESULT[build['results']]}: {build['state_string']}")
        pending = api.get("buildrequests", "buildrequests", complete="false", property="source_buildid")
        waits = [r for r in pending if (r["properties"].get("source_buildid") or [0])[0] == buildid]
        if not waits and mine and all(b["complete"] for b in mine):
            return all(b["results"] in (0, 1) for b in mine)
        time.sleep(2)
