"""Store signed packages under the checksum that they had before signing: no package is signed twice.

So the source package of five targets is one file, a package that comes back after a rollback is the file that users
had, and a publication that was killed after signing goes on from there. A pool belongs to one key, and also has the
packages that earlier keys signed. An entry that no snapshot has any more is removed.
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
"""Folder of a pool for temporary files."""

Fetch = Callable[[Artifact, Path], Path]
"""Copy an unsigned package into a folder, and check it against its artifact."""


class Pool:
    """The signed packages of one key; use the pool inside :meth:`open`."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._folder, self._signer, self.work = folder / signer.fingerprint, signer, folder / WORK
        # Packages that an earlier key signed stay as they are: users have files with these names.
        self._folders = (self._folder, *(folder / fingerprint for fingerprint in signer.earlier))
        self._unsigned: dict[Path, Path] = {}
        self._verified: set[Path] = set()

    def bring(self, artifacts: Sequence[Artifact], fetch: Fetch) -> dict[str, Path]:
        """File name → package: the signed one if the pool has it, else a copy that :meth:`sign` will sign.

        :raises CannotRun: if ``fetch`` raises it.
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
        """Verify the signatures of entries, since files on a disk can change; remove an entry that fails."""
        for entry in sorted(entries - self._verified):
            try:
                verify_packages([entry], self._signer.public_key)
            except CannotRun:
                what = f"{entry.name} among the signed packages is not signed by the distribution's key"
                click.echo(f"warning: {what}; it is signed again", err=True)
                remove_tree(entry.parent)
            else:
                self._verified.add(entry)

    def sign(self) -> None:
        """Sign and verify all unsigned copies in one call. A package that fails verification never enters the pool.

        :raises CannotRun: if signing fails.
        """
        self._signer.sign_packages(list(self._unsigned.values()))
        for signed, copy in self._unsigned.items():
            flush(copy)
            signed.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(signed)
            self._verified.add(signed)
        self._unsigned.clear()

    def forget(self, unsigned_sha256: str) -> None:
        """Remove the package of a checksum; no snapshot has it any more."""
        for folder in self._folders:
            remove_tree(folder / unsigned_sha256)

    @contextlib.contextmanager
    def open(self) -> Iterator[Pool]:
        """Use the pool for one publication; at the end, copies that were not signed are removed."""
        remove_tree(self.work)
        try:
            yield self
        finally:
            remove_tree(self.work)
