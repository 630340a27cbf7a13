"""signing.yaml: what signs packages and indexes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Model, Name


class VaultSecret(Model):
    """One field of a secret in HashiCorp Vault's KV engine, version 2."""

    path: str = Field(description="Path of the secret below its mount: kitten/signing")
    field: Name = Field(description="Key in the secret whose value is meant")
    mount: Name = Field(default="secret", description="Where the KV engine is mounted")
    address: str | None = Field(default=None, description="https://HOST:PORT. None: $VAULT_ADDR")
    token_file: str | None = Field(
        default=None, description="File with the token; a relative path is below the state folder. None: $VAULT_TOKEN"
    )


class Secret(Model):
    """Where a secret comes from: one of these keys."""

    file: str | None = Field(
        default=None, description="A file nobody else may read; a relative path is below the state folder"
    )
    credential: Name | None = Field(
        default=None, description="Name of a systemd credential: a file in $CREDENTIALS_DIRECTORY"
    )
    vault: VaultSecret | None = None


class Signing(Model):
    """signing.yaml: what signs packages and indexes. Belongs to this site alone: none is taken from one it extends."""

    backend: Literal["gpg", "pkcs11", "command"] = Field(
        default="gpg", description="pkcs11: a token holds the key. command: a program asks a remote signer"
    )
    key: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")] | None = Field(
        default=None, description="Fingerprint of the current key. None: the one key of the home, made on first use"
    )
    earlier: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")], ...] = Field(
        default=(), description="Fingerprints of keys that signed before and are still trusted"
    )
    public_keys: tuple[str, ...] = Field(
        default=(), description="Armored public keys, one for each of key and earlier that is not in the home"
    )
    home: str = Field(
        default="secrets/gnupg", description="gpg: GnuPG's home; a relative path is below the state folder"
    )
    secret: Secret | None = Field(
        default=None, description="gpg: the armored secret key, used in a home in memory that is gone afterwards"
    )
    passphrase: Secret | None = Field(default=None, description="gpg: of the key. pkcs11: the token's PIN")
    module: str | None = Field(default=None, description="pkcs11: path of the token's PKCS#11 library")
    command: tuple[str, ...] = Field(
        default=(),
        description="command: words of the program that signs {file} with {key} and writes a detached signature, "
        "armored or not, to {signature}",
    )
    timeout_seconds: int = Field(default=60, ge=1, description="s that one signature may take")
