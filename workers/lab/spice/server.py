"""A QEMU with a SPICE server, and ways to connect to it that leave nothing behind: no port, no socket, no key on a disk.

QEMU takes connections handed over by its monitor (``add_client``), in plain and for TLS alike, so a pair of sockets will do.
The real client wants an address: for its time a socket of ours listens on a port of the kernel's choice, and what comes is
handed over. spice-server makes its TLS keys ready only where it listens for TLS; it does so on a Unix socket whose folder is
gone as soon as QEMU is up.
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
from workers.lab.machine.launch import Guest, anonymous, launched
from workers.lab.machine.qmp import QmpError
from workers.lab.spice import certificates
from workers.lab.spice.wire import ProtocolError

AGENT_PORT = "com.redhat.spice.0"
"""Name of the virtio port between the server and the guest's agent."""
SECURED = "inputs"
"""The channel the server opens by TLS only; all others either way."""


@dataclass(frozen=True)
class Keys:
    """What a server and its clients share in one run."""

    password: str = field(default_factory=lambda: token_hex(12))
    certificates: certificates.Certificates = field(default_factory=certificates.issue)


class Server(Protocol):
    """A running SPICE server."""

    def connect(self, *, tls: bool) -> socket.socket:
        """A connection to it; where it is for TLS, TLS is the caller's to begin.

        :raises ProtocolError: when there is none to be had.
        """

    def address(self, *, tls: bool) -> contextlib.AbstractContextManager[int]:
        """A port of ``certificates.HOST`` on which it takes connections for the length of a block."""


def arguments(listen: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """QEMU's arguments for a SPICE server and the agent's port.

    :param listen: what the server listens on, in the words of ``-spice``.
    :param files: paths, as QEMU sees them, of ``password``, ``authority``, ``certificate`` and ``key``.
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
    """A guest that is ready to be told to go, and the SPICE server of its QEMU."""

    guest: Guest
    server: Server
    factor: float
    """How much more time than on idle hardware with KVM the guest gets."""
    outer: Guest | None = None
    """The guest in which that QEMU runs, if it does not run on this host."""


@contextlib.contextmanager
def start(base: Base, machine: Machine, keys: Keys, payload: bytes, logs: Path, name: str) -> Iterator[RunningServer]:
    """A guest whose QEMU runs on this host, for the length of a block.

    :param payload: ``guest.payload_archive``.
    :raises LaunchFailedError: when it does not come up.
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
        inherited = {what: anonymous(data) for what, data in contents.items()}
        for number in inherited.values():
            stack.callback(os.close, number)
        files = {what: f"/proc/self/fd/{number}" for what, number in inherited.items()}
        boot = Boot(
            machine=machine,
            accelerator=base.accelerator.name,
            kernel=base.parts.kernel,
            initrd=str(base.archive),
            drives=(Drive("payload", files["payload"]),),
            # A port for TLS has to be named. It is none: of two listeners on one Unix socket both are the socket's.
            arguments=arguments(f"unix=on,addr=/proc/self/fd/{place}/spice,tls-port=1", files),
            inherited=(place, *inherited.values()),
        )
        guest = stack.enter_context(launched(boot, logs, name))
        for path in folder.iterdir():
            path.unlink()
        guest.go()
        factor = saved.time_factor(base)
        saved.await_ready(guest, factor)
        yield RunningServer(guest, HandoverServer(guest), factor)


class HandoverServer:
    """The SPICE server of a QEMU on this host."""

    def __init__(self, guest: Guest) -> None:
        """Use its monitor."""
        self._guest = guest
        self._count = 0
        self._lock = threading.Lock()

    def connect(self, *, tls: bool) -> socket.socket:
        """One end of a pair; the server has the other."""
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
        """Listen, and hand over what comes."""
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
            with connection, contextlib.suppress(QmpError):  # to the client it looks like a server that hangs up
                self._hand_over(connection, tls)

    def _hand_over(self, connection: socket.socket, tls: bool) -> None:
        with self._lock:
            self._count += 1
            name = f"spice-{self._count}"
            self._guest.qmp.command("getfd", files=[connection.fileno()], fdname=name)
            self._guest.qmp.command("add_client", protocol="spice", fdname=name, skipauth=False, tls=tls)


def start_tls(connection: socket.socket, context: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """A connection on which TLS has begun; closed if that fails.

    :param context: whom to trust; ``certificates.client_context``.
    :raises ssl.SSLError: when the server is not to be trusted; ``ssl.SSLCertVerificationError`` where its certificate is why.
    :raises ProtocolError: when it does not answer in time.
    """
    try:
        connection.settimeout(seconds)
        return context.wrap_socket(connection, server_hostname=certificates.HOST)
    except TimeoutError:
        connection.close()
        raise ProtocolError("the server did not begin TLS in time") from None
    except ssl.SSLError:
        connection.close()
        raise
    except OSError as error:
        connection.close()
        raise ProtocolError(f"TLS did not begin: {error.strerror or error}") from None
