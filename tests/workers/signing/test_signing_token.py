"""A key in a PKCS#11 token (SoftHSM) signs packages and indexes that rpm and dnf accept, and never leaves the token."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from config.loading import load_site
from config.models import Secret, Signing
from tests.workers.publishing import RpmFactory
from tests.workers.signing.conftest import homes_in_memory, refused, secret_file
from tests.workers.signing.test_sign import agents, copies, gone_soon
from workers.base.errors import CannotRun
from workers.base.run import run
from workers.signing.backends import new_token_key
from workers.signing.sign import signer_of, verify_packages
from workers.signing.token_cli import token_key

NEEDED = {"softhsm2-util": "softhsm2", "pkcs11-tool": "opensc", "gnupg-pkcs11-scd": "gnupg-pkcs11-scd"}


def certificate_of(public: bytes) -> bytes:
    """Return a certificate with which gnupg-pkcs11-scd finds the key; its signature is not checked."""
    key = serialization.load_der_public_key(public)
    assert isinstance(key, rsa.RSAPublicKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "packages and indexes")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key).serial_number(1)
    made = made.not_valid_before(now).not_valid_after(now + dt.timedelta(days=3650))
    signed = made.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="session")
def new_token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return SoftHSM's configuration with one token, PIN 1234, that has a key; and SoftHSM's library."""
    for tool, package in NEEDED.items():
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install {package}")
    libraries = [*Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"), *Path("/usr/lib64").glob("**/libsofthsm2.so")]
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        run(["softhsm2-util", "--init-token", "--free", "--label", "kitten", "--pin", "1234", "--so-pin", "5678"])
        tool = ["pkcs11-tool", "--module", str(libraries[0]), "--login", "--pin", "1234", "--id", "01"]
        run([*tool, "--keypairgen", "--key-type", "rsa:2048", "--label", "sign"])
        run([*tool, "--read-object", "--type", "pubkey", "--output-file", str(folder / "public")])
        (folder / "certificate").write_bytes(certificate_of((folder / "public").read_bytes()))
        run([*tool, "--write-object", str(folder / "certificate"), "--type", "cert", "--label", "sign"])
    return configuration, libraries[0]


@pytest.fixture
def section(new_token: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Signing]:
    """Return a function (PIN, …) → a section that signs with the token."""
    configuration, library = new_token
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))

    def make(pin: str = "1234", **keys: object) -> Signing:
        known = {"backend": "pkcs11", "module": str(library), "passphrase": secret_file(tmp_path, pin + "\n", "pin")}
        return Signing.model_validate({**known, **keys})

    return make


@pytest.fixture
def ready(section: Callable[..., Signing], tmp_path: Path) -> Signing:
    fingerprint, public = new_token_key(section(), tmp_path, "Tests (token)")
    return section(key=fingerprint, public_keys=(public,))


def test_a_token_signs_packages_and_an_index(ready: Signing, tmp_path: Path, make_rpms: RpmFactory) -> None:
    packages, index = copies(make_rpms("aarch64"), tmp_path), tmp_path / "repomd.xml"
    index.write_text("index")
    before = homes_in_memory()
    with signer_of(ready, tmp_path, "") as key:
        key.sign_packages(packages)
        signature = key.sign_detached(index)
        (home,) = homes_in_memory() - before
        served = agents(home)
    assert key.fingerprint == ready.key
    verify_packages(packages, ready.public_keys[0])
    public = tmp_path / "key.gpg"
    (tmp_path / "key.asc").write_text(ready.public_keys[0])
    run(["gpg", "--batch", "--homedir", tmp_path, "--dearmor", "--output", public, tmp_path / "key.asc"])
    run(["gpgv", "--keyring", public, signature, index])
    assert homes_in_memory() <= before
    assert gone_soon(served)


def test_a_wrong_pin_is_tried_once_and_reported(
    ready: Signing, section: Callable[..., Signing], tmp_path: Path
) -> None:
    wrong = section("4321", key=ready.key, public_keys=ready.public_keys)
    assert refused(wrong, tmp_path).startswith(f"the key {ready.key} does not sign: gpg failed: ")


def test_a_token_without_its_library_is_reported(section: Callable[..., Signing], tmp_path: Path) -> None:
    missing = section(key="A" * 40, module="/nowhere.so")
    assert refused(missing, tmp_path) == "the PKCS#11 library /nowhere.so does not exist"


def test_a_token_without_the_key_is_reported(ready: Signing, section: Callable[..., Signing], tmp_path: Path) -> None:
    other = section(key="A" * 40, public_keys=ready.public_keys)
    assert refused(other, tmp_path) == f"the secret part of the key {'A' * 40} is missing; found {ready.key}"


def test_a_missing_pin_is_reported(ready: Signing, section: Callable[..., Signing], tmp_path: Path) -> None:
    without = section(key=ready.key, public_keys=ready.public_keys, passphrase=Secret(file="no-pin"))
    with (
        pytest.raises(CannotRun, match=r"the token's PIN: the file .* does not exist"),
        signer_of(without, tmp_path, ""),
    ):
        pass


def test_the_command_prints_a_signing_yaml_that_signs(
    section: Callable[..., Signing], site_path: Path, tmp_path: Path
) -> None:
    made = section()
    assert made.passphrase is not None
    words = ["--module", str(made.module), "--pin-file", str(made.passphrase.file), "--site", str(site_path)]
    done = CliRunner().invoke(token_key, [*words, "--state", str(tmp_path)])
    assert done.exception is None, done
    signing = Signing.model_validate(yaml.safe_load(done.stdout))
    shutil.copytree(site_path.parent, tmp_path / "config")
    (tmp_path / "config/demo/signing.yaml").write_text(done.stdout)
    assert load_site(str(tmp_path / "config/demo")).signing == signing, "and check-config accepts it"
    with signer_of(signing, tmp_path, "") as key:
        assert key.fingerprint == signing.key
        file = tmp_path / "repomd.xml"
        file.write_text("index")
        assert key.sign_detached(file).read_text().startswith("-----BEGIN PGP SIGNATURE-----")


def test_the_command_reports_what_is_missing_in_one_line(
    section: Callable[..., Signing], site_path: Path, tmp_path: Path
) -> None:
    made = section()
    common = ["--site", str(site_path), "--state", str(tmp_path)]
    for module, pin, what in (
        ("/nowhere.so", "pin", "the PKCS#11 library /nowhere.so does not exist"),
        (str(made.module), "nothing", f"the token's PIN: the file {Path('nothing').absolute()} does not exist"),
    ):
        done = CliRunner().invoke(token_key, ["--module", module, "--pin-file", pin, *common])
        assert isinstance(done.exception, CannotRun)
        assert done.exception.what == what
        assert done.exception.hint
