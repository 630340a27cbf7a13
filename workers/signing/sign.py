"""Sign packages and indexes with the distribution's key. Only the publishing worker has a key.

A new key is RSA with 4096 bits. rpm 4.18 and dnf 4.14 verify RSA and Ed25519, but RSA is the safe choice in the FIPS
mode of Enterprise Linux 10, rpm with libgcrypt is reported to reject good EdDSA signatures (rpm issue 1877), and the
keys of Enterprise Linux are RSA. It costs about 30 ms a package.

An index has one signature, of the current key. A client that reads repomd.xml just before a publication and its
signature just after it gets two files that do not match; dnf 4 then reads the keys and both files again. More
signatures in one file would not help: gpg in batch mode, as librepo calls it, ends at the first bad one, and librepo
with rpm's own OpenPGP (Enterprise Linux 10) reads only the first.
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

    def rpmsign(self, argv: Sequence[str | Path], count: int) -> None: ...

    def detach(self, file: Path, signature: Path) -> None: ...


@dataclass
class Signer:
    """A key that is ready to sign, inside a block of :func:`signer` or :func:`site_signer`."""

    fingerprint: str
    public_key: str
    """Armored: the current key, then earlier ones, one block each."""
    earlier: tuple[str, ...]
    """Fingerprints of earlier keys that are still trusted."""
    _backend: _Backend
    _signatures: dict[str, bytes] = field(default_factory=dict)

    def export(self, path: Path) -> None:
        """Write the public keys to ``path``, where clients find them, if they changed."""
        if not path.is_file() or path.read_text(encoding="utf-8") != self.public_key:
            fresh = path.with_name(f".{path.name}.next")
            fresh.write_text(self.public_key, encoding="utf-8")
            flush(fresh)
            fresh.replace(path)

    def sign_packages(self, packages: Sequence[Path]) -> None:
        """Sign packages in place, in one call, and verify each. Either all of them change, or none.

        :raises CannotRun: signing fails, or a signature does not verify.
        """
        if not packages:
            return
        require("rpmsign", "rpm")
        defines = [word for name, value in self._backend.macros().items() for word in ("--define", f"{name} {value}")]
        with contextlib.ExitStack() as stack:
            copies = []
            for number, package in enumerate(packages):
                beside = tempfile.mkdtemp(prefix=f".signing-{number}-", dir=package.parent)
                stack.callback(shutil.rmtree, beside, ignore_errors=True)
                copies.append(Path(shutil.copy2(package, beside)))
            self._backend.rpmsign(["rpmsign", "--addsign", *defines, *copies], len(copies))
            verify_packages(copies, key_blocks(self.public_key)[0])
            for copy, package in zip(copies, packages, strict=True):
                flush(copy)
                copy.replace(package)

    def sign_detached(self, file: Path) -> Path:
        """Write the armored detached signature of a file beside it (``FILE.asc``) and return its path.

        Equal content is signed once: most indexes of a young distribution are empty.

        :raises CannotRun: signing fails; then no signature is written.
        """
        signature = file.with_name(f"{file.name}.asc")
        signature.unlink(missing_ok=True)  # never overwritten: an earlier snapshot may have a link to it
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
    """Yield the signer of signing.yaml; without that file, of a key that is made on first use in ``secrets/gnupg``.

    :param state: the service's state folder.
    :raises CannotRun: a secret is missing, or a key may not be used. Then nothing is signed.
    """
    with signer_of(site.signing, state, f"{site.distribution.title} (packages and indexes)") as key:
        yield key


@contextlib.contextmanager
def signer(home: Path, owner: str) -> Iterator[Signer]:
    """Yield the signer of a GnuPG home, whose agent runs inside the block; make home and key if they are missing.

    :param home: the home; it is made with mode 0700.
    :param owner: user id of a new key.
    :raises CannotRun: GnuPG is missing, or other users may read the home.
    """
    with signer_of(Signing(home=str(home.absolute())), home.parent, owner) as key:
        yield key


@contextlib.contextmanager
def signer_of(signing: Signing, state: Path, owner: str) -> Iterator[Signer]:
    """Yield the signer that a section of signing.yaml describes.

    :raises CannotRun: a secret is missing, or a key may not be used.
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
        if signing.backend != "pkcs11":  # token_home imported them
            for public in signing.public_keys:
                backends.import_public(home, public)
        fingerprint = signing.key if signing.backend == "command" else _signing_key(home, signing)
        if fingerprint is None:
            raise CannotRun("backend command needs the fingerprint of its key", "set key in signing.yaml")
        require_usable(keys_of(home), fingerprint, signing.earlier)
        if signing.backend == "gpg" and signing.passphrase:
            backends.unlock(home, listening, secrets.read_secret(signing.passphrase, state, "the passphrase"))
        if signing.backend == "pkcs11" or signing.secret or signing.passphrase:
            hint = "check the PIN" if signing.backend == "pkcs11" else "check the passphrase in signing.yaml"
            backends.require_signing(home, fingerprint, hint, asks=signing.backend == "pkcs11")
        if isinstance(backend, _GnuPG):
            backend.key = fingerprint
        yield Signer(fingerprint, armored_keys(home, (fingerprint, *signing.earlier)), signing.earlier, backend)


def _signing_key(home: Path, signing: Signing) -> str:
    """Return the key that signs. Its secret part is in the home, or in the token that the home knows."""
    present = [key.fingerprint for key in keys_of(home, secret=True)]
    if not present and not signing.key:
        raise CannotRun(f"{home} has no key", "restore it from a backup, or move it away to get a new key")
    if signing.key and signing.key not in present:
        found = ", ".join(present) or "none"
        raise CannotRun(
            f"the secret part of the key {signing.key} is missing; found {found}", "see key in signing.yaml"
        )
    return signing.key or present[0]


@dataclass
class _GnuPG:
    """Signs with gpg and the agent of a home, which has the key or uses a token."""

    home: Path
    signing: Signing
    key: str = ""

    def macros(self) -> Mapping[str, str]:
        return {"_gpg_name": self.key, "_gpg_path": str(self.home), "__gpg": require("gpg", "gnupg")}

    def rpmsign(self, argv: Sequence[str | Path], count: int) -> None:
        tool, *rest = argv
        call(str(tool), *rest, home=self.home, timeout=240 + 2 * self.signing.timeout_seconds * count)

    def detach(self, file: Path, signature: Path) -> None:
        gpg(self.home, "--armor", "--local-user", self.key, "--output", signature, "--detach-sign", file)


class _Program:
    """Signs with the program of signing.yaml."""

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

    def rpmsign(self, argv: Sequence[str | Path], count: int) -> None:
        failure = remote.failure_file(self._specification)
        failure.unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
        try:
            run(argv, env={**os.environ, "PYTHONPATH": path}, timeout=60 + 2 * self._remote.timeout * count)
        except CommandFailed as error:
            if failure.exists():
                what, _, hint = failure.read_text(encoding="utf-8").partition("\n  → ")
                raise CannotRun(what, hint) from None
            lines = error.done.output.strip().splitlines()
            raise CannotRun(
                f"rpmsign failed: {lines[-1] if lines else error}", "see the output above, then publish again"
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
    """Check that each package has a signature over header and payload, by one of these keys.

    :param public_key: armored blocks, one key each.
    :raises CannotRun: a package has no such signature, or another one; names the packages.
    """
    with tempfile.TemporaryDirectory(prefix="kitten-keys-") as keys:
        for number, block in enumerate(key_blocks(public_key)):
            Path(keys, f"distribution-{number}.key").write_text(block, encoding="utf-8")
        # Level "all": by default, rpmkeys accepts a package that is not signed.
        defines = {"_pkgverify_level": "all", "_keyring": "fs", "_keyringpath": keys}
        options = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        done = run([require("rpmkeys", "rpm"), "--checksig", *options, *packages], check=False)
    answers = dict(line.rsplit(": ", 1) for line in done.output.splitlines() if ": " in line)
    bad = [package.name for package in packages if answers.get(str(package)) != "digests signatures OK"]
    if bad or done.status != 0:
        raise CannotRun(
            f"not signed by the distribution's key: {', '.join(bad) or done.output.strip()}", "publish again"
        )
