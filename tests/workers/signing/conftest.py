"""Fixtures of all tests about repositories, and a separate folder in memory for the keys of each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.models import Secret, Signing
from tests.workers.publishing import (
    at_once,
    key_home,
    make_build,
    make_rpms,
    site,
    site_path,
    staged,
    staged_path,
    state,
)
from workers.base.errors import CannotRun
from workers.signing.agent import agent, gpg
from workers.signing.sign import signer_of

__all__ = ["at_once", "key_home", "make_build", "make_rpms", "site", "site_path", "staged", "staged_path", "state"]


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test its own folder on tmpfs: tests that run at the same time keep keys in memory too."""
    with tempfile.TemporaryDirectory(prefix="kitten-test-", dir="/dev/shm") as folder:
        monkeypatch.setenv("RUNTIME_DIRECTORY", folder)
        yield


@dataclass(frozen=True)
class MadeKey:
    home: Path
    fingerprint: str
    public: str
    secret: str


@pytest.fixture(scope="session")
def make_key(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MadeKey]:
    """Return a function (name, passphrase, expires) → a small key, made once."""
    made: dict[tuple[str, ...], MadeKey] = {}

    def make(name: str, passphrase: str = "", expires: str = "never") -> MadeKey:
        if (name, passphrase, expires) not in made:
            home = tmp_path_factory.mktemp("key") / "gnupg"
            home.mkdir(mode=0o700)
            with agent(home):
                words = ("--pinentry-mode", "loopback", "--passphrase", passphrase)
                gpg(home, *words, "--quick-generate-key", name, "rsa2048", "sign", expires)
                listing = gpg(home, "--with-colons", "--list-keys").output
                fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
                secret = gpg(home, *words, "--armor", "--export-secret-keys").output
                public = gpg(home, "--armor", "--export").output
            made[name, passphrase, expires] = MadeKey(home, fingerprint, public, secret)
        return made[name, passphrase, expires]

    return make


def secret_file(folder: Path, content: str, name: str = "key") -> Secret:
    path = folder / name
    path.write_text(content)
    path.chmod(0o600)
    return Secret(file=str(path))


def homes_in_memory() -> set[Path]:
    return set(Path(os.environ["RUNTIME_DIRECTORY"]).glob("kitten-key-*"))


def refused(signing: Signing, state: Path) -> str:
    with pytest.raises(CannotRun) as refusal, signer_of(signing, state, "Tests"):
        pass
    assert "\n" not in refusal.value.what
    assert refusal.value.hint
    return refusal.value.what
