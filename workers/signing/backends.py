"""GnuPG homes that are ready to sign: one function for each place of the secret key. All start the home's agent."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from config.models import Secret, Signing
from workers.base.cache import hold_lock
from workers.base.errors import CannotRun
from workers.base.files import flush
from workers.base.run import require
from workers.signing import secrets
from workers.signing.agent import agent, ask, gpg, short_home
from workers.signing.memory import home_in_memory

# GnuPG asks for the PIN with this program. It answers once: a token locks itself after a few wrong PINs.
_PINENTRY = """#!/bin/sh
echo 'OK'
while read -r command rest; do
    case $command in
        GETPIN) if mv '{pin}' '{pin}.given' 2>/dev/null; then
                    printf 'D '; cat '{pin}.given'; echo; rm -f '{pin}.given'; echo OK
                else echo 'ERR 83886179 asked before'; fi ;;
        BYE) echo OK; exit 0 ;;
        *) echo OK ;;
    esac
done
"""


@contextlib.contextmanager
def kept_home(home: Path, owner: str, *, make: bool = True) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a home on disk and its agent's socket; make the home with a new key if it is missing.

    Only one process uses it at a time: a new agent ends the previous one, which may sign a compose or another stage.

    :raises CannotRun: other users may enter the home.
    """
    require("gpg", "gnupg")
    if not make and not home.is_dir():
        raise CannotRun(f"the GnuPG home {home} does not exist", "restore it from a backup, or see signing.yaml")
    with hold_lock(home.with_name(f".{home.name}.lock")):
        if make:
            _make_key(home, owner)
        if home.stat().st_mode & 0o077:
            raise CannotRun(f"{home} has the signing key, but other users may enter it", f"chmod 700 {home}")
        with short_home(home) as near, agent(near) as listening:
            yield near, listening


@contextlib.contextmanager
def imported_home(secret: Secret, state: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a home in memory with the secret key that ``signing.secret`` names, and its agent's socket."""
    require("gpg", "gnupg")
    content = secrets.read_secret(secret, state, "the signing key")
    with home_in_memory() as home, agent(home) as listening:
        file = home / "secret"
        file.write_bytes(content)
        try:
            gpg(home, "--import", file)
        except CannotRun:
            raise CannotRun(
                "the signing key is not a secret key that GnuPG can read", "gpg --armor --export-secret-keys"
            ) from None
        finally:
            file.unlink()
        yield home, listening


@contextlib.contextmanager
def token_home(signing: Signing, state: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a home in memory whose key stays in a PKCS#11 token, and its agent's socket.

    gpg-agent uses the token through gnupg-pkcs11-scd, which finds a key by its certificate in the token.
    """
    require("gpg", "gnupg")
    module = Path(signing.module or "")
    if not module.is_file():
        raise CannotRun(f"the PKCS#11 library {module} does not exist", "install it, or set module in signing.yaml")
    daemon = require("gnupg-pkcs11-scd", "gnupg-pkcs11-scd")
    if signing.passphrase is None:
        raise CannotRun("the token has no PIN", "set passphrase in signing.yaml")
    pin = secrets.read_secret(signing.passphrase, state, "the token's PIN").strip()
    with home_in_memory() as home:
        _prepare_token(home, daemon, module, pin)
        with agent(home) as listening:
            for public in signing.public_keys:
                import_public(home, public)
            if (answer := ask(listening, "LEARN")[0]).startswith("ERR"):
                raise CannotRun(
                    f"the token of {module} cannot be read: {answer}", "plug it in; check that it has a certificate"
                )
            yield home, listening


def _prepare_token(home: Path, daemon: str, module: Path, pin: bytes) -> None:
    pinentry = home / "pinentry"
    (home / "pin").write_bytes(pin)
    pinentry.write_text(_PINENTRY.format(pin=home / "pin"), encoding="utf-8")
    pinentry.chmod(0o700)
    (home / "gpg-agent.conf").write_text(f"scdaemon-program {daemon}\npinentry-program {pinentry}\n", encoding="utf-8")
    provider = f"providers token\nprovider-token-library {module}\n"
    (home / "gnupg-pkcs11-scd.conf").write_text(provider, encoding="utf-8")


def new_token_key(signing: Signing, state: Path, owner: str) -> tuple[str, str]:
    """Make the OpenPGP key of the only RSA key in a token; return (fingerprint, armored public key) for signing.yaml.

    Do this once for a key: the fingerprint depends on the time.

    :raises CannotRun: the token has no key with a certificate, or several.
    """
    with token_home(signing, state) as (home, _):
        grips = [file.stem for file in (home / "private-keys-v1.d").glob("*.key")]
        if len(grips) != 1:
            raise CannotRun(
                f"the token has {len(grips)} keys with a certificate, not one", "leave only the key that signs"
            )
        recipe = home / "recipe"
        what = f"Key-Type: RSA\nKey-Grip: {grips[0]}\nKey-Usage: sign\nName-Real: {owner}\nExpire-Date: 0\n"
        recipe.write_text(f"%no-protection\n{what}%commit\n", encoding="utf-8")
        gpg(home, "--generate-key", recipe)
        listing = gpg(home, "--with-colons", "--list-secret-keys").output
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        return fingerprint, gpg(home, "--armor", "--export", fingerprint).output


def import_public(home: Path, public: str) -> None:
    """Import an armored public key of signing.yaml.

    :raises CannotRun: the text is not a public key.
    """
    file = home / "public"
    file.write_text(public, encoding="utf-8")
    try:
        gpg(home, "--import", file)
    except CannotRun:
        raise CannotRun(
            "an entry of public_keys in signing.yaml is not a public key", "gpg --armor --export FINGERPRINT"
        ) from None
    finally:
        file.unlink()


def unlock(home: Path, listening: Path, passphrase: bytes) -> None:
    """Give the agent the passphrase of every key of the home. It keeps the passphrase as long as it runs."""
    listing = gpg(home, "--with-colons", "--with-keygrip", "--list-secret-keys").output
    grips = [line.split(":")[9] for line in listing.splitlines() if line.startswith("grp:")]
    word = passphrase.rstrip(b"\r\n").hex().upper()
    for answer in ask(listening, *(f"PRESET_PASSPHRASE {grip} -1 {word}" for grip in grips)):
        if answer.startswith("ERR"):
            raise CannotRun(f"gpg-agent refuses the passphrase: {answer}", "see gpg-agent.conf of the home")


def require_signing(home: Path, fingerprint: str, hint: str, *, asks: bool) -> None:
    """Sign an empty file, so that a wrong passphrase is found before the work begins.

    :param asks: whether the home's pinentry gives the PIN. No other pinentry is used.
    :raises CannotRun: the key does not sign.
    """
    probe = home / f".probe.{fingerprint}"
    probe.write_bytes(b"")
    signature = probe.with_suffix(".sig")
    try:
        pinentry = () if asks else ("--pinentry-mode", "cancel")
        gpg(home, *pinentry, "--local-user", fingerprint, "--output", signature, "--detach-sign", probe)
    except CannotRun as error:
        raise CannotRun(f"the key {fingerprint} does not sign: {error.what}", hint) from None
    finally:
        probe.unlink()
        signature.unlink(missing_ok=True)


def _make_key(home: Path, owner: str) -> None:
    if home.is_dir():
        return
    partial = home.with_name(f".{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    home.parent.chmod(0o700)
    with short_home(partial) as near, agent(near):
        gpg(near, "--passphrase", "", "--quick-generate-key", owner, "rsa4096", "sign", "never")
    for file in partial.iterdir():
        if file.is_socket():
            file.unlink()
    partial.rename(home)
    flush(home.parent)
