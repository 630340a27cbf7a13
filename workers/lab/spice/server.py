"""A QEMU with a SPICE server, and connections to it that leave no port, no socket and no key on a disk.

QEMU's monitor takes open connections (``add_client``), with and without TLS. So a pair of sockets is enough for our
client. The real client needs an address: while it runs, we listen on a port that the kernel chooses, and give each
connection to QEMU. spice-server loads its TLS keys only if it listens for TLS. So it listens on a Unix socket, whose
folder is removed as soon as QEMU runs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from config.models import Machine
from workers.lab.guest import saved
from workers.lab.guest.file_system import Base
from workers.lab.machine.command_line import Boot, Drive
from workers.lab.machine.launch import Guest, anonymous_file, launch_guest
from workers.lab.machine.qmp import QmpError
from workers.lab.spice import certificates
from workers.lab.spice.wire import ProtocolError

AGENT_PORT = "com.redhat.spice.0"
"""The name of the virtio port between the server and the guest's agent."""
SECURED = "inputs"
"""The channel that the server opens only with TLS. It opens all others with and without TLS."""


@dataclass(frozen=True)
class Keys:
    """The secrets that a server and its clients share in one run."""

    password: str = field(default_factory=lambda: token_hex(12))
    certificates: certificates.Certificates = field(default_factory=certificates.issue)


class Server(Protocol):
    """A running SPICE server."""

    def connect(self, *, tls: bool) -> socket.socket:
        """Open a connection to the server. For TLS, the caller begins TLS on it: ``start_tls``.

        :raises ProtocolError: if the server takes no connection.
        """

    def address(self, *, tls: bool) -> contextlib.AbstractContextManager[int]:
        """Take connections on a port of ``certificates.HOST`` during a block.

        :yields: the port.
        """


def arguments(listen: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """QEMU's arguments for a SPICE server and the agent's port.

    :param listen: the address, in the syntax of ``-spice``.
    :param files: the paths, as QEMU sees them, of ``password``, ``authority``, ``certificate`` and ``key``.
    """
    tls = f"x509-cacert-file={files['authority']},x509-cert-file={files['certificate']},x509-key-file={files['key']}"
    return (
        *("-object", f"secret,id=ticket,file={files['password']}"),
        *("-spice", f"{listen},password-secret=ticket,{tls},tls-channel={SECURED}"),
        *("-chardev", "spicevmc,id=agent,name=vdagent"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
    )


@dataclass(frozen=True)
class RunningServer:
    """A guest that is ready to run its tests, and the SPICE server of its QEMU."""

    guest: Guest
    server: Server
    factor: float
    """Multiplies the limits that are for an idle machine with KVM."""
    outer: Guest | None = None
    """The guest in which that QEMU runs; None if it runs on this host."""


@contextlib.contextmanager
def start(base: Base, machine: Machine, keys: Keys, payload: bytes, logs: Path, name: str) -> Iterator[RunningServer]:
    """Run a guest with QEMU on this host during a block.

    :param payload: ``file_system.payload_archive``.
    :raises LaunchFailedError: if it does not start.
    """
    contents = {
        "payload": payload,
        "password": keys.password.encode(),
        "authority": keys.certificates.authority,
        "certificate": keys.certificates.server,
        "key": keys.certificates.server_key,
    }
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitten-spice-")))
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, place)
        inherited = {what: anonymous_file(data) for what, data in contents.items()}
        for number in inherited.values():
            stack.callback(os.close, number)
        files = {what: f"/proc/self/fd/{number}" for what, number in inherited.items()}
        boot = Boot(
            machine=machine,
            accelerator=base.accelerator.name,
            kernel=base.parts.kernel,
            initrd=str(base.archive),
            drives=(Drive("payload", files["payload"]),),
            # QEMU requires tls-port, but does not use it: with unix=on both listeners use the Unix socket.
            arguments=arguments(f"unix=on,addr=/proc/self/fd/{place}/spice,tls-port=1", files),
            inherited=(place, *inherited.values()),
        )
        guest = stack.enter_context(launch_guest(boot, logs, name))
        for path in folder.iterdir():
            path.unlink()
        guest.go()
        factor = saved.time_factor(base)
        saved.await_ready(guest, factor)
        yield RunningServer(guest, HandoverServer(guest), factor)


class HandoverServer:
    """The SPICE server of a QEMU on this host."""

    def __init__(self, guest: Guest) -> None:
        """Use the monitor of the guest's QEMU."""
        self._guest = guest
        self._count = 0
        self._lock = threading.Lock()

    def connect(self, *, tls: bool) -> socket.socket:
        """Make a pair of sockets, and give one end to the server."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._hand_over(theirs, tls)
            except QmpError as error:
                ours.close()
                raise ProtocolError(str(error)) from None
        return ours

    @contextlib.contextmanager
    def address(self, *, tls: bool) -> Iterator[int]:
        """Listen during a block, and give each connection to the server."""
        with socket.create_server((certificates.HOST, 0)) as listener:
            thread = threading.Thread(target=self._accept, args=(listener, tls), daemon=True)
            thread.start()
            try:
                yield int(listener.getsockname()[1])
            finally:
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
                thread.join()

    def _accept(self, listener: socket.socket, tls: bool) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(QmpError):  # for the client, the server closes the connection
                self._hand_over(connection, tls)

    def _hand_over(self, connection: socket.socket, tls: bool) -> None:
        with self._lock:
            self._count += 1
            name = f"spice-{self._count}"
            self._guest.qmp.command("getfd", files=[connection.fileno()], fdname=name)
            self._guest.qmp.command("add_client", protocol="spice", fdname=name, skipauth=False, tls=tls)


def start_tls(connection: socket.socket, context: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """Start TLS on a connection, and close the connection if that fails.

    :param context: ``certificates.client_context``.
    :raises ssl.SSLError: if TLS fails; ``ssl.SSLCertVerificationError`` if the client does not trust the certificate.
    :raises ProtocolError: if the server does not answer in time.
    """
    try:
        connection.settimeout(seconds)
        return context.wrap_socket(connection, server_hostname=certificates.HOST)
    except TimeoutError:
        connection.close()
        raise ProtocolError("the server did not start TLS in time") from None
    except ssl.SSLError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        raise ProtocolError(f"TLS did not start: {error.strerror or error}") from None
