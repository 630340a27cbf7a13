"""Signed packages, each kept under the checksum it had before: what was signed once is never signed again.

So the source package of five targets is one file, a package that comes back after a rollback is the one users knew,
and a publication that was killed after signing goes on from there. A pool serves one key, and keeps what its earlier
ones signed; an entry that no snapshot has any more is removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from workers.artifacts.builds import remove_tree
from workers.base.errors import CannotRun
from workers.base.files import flush
from workers.results import Artifact
from workers.signing.sign import Signer, verify_packages

WORK = ".work"
"""Folder of a pool for what is on its way."""

Fetch = Callable[[Artifact, Path], Path]
"""Bring an unsigned package into a folder, checked against its artifact."""


class Pool:
    """The signed packages of one key; use it inside :meth:`open`."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._folder, self._signer, self.work = folder / signer.fingerprint, signer, folder / WORK
        # What an earlier key signed stays as it is: users have it under its name.
        self._folders = (self._folder, *(folder / fingerprint for fingerprint in signer.earlier))
        self._unsigned: dict[Path, Path] = {}
        self._verified: set[Path] = set()

    def bring(self, artifacts: Sequence[Artifact], fetch: Fetch) -> dict[str, Path]:
        """File name → package: the signed one where there is one, else a copy that :meth:`sign` will sign.

        :raises CannotRun: whatever ``fetch`` raises.
        """
        found = {}
        places = {
            artifact: [folder / artifact.sha256 / artifact.name for folder in self._folders] for artifact in artifacts
        }
        self._verify({entry for entries in places.values() for entry in entries if entry.is_file()})
        for artifact, entries in places.items():
            signed = next((entry for entry in entries if entry.is_file()), entries[0])
            if not signed.is_file() and signed not in self._unsigned:
                into = self.work / artifact.sha256
                into.mkdir(parents=True)
                self._unsigned[signed] = fetch(artifact, into)
            found[artifact.name] = self._unsigned.get(signed, signed)
        return found

    def _verify(self, entries: set[Path]) -> None:
        """See that what is kept as signed is: on a disk, things change. What is not is forgotten, and signed anew."""
        for entry in sorted(entries - self._verified):
            try:
                verify_packages([entry], self._signer.public_key)
            except CannotRun:
                what = f"{entry.name} among the signed packages is not signed by the distribution's key"
                click.echo(f"warning: {what}; it is signed anew", err=True)
                remove_tree(entry.parent)
            else:
                self._verified.add(entry)

    def sign(self) -> None:
        """Sign and verify what was brought unsigned, in one call. What did not verify never enters the pool.

        :raises CannotRun: when signing fails.
        """
        self._signer.sign_packages(list(self._unsigned.values()))
        for signed, copy in self._unsigned.items():
            flush(copy)
            signed.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(signed)
            self._verified.add(signed)
        self._unsigned.clear()

    def forget(self, unsigned_sha256: str) -> None:
        """Remove a package that no snapshot has any more."""
        for folder in self._folders:
            remove_tree(folder / unsigned_sha256)

    @contextlib.contextmanager
    def open(self) -> Iterator[Pool]:
        """Use the pool for one publication; copies that were not signed are gone after it."""
        remove_tree(self.work)
        try:
            yield self
        finally:
            remove_tree(self.work)
