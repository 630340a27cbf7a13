"""The TCP ports that a service listens on, all of the loopback interface: chosen once, kept from start to start."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from master.errors import ServiceError

FIRST_WEB_PORT = 8010


@dataclass(frozen=True)
class Ports:
    """Of the web UI and REST, of workers, of try clients."""

    web: int
    worker: int
    try_: int

    @property
    def url(self) -> str:
        """Address of the web UI."""
        return f"http://127.0.0.1:{self.web}/"


def read_ports(file: Path) -> Ports | None:
    """The ports that :func:`write_ports` wrote to a file; None where it is missing or damaged."""
    try:
        return Ports(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_ports(ports: Ports, file: Path) -> None:
    """Remember the ports in a file, for the next start and for who looks for the service."""
    file.write_text(json.dumps(asdict(ports)))


def choose_ports(wanted: int | None, last: Ports | None) -> Ports:
    """Ports that are free: those of the last start where they still are.

    :param wanted: of the web UI, whatever it was; 0 or None: any.
    :raises ServiceError: when another program has the wanted one.
    """
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
