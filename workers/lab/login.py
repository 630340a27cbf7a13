"""A guest that one can log in to: a network card, an SSH server, and what ``rsync`` and a terminal need on the other side.

The server and its libraries are Debian's, of the guest's architecture. They lie in a folder of their own and run under
their own program interpreter: no package under test can break them, and they can hide no library it lacks. Both keys,
the host's and the user's, are made for one guest and gone with it. The guest's network ends at QEMU: nothing of this host
or beyond can be reached from it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from config.identity import identity_of
from config.models import Target
from workers import cache
from workers.apt import AptRoot, private_root
from workers.errors import CannotRun
from workers.lab import kernel
from workers.lab.launch import Guest, LaunchFailedError
from workers.lab.qmp import QmpError
from workers.run import require, run, started
from workers.verify.elf import Elf

ADDRESS = "127.0.0.1"
SCRIPT = "login.sh"
"""The guest's test script that brings up network and server, and waits until somebody writes to ``OVER``."""
OVER = "/run/kitten-over"
READY = b"ok 2 - "
"""What the guest has said once the server answers."""

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
_DT_NEEDED, _DT_SONAME = 1, 14  # elf.h
_FORMAT = 1  # changes when what is kept of the packages changes
_FORWARD = re.compile(r"^\s*TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", re.MULTILINE)
_CONFIGURATION = f"""\
Port 2222
HostKey {_HERE}/host_key
AuthorizedKeysFile {_HERE}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
PidFile none
MaxSessions 100
SshdSessionPath {_HERE}/sshd-session
SshdAuthPath {_HERE}/sshd-auth
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
"""


@dataclass(frozen=True)
class Login:
    """What makes a guest one that can be logged in to, and what a client needs."""

    files: Mapping[str, bytes | Path]
    """For ``guest.payload_archive``, as are the next two."""
    tests: Mapping[str, bytes]
    modules: tuple[Path, ...]
    arguments: tuple[str, ...]
    """Of QEMU: the network card."""
    key: Path
    """The user's private key."""
    known_hosts: Path

    def ssh(self, port: int, control: Path) -> list[str]:
        """The client's command line, over the connection that ``session`` holds on this socket; host and command follow."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "none",
            "ControlPath": control,
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F", "none", "-i", str(self.key), "-p", str(port), *words]


def login(target: Target, folder: Path) -> Login:
    """Prepare one; the keys are new.

    :param folder: an existing one, for the client's files.
    :raises CannotRun: no apt, no network, or a kernel module that is missing.
    """
    parts = _parts(target)
    host_key, host_public = _key_pair()
    user_key, user_public = _key_pair()
    key, known_hosts = folder / "id_ed25519", folder / "known_hosts"
    key.touch(0o600)
    key.write_bytes(user_key)
    known_hosts.write_bytes(b"* " + host_public + b"\n")
    interpreter = next((parts / "lib").glob("ld*")).name
    files: dict[str, bytes | Path] = {
        f"{_HERE}/{kind}/{path.name}": path for kind in ("bin", "lib") for path in sorted((parts / kind).iterdir())
    }
    for name in _PROGRAMS:
        files[f"{_HERE}/{name}"] = _wrapper(name, interpreter)
    files[f"{_HERE}/sshd_config"] = _CONFIGURATION.encode()
    files[f"{_HERE}/authorized_keys"] = user_public + b"\n"
    files[f"{_HERE}/host_key"] = host_key
    modules = kernel.further_modules(target, ["virtio_net"])
    files[f"{_HERE}/modules"] = "".join(f"{module.name}\n" for module in modules).encode()
    return Login(
        files=files,
        tests={SCRIPT: Path(__file__).with_name(SCRIPT).read_bytes()},
        modules=modules,
        arguments=network(target),
        key=key,
        known_hosts=known_hosts,
    )


def network(target: Target) -> tuple[str, ...]:
    """QEMU's arguments of the network card: the guest's port 2222 is one of this host's loopback that the kernel chooses."""
    card = "virtio-net-ccw" if target.machine.serial_bus.endswith("ccw") else "virtio-net-pci,romfile="
    forward = f"user,id=net,restrict=on,ipv6=off,hostfwd=tcp:{ADDRESS}:0-:2222"
    return ("-netdev", forward, "-device", f"{card},netdev=net")


def port(guest: Guest) -> int:
    """The port of ``ADDRESS`` that leads to the guest's SSH server.

    :raises QmpError: when QEMU does not tell.
    """
    told = guest.qmp.command("human-monitor-command", command_line="info usernet")
    return forwarded(str(told))


@contextlib.contextmanager
def session(guest: Guest, entry: Login, control: Path, seconds: float) -> Iterator[int]:
    """One connection to the guest for the length of a block, which others share; at its end the guest is told that it is over.

    :param control: the socket on which it is shared, to be made; its path has at most 90 characters.
    :param seconds: until it must be there.
    :returns: the port on ``ADDRESS``.
    :raises LaunchFailedError: when the guest cannot be logged in to.
    """
    require("ssh", "openssh-client")
    number = port(guest)
    client = entry.ssh(number, control)
    with (
        tempfile.TemporaryFile() as said,
        started([*client, "-MN", f"root@{ADDRESS}"], stdout=said, stderr=said) as master,
    ):
        until = time.monotonic() + seconds
        while not control.exists():
            if master.poll() is not None or time.monotonic() > until:
                said.seek(0)
                words = said.read(4096).decode(errors="replace").strip()
                raise LaunchFailedError(f"no login to the guest within {seconds:.0f} s: {words or 'ssh says nothing'}")
            time.sleep(0.01)
        yield number
        # It may have gone; `Guest.finish` tells.
        run([*client, f"root@{ADDRESS}", f"echo >{OVER}"], timeout=seconds, check=False)


def forwarded(usernet: str) -> int:
    """The forwarded port in the words of QEMU's ``info usernet``.

    :raises QmpError: when there is none.
    """
    if found := _FORWARD.search(usernet):
        return int(found.group(1))
    raise QmpError(f"info usernet: no forwarded port: {usernet.strip() or 'nothing'}")


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
    architecture = target.toolchain.debian_arch
    wanted = {"suite": kernel.SUITE, "packages": _PACKAGES, "programs": _PROGRAMS, "format": _FORMAT}
    key = f"{architecture}-{identity_of(wanted)[:16]}"
    return cache.entry("login", key, lambda folder: _make(private_root(kernel.SUITE, architecture), folder))


def _make(root: AptRoot, folder: Path) -> None:
    print(f"a login for guests: {', '.join(_PACKAGES)} from {root.suite}, {root.architecture}", flush=True)  # noqa: T201
    planned = root.apt("apt-get", "install", "--simulate", "--no-install-recommends", *_PACKAGES).output
    names = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    debs = folder / "debs"
    root.download([name for name in names if name in _PACKAGES or _LIBRARIES.match(name)], debs)
    for name in ("bin", "lib"):
        (folder / name).mkdir()
    libraries: dict[str, bytes] = {}
    paths = {path: name for name, path in _PROGRAMS.items()}
    for deb in sorted(debs.iterdir()):
        for path, data in kernel.deb_files(deb):
            if program := paths.get(str(path).lstrip("/")):
                (folder / "bin" / program).write_bytes(data())
            elif ".so" in path.name and path.parts[1:3] == ("usr", "lib"):
                content = data()
                libraries.update((soname, content) for soname in _dynamic(content, _DT_SONAME))
    shutil.rmtree(debs)
    programs = [(folder / "bin" / name).read_bytes() for name in _PROGRAMS if (folder / "bin" / name).exists()]
    if len(programs) != len(_PROGRAMS):
        raise CannotRun(
            f"{', '.join(_PACKAGES)} no longer hold their programs where they were", "adapt workers/lab/login.py"
        )
    for soname in needed(programs, libraries):
        (folder / "lib" / soname).write_bytes(libraries[soname])


def needed(programs: list[bytes], libraries: Mapping[str, bytes]) -> tuple[str, ...]:
    """The sonames that programs need, and what these need, the program interpreter among them.

    :param libraries: by soname.
    :raises CannotRun: when one is not among the libraries.
    """
    found: set[str] = set()
    waiting = list(programs)
    while waiting:
        for soname in _dynamic(waiting.pop(), _DT_NEEDED):
            if soname not in libraries:
                raise CannotRun(
                    f"no package brings {soname}, which the guests' SSH server needs", "adapt workers/lab/login.py"
                )
            if soname not in found:
                found.add(soname)
                waiting.append(libraries[soname])
    return tuple(sorted(found))


def _dynamic(data: bytes, tag: int) -> Iterator[str]:
    if data.startswith(b"\x7fELF"):
        yield from Elf(data).dynamic_strings(tag)
