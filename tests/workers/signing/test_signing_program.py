"""External signing programs: what they sign, and what happens if they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.models import Signing
from tests.workers.publishing import RpmFactory
from tests.workers.signing.conftest import MadeKey
from tests.workers.signing.test_sign import copies
from workers.base.errors import CannotRun
from workers.signing.agent import gpg
from workers.signing.sign import signer_of, verify_packages

pytestmark = pytest.mark.slow


@pytest.fixture
def program(tmp_path: Path, make_key: Callable[..., MadeKey]) -> Callable[[str], Signing]:
    """Return a function: shell text ($1 key, $2 file, $3 signature) → a section with this command and key "one"."""
    made = make_key("one")

    def section(text: str, timeout: int = 60) -> Signing:
        path = tmp_path / "sign-elsewhere"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return Signing(
            backend="command",
            key=made.fingerprint,
            public_keys=(made.public,),
            command=(str(path), "{key}", "{file}", "{signature}"),
            timeout_seconds=timeout,
        )

    return section


def _by(made: MadeKey, *words: str) -> str:
    return (
        f"exec gpg --homedir {made.home} --batch --yes {' '.join(words)} --pinentry-mode loopback --passphrase '' "
        f'-u {made.fingerprint} -o "$3" --detach-sign "$2"'
    )


@pytest.fixture
def ended(make_key: Callable[..., MadeKey]) -> Iterator[None]:
    """End the agents that the gpg of the programs started."""
    yield
    for name in ("one", "foreign"):
        subprocess.run(["gpgconf", "--homedir", make_key(name).home, "--kill", "gpg-agent"], check=True)


@pytest.mark.parametrize("words", [(), ("--armor",)], ids=["binary", "armored"])
def test_a_program_signs_packages_and_indexes(
    tmp_path: Path,
    make_rpms: RpmFactory,
    make_key: Callable[..., MadeKey],
    program: Callable[..., Signing],
    ended: None,
    words: tuple[str, ...],
) -> None:
    file = tmp_path / "repomd.xml"
    file.write_text("index")
    packages = copies(make_rpms("aarch64"), tmp_path)
    with signer_of(program(_by(make_key("one"), *words)), tmp_path, "") as key:
        key.sign_packages(packages)
        signature = key.sign_detached(file)
    verify_packages(packages, make_key("one").public)
    assert signature.read_text().startswith("-----BEGIN PGP SIGNATURE-----\n\n")
    gpg(make_key("one").home, "--verify", signature, file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sleep 60", "did not end within 1 s"),
        ('echo garbage > "$3"', "the output of the signing program sign-elsewhere is not an OpenPGP signature"),
        ("true", "the signing program sign-elsewhere wrote no signature"),
        ("echo no bridge >&2; exit 3", "the signing program sign-elsewhere ended with 3: no bridge"),
        ("FOREIGN", "the signing program sign-elsewhere signed with "),
        ("CHANGED", "the signing program sign-elsewhere signed another file than {file}"),
    ],
)
def test_a_program_that_does_not_sign_correctly_changes_nothing(
    tmp_path: Path,
    make_rpms: RpmFactory,
    make_key: Callable[..., MadeKey],
    program: Callable[..., Signing],
    ended: None,
    text: str,
    expected: str,
) -> None:
    text = text.replace("FOREIGN", _by(make_key("foreign")))
    text = text.replace("CHANGED", 'echo more >> "$2"; ' + _by(make_key("one")))
    if "echo more" in text:  # it must sign another file than the one that is checked
        text = text.replace('"$2"; ', '"$3.other"; ').replace('--detach-sign "$2"', '--detach-sign "$3.other"')
    file = tmp_path / "repomd.xml"
    file.write_text("index")
    packages = copies(make_rpms("aarch64"), tmp_path)
    before = {package: package.read_bytes() for package in packages}
    with signer_of(program(text, 1 if "sleep" in text else 60), tmp_path, "") as key:
        with pytest.raises(CannotRun) as refusal:
            key.sign_packages(packages)
        assert expected in refusal.value.what
        assert "\n" not in refusal.value.what
        with pytest.raises(CannotRun) as refusal:
            key.sign_detached(file)
        assert expected in refusal.value.what
    assert {package: package.read_bytes() for package in packages} == before
    assert not list(tmp_path.glob("*.asc")) + list(tmp_path.glob(".*.next")) + list(tmp_path.glob(".signing-*"))
