"""A real service for the end-to-end tests of one file: own state folder and ports, shared caches, always stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.other_names import site_with_other_names

KITTEN = Path(sys.executable).parent / "kitten"
TARGETS = ("x86_64", "x86_64_v2", "aarch64", "ppc64le", "s390x")
PACKAGES = ("bzip2", "zlib", "pigz")


@dataclass
class Service:
    state: Path
    site: str = "demo"
    """The name of the site, or the path of its folder."""

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KITTEN_STATE": str(self.state), "KITTEN_SITE": self.site}

    def kitten(self, *arguments: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 3000, "check": False}
        done = subprocess.run([KITTEN, *arguments], env=self.environment, cwd=cwd, **options)
        if check:
            assert done.returncode == 0, f"kitten {' '.join(arguments)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [KITTEN, *arguments], env=self.environment, stdout=log.open("wb"), stderr=subprocess.STDOUT
        )

    @property
    def url(self) -> str:
        ports = json.loads((self.state / "service" / "ports.json").read_text())
        return f"http://127.0.0.1:{ports['web']}/"

    def api(self, path: str, **query: Any) -> dict[str, Any]:
        answer = requests.get(f"{self.url}api/v2/{path}", params=query, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def builds(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.api("builds", order="buildid", property=("package", "commit", "target"), **query)["builds"])

    def builders(self) -> dict[int, str]:
        return {b["builderid"]: b["name"] for b in self.api("builders")["builders"]}

    def process_ids(self) -> dict[str, int]:
        """Return name → process id, as the supervisor reports them."""
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.state}/service/control")
        server: Any = ServerProxy("http://127.0.0.1", transport=transport)
        return {str(p["name"]): int(p["pid"]) for p in server.supervisor.getAllProcessInfo()}

    def act(self, user: str, path: str, method: str, **parameters: Any) -> requests.Response:
        """Send a control action as a signed-in user."""
        session = requests.Session()
        password = (self.state / "secrets" / f"web-{user}").read_text().strip()
        session.get(f"{self.url}auth/login", auth=(user, password), timeout=30).raise_for_status()
        call = {"id": 1, "jsonrpc": "2.0", "method": method, "params": parameters}
        return session.post(f"{self.url}api/v2/{path}", json=call, timeout=30)

    def dist_git(self, package: str) -> Path:
        return self.state / "dist-git" / f"{package}.git"


def git(*arguments: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


def processes_of(state: Path, programs: Sequence[str]) -> list[str]:
    """Return the ids and command lines of these programs if they belong to this service."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(program in line for program in programs) and (
            str(state) in line or f"KITTEN_STATE={state}" in environment
        ):
            found.append(f"{entry.name} {line[:200]}")
    return found


def descendants(pid: int) -> dict[int, str]:
    """Return process id → command line of all processes below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: dict[int, str] = {}
    todo = list(parents.get(pid, []))
    while todo:
        child = todo.pop()
        todo += parents.get(child, [])
        with contextlib.suppress(OSError):
            found[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The demo under other names, as no name of a stage, product or dist tag may matter."""
    with tempfile.TemporaryDirectory(prefix="kitten-e2e-", ignore_cleanup_errors=True) as folder:
        site = site_with_other_names(Path(folder) / "config")
        running = Service(Path(folder) / "state", str(site))
        running.state.mkdir()
        try:
            yield running
        finally:
            running.kitten("down", check=False)
            assert processes_of(running.state, ["twistd", "supervisord", "qemu", "bwrap", "rpmbuild"]) == []


def until(condition: Callable[[], Any], what: str, seconds: float = 600) -> Any:
    """Wait until the condition is true; return its value."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            if value := condition():
                return value
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    pytest.fail(f"not true within {seconds:.0f} s: {what}")


def running_target_build(service: Service) -> dict[str, Any] | None:
    """Return a build of a target whose rpmbuild runs."""
    builders = service.builders()
    for build in service.builds(complete="false"):
        if builders[build["builderid"]] not in TARGETS:
            continue
        steps = service.api(f"builds/{build['buildid']}/steps")["steps"]
        if any(s["name"] == "build RPMs" and s["started_at"] and not s["complete"] for s in steps) and processes_of(
            service.state, ["rpmbuild"]
        ):
            return build
    return None


@pytest.fixture(scope="module")
def demo(service: Service) -> str:
    """The output of a demo with three packages on five targets, during which a worker and the master are killed."""
    log = service.state / "demo.log"
    process = service.start("demo", log=log)
    try:
        build = until(lambda: running_target_build(service), "a running build")
        worker = service.api(f"workers/{build['workerid']}")["workers"][0]["name"]
        before = service.process_ids()[worker]
        os.kill(before, signal.SIGKILL)
        until(lambda: service.process_ids()[worker] not in (0, before), "the killed worker runs again", 60)

        until(lambda: running_target_build(service), "a running build after the worker's death")
        before = service.process_ids()["master"]
        os.kill(before, signal.SIGKILL)
        until(lambda: service.process_ids()["master"] not in (0, before), "the killed master runs again", 60)
        status = process.wait(timeout=2400)
    finally:
        process.kill()
    text = log.read_text()
    assert status == 0, text[-4000:]
    return text
