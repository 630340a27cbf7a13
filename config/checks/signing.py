"""Checks of signing: the keys that a backend needs, and one source for each secret."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections, duplicates
from config.problems import Problem

_SIGNED_BY: dict[str, tuple[set[str], set[str]]] = {
    "gpg": (set(), {"home", "secret", "passphrase"}),
    "pkcs11": ({"key", "public_keys", "module", "passphrase"}, set()),
    "command": ({"key", "public_keys", "command"}, set()),
}
"""Backend → the keys of signing.yaml that it needs, and further keys that it may have."""


def check(sections: Sections) -> Iterator[Problem]:
    """Check that the keys fit the backend, and that each secret has one source."""
    signing = sections.get("signing")
    if not signing or not isinstance(signing.data, dict):
        return
    backend = signing.at("backend") or "gpg"
    if backend in _SIGNED_BY:
        needed, possible = _SIGNED_BY[backend]
        for key in sorted(needed):
            if not signing.at(key):
                yield signing.problem(
                    (key,), f"no {key} for the backend {backend}", f"{key}, because {backend} needs it"
                )
        other_keys = set().union(*(a | b for a, b in _SIGNED_BY.values())) - needed - possible - {"key", "public_keys"}
        for key in sorted(other_keys & signing.data.keys()):
            backends = [name for name, keys in _SIGNED_BY.items() if key in keys[0] | keys[1]]
            yield signing.problem((key,), f"{key}, which {backend} does not use", f"{key} with {' or '.join(backends)}")
    if "home" in signing.data and "secret" in signing.data:
        yield signing.problem(("home",), "home beside secret", "one of them")
    if signing.at("earlier") and not signing.at("key"):
        yield signing.problem(
            ("earlier",), "earlier keys without a current one", "key: the fingerprint of the current key"
        )
    yield from duplicates(signing, signing.words("earlier"), "key")
    for place, word in signing.words("earlier"):
        if word == signing.at("key"):
            yield signing.problem(place, "the current key", "keys that signed before")
    for place, text in signing.words("public_keys"):
        if text.count("-----BEGIN PGP PUBLIC KEY BLOCK-----") != 1:
            yield signing.problem(place, "no armored public key, or several", "one PGP PUBLIC KEY BLOCK each")
    for name in ("secret", "passphrase"):
        if isinstance(at := signing.at(name), dict) and len(given := [k for k in at if at[k]]) != 1:
            yield signing.problem((name,), f"{' beside '.join(given) or 'no source'}", "one of file, credential, vault")
    words = [word for _, word in signing.words("command")]
    for needs in ("{file}", "{signature}"):
        if words and not any(needs in word for word in words):
            yield signing.problem(("command",), f"a command without {needs}", "a command with {file} and {signature}")
