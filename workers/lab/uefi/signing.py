"""Make keys, sign images with them, and find the signers of an image."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from workers.base.errors import MalformedError
from workers.base.run import require, run
from workers.lab.uefi.images import signatures

_TIMEOUT = 60.0


@dataclass(frozen=True)
class Key:
    """A temporary key in a folder, and its certificate."""

    private: Path
    """PEM."""
    public: Path
    """The certificate, PEM."""
    certificate: x509.Certificate


def new_key(name: str, folder: Path) -> Key:
    """Make a key with a self-signed certificate that is valid for a day.

    :param name: the common name; the names of the files begin with it.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private, public = folder / f"{name}.key", folder / f"{name}.pem"
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Key(private, public, certificate)


def sign(image: bytes, key: Key, scratch: Path) -> bytes:
    """The image with one more signature, by the key.

    :raises CannotRun: if sbsign is missing.
    :raises CommandFailed: if sbsign refuses the image.
    """
    source, result = scratch / "unsigned.efi", scratch / "signed.efi"
    source.write_bytes(image)
    sbsign = require("sbsign", "sbsigntool")
    run([sbsign, "--key", key.private, "--cert", key.public, "--output", result, source], timeout=_TIMEOUT)
    try:
        return result.read_bytes()
    finally:
        source.unlink()
        result.unlink()


def signers(image: bytes, authorities: Mapping[str, x509.Certificate]) -> tuple[frozenset[str], ...]:
    """The signers of an image: for each signature, in order, the names of the authorities behind it.

    An authority is behind its own signatures, and behind those made with a certificate that it issued.

    :param authorities: name → certificate.
    :raises MalformedError: if the image or a signature is damaged.
    """
    names = []
    for signature in signatures(image):
        try:
            certificates = pkcs7.load_der_pkcs7_certificates(signature)
        except ValueError as error:
            raise MalformedError(f"a signature that cannot be read: {error}") from None
        names.append(
            frozenset(
                name
                for name, authority in authorities.items()
                if any(_is_behind(authority, certificate) for certificate in certificates)
            )
        )
    return tuple(names)


def _is_behind(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    if certificate == authority:
        return True
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
