"""The distribution's signature on packages and indexes. Runs on the publishing worker alone; only there is a key.

The key is RSA with 4096 bits. rpm 4.18 and dnf 4.14 verify it and Ed25519 alike, but in the FIPS mode of Enterprise
Linux 10 RSA is the safe choice, rpm builds on libgcrypt have been reported to call good EdDSA signatures bad (rpm
issue 1877), and it is what Enterprise Linux keys are. It costs about 30 ms a package.

GnuPG's agent holds the key while a batch is signed. It is started and ended here, and ends by itself within seconds
when this process is killed: it watches over a program of ours that dies with us.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from workers.cache import locked
from workers.errors import CannotRun
from workers.repo.index import flush
from workers.run import PIPE, STDOUT, CommandFailed, Completed, require, run, started

_SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), less the closing zero byte


@dataclass
class Signer:
    """A key at work: use it inside :func:`signer`."""

    home: Path
    fingerprint: str
    public_key: str
    """Armored."""
    _signatures: dict[str, bytes] = field(default_factory=dict)

    def sign_packages(self, packages: Sequence[Path]) -> None:
        """Sign packages in place, all in one call, and verify each.

        :raises CannotRun: when signing fails, or a signature does not verify afterwards.
        """
        if not packages:
            return
        require("rpmsign", "rpm")
        defines = {"_gpg_name": self.fingerprint, "_gpg_path": str(self.home), "__gpg": require("gpg", "gnupg")}
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        _call("rpmsign", "--addsign", *words, *packages, home=self.home)
        verify_packages(packages, self.public_key)

    def sign_detached(self, file: Path) -> Path:
        """Write the armored detached signature of a file beside it (``FILE.asc``) and return its path.

        Equal content is signed once: most indexes of a young distribution are the empty one.
        """
        signature = file.with_name(f"{file.name}.asc")
        signature.unlink(missing_ok=True)  # never written into: an earlier snapshot may hold the same file
        content = sha256(file.read_bytes()).hexdigest()
        if content not in self._signatures:
            _gpg(self.home, "--armor", "--local-user", self.fingerprint, "--output", signature, "--detach-sign", file)
            self._signatures[content] = signature.read_bytes()
        else:
            signature.write_bytes(self._signatures[content])
        flush(signature)
        return signature


@contextlib.contextmanager
def signer(home: Path, owner: str) -> Iterator[Signer]:
    """The key of a home folder with its agent running; both are made if they are not there.

    :param home: GnuPG's home, made with mode 0700.
    :param owner: user id of a new key.
    :raises CannotRun: when GnuPG is missing, or others may read the home.
    """
    require("gpg", "gnupg")
    with locked(home.with_name(f".{home.name}.lock")):
        _make_key(home, owner)
    if home.stat().st_mode & 0o077:
        raise CannotRun(f"{home} holds the signing key and others may enter it", f"chmod 700 {home}")
    with _reachable(home) as reachable, _agent(reachable):
        listing = _gpg(reachable, "--with-colons", "--list-secret-keys").output
        fingerprints = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]
        if not fingerprints:
            raise CannotRun(f"{home} holds no key", "restore it from a backup, or move it away to have a new one made")
        public = _gpg(reachable, "--armor", "--export", fingerprints[0]).output
        yield Signer(reachable, fingerprints[0], public)


def verify_packages(packages: Sequence[Path], public_key: str) -> None:
    """Check that each package carries a signature of that key and no other, over header and payload.

    :raises CannotRun: naming the packages that do not.
    """
    with tempfile.TemporaryDirectory(prefix="kitten-keys-") as keys:
        Path(keys, "distribution.key").write_text(public_key, encoding="utf-8")
        # Level "all": by itself rpmkeys is content with a package that is not signed at all.
        defines = {"_pkgverify_level": "all", "_keyring": "fs", "_keyringpath": keys}
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        done = run([require("rpmkeys", "rpm"), "--checksig", *words, *packages], check=False)
    answers = dict(line.rsplit(": ", 1) for line in done.output.splitlines() if ": " in line)
    bad = [package.name for package in packages if answers.get(str(package)) != "digests signatures OK"]
    if bad or done.status != 0:
        raise CannotRun(
            f"not signed by the distribution's key: {', '.join(bad) or done.output.strip()}", "publish again"
        )


def _make_key(home: Path, owner: str) -> None:
    if home.is_dir():
        return
    partial = home.with_name(f".{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    home.parent.chmod(0o700)
    with _reachable(partial) as reachable, _agent(reachable):
        _gpg(reachable, "--passphrase", "", "--quick-generate-key", owner, "rsa4096", "sign", "never")
    for file in partial.iterdir():
        if file.is_socket():
            file.unlink()
    partial.rename(home)
    flush(home.parent)


@contextlib.contextmanager
def _reachable(home: Path) -> Iterator[Path]:
    """A path to the home that is short enough for the agent's sockets, which lie in it."""
    home = home.absolute()
    if len(os.fsencode(home / "S.gpg-agent.browser")) <= _SOCKET_PATH_LIMIT:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="kitten-gpg-") as folder:
        short = Path(folder, "home")
        short.symlink_to(home)
        yield short


@contextlib.contextmanager
def _agent(home: Path) -> Iterator[None]:
    conf: list[str | Path] = [require("gpgconf", "gnupg"), "--homedir", home]
    # In the home, or below /run/user where that exists: then by a name that only GnuPG can tell.
    listening = Path(run([*conf, "--list-dirs", "agent-socket"]).output.strip())
    _end_agent(listening)  # of a call that was killed: it may end at any moment
    # Given a program, the agent looks every few seconds whether that still runs, and ends when it does not.
    agent: list[str | Path] = [require("gpg-agent", "gnupg"), "--homedir", home, "--daemon", "--"]
    agent += ["sh", "-c", "echo ready; exec sleep infinity"]
    with started(agent, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdout is not None  # noqa: S101 - a PIPE was asked for
        said = []
        for line in process.stdout:
            said.append(line.decode(errors="replace").strip())
            if said[-1] == "ready":
                break
        else:
            raise CannotRun(f"gpg-agent did not start: {said[-1] if said else 'it said nothing'}", f"see {home}")
        try:
            yield
        finally:
            _end_agent(listening)
            run([*conf, "--remove-socketdir"], check=False)


def _end_agent(listening: Path) -> None:
    """End the agent of a socket, if there is one, and wait until it is gone: until then it is in the way of the next."""
    with contextlib.suppress(OSError, ValueError, IndexError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(listening))
        with connection.makefile("rwb", buffering=0) as agent:
            agent.readline()  # its greeting
            agent.write(b"GETINFO pid\n")
            process = os.pidfd_open(int(agent.readline().split()[1]))
            agent.write(b"KILLAGENT\n")
        connection.close()
        if not select.select([process], [], [], 5)[0]:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


def _gpg(home: Path, *words: str | Path) -> Completed:
    return _call(
        "gpg", "--homedir", home, "--batch", "--yes", "--no-autostart", "--no-tty", "--quiet", *words, home=home
    )


def _call(tool: str, *words: str | Path, home: Path) -> Completed:
    try:
        return run([tool, *words], env={**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C.UTF-8"}, timeout=300)
    except CommandFailed as error:
        lines = [line for line in error.done.output.splitlines() if "GPG_TTY" not in line]
        raise CannotRun(f"{tool} failed: {lines[-1] if lines else error}", "see above, then publish again") from None
