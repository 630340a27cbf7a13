"""Login to a guest: an SSH server on a virtio port of the guest, and the files for clients (ssh, rsync) on this host.

The guest has no network. One SSH connection runs over the port, and ssh shares it between all clients. So on this host
only a socket in a private folder listens, and the guest cannot reach this host or the network. (Also, QEMU's emulation
of s390x computes wrong checksums of TCP packets, and the guest drops them all.)

The server and its libraries are Debian's, of the guest's architecture, in a separate folder with their own program
interpreter. So no package under test can break them, and a package cannot use a library of theirs that it lacks. The
host key and the user key are new for each guest.
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
"""The host name for clients. No name service looks it up."""
OVER = "/run/kitten-over"
"""A pipe in the guest. A write to it ends the session."""

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
_LIBRARIES = re.compile(r"lib|zlib")  # of the dependencies only the libraries are needed
_FORMAT = 1  # increase it when other files of the packages are kept
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
_PATH_BYTES = 80  # of a socket's folder: 108 (unix(7)), minus the file name and the suffix of ssh's temporary socket
_DESCRIPTOR = 500
"""The socket's descriptor, if the number is free. It is in QEMU's command line, which a saved guest depends on."""
# ssh starts this program with one end of a socket pair. The program sends the connection over it (ProxyUseFdpass).
_CONNECT = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as guest:
    guest.connect(sys.argv[1])
    socket.send_fds(socket.socket(fileno=1), [b"-"], [guest.fileno()])
"""


@dataclass(frozen=True)
class Login:
    """The files and QEMU arguments of a guest with an SSH server, and the files of its clients."""

    files: Mapping[str, bytes | Path]
    """For ``file_system.payload_archive``."""
    tests: Mapping[str, bytes]
    """For ``file_system.payload_archive``: the script that runs the server."""
    arguments: tuple[str, ...]
    """QEMU arguments for the port."""
    inherited: tuple[int, ...]
    """Descriptors that QEMU inherits."""
    folder: Path
    """The files of clients: ``key``, ``known_hosts``, and the sockets."""

    @property
    def key(self) -> Path:
        """The user's private key."""
        return self.folder / "key"

    @property
    def options(self) -> Mapping[str, str]:
        """The options for an ssh that shares the connection of ``session``."""
        return {
            "ControlPath": str(self.folder / "shared"),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
        }


@contextlib.contextmanager
def login(target: Target, folder: Path) -> Iterator[Login]:
    """Prepare a login with new keys, for the length of a block.

    :param folder: an existing folder that only this user can enter; its path has at most 80 bytes.
    :raises CannotRun: no apt, no network, or a path that is too long.
    """
    if len(os.fsencode(folder)) > _PATH_BYTES:  # ssh would fail too, but without a message that users see
        raise CannotRun(
            f"the path {folder} is too long for a socket, allowed are {_PATH_BYTES} bytes",
            "set TMPDIR to a shorter path",
        )
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
        # QEMU removes the socket's name when it ends. If a first QEMU only saves the guest, a second needs a name.
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
    """Connect to a running guest for the length of a block; then end the guest's SSH server.

    :param seconds: time limit for the connection.
    :raises LaunchFailedError: if the login fails.
    """
    require("ssh", "openssh-client")
    connect = shlex.join([sys.executable, "-c", _CONNECT, str(entry.folder / "port")])
    options = [f"-o{name}={value}" for name, value in {**entry.options, "BatchMode": "yes"}.items()]
    client = ["ssh", "-F", "none", "-i", str(entry.key), *options]
    # Sometimes a guest (Linux 6.12 on QEMU 7.2) does not see data on its port until more data comes. So ssh sends some
    # every second.
    alive = ["-oServerAliveInterval=1", "-oServerAliveCountMax=1000000"]
    master = [*client, *alive, "-oProxyUseFdpass=yes", f"-oProxyCommand={connect}", "-MN", f"root@{HOST}"]
    with tempfile.TemporaryFile() as output, start_program(master, stdout=output, stderr=output) as process:
        until = time.monotonic() + seconds
        while not Path(entry.options["ControlPath"]).exists():
            if process.poll() is not None or time.monotonic() > until:
                output.seek(0)
                message = output.read(4096).decode(errors="replace").strip() or "no message from ssh"
                raise LaunchFailedError(f"no login to the guest within {seconds:.0f} s: {message}")
            time.sleep(0.01)
        yield
        # Without a check: the guest may have ended, which `Guest.finish` reports.
        run([*client, f"root@{HOST}", f"echo >{OVER}"], timeout=seconds, check=False)


def _key_pair() -> tuple[bytes, bytes]:
    """Return a new private key in OpenSSH's format, and the line of its public key."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private, key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _wrapper(name: str, interpreter: str) -> bytes:
    """Return a script that runs a program with its own libraries, under the name that the caller used."""
    run = f'{_HERE}/lib/{interpreter} --library-path {_HERE}/lib --argv0 "$0" {_HERE}/bin/{name} "$@"'
    return f"#!/usr/bin/bash\nexec {run}\n".encode()


# ---------------------------------------------------------------------------------------------- programs and libraries


def _parts(target: Target) -> Path:
    """Return the folder with ``bin/`` and ``lib/``; fetch them on first use."""
    architecture = target.architecture.debian_arch
    wanted = {"suite": SUITE, "packages": _PACKAGES, "programs": _PROGRAMS, "format": _FORMAT}
    key = f"{architecture}-{identity_of(wanted)[:16]}"
    return cache.entry("login", key, lambda folder: _make(target, folder))


def _make(target: Target, folder: Path) -> None:
    names = {PurePosixPath("/", path): name for name, path in _PROGRAMS.items()}
    files, libraries = debian.files_and_libraries(target, _PACKAGES, lambda path: path in names, _LIBRARIES)
    if missing := names.keys() - files.keys():
        raise debian.missing_file(str(min(missing)), "login")
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    for path, data in files.items():
        (folder / "bin" / names[path]).write_bytes(data)
    for soname in debian.needed_sonames(files.values(), libraries):
        (folder / "lib" / soname).write_bytes(libraries[soname])
