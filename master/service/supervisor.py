"""supervisord, which runs the processes of a service: its configuration, its start and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from master.errors import ServiceError, tail

_CONFIGURATION = """\
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


@dataclass(frozen=True)
class Supervisor:
    """One supervisord and its processes."""

    folder: Path
    """The folder of its files; only the user of the service can enter it."""

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.folder / "control"

    def processes(self) -> list[dict[str, Any]]:
        """Return its processes; empty if no supervisor answers."""
        try:
            with self._connect() as server:
                return list(server.supervisor.getAllProcessInfo())
        except (OSError, xmlrpc.client.Error):
            return []

    def start(self, programs: Iterable[str]) -> None:
        """Start it and its programs.

        :param programs: results of :func:`program_section`.
        :raises ServiceError: it does not start; with its output.
        """
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(_CONFIGURATION.format(folder=self.folder) + "\n".join(programs))
        if len(str(self.socket)) > 100:
            raise ServiceError(
                f"the path of the state folder is too long for a Unix socket: {self.folder.parent}\n"
                "  → choose a shorter one: --state FOLDER"
            )
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(f"the supervisor does not start:\n{tail(done.stdout + done.stderr)}")

    def stop(self) -> list[str]:
        """End it and its processes: TERM, then KILL. Return the names of the processes that ran."""
        processes = self.processes()
        if not processes:
            return []
        pids = {int(p["pid"]) for p in processes if p["pid"]}
        with contextlib.suppress(OSError, xmlrpc.client.Error), self._connect() as server:
            pids.add(int(server.supervisor.getPID()))
            server.supervisor.shutdown()
        if not wait_until(lambda: not any(map(_alive, pids)), seconds=45):
            for pid in filter(_alive, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(map(_alive, pids)), seconds=10)
        (self.folder / "supervisord.pid").unlink(missing_ok=True)
        return [str(p["name"]) for p in processes]

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        finally:
            transport.close()


def program_section(name: str, folder: Path, environment: dict[str, str], logs: Path) -> str:
    """Return the section of one Twisted application in the configuration of supervisord.

    twistd writes no pid file: after a kill -9, another process may have that id. If the supervisor itself is killed,
    the kernel kills its processes; else the next start would run a second master on the same database.
    """
    variables = ",".join(f'{key}="{_escape(value)}"' for key, value in environment.items())
    twistd = (
        f"{Path(sys.executable).parent / 'twistd'} --nodaemon --pidfile= --no_save --logfile=- --python=buildbot.tac"
    )
    command = f"setpriv --pdeathsig KILL {twistd}"
    return f"""\
[program:{name}]
command = {_escape(command)}
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


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Check the condition four times a second; return whether it became true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.25)
    return condition()


def _escape(text: str) -> str:
    return text.replace("%", "%%").replace('"', '\\"')


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A zombie, for which its parent has not waited yet, no longer runs.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
