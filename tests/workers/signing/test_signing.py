"""signing.yaml: the places of the secret, and the trusted keys."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.models import Secret, Signing, VaultSecret
from tests.workers.publishing import RpmFactory
from tests.workers.signing.conftest import MadeKey, homes_in_memory, refused, secret_file
from tests.workers.signing.test_sign import agents, copies, gone_soon
from workers.base.errors import CannotRun
from workers.signing.agent import gpg
from workers.signing.sign import Signer, signer_of, verify_packages

pytestmark = pytest.mark.slow


def signs(key: Signer, rpm: Path, into: Path) -> None:
    (package,) = copies((rpm,), into)
    key.sign_packages([package])
    verify_packages([package], key.public_key)
    assert package.read_bytes() != rpm.read_bytes()


# ------------------------------------------------------------------------------------------ secrets, and memory


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_a_secret_of_a_file_signs_and_leaves_no_home(
    tmp_path: Path, make_rpms: RpmFactory, make_key: Callable[..., MadeKey], passphrase: str
) -> None:
    made, before = make_key("one", passphrase), homes_in_memory()
    word = secret_file(tmp_path, passphrase + "\n", "word") if passphrase else None
    with signer_of(Signing(secret=secret_file(tmp_path, made.secret), passphrase=word), tmp_path, "") as key:
        assert key.fingerprint == made.fingerprint
        assert len(homes_in_memory() - before) == 1
        signs(key, make_rpms("aarch64")[0], tmp_path)
    assert homes_in_memory() <= before


def test_a_wrong_passphrase_is_found_before_anything_is_signed(
    tmp_path: Path, make_key: Callable[..., MadeKey]
) -> None:
    made = make_key("one", "correct horse")
    what = refused(
        Signing(secret=secret_file(tmp_path, made.secret), passphrase=secret_file(tmp_path, "wrong", "word")), tmp_path
    )
    assert what.startswith(f"the key {made.fingerprint} does not sign: gpg failed: gpg: signing failed: ")


def test_a_missing_passphrase_is_an_error_and_not_a_prompt(tmp_path: Path, make_key: Callable[..., MadeKey]) -> None:
    made = make_key("one", "correct horse")
    what = refused(Signing(secret=secret_file(tmp_path, made.secret)), tmp_path)
    assert what.startswith(f"the key {made.fingerprint} does not sign: ")


def test_a_systemd_credential_signs(
    tmp_path: Path, make_key: Callable[..., MadeKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_key("one")
    secret_file(tmp_path, made.secret, "signing-key")
    signing = Signing(secret=Secret(credential="signing-key"))
    assert (
        refused(signing, tmp_path) == "the signing key: no systemd credentials here ($CREDENTIALS_DIRECTORY is not set)"
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with signer_of(signing, tmp_path, "") as key:
        assert key.fingerprint == made.fingerprint
    other = Signing(secret=Secret(credential="other"))
    assert refused(other, tmp_path) == "the signing key: the credential other does not exist"


def test_a_secret_that_is_readable_by_others_or_missing_or_invalid_is_refused(
    tmp_path: Path, make_key: Callable[..., MadeKey]
) -> None:
    secret = secret_file(tmp_path, make_key("one").secret)
    (tmp_path / "key").chmod(0o640)
    assert refused(Signing(secret=secret), tmp_path) == f"the signing key: other users may read {tmp_path}/key"
    assert (
        refused(Signing(secret=Secret(file="nowhere")), tmp_path)
        == f"the signing key: the file {tmp_path}/nowhere does not exist"
    )
    empty = secret_file(tmp_path, " \n", "empty")
    assert refused(Signing(secret=empty), tmp_path) == f"the signing key: {tmp_path}/empty is empty"
    before = homes_in_memory()
    rubbish = secret_file(tmp_path, "rubbish", "rubbish")
    assert refused(Signing(secret=rubbish), tmp_path) == "the signing key is not a secret key that GnuPG can read"
    assert homes_in_memory() <= before


def test_a_killed_signer_leaves_no_home_in_memory_and_no_agent(
    tmp_path: Path, make_key: Callable[..., MadeKey]
) -> None:
    signing, before = Signing(secret=secret_file(tmp_path, make_key("one").secret)), homes_in_memory()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with signer_of(signing, tmp_path, ""):
            os.write(writer, b"x")
            time.sleep(60)
    os.read(reader, 1)
    (place,) = homes_in_memory() - before
    served = agents(place)
    assert served
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(100):
        if not place.exists():
            break
        time.sleep(0.1)
    assert not place.exists()
    assert gone_soon(served)


# ------------------------------------------------------------------------------------------------------------ Vault


class _Vault(http.server.BaseHTTPRequestHandler):
    """A stand-in for Vault's KV version 2, after the documentation of its HTTP interface."""

    secrets: dict[str, dict[str, object]] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        if self.headers.get("X-Vault-Token") != "s.right":
            return self.answer(403, {"errors": ["permission denied"]})
        if self.path not in self.secrets:
            return self.answer(404, {"errors": []})
        return self.answer(200, {"data": {"data": self.secrets[self.path], "metadata": {"version": 1}}})

    def answer(self, status: int, document: dict[str, object]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def vault(make_key: Callable[..., MadeKey]) -> Iterator[str]:
    _Vault.secrets = {"/v1/secret/data/kitten/signing": {"key": make_key("one").secret, "number": 1}}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Vault)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_secret_of_vault_signs(
    vault: str, tmp_path: Path, make_key: Callable[..., MadeKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file(tmp_path, "s.right\n", "token")
    secret = VaultSecret(path="kitten/signing", field="key", address=vault, token_file="token")
    with signer_of(Signing(secret=Secret(vault=secret)), tmp_path, "") as key:
        assert key.fingerprint == make_key("one").fingerprint
    monkeypatch.setenv("VAULT_ADDR", vault + "/")
    monkeypatch.setenv("VAULT_TOKEN", "s.right")
    secret = VaultSecret(path="kitten/signing", field="key")
    with signer_of(Signing(secret=Secret(vault=secret)), tmp_path, "") as key:
        assert key.fingerprint == make_key("one").fingerprint


@pytest.mark.parametrize(
    ("path", "field", "token", "expected"),
    [
        ("kitten/signing", "key", "s.wrong", "Vault answered 403 for {url}: the token may not read it, or has expired"),
        ("kitten/other", "key", "s.right", "Vault answered 404 for {url}: no such secret"),
        ("kitten/signing", "other", "s.right", "{url} has no field other"),
        ("kitten/signing", "number", "s.right", "the field number of {url} is not text"),
        ("kitten/signing", "key", "", "the token for Vault is not set"),
    ],
)
def test_a_refusal_of_vault_is_reported_in_a_line_without_the_token(
    vault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, field: str, token: str, expected: str
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", token)
    secret = VaultSecret(path=path, field=field, address=vault)
    what = refused(Signing(secret=Secret(vault=secret)), tmp_path)
    assert what == "the signing key: " + expected.format(url=f"{vault}/v1/secret/data/{path}")


def test_a_vault_that_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "s.right")
    secret = VaultSecret(path="a", field="b", address="http://127.0.0.1:9")
    what = refused(Signing(secret=Secret(vault=secret)), tmp_path)
    assert what == "the signing key: Vault at http://127.0.0.1:9 does not answer (ConnectionError)"
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    nowhere = Secret(vault=VaultSecret(path="a", field="b"))
    assert refused(Signing(secret=nowhere), tmp_path) == "the signing key: the address of Vault is not set"


# ----------------------------------------------------------------------------------------------------- key rotation


def test_after_a_rotation_both_keys_verify_and_the_new_one_signs(
    tmp_path: Path, make_rpms: RpmFactory, make_key: Callable[..., MadeKey]
) -> None:
    old, new, foreign = make_key("old"), make_key("new"), make_key("foreign")
    rpms = make_rpms("aarch64")
    by = {}
    for name, made in {"old": old, "foreign": foreign}.items():
        (tmp_path / name).mkdir()
        with signer_of(Signing(secret=secret_file(tmp_path, made.secret)), tmp_path, "") as key:
            by[name] = copies(rpms[:1], tmp_path / name)
            key.sign_packages(by[name])
    rotated = Signing(
        key=new.fingerprint,
        earlier=(old.fingerprint,),
        secret=secret_file(tmp_path, new.secret),
        public_keys=(old.public,),
    )
    with signer_of(rotated, tmp_path, "") as key:
        assert (key.fingerprint, key.earlier) == (new.fingerprint, (old.fingerprint,))
        assert key.public_key.count("-----BEGIN PGP PUBLIC KEY BLOCK-----") == 2
        fresh = copies(rpms[:1], tmp_path)
        key.sign_packages(fresh)
        verify_packages([*by["old"], *fresh], key.public_key)
        with pytest.raises(CannotRun, match="not signed by the distribution's key"):
            verify_packages(by["foreign"], key.public_key)
        with pytest.raises(CannotRun, match="not signed by the distribution's key"):
            verify_packages(fresh, old.public)


def test_an_earlier_key_without_its_public_part_is_reported(tmp_path: Path, make_key: Callable[..., MadeKey]) -> None:
    old, new = make_key("old"), make_key("new")
    signing = Signing(key=new.fingerprint, earlier=(old.fingerprint,), secret=secret_file(tmp_path, new.secret))
    assert refused(signing, tmp_path) == f"the public key {old.fingerprint} is missing"


def test_the_secret_of_another_key_than_the_one_named_is_refused(
    tmp_path: Path, make_key: Callable[..., MadeKey]
) -> None:
    old, new = make_key("old"), make_key("new")
    signing = Signing(key=new.fingerprint, secret=secret_file(tmp_path, old.secret), public_keys=(new.public,))
    assert refused(signing, tmp_path) == (
        f"the secret part of the key {new.fingerprint} is missing; found {old.fingerprint}"
    )


def test_an_expired_key_signs_nothing(tmp_path: Path, make_key: Callable[..., MadeKey]) -> None:
    made = make_key("short", "", "seconds=1")
    time.sleep(2)
    what = refused(Signing(secret=secret_file(tmp_path, made.secret)), tmp_path)
    assert what.startswith(f"the key {made.fingerprint} expired on 2")


@pytest.mark.parametrize("role", ["current", "earlier"])
def test_a_revoked_key_is_refused(tmp_path: Path, make_key: Callable[..., MadeKey], role: str) -> None:
    made, other = make_key("revoked"), make_key("new")
    (certificate,) = (made.home / "openpgp-revocs.d").glob("*.rev")
    home = tmp_path / "copy"
    shutil.copytree(made.home, home, ignore=shutil.ignore_patterns("S.*"))
    revocation = tmp_path / "revocation"
    revocation.write_text(certificate.read_text().replace(":-----BEGIN", "-----BEGIN"))
    gpg(home, "--import", revocation)
    public = gpg(home, "--armor", "--export").output
    signing = Signing(secret=secret_file(tmp_path, made.secret), public_keys=(public,))
    if role == "earlier":
        signing = Signing(
            key=other.fingerprint,
            earlier=(made.fingerprint,),
            secret=secret_file(tmp_path, other.secret),
            public_keys=(public,),
        )
    assert refused(signing, tmp_path) == f"the key {made.fingerprint} was revoked"
