"""Public keys: list them, check that they may be used, and export them for clients."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.base.errors import CannotRun
from workers.signing.agent import gpg

_BLOCK = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Key:
    """One key of a keyring."""

    fingerprint: str
    validity: str
    """One letter, field 2 in GnuPG's doc/DETAILS: e expired, r revoked, d disabled …"""
    expires: int
    """Seconds since 1970; 0: never."""


def key_blocks(armored: str) -> list[str]:
    """Return the armored public keys of a text, one each: rpm and others read only the first key of a file."""
    return _BLOCK.findall(armored)


def keys_of(home: Path, *, secret: bool = False) -> list[Key]:
    """Return the keys of a home in the order of the keyring.

    :param secret: only keys whose secret part the home has.
    """
    found: list[Key] = []
    primary: list[str] | None = None
    for line in gpg(home, "--with-colons", "--list-secret-keys" if secret else "--list-keys").output.splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sec"):
            primary = fields
        elif fields[0] == "fpr" and primary:  # the next one is of the primary key, later ones are of subkeys
            found.append(Key(fields[9], primary[1], int(primary[6] or 0)))
            primary = None
    return found


def armored_keys(home: Path, fingerprints: Sequence[str]) -> str:
    """Return the public keys, one armored block each, in that order."""
    return "".join(gpg(home, "--armor", "--export", fingerprint).output for fingerprint in fingerprints)


def require_usable(found: Sequence[Key], current: str, earlier: Sequence[str]) -> None:
    """Check that all keys are present, that the current key may sign, and that no earlier key was revoked.

    An earlier key may be expired: its signatures stay valid.

    :raises CannotRun: a key fails the check; names the key.
    """
    known = {key.fingerprint: key for key in found}
    for fingerprint in (current, *earlier):
        if fingerprint not in known:
            raise CannotRun(
                f"the public key {fingerprint} is missing", "add it to public_keys in signing.yaml, or to the home"
            )
        if known[fingerprint].validity == "r":
            raise CannotRun(
                f"the key {fingerprint} was revoked",
                "name a new key in signing.yaml and remove this one; sign its packages and indexes again",
            )
    key = known[current]
    if key.validity == "e" or 0 < key.expires <= time.time():
        day = time.strftime("%Y-%m-%d", time.gmtime(key.expires))
        raise CannotRun(
            f"the key {current} expired on {day}",
            "extend it (gpg --quick-set-expire), or name a new one in signing.yaml",
        )
    if key.validity in ("d", "i"):
        raise CannotRun(f"the key {current} is disabled or invalid", "see gpg --list-keys")
