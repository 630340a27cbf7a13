"""The distribution's signature on packages and indexes. Runs on the publishing worker alone; only there is a key.

A new key is RSA with 4096 bits. rpm 4.18 and dnf 4.14 verify it and Ed25519 alike, but in the FIPS mode of Enterprise
Linux 10 RSA is the safe choice, rpm builds on libgcrypt have been reported to call good EdDSA signatures bad (rpm
issue 1877), and it is what Enterprise Linux keys are. It costs about 30 ms a package.

An index carries one signature, of the current key. A client that reads repomd.xml just before a switch and its
signature just after it holds a pair that does not fit; dnf 4 then reads the keys and both files once more. More
signatures in one file would not help it: gpg in batch mode, as librepo calls it, ends at the first one that is bad,
and librepo on rpm's own OpenPGP (Enterprise Linux 10) reads the first alone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from config.models import Signing, Site
from workers.base.errors import CannotRun
from workers.base.files import flush, sha256_of
from workers.base.run import CommandFailed, require, run
from workers.signing import backends, remote, secrets
from workers.signing.agent import call, gpg
from workers.signing.keys import armored_keys, key_blocks, keys_of, require_usable

CHECKOUT = Path(__file__).parents[2]


class _Backend(Protocol):
    def macros(self) -> Mapping[str, str]: ...

    def rpmsign(self, words: Sequence[str | Path], count: int) -> None: ...

    def detach(self, file: Path, signature: Path) -> None: ...


@dataclass
class Signer:
    """A key at work: use it inside :func:`signer` or :func:`site_signer`."""

    fingerprint: str
    public_key: str
    """Armored: the current key, then earlier ones, each in a block of its own."""
    earlier: tuple[str, ...]
    """Fingerprints of keys that signed before and are still trusted."""
    _backend: _Backend
    _signatures: dict[str, bytes] = field(default_factory=dict)

    def export(self, path: Path) -> None:
        """Put the public key where clients find it; what is there already is left alone."""
        if not path.is_file() or path.read_text(encoding="utf-8") != self.public_key:
            fresh = path.with_name(f".{path.name}.next")
            fresh.write_text(self.public_key, encoding="utf-8")
            flush(fresh)
            fresh.replace(path)

    def sign_packages(self, packages: Sequence[Path]) -> None:
        """Sign packages in place, all in one call, and verify each: all of them change, or none does.

        :raises CannotRun: when signing fails, or a signature does not verify afterwards.
        """
        if not packages:
            return
        require("rpmsign", "rpm")
        words = [word for name, value in self._backend.macros().items() for word in ("--define", f"{name} {value}")]
        with contextlib.ExitStack() as stack:
            copies = []
            for number, package in enumerate(packages):
                beside = tempfile.mkdtemp(prefix=f".signing-{number}-", dir=package.parent)
                stack.callback(shutil.rmtree, beside, ignore_errors=True)
                copies.append(Path(shutil.copy2(package, beside)))
            self._backend.rpmsign(["rpmsign", "--addsign", *words, *copies], len(copies))
            verify_packages(copies, key_blocks(self.public_key)[0])
            for copy, package in zip(copies, packages, strict=True):
                flush(copy)
                copy.replace(package)

    def sign_detached(self, file: Path) -> Path:
        """Write the armored detached signature of a file beside it (``FILE.asc``) and return its path.

        Equal content is signed once: most indexes of a young distribution are the empty one.

        :raises CannotRun: when signing fails; there is no signature then.
        """
        signature = file.with_name(f"{file.name}.asc")
        signature.unlink(missing_ok=True)  # never written into: an earlier snapshot may hold the same file
        content = sha256_of(file)
        if content not in self._signatures:
            fresh = signature.with_name(f".{signature.name}.next")
            try:
                self._backend.detach(file, fresh)
                self._signatures[content] = fresh.read_bytes()
            finally:
                fresh.unlink(missing_ok=True)
        signature.write_bytes(self._signatures[content])
        flush(signature)
        return signature


@contextlib.contextmanager
def site_signer(site: Site, state: Path) -> Iterator[Signer]:
    """The site's signer, as its signing.yaml says; without one, a key made on first use in ``secrets/gnupg``.

    :param state: the service's state folder.
    :raises CannotRun: when a secret is missing, or a key may not be used. Nothing was signed then.
    """
    with signer_of(site.signing, state, f"{site.distribution.title} (packages and indexes)") as key:
        yield key


@contextlib.contextmanager
def signer(home: Path, owner: str) -> Iterator[Signer]:
    """The key of a home folder with its agent running; both are made if they are not there.

    :param home: GnuPG's home, made with mode 0700.
    :param owner: user id of a new key.
    :raises CannotRun: when GnuPG is missing, or others may read the home.
    """
    with signer_of(Signing(home=str(home.absolute())), home.parent, owner) as key:
        yield key


@contextlib.contextmanager
def signer_of(signing: Signing, state: Path, owner: str) -> Iterator[Signer]:
    """The signer that a section describes.

    :raises CannotRun: when a secret is missing, or a key may not be used.
    """
    with contextlib.ExitStack() as stack:
        if signing.backend == "command":
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitten-keys-")))
            backend: _Backend = _Program(signing, home)
        else:
            if signing.backend == "pkcs11":
                home, listening = stack.enter_context(backends.token_home(signing, state))
            elif signing.secret:
                home, listening = stack.enter_context(backends.imported_home(signing.secret, state))
            else:
                kept = backends.kept_home(state / signing.home, owner, make=signing.key is None)
                home, listening = stack.enter_context(kept)
            backend = _GnuPG(home, signing)
        if signing.backend != "pkcs11":  # there they are imported already
            for public in signing.public_keys:
                backends.import_public(home, public)
        fingerprint = signing.key if signing.backend == "command" else _signing_key(home, signing)
        if fingerprint is None:
            raise CannotRun("backend command signs with a key that it does not name", "set key in signing.yaml")
        require_usable(keys_of(home), fingerprint, signing.earlier)
        if signing.backend == "gpg" and signing.passphrase:
            backends.unlock(home, listening, secrets.read_secret(signing.passphrase, state, "the passphrase"))
        if signing.backend == "pkcs11" or signing.secret or signing.passphrase:
            hint = "is the PIN right?" if signing.backend == "pkcs11" else "is the passphrase in signing.yaml right?"
            backends.require_signing(home, fingerprint, hint, asks=signing.backend == "pkcs11")
        if isinstance(backend, _GnuPG):
            backend.key = fingerprint
        yield Signer(fingerprint, armored_keys(home, (fingerprint, *signing.earlier)), signing.earlier, backend)


def _signing_key(home: Path, signing: Signing) -> str:
    """The key that signs; its secret part is in the home, or known there to be in the token."""
    there = [key.fingerprint for key in keys_of(home, secret=True)]
    if not there and not signing.key:
        raise CannotRun(f"{home} holds no key", "restore it from a backup, or move it away to have a new one made")
    if signing.key and signing.key not in there:
        have = f"there is {', '.join(there)}" if there else "there is none"
        raise CannotRun(f"the secret part of the key {signing.key} is missing: {have}", "see key in signing.yaml")
    return signing.key or there[0]


@dataclass
class _GnuPG:
    """gpg and the agent of a home, which holds the key or knows the token that does."""

    home: Path
    signing: Signing
    key: str = ""

    def macros(self) -> Mapping[str, str]:
        return {"_gpg_name": self.key, "_gpg_path": str(self.home), "__gpg": require("gpg", "gnupg")}

    def rpmsign(self, words: Sequence[str | Path], count: int) -> None:
        tool, *rest = words
        call(str(tool), *rest, home=self.home, timeout=240 + 2 * self.signing.timeout_seconds * count)

    def detach(self, file: Path, signature: Path) -> None:
        gpg(self.home, "--armor", "--local-user", self.key, "--output", signature, "--detach-sign", file)


class _Program:
    """A program of signing.yaml."""

    def __init__(self, signing: Signing, home: Path) -> None:
        self._remote = remote.Remote(signing.command, signing.key or "", str(home), signing.timeout_seconds)
        self._home, self._specification = home, home / "remote.json"
        remote.write_specification(self._remote, self._specification)

    def macros(self) -> Mapping[str, str]:
        shim = shlex.join([sys.executable, "python", "-m", "workers.signing.remote", str(self._specification)])
        return {
            "_gpg_name": self._remote.key,
            "__gpg_sign_cmd": f"{shim} %{{__signature_filename}} %{{?__plaintext_filename}}",
        }

    def rpmsign(self, words: Sequence[str | Path], count: int) -> None:
        failure = remote.failure_file(self._specification)
        failure.unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
        try:
            run(words, env={**os.environ, "PYTHONPATH": path}, timeout=60 + 2 * self._remote.timeout * count)
        except CommandFailed as error:
            if failure.exists():
                what, _, hint = failure.read_text(encoding="utf-8").partition("\n  → ")
                raise CannotRun(what, hint) from None
            lines = error.done.output.strip().splitlines()
            raise CannotRun(
                f"rpmsign failed: {lines[-1] if lines else error}", "see above, then publish again"
            ) from None

    def detach(self, file: Path, signature: Path) -> None:
        binary = self._home / "detached"
        remote.sign(self._remote, file, binary)
        gpg(self._home, "--output", signature, "--enarmor", binary)
        lines = (
            signature.read_text(encoding="ascii").replace("PGP ARMORED FILE", "PGP SIGNATURE").splitlines(keepends=True)
        )
        signature.write_text("".join(line for line in lines if not line.startswith("Comment: ")), encoding="ascii")


def verify_packages(packages: Sequence[Path], public_key: str) -> None:
    """Check that each package carries a signature of one of those keys and no other, over header and payload.

    :param public_key: armored blocks, one key each.
    :raises CannotRun: naming the packages that do not.
    """
    with tempfile.TemporaryDirectory(prefix="kitten-keys-") as keys:
        for number, block in enumerate(key_blocks(public_key)):
            Path(keys, f"distribution-{number}.key").write_text(block, encoding="utf-8")
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
