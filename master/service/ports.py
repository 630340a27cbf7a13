"""The TCP ports of a service, all on the loopback interface. They are chosen once and stay the same at each start."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from master.errors import ServiceError

FIRST_WEB_PORT = 8010


@dataclass(frozen=True)
class Ports:
    """The ports of the web UI and REST API, of workers, and of try clients."""

    web: int
    worker: int
    try_: int

    @property
    def url(self) -> str:
        """Address of the web UI."""
        return f"http://127.0.0.1:{self.web}/"


def read_ports(file: Path) -> Ports | None:
    """Return the ports that :func:`write_ports` wrote to a file; None if the file is missing or damaged."""
    try:
        return Ports(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_ports(ports: Ports, file: Path) -> None:
    """Write the ports to a file, for the next start and for commands that look for the service."""
    file.write_text(json.dumps(asdict(ports)))


def choose_ports(wanted: int | None, last: Ports | None) -> Ports:
    """Return free ports: those of the last start if they are still free.

    :param wanted: the port of the web UI; 0 or None: any.
    :raises ServiceError: another program uses the wanted port.
    """
    if wanted:
        if not _free(wanted):
            raise ServiceError(
                f"port {wanted} is in use by another program\n"
                "  → choose another port: kitten up --port N, or end that program"
            )
        web = wanted
    elif last and _free(last.web):
        web = last.web  # so that addresses in open browsers stay valid
    else:
        web = next(p for p in range(FIRST_WEB_PORT, 65535) if _free(p))
    worker = last.worker if last and _free(last.worker) else _any_free({web})
    try_ = last.try_ if last and _free(last.try_) else _any_free({web, worker})
    return Ports(web, worker, try_)


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
