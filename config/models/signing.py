"""signing.yaml: what signs packages and indexes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name


class VaultSecret(Model):
    """One field of a secret in HashiCorp Vault's KV engine, version 2."""

    path: str = Field(description="Path of the secret below its mount: kitten/signing")
    field: Name = Field(description="Key in the secret that has the value")
    mount: Name = Field(default="secret", description="Mount path of the KV engine")
    address: str | None = Field(default=None, description="https://HOST:PORT. None: $VAULT_ADDR")
    token_file: str | None = Field(
        default=None, description="File with the token; a relative path is below the state folder. None: $VAULT_TOKEN"
    )


class Secret(Model):
    """The source of a secret: exactly one of these keys."""

    file: str | None = Field(
        default=None,
        description="File that only the service's user can read; a relative path is below the state folder",
    )
    credential: Name | None = Field(
        default=None, description="Name of a systemd credential: a file in $CREDENTIALS_DIRECTORY"
    )
    vault: VaultSecret | None = None


class Signing(Model):
    """signing.yaml: what signs packages and indexes. A site never inherits it from the one that it extends."""

    backend: Literal["gpg", "pkcs11", "command"] = Field(
        default="gpg", description="gpg: GnuPG. pkcs11: a token has the key. command: a program calls a remote signer"
    )
    key: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")] | None = Field(
        default=None,
        description="Fingerprint of the current key. None: the only key in the home folder, created on first use",
    )
    earlier: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")], ...] = Field(
        default=(), description="Fingerprints of earlier keys that are still trusted"
    )
    public_keys: tuple[str, ...] = Field(
        default=(),
        description="Armored public keys of `key` and `earlier` that are not in the home folder, one key in each entry",
    )
    home: str = Field(
        default="secrets/gnupg", description="gpg: GnuPG's home folder; a relative path is below the state folder"
    )
    secret: Secret | None = Field(
        default=None, description="gpg: the armored secret key; it is used in a temporary home folder in memory"
    )
    passphrase: Secret | None = Field(default=None, description="gpg: passphrase of the key. pkcs11: PIN of the token")
    module: str | None = Field(default=None, description="pkcs11: path of the PKCS#11 library of the token")
    command: tuple[str, ...] = Field(
        default=(),
        description="command: a program and its arguments. It signs {file} with {key} and writes a detached signature, "
        "armored or binary, to {signature}",
    )
    timeout_seconds: int = Field(default=60, ge=1, description="s, the time limit of one signature")
