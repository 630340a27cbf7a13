"""A real master and workers for tests, with ``tests.master.fake_kitten`` as ``kitten`` on the workers' PATH.

The worker commands have their own tests. These test the side of Buildbot, so that program only has to follow the
contract of docs/explanation/architecture.md: read its options, write one result, exit with 0, 1 or 2.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from config.loading import FOLDER, load_site
from master.service.basedir import ensure_secrets, prepare_master, prepare_worker

CHECKOUT = FOLDER.parent
PATIENCE_SECONDS = 180
PACKAGES = ("zlib", "pigz")

KITTEN = """#!{python}
import sys
sys.path.insert(0, {checkout!r})
from tests.master.fake_kitten import main
sys.exit(main(sys.argv[1:]))
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until the condition is true; return its value.

    :raises AssertionError: it does not become true in time; the text is ``what``.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if answer := condition():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not true within {PATIENCE_SECONDS} s: {what}")


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, with a name and an address; return its output."""
    who = ["-c", "user.name=packager", "-c", "user.email=packager@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Service:
    """A running master with its workers."""

    state: Path
    site: Path
    ports: tuple[int, int, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    sessions: dict[str, requests.Session] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}/"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{self.state / 'bin'}:{os.environ['PATH']}",
            "KITTEN_SITE": str(self.site),
            "KITTEN_STATE": str(self.state),
            "KITTEN_WEB_PORT": str(self.ports[0]),
            "KITTEN_WORKER_PORT": str(self.ports[1]),
            "KITTEN_TRY_PORT": str(self.ports[2]),
        }

    def start(self, name: str, program: str, basedir: Path) -> None:
        """Start the master or a worker, as the service does."""
        with (self.state / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [Path(sys.executable).with_name(program), "start", "--nodaemon", str(basedir)],
                env=self.environment,
                cwd=self.state,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_master(self) -> None:
        self.start("master", "buildbot", self.state / "master")
        eventually(self.answers, "the master answers")

    def start_worker(self, name: str) -> None:
        basedir = prepare_worker(self.state, name, self.ports[1])
        self.start(name, "buildbot-worker", basedir)

    def answers(self) -> bool:
        assert self.processes["master"].poll() is None, (self.state / "master" / "twistd.log").read_text()[-3000:]
        with contextlib.suppress(requests.ConnectionError):
            return bool(self.get("masters")["masters"][0]["active"])
        return False

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait()

    def session(self, user: str | None) -> requests.Session:
        """Return a session like a browser's, logged in as a user or anonymous."""
        if (key := user or "") not in self.sessions:
            session = requests.Session()
            if user:
                password = (self.state / "secrets" / f"web-{user}").read_text().strip()
                answer = session.get(f"{self.url}auth/login", auth=(user, password), allow_redirects=False)
                assert answer.status_code in (200, 302), answer.text
            self.sessions[key] = session
        return self.sessions[key]

    def get(self, path: str) -> Any:
        answer = self.session(None).get(f"{self.url}api/v2/{path}", timeout=PATIENCE_SECONDS)
        answer.raise_for_status()
        return answer.json()

    def page(self, path: str) -> requests.Response:
        return self.session(None).get(f"{self.url}plugins/kitten/{path}", timeout=PATIENCE_SECONDS)

    def control(self, user: str | None, path: str, action: str, **parameters: Any) -> tuple[int, str]:
        """Send a control action over REST; return the HTTP status and the error's text."""
        body = {"jsonrpc": "2.0", "method": action, "params": parameters, "id": 1}
        answer = self.session(user).post(f"{self.url}api/v2/{path}", json=body, timeout=PATIENCE_SECONDS)
        return answer.status_code, str(answer.json().get("error", {}).get("message", ""))

    def builds(self, builder: str) -> list[dict[str, Any]]:
        """Return the builds of a builder, oldest first, with their properties as plain values."""
        rows = self.get(f"builders/{builder}/builds?property=*&order=buildid")["builds"]
        return [row | {"properties": {k: v[0] for k, v in row["properties"].items()}} for row in rows]

    def builds_of(self, builder: str, commit: str) -> list[dict[str, Any]]:
        """Return the builds of one commit."""
        return [build for build in self.builds(builder) if build["properties"].get("commit") == commit]

    def wait_for_running(self, builder: str, package: str, count: int = 1) -> dict[str, Any]:
        """Wait for a running build of a package, at least the ``count``-th on this builder; return it."""

        def runs() -> dict[str, Any] | None:
            found = [b for b in self.builds(builder) if b["properties"].get("package") == package]
            return found[-1] if len(found) >= count and not found[-1]["complete"] else None

        return dict(eventually(runs, f"{builder} works on {package}"))

    def command_runs(self, build: dict[str, Any]) -> bool:
        """Return whether the first step of a target's build has started."""
        steps = self.get(f"builds/{build['buildid']}/steps")["steps"]
        return any(step["name"] == "build RPMs" and step["started_at"] for step in steps)

    def idle(self) -> bool:
        """Return whether no build runs or waits."""
        return not self.get("buildrequests?complete=false")["buildrequests"]

    def idle_but_promote(self) -> bool:
        """Return whether no build runs or waits, except on ``promote``, if no publisher is connected."""
        promote = self.get("builders/promote")["builders"][0]["builderid"]
        rows = self.get("buildrequests?complete=false")["buildrequests"]
        return bool(self.builds("x86_64")) and all(row["builderid"] == promote for row in rows)

    def wait_for_finished(self, builder: str, count: int) -> list[dict[str, Any]]:
        """Wait until a builder has finished exactly ``count`` builds; return them."""

        def all_finished() -> list[dict[str, Any]] | None:
            found = [build for build in self.builds(builder) if build["complete"]]
            return found if len(found) >= count else None

        found = eventually(all_finished, f"{count} finished builds of {builder}; it has {self.builds(builder)}")
        assert len(found) == count, found
        return list(found)

    def behave(self, command: str, what: str, on: bool = True) -> None:
        """Make a worker command wait (``hold``), or fail for a package or target (``fail-NAME``)."""
        marker = self.state / "behaviour" / command / what
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch() if on else marker.unlink(missing_ok=True)

    def push(self, package: str, text: str, branch: str = "c10s") -> str:
        """Commit to a package's dist-git and push; return the commit."""
        tree = self.state / "trees" / package
        if not tree.is_dir():
            tree.mkdir(parents=True)
            git(tree, "init", "-q", "-b", branch)
            git(tree, "remote", "add", "origin", str(self.state / "dist-git" / f"{package}.git"))
        (tree / f"{package}.spec").write_text(text)
        git(tree, "add", ".")
        git(tree, "commit", "-q", "-m", f"{package}: {text}")
        git(tree, "push", "-q", "origin", branch)
        return git(tree, "rev-parse", "HEAD")

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


def small_site(folder: Path, targets: int = 2) -> Path:
    """Write the demo's site with only a few packages and targets, and with a short poll interval; return its folder."""
    site = load_site("demo")
    folder.mkdir(parents=True)
    # Groups name packages that are left out here; a section with only defaults needs no file.
    written = json.loads(site.model_dump_json(exclude={"groups", "signing"}))
    written["targets"] = written["targets"][:targets]
    names = {target["name"] for target in written["targets"]}
    for suite in written["suites"]:
        suite["targets"] = "all" if suite["targets"] == "all" else [name for name in suite["targets"] if name in names]
    written["suites"] = [suite for suite in written["suites"] if suite["targets"]]
    written["sources"]["poll_seconds"] = 2
    written["schedules"] = []
    written["web"]["roles"] = [
        {"name": "admin", "description": "all", "users": ["admin"], "may": ["everything"]},
        {
            "name": "release-engineer",
            "description": "any build",
            "users": ["release"],
            "may": ["force", "stop", "rebuild", "try", "override-gate"],
        },
        {"name": "contributor", "description": "own", "users": ["contributor"], "may": ["try", "stop-own"]},
        {"name": "requester", "description": "starts, stops own", "users": ["asker"], "may": ["force", "stop-own"]},
    ]
    written["workers"] = [
        {"name": "build", "roles": ["source", "build"], "workers": ["build-1"], "max_builds": 4},
        {"name": "try", "roles": ["try"], "workers": ["try-1"]},
        {"name": "publish", "roles": ["publish"], "workers": ["publish-1"]},
    ]
    files = {"distribution": "site", **{k: k for k in written if k not in ("distribution", "packages")}}
    written["distribution"]["extends"] = None
    for section, file in files.items():
        (folder / f"{file}.yaml").write_text(json.dumps(written[section]))
    (folder / "packages").mkdir()
    for package in written["packages"]:
        if package["name"] in PACKAGES:
            (folder / "packages" / f"{package['name']}.yaml").write_text(json.dumps(package))
    return folder


@contextlib.contextmanager
def service(folder: Path, workers: tuple[str, ...] = ("build-1", "publish-1", "try-1")) -> Iterator[Service]:
    """Run a master with empty dist-git repositories and workers; end all its processes afterwards."""
    state = folder / "state"
    running = Service(state, small_site(folder / "site"), (free_port(), free_port(), free_port()))
    site = load_site(str(running.site))
    ensure_secrets(site, state)
    (state / "bin").mkdir()
    (state / "bin" / "kitten").write_text(KITTEN.format(python=sys.executable, checkout=str(CHECKOUT)))
    (state / "bin" / "kitten").chmod(0o755)
    for package in PACKAGES:
        repository = state / "dist-git" / f"{package}.git"
        repository.mkdir(parents=True)
        git(repository, "init", "-q", "--bare", "-b", "c10s")
    basedir = prepare_master(state, CHECKOUT)
    subprocess.run(
        [Path(sys.executable).with_name("buildbot"), "upgrade-master", "--quiet", str(basedir)],
        env=running.environment,
        check=True,
        capture_output=True,
    )
    try:
        running.start_master()
        for name in workers:
            running.start_worker(name)
        yield running
    finally:
        running.stop()
