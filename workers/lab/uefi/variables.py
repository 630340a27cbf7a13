"""The firmware's variables: the certificates that it trusts, and Secure Boot on or off.

The format is edk2's. virt-firmware (the library of virt-fw-vars) reads and writes it, and contains Microsoft's
certificates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from virt.firmware.efi import certs, guids
from virt.firmware.varstore.edk2 import Edk2VarStore

from workers.base.errors import CannotRun

_OWNER = guids.OvmfEnrollDefaultKeys


def microsoft_certificates() -> Mapping[str, x509.Certificate]:
    """The certificates of Microsoft's two authorities for software other than Windows, by their year.

    The certificate of 2011 expired in June 2026; firmware does not check dates.
    """
    named = {"2011": certs.MS_3RD_2011, "2023": certs.MS_3RD_2023}
    return {year: x509.load_pem_x509_certificate(certs.load_cert(name)) for year, name in named.items()}


def store_that_trusts(template: Path, owner: x509.Certificate, trusted: Sequence[x509.Certificate]) -> bytes:
    """A store of variables with Secure Boot on.

    :param template: the empty store of the firmware's package.
    :param owner: the platform key and key exchange key (PK, KEK), which may change the other variables.
    :param trusted: the firmware accepts signatures with these (db).
    :raises CannotRun: if the template is not such a store, or has no room for the certificates.
    """
    try:
        store = Edk2VarStore(str(template))
        variables = store.get_varlist()
        for name, certificates in (("PK", [owner]), ("KEK", [owner]), ("db", trusted)):
            variable = variables.add_cert_prepare(name, True)
            for certificate in certificates:
                variable.sigdb_add_cert_data(guids.parse_str(_OWNER), certificate.public_bytes(Encoding.PEM))
        variables.enable_secureboot()
        return bytes(store.bytes_varstore(variables))
    except SystemExit:  # the library reports its errors this way
        raise CannotRun(f"{template} is not a store of UEFI variables", "see firmware in targets.yaml") from None
