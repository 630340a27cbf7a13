"""The service on one machine: a Buildbot master and its workers as processes under supervisord, which restarts what dies.

Everything it keeps lies in the state folder; everything it starts is ended by ``stop``, by process id. In production the
same basedirs run under systemd on several machines, and nothing here is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from config.models import Site
from master import basedir

CHECKOUT = Path(__file__).resolve().parent.parent
START_LINE, READY_LINE = "Starting BuildMaster", "BuildMaster is running"
FIRST_WEB_PORT = 8010


class ServiceError(Exception):
    """The service cannot be started, reached or stopped; the text says what to do."""


@dataclass(frozen=True)
class Ports:
    """TCP ports on the loopback interface: web UI and REST, workers, try clients."""

    web: int
    worker: int
    try_: int

    @property
    def url(self) -> str:
        """Address of the web UI."""
        return f"http://127.0.0.1:{self.web}/"


@dataclass(frozen=True)
class Service:
    """One site's service on this machine. ``site_argument`` is what ``--site`` was given: a name or a folder."""

    site: Site
    site_argument: str
    state: Path

    @property
    def folder(self) -> Path:
        """Where the supervisor keeps its own files."""
        return self.state / "service"

    @property
    def socket(self) -> Path:
        """The supervisor's control socket, in a folder only we may enter."""
        return self.folder / "control"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the service and every command it runs is told."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "KITTEN_SITE": self.site_argument,
            "KITTEN_STATE": str(self.state),
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",  # schedules.yaml speaks of UTC; Buildbot of the time of the process
        }

    def kitten(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a worker command by hand, as this service would."""
        return subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env={**os.environ, **self.environment},
            text=True,
            check=False,
            **options,
        )

    # ------------------------------------------------------------------------------------------------------- state

    def ports(self) -> Ports | None:
        """The ports of the last start, if there was one."""
        try:
            return Ports(**json.loads((self.folder / "ports.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def processes(self) -> list[dict[str, Any]]:
        """What runs under the supervisor; empty where no supervisor answers."""
        try:
            with _supervisor(self.socket) as server:
                return list(server.supervisor.getAllProcessInfo())
        except (OSError, xmlrpc.client.Error):
            return []

    # ------------------------------------------------------------------------------------------------ start and stop

    def start(self, say: Callable[[str], None], web_port: int | None = None) -> Ports:
        """Start what does not run yet and wait until the web UI answers and the master says that it runs.

        :raises ServiceError: a port in use, a configuration that the master refuses, a master that dies: with its words.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _one_at_a_time(self.folder / "lock"):
            if self.processes() and (ports := self.ports()):
                say(f"the service runs already: {ports.url}")
            else:
                ports = self._choose_ports(web_port)
                self._prepare(ports)
                self._launch(ports)
            self._wait_until_ready(ports)
        return ports

    def stop(self, say: Callable[[str], None]) -> None:
        """End the supervisor and all it started: TERM, patience, KILL. Nothing running is no error."""
        processes = self.processes()
        pids = {int(p["pid"]) for p in processes if p["pid"]}
        pid_file = self.folder / "supervisord.pid"
        if not processes:
            say("nothing runs")
            return
        with contextlib.suppress(OSError, xmlrpc.client.Error), _supervisor(self.socket) as server:
            pids.add(int(server.supervisor.getPID()))
            server.supervisor.shutdown()
        if not _wait(lambda: not any(map(_alive, pids)), seconds=45):
            for pid in filter(_alive, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _wait(lambda: not any(map(_alive, pids)), seconds=10)
        pid_file.unlink(missing_ok=True)
        say(f"stopped: {', '.join(str(p['name']) for p in processes)}")

    def _choose_ports(self, web_port: int | None) -> Ports:
        last = self.ports()
        wanted = web_port or self.site.web.port
        if wanted:
            if not _free(wanted):
                raise ServiceError(
                    f"port {wanted} is in use by another program\n  → choose one: kitten up --port N, or end that program"
                )
            web = wanted
        elif last and _free(last.web):
            web = last.web  # the address people have open stays right
        else:
            web = next(p for p in range(FIRST_WEB_PORT, 65535) if _free(p))
        worker = last.worker if last and _free(last.worker) else _any_free({web})
        try_ = last.try_ if last and _free(last.try_) else _any_free({web, worker})
        ports = Ports(web, worker, try_)
        (self.folder / "ports.json").write_text(json.dumps({"web": web, "worker": worker, "try_": try_}))
        return ports

    def _prepare(self, ports: Ports) -> None:
        basedir.ensure_secrets(self.site, self.state)
        master = basedir.prepare_master(self.state, CHECKOUT)
        for worker in self._workers():
            basedir.prepare_worker(self.state, worker, ports.worker)
        (self.state / "logs").mkdir(exist_ok=True)
        if self.site.sources.dist_git.startswith("{state}/"):
            made = self.kitten("dist-git", "init", "--empty", capture_output=True)
            if made.returncode != 0:
                raise ServiceError(f"the dist-git repositories cannot be made:\n{_tail(made.stdout + made.stderr)}")
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
            raise ServiceError(f"the master refuses its configuration or database:\n{_tail(made.stdout + made.stderr)}")
        basedir.upgraded(master)

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
        programs = [_program("master", self.state / "master", self._master_environment(ports), self.state / "logs")]
        programs += [
            _program(worker, self.state / "workers" / worker, self.environment, self.state / "logs")
            for worker in self._workers()
        ]
        conf = self.folder / "supervisord.conf"
        conf.write_text(_SUPERVISOR.format(folder=self.folder) + "\n".join(programs))
        if len(str(self.socket)) > 100:
            raise ServiceError(
                f"the state folder's path is too long for a Unix socket: {self.state}\n  → give a shorter one: --state FOLDER"
            )
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"the supervisor does not start:\n{_tail(done.stdout + done.stderr)}")

    def _wait_until_ready(self, ports: Ports, seconds: float = 120) -> None:
        def answers() -> bool:
            for process in self.processes():
                if process["name"] == "master" and process["statename"] == "FATAL":
                    raise ServiceError(f"the master does not start; its last words:\n{_tail(self._master_log())}")
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(f"{ports.url}api/v2/application.spec", timeout=2)
                return answer.ok and self._has_started()
            return False

        if not _wait(answers, seconds):
            raise ServiceError(
                f"the master did not answer on {ports.url} within {seconds:.0f} s; its last words:\n{_tail(self._master_log())}"
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


# ------------------------------------------------------------------------------------------------------------ helpers

_SUPERVISOR = """\
; Written by `kitten up`; changes here are lost.
[supervisord]
pidfile = {folder}/supervisord.pid
logfile = {folder}/supervisord.log
logfile_maxbytes = 5MB
childlogdir = {folder}

[unix_http_server]
file = {folder}/control
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

"""


def _program(name: str, folder: Path, environment: dict[str, str], logs: Path) -> str:
    """A supervisor section.

    twistd without a pid file: after a kill -9 another process may carry that number. Should the supervisor itself be
    killed, the kernel kills its processes: or the next start would put a second master on the same database.
    """
    variables = ",".join(f'{key}="{_escape(value)}"' for key, value in environment.items())
    twistd = Path(sys.executable).parent / "twistd"
    return f"""\
[program:{name}]
command = setpriv --pdeathsig KILL {_escape(str(twistd))} --nodaemon --pidfile= --no_save --logfile=- --python=buildbot.tac
directory = {_escape(str(folder))}
environment = {variables}
autorestart = true
startretries = 20
startsecs = 2
stopwaitsecs = 30
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {_escape(str(logs / name))}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
"""


def _escape(text: str) -> str:
    return text.replace("%", "%%").replace('"', '\\"')


@contextlib.contextmanager
def _supervisor(path: Path) -> Iterator[Any]:
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{path}")
    try:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    finally:
        transport.close()


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_free(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A zombie whose parent has not yet looked at it no longer runs.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.25)
    return condition()


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join("  " + line for line in text.strip().splitlines()[-lines:])
