"""supervisord, under which the processes of a service run: its configuration, its start and its end."""

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
    """One supervisord and all it started."""

    folder: Path
    """Where it keeps its own files; only we may enter it."""

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.folder / "control"

    def processes(self) -> list[dict[str, Any]]:
        """What runs under it; empty where no supervisor answers."""
        try:
            with self._connect() as server:
                return list(server.supervisor.getAllProcessInfo())
        except (OSError, xmlrpc.client.Error):
            return []

    def start(self, programs: Iterable[str]) -> None:
        """Start it, and by it the programs.

        :param programs: of :func:`program_section`.
        :raises ServiceError: when it does not start, with its words.
        """
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(_CONFIGURATION.format(folder=self.folder) + "\n".join(programs))
        if len(str(self.socket)) > 100:
            raise ServiceError(
                f"the state folder's path is too long for a Unix socket: {self.folder.parent}\n"
                "  → give a shorter one: --state FOLDER"
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
        """End it and all it started: TERM, patience, KILL. The names of what ran; none is no error."""
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
    """The configuration of one Twisted application.

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


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look four times a second whether it holds; False when it does not within that time."""
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
    # A zombie whose parent has not yet looked at it no longer runs.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
