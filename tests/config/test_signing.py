"""signing.yaml: the keys that a backend needs; a site signs only with its own key."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Signing
from tests.config.conftest import lines

KEY, OTHER = "A" * 40, "B" * 40
PUBLIC = "public_keys: [-----BEGIN PGP PUBLIC KEY BLOCK----- x]\n"


def test_without_the_file_the_defaults_apply(folder: Path) -> None:
    assert load_site(str(folder / "demo")).signing == Signing()


def test_a_site_never_inherits_a_signing_key(folder: Path) -> None:
    (folder / "kitten-10/signing.yaml").write_text(f"key: {KEY}\n")
    assert load_site(str(folder / "kitten-10")).signing.key == KEY
    assert load_site(str(folder / "demo")).signing == Signing()
    (folder / "demo/signing.yaml").write_text(f"key: {OTHER}\n")
    assert load_site(str(folder / "demo")).signing.key == OTHER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key: abc\n", "1: key: found 'abc', allowed: a fingerprint: 40 hexadecimal digits in capitals, no spaces"),
        ("backend: pgp\n", "1: backend: found 'pgp', allowed: "),
        (f"key: {KEY}\nearlier: [{OTHER}, {OTHER}]\n", f"2: earlier[1]: found key '{OTHER}' twice, first on line 2, "),
        (f"key: {KEY}\nearlier: [{KEY}]\n", "2: earlier[0]: found the current key, allowed: keys that signed before"),
        (
            f"earlier: [{KEY}]\n",
            "1: earlier: found earlier keys without a current one, allowed: key: the fingerprint of the current key",
        ),
        (
            f"key: {KEY}\nmodule: /a.so\n",
            "2: module: found module, which gpg does not use, allowed: module with pkcs11",
        ),
        (
            f"backend: pkcs11\nkey: {KEY}\n{PUBLIC}module: /a.so\n",
            "0: passphrase: found no passphrase for the backend pkcs11, ",
        ),
        (f"backend: command\nkey: {KEY}\n{PUBLIC}", "0: command: found no command for the backend command, allowed: "),
        (
            f"backend: command\nkey: {KEY}\n{PUBLIC}command: [a, '{{file}}']\n",
            "4: command: found a command without {signature}, ",
        ),
        (
            f"backend: command\nkey: {KEY}\n{PUBLIC}command: [a, '{{file}}', '{{signature}}', '{{k}}']\n",
            "4: command[3]: found the placeholder '{k}', allowed: {file}, {key}, {signature}",
        ),
        ("home: a\nsecret: {file: b}\n", "1: home: found home beside secret, allowed: one of them"),
        (
            "secret: {file: a, credential: b}\n",
            "1: secret: found file beside credential, allowed: one of file, credential, vault",
        ),
        ("secret: {}\n", "1: secret: found no source, allowed: one of file, credential, vault"),
        (
            "public_keys: [none]\n",
            "1: public_keys[0]: found no armored public key, or several, allowed: one PGP PUBLIC KEY BLOCK each",
        ),
    ],
)
def test_wrong_signing_settings(folder: Path, text: str, expected: str) -> None:
    (folder / "demo/signing.yaml").write_text(text)
    (found,) = lines(folder, "demo")
    place = f"demo/signing.yaml:{expected}" if not expected.startswith("0:") else expected[3:]
    assert place in found
