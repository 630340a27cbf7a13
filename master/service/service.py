"""The service on one machine: a Buildbot master and its workers, as processes under supervisord, which restarts them.

All its files are in the state folder. ``stop`` ends all processes that it started, by their ids. In production the same
base folders run under systemd on several machines, without this module.
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
    """The service of one site on this machine. ``site_argument`` is the value of ``--site``: a name or a folder."""

    site: Site
    site_argument: str
    state: Path
    waits_for_mirrors: bool = True
    """Whether a build waits if a package mirror contradicts itself; else it fails at once."""

    @property
    def folder(self) -> Path:
        """The folder of the supervisor's files."""
        return self.state / "service"

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of the service's processes."""
        return Supervisor(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of every process of the service and of every command that it runs."""
        return {
            **({} if self.waits_for_mirrors else {"KITTEN_MIRROR_WAIT": "0"}),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "KITTEN_SITE": self.site_argument,
            "KITTEN_STATE": str(self.state),
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",  # times in schedules.yaml are UTC; Buildbot uses the time zone of its process
        }

    def kitten(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a worker command by hand, in the environment of this service.

        :param environment: more variables.
        """
        return subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env={**os.environ, **self.environment, **(environment or {})},
            text=True,
            check=False,
            **options,
        )

    def ports(self) -> Ports | None:
        """Return the ports of the last start; None before the first."""
        return read_ports(self.folder / "ports.json")

    def running_ports(self) -> Ports:
        """Return the ports of the running service.

        :raises ServiceError: no service runs.
        """
        ports = self.ports()
        if ports is None or not self.processes():
            raise ServiceError(f"no service runs for {self.state}\n  → kitten up")
        return ports

    def processes(self) -> list[dict[str, Any]]:
        """Return the supervisor's processes; empty if no supervisor answers."""
        return self.supervisor.processes()

    def start(self, say: Callable[[str], None], web_port: int | None = None) -> Ports:
        """Start the service if it does not run, and wait until the web UI answers and the master logs that it runs.

        A service that runs with another configuration is restarted with this one; builds that ran start again.

        :raises ServiceError: a port is in use, the master refuses the configuration, or it dies; with its output.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _one_at_a_time(self.folder / "lock"):
            ports = self.ports()
            if ports and self.processes() and self._running_configuration() == self._configuration():
                say(f"the service runs already: {ports.url}")
            else:
                if self.processes():
                    say("the service runs with another configuration: it is restarted")
                    self.supervisor.stop()
                ports = choose_ports(web_port or self.site.web.port, ports)
                write_ports(ports, self.folder / "ports.json")
                self._prepare(ports)
                basedir.write_whole(self._configuration_file, self._configuration())
                self._launch(ports)
            self._wait_until_ready(ports)
        return ports

    def stop(self, say: Callable[[str], None]) -> None:
        """End the supervisor and all its processes. It is no error if nothing runs."""
        stopped = self.supervisor.stop()
        say(f"stopped: {', '.join(stopped)}" if stopped else "nothing runs")

    @property
    def _configuration_file(self) -> Path:
        """The file with the hash of the configuration of the last start."""
        return self.folder / "configuration"

    def _running_configuration(self) -> str:
        file = self._configuration_file
        return file.read_text() if file.is_file() else ""

    def _configuration(self) -> str:
        """Return the hash of everything that needs a restart of the service when it changes."""
        site = self.site.model_dump(mode="json")
        return identity_of({"site": site, "argument": self.site_argument, "waits": self.waits_for_mirrors})

    def _prepare(self, ports: Ports) -> None:
        basedir.ensure_secrets(self.site, self.state)
        master = basedir.prepare_master(self.state, CHECKOUT)
        for worker in self._workers():
            basedir.prepare_worker(self.state, worker, ports.worker)
        (self.state / "logs").mkdir(exist_ok=True)
        if self.site.sources.dist_git.startswith("{state}/"):
            done = self.kitten("dist-git", "init", "--empty", capture_output=True)
            if done.returncode != 0:
                raise ServiceError(f"the dist-git repositories cannot be made:\n{tail(done.stdout + done.stderr)}")
        if basedir.needs_upgrade(master):
            self._make_database(master, ports)

    def _make_database(self, master: Path, ports: Ports) -> None:
        done = subprocess.run(
            [Path(sys.executable).parent / "buildbot", "upgrade-master", "--quiet", str(master)],
            env={**os.environ, **self._master_environment(ports)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"the master refuses its configuration or database:\n{tail(done.stdout + done.stderr)}")
        basedir.record_upgrade(master)

    def _workers(self) -> list[str]:
        """Return the names of the workers on this machine; those of a pool with a connection run on other hosts."""
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
            program_section(worker, self.state / "workers" / worker, self.environment, logs)
            for worker in self._workers()
        ]
        self.supervisor.start(programs)

    def _wait_until_ready(self, ports: Ports, seconds: float = 120) -> None:
        def answers() -> bool:
            for process in self.processes():
                if process["name"] == "master" and process["statename"] == "FATAL":
                    raise ServiceError(f"the master does not start; its last log lines:\n{tail(self._master_log())}")
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{ports.url}api/v2/application.spec", timeout=2)
                return answer.ok and self._has_started()
            return False

        if not wait_until(answers, seconds):
            raise ServiceError(
                f"the master did not answer on {ports.url} within {seconds:.0f} s; its last log lines:\n"
                f"{tail(self._master_log())}"
            )

    def _has_started(self) -> bool:
        """Return whether the log shows a finished start, or no start: then the log was rotated after it."""
        since, has_start = self._own_log()
        return READY_LINE in since or not has_start

    def _own_log(self) -> tuple[str, bool]:
        """Return the master's log since its last start, and whether the log has that start."""
        own = self.state / "master" / "twistd.log"
        _, start, since = (own.read_text(errors="replace") if own.is_file() else "").rpartition(START_LINE)
        return since, bool(start)

    def _master_log(self) -> str:
        # First the output of the process from before it opened its log.
        early = self.state / "logs" / "master.log"
        return (early.read_text(errors="replace") if early.is_file() else "") + self._own_log()[0]


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    # The master must not import workers.base.cache, and two lines are not worth a library (docs/adr/0007-locks.md).
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
