"""The firmware's variables: whom it trusts, and whether Secure Boot is on.

The store is edk2's; virt-firmware (the library of virt-fw-vars) reads and writes it, and carries Microsoft's certificates.
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
    """The two authorities that sign what is not Windows, by the year of their certificate.

    That of 2011 expired in June 2026; firmware goes by what it trusts, not by dates.
    """
    named = {"2011": certs.MS_3RD_2011, "2023": certs.MS_3RD_2023}
    return {year: x509.load_pem_x509_certificate(certs.load_cert(name)) for year, name in named.items()}


def store_that_trusts(template: Path, owner: x509.Certificate, trusted: Sequence[x509.Certificate]) -> bytes:
    """A store with Secure Boot on.

    :param template: the empty store that came with the firmware.
    :param owner: the platform's and the key exchange key: who may change the rest.
    :param trusted: whose signatures the firmware accepts (db).
    :raises CannotRun: when the template is no such store, or they do not fit.
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
    except SystemExit:  # how the library says no
        raise CannotRun(f"{template} is no store of UEFI variables", "see firmware in targets.yaml") from None
