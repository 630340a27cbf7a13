"""The service on one machine: a Buildbot master and its workers as processes under supervisord, which restarts what dies.

Everything it keeps lies in the state folder; everything it starts is ended by ``stop``, by process id. In production the
same basedirs run under systemd on several machines, and nothing here is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from config.identity import identity_of
from config.models import Site
from master.errors import ServiceError, tail
from master.service import basedir
from master.service.ports import Ports, choose_ports, read_ports, write_ports
from master.service.supervisor import Supervisor, program_section, wait_until

CHECKOUT = Path(__file__).resolve().parent.parent.parent
START_LINE, READY_LINE = "Starting BuildMaster", "BuildMaster is running"


@dataclass(frozen=True)
class Service:
    """One site's service on this machine. ``site_argument`` is what ``--site`` was given: a name or a folder."""

    site: Site
    site_argument: str
    state: Path
    waits_for_mirrors: bool = True
    """Whether a build waits for a package mirror that contradicts itself, or fails at once."""

    @property
    def folder(self) -> Path:
        """Where the supervisor keeps its own files."""
        return self.state / "service"

    @property
    def supervisor(self) -> Supervisor:
        """What the processes run under."""
        return Supervisor(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the service and every command it runs is told."""
        return {
            **({} if self.waits_for_mirrors else {"KITTEN_MIRROR_WAIT": "0"}),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "KITTEN_SITE": self.site_argument,
            "KITTEN_STATE": str(self.state),
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",  # schedules.yaml speaks of UTC; Buildbot of the time of the process
        }

    def kitten(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a worker command by hand, as this service would.

        :param environment: variables on top of the service's own.
        """
        return subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env={**os.environ, **self.environment, **(environment or {})},
            text=True,
            check=False,
            **options,
        )

    def ports(self) -> Ports | None:
        """The ports of the last start, if there was one."""
        return read_ports(self.folder / "ports.json")

    def processes(self) -> list[dict[str, Any]]:
        """What runs under the supervisor; empty where no supervisor answers."""
        return self.supervisor.processes()

    def start(self, say: Callable[[str], None], web_port: int | None = None) -> Ports:
        """Start what does not run yet and wait until the web UI answers and the master says that it runs.

        A service that runs with another configuration is started again with this one; what was building is retried.

        :raises ServiceError: a port in use, a configuration that the master refuses, a master that dies: with its words.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _one_at_a_time(self.folder / "lock"):
            ports = self.ports()
            if ports and self.processes() and self._running_configuration() == self._configuration():
                say(f"the service runs already: {ports.url}")
            else:
                if self.processes():
                    say("the service runs with another configuration: starting it again")
                    self.supervisor.stop()
                ports = choose_ports(web_port or self.site.web.port, ports)
                write_ports(ports, self.folder / "ports.json")
                self._prepare(ports)
                basedir.write_whole(self._configuration_file, self._configuration())
                self._launch(ports)
            self._wait_until_ready(ports)
        return ports

    def stop(self, say: Callable[[str], None]) -> None:
        """End the supervisor and all it started. Nothing running is no error."""
        stopped = self.supervisor.stop()
        say(f"stopped: {', '.join(stopped)}" if stopped else "nothing runs")

    @property
    def _configuration_file(self) -> Path:
        """What the service was started with last."""
        return self.folder / "configuration"

    def _running_configuration(self) -> str:
        file = self._configuration_file
        return file.read_text() if file.is_file() else ""

    def _configuration(self) -> str:
        """What a running service has to be started again for, as a hash."""
        site = self.site.model_dump(mode="json")
        return identity_of({"site": site, "argument": self.site_argument, "waits": self.waits_for_mirrors})

    def _prepare(self, ports: Ports) -> None:
        basedir.ensure_secrets(self.site, self.state)
        master = basedir.prepare_master(self.state, CHECKOUT)
        for worker in self._workers():
            basedir.prepare_worker(self.state, worker, ports.worker)
        (self.state / "logs").mkdir(exist_ok=True)
        if self.site.sources.dist_git.startswith("{state}/"):
            made = self.kitten("dist-git", "init", "--empty", capture_output=True)
            if made.returncode != 0:
                raise ServiceError(f"the dist-git repositories cannot be made:\n{tail(made.stdout + made.stderr)}")
        if basedir.needs_upgrade(master):
            self._make_database(master, ports)

    def _make_database(self, master: Path, ports: Ports) -> None:
        made = subprocess.run(
            [Path(sys.executable).parent / "buildbot", "upgrade-master", "--quiet", str(master)],
            env={**os.environ, **self._master_environment(ports)},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ServiceError(f"the master refuses its configuration or database:\n{tail(made.stdout + made.stderr)}")
        basedir.record_upgrade(master)

    def _workers(self) -> list[str]:
        """Names of the workers that run beside the master; those of a pool with a connection run on other hosts."""
        return [name for pool in self.site.workers if pool.connection is None for name in pool.workers]

    def _master_environment(self, ports: Ports) -> dict[str, str]:
        return {
            **self.environment,
            "KITTEN_WEB_PORT": str(ports.web),
            "KITTEN_WORKER_PORT": str(ports.worker),
            "KITTEN_TRY_PORT": str(ports.try_),
        }

    def _launch(self, ports: Ports) -> None:
        logs = self.state / "logs"
        programs = [program_section("master", self.state / "master", self._master_environment(ports), logs)]
        programs += [
            program_section(worker, self.state / "workers" / worker, self.environment, logs) for worker in self._workers()
        ]
        self.supervisor.start(programs)

    def _wait_until_ready(self, ports: Ports, seconds: float = 120) -> None:
        def answers() -> bool:
            for process in self.processes():
                if process["name"] == "master" and process["statename"] == "FATAL":
                    raise ServiceError(f"the master does not start; its last words:\n{tail(self._master_log())}")
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{ports.url}api/v2/application.spec", timeout=2)
                return answer.ok and self._has_started()
            return False

        if not wait_until(answers, seconds):
            raise ServiceError(
                f"the master did not answer on {ports.url} within {seconds:.0f} s; its last words:\n{tail(self._master_log())}"
            )

    def _has_started(self) -> bool:
        """Whether the log says so. A log that was rotated since says nothing of the start: that was long ago."""
        since, has_start = self._own_log()
        return READY_LINE in since or not has_start

    def _own_log(self) -> tuple[str, bool]:
        """Of the master's own log what belongs to its last start, and whether that start is in there."""
        own = self.state / "master" / "twistd.log"
        _, start, since = (own.read_text(errors="replace") if own.is_file() else "").rpartition(START_LINE)
        return since, bool(start)

    def _master_log(self) -> str:
        # What the process said before its own log was open comes first.
        early = self.state / "logs" / "master.log"
        return (early.read_text(errors="replace") if early.is_file() else "") + self._own_log()[0]


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    # The master may not import workers.base.cache, and a library is too much for two lines (docs/adr/0007-locks.md).
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
