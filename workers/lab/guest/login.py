"""A guest that one can log in to: an SSH server on a virtio port, and what ``rsync`` and a terminal need on the other side.

There is no network in it: one connection runs over the port, and ssh shares it among all who want one. So nothing listens on
this host but a socket in a private folder, and nothing of this host or beyond can be reached from the guest. (Besides, QEMU's
emulation of s390x sums up TCP packets wrongly, and the guest drops them all.)

The server and its libraries are Debian's, of the guest's architecture. They lie in a folder of their own and run under
their own program interpreter: no package under test can break them, and they can hide no library it lacks. Both keys,
the host's and the user's, are made for one guest and gone with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from config.identity import identity_of
from config.models import Target
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.run import require, run, start_program
from workers.lab.guest import debian
from workers.lab.guest.kernel import SUITE
from workers.lab.machine.launch import LaunchFailedError

HOST = "guest"
"""What clients call it. The name is never looked up."""
OVER = "/run/kitten-over"
"""Whoever writes to it in the guest ends the session for good."""

_PORT = "org.kitten.login"
_SCRIPT = Path(__file__).with_name("login.sh")
_HERE = "/kitten/login"
_PACKAGES = ("openssh-server", "rsync", "util-linux")
_PROGRAMS = {
    "sshd": "usr/sbin/sshd",
    "sshd-session": "usr/lib/openssh/sshd-session",
    "sshd-auth": "usr/lib/openssh/sshd-auth",
    "rsync": "usr/bin/rsync",
    "flock": "usr/bin/flock",
}
_LIBRARIES = re.compile(r"lib|zlib")  # of the packages apt would install with them, those worth fetching
_FORMAT = 1  # changes when what is kept of the packages changes
_CONFIGURATION = f"""\
HostKey {_HERE}/host_key
AuthorizedKeysFile {_HERE}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
MaxSessions 100
SshdSessionPath {_HERE}/sshd-session
SshdAuthPath {_HERE}/sshd-auth
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/kitten/bin
"""
_PATH_BYTES = 80  # of a socket's folder: 108 (unix(7)), less the name and what ssh appends to it while it makes one
_DESCRIPTOR = 500
"""Of the socket, if it is free: QEMU's command line names it, and a saved guest fits one command line only."""
# ssh hands its end of a pair of sockets to this program, which sends back the connection over it (ProxyUseFdpass).
_CONNECT = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as guest:
    guest.connect(sys.argv[1])
    socket.send_fds(socket.socket(fileno=1), [b"-"], [guest.fileno()])
"""


@dataclass(frozen=True)
class Login:
    """What makes a guest one that can be logged in to, and what a client needs."""

    files: Mapping[str, bytes | Path]
    """For ``guest.payload_archive``, as are the tests."""
    tests: Mapping[str, bytes]
    arguments: tuple[str, ...]
    """For QEMU: the port."""
    inherited: tuple[int, ...]
    """Descriptors for QEMU."""
    folder: Path
    """The client's files: ``key``, ``known_hosts``, and the sockets."""

    @property
    def key(self) -> Path:
        """The user's private key."""
        return self.folder / "key"

    @property
    def options(self) -> Mapping[str, str]:
        """For any ssh that wants its share of the connection ``session`` holds."""
        return {
            "ControlPath": str(self.folder / "shared"),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
        }


@contextlib.contextmanager
def login(target: Target, folder: Path) -> Iterator[Login]:
    """Prepare one, for the length of a block; the keys are new.

    :param folder: an existing one that only this user can enter; its path has at most 80 characters.
    :raises CannotRun: no apt, no network; a path that is too long.
    """
    if len(os.fsencode(folder)) > _PATH_BYTES:  # ssh would find out too, and tell it to nobody who listens
        raise CannotRun(f"{folder} is too long a path for a socket", "set TMPDIR to a shorter one")
    parts = _parts(target)
    host_key, host_public = _key_pair()
    user_key, user_public = _key_pair()
    (folder / "key").touch(0o600)
    (folder / "key").write_bytes(user_key)
    (folder / "known_hosts").write_bytes(f"{HOST} ".encode() + host_public + b"\n")
    files: dict[str, bytes | Path] = {
        f"{_HERE}/{kind}/{path.name}": path for kind in ("bin", "lib") for path in sorted((parts / kind).iterdir())
    }
    for name in _PROGRAMS:
        files[f"{_HERE}/{name}"] = _wrapper(name, debian.loader(parts / "lib"))
    files[f"{_HERE}/sshd_config"] = _CONFIGURATION.encode()
    files[f"{_HERE}/authorized_keys"] = user_public + b"\n"
    files[f"{_HERE}/host_key"] = host_key
    script = _SCRIPT.read_text().replace("LOGIN_PORT", _PORT).replace("OVER", OVER)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "guest"))
        listener.listen(1)
        # QEMU removes the name by which it knows the socket when it ends, and the first to end may be one that is saved.
        os.link(folder / "guest", folder / "port")
        descriptor = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, _DESCRIPTOR)
        try:
            yield Login(
                files=files,
                tests={_SCRIPT.name: script.encode()},
                arguments=(
                    *("-chardev", f"socket,id=login,fd={descriptor},server=on,wait=off"),
                    *("-device", f"virtserialport,chardev=login,name={_PORT}"),
                ),
                inherited=(descriptor,),
                folder=folder,
            )
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def session(entry: Login, seconds: float) -> Iterator[None]:
    """The connection to a running guest for the length of a block; at its end the guest is told that it is over.

    :param seconds: until it must be there.
    :raises LaunchFailedError: when the guest cannot be logged in to.
    """
    require("ssh", "openssh-client")
    connect = shlex.join([sys.executable, "-c", _CONNECT, str(entry.folder / "port")])
    words = [f"-o{name}={value}" for name, value in {**entry.options, "BatchMode": "yes"}.items()]
    client = ["ssh", "-F", "none", "-i", str(entry.key), *words]
    # Now and then a guest (Linux 6.12 on QEMU 7.2) sleeps although its port has data, until more comes: so more does come.
    alive = ["-oServerAliveInterval=1", "-oServerAliveCountMax=1000000"]
    master = [*client, *alive, "-oProxyUseFdpass=yes", f"-oProxyCommand={connect}", "-MN", f"root@{HOST}"]
    with tempfile.TemporaryFile() as said, start_program(master, stdout=said, stderr=said) as process:
        until = time.monotonic() + seconds
        while not Path(entry.options["ControlPath"]).exists():
            if process.poll() is not None or time.monotonic() > until:
                said.seek(0)
                heard = said.read(4096).decode(errors="replace").strip() or "ssh says nothing"
                raise LaunchFailedError(f"no login to the guest within {seconds:.0f} s: {heard}")
            time.sleep(0.01)
        yield
        # The guest may have gone; `Guest.finish` tells.
        run([*client, f"root@{HOST}", f"echo >{OVER}"], timeout=seconds, check=False)


def _key_pair() -> tuple[bytes, bytes]:
    """A private key in OpenSSH's format, and its public line."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private, key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _wrapper(name: str, interpreter: str) -> bytes:
    """A script that runs a program with its own libraries, under the name by which it was called."""
    run = f'{_HERE}/lib/{interpreter} --library-path {_HERE}/lib --argv0 "$0" {_HERE}/bin/{name} "$@"'
    return f"#!/usr/bin/bash\nexec {run}\n".encode()


# ---------------------------------------------------------------------------------------------- programs and libraries


def _parts(target: Target) -> Path:
    """Folder with ``bin/`` and ``lib/``, fetched on first use."""
    architecture = target.architecture.debian_arch
    wanted = {"suite": SUITE, "packages": _PACKAGES, "programs": _PROGRAMS, "format": _FORMAT}
    key = f"{architecture}-{identity_of(wanted)[:16]}"
    return cache.entry("login", key, lambda folder: _make(target, folder))


def _make(target: Target, folder: Path) -> None:
    names = {PurePosixPath("/", path): name for name, path in _PROGRAMS.items()}
    files, libraries = debian.files_and_libraries(target, _PACKAGES, lambda path: path in names, _LIBRARIES)
    if lacking := names.keys() - files.keys():
        raise debian.missing(str(min(lacking)), "login")
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    for path, data in files.items():
        (folder / "bin" / names[path]).write_bytes(data)
    for soname in debian.needed(files.values(), libraries):
        (folder / "lib" / soname).write_bytes(libraries[soname])
