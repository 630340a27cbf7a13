"""Read secrets from a file, a systemd credential or HashiCorp Vault. No message contains a secret."""

from __future__ import annotations

import os
from pathlib import Path

from config.models import Secret, VaultSecret
from workers.base.errors import CannotRun

_VAULT_SECONDS = 15


def read_secret(secret: Secret, state: Path, what: str) -> bytes:
    """Return the bytes of a secret.

    :param state: folder that relative paths are below.
    :param what: its name in messages: "the signing key", "the passphrase".
    :raises CannotRun: the secret is missing, or other users may read it.
    """
    if secret.vault:
        return _of_vault(secret.vault, state, what)
    if secret.credential:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        hint = f"give the service LoadCredentialEncrypted={secret.credential}:FILE (systemd.exec)"
        if not folder:
            raise CannotRun(f"{what}: no systemd credentials here ($CREDENTIALS_DIRECTORY is not set)", hint)
        path = Path(folder, secret.credential)
        if not path.is_file():
            raise CannotRun(f"{what}: the credential {secret.credential} does not exist", hint)
        return _content(path, what)
    return _of_file(state / (secret.file or ""), what)


def _of_file(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise CannotRun(
            f"{what}: the file {path} does not exist", "write it with mode 0600, or name another in signing.yaml"
        )
    if path.stat().st_mode & 0o077:
        raise CannotRun(f"{what}: other users may read {path}", f"chmod 600 {path}")
    return _content(path, what)


def _content(path: Path, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotRun(
            f"{what}: cannot read {path}: {error.strerror}", "run this as the publishing worker's user"
        ) from None
    if not content.strip():
        raise CannotRun(f"{what}: {path} is empty", "write it again")
    return content


def _of_vault(secret: VaultSecret, state: Path, what: str) -> bytes:
    """Read a secret from Vault's HTTP interface: GET /v1/MOUNT/data/PATH (KV version 2)."""
    import requests

    address = secret.address or os.environ.get("VAULT_ADDR")
    if not address:
        raise CannotRun(f"{what}: the address of Vault is not set", "set address in signing.yaml, or VAULT_ADDR")
    if secret.token_file:
        token = _of_file(state / secret.token_file, "Vault's token").decode(errors="replace").strip()
    else:
        token = os.environ.get("VAULT_TOKEN", "")
    if not token:
        raise CannotRun(f"{what}: the token for Vault is not set", "set token_file in signing.yaml, or VAULT_TOKEN")
    headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
    if namespace := os.environ.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    url = f"{address.rstrip('/')}/v1/{secret.mount}/data/{secret.path.strip('/')}"
    try:
        # A redirect would send the token to another server.
        answer = requests.get(url, headers=headers, timeout=_VAULT_SECONDS, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        kind = type(error).__name__
        raise CannotRun(
            f"{what}: Vault at {address} does not answer ({kind})", "start it, or check its address"
        ) from None
    if answer.status_code != requests.codes.ok:
        why = {403: "the token may not read it, or has expired", 404: "no such secret", 503: "Vault is sealed"}
        reason = why.get(answer.status_code, "unexpected status")
        raise CannotRun(f"{what}: Vault answered {answer.status_code} for {url}: {reason}", "try vault kv get by hand")
    try:
        value = answer.json()["data"]["data"][secret.field]
    except (ValueError, KeyError, TypeError):
        raise CannotRun(f"{what}: {url} has no field {secret.field}", "add it: vault kv put") from None
    if not isinstance(value, str) or not value.strip():
        raise CannotRun(f"{what}: the field {secret.field} of {url} is not text", "write it: vault kv put") from None
    return value.encode()
