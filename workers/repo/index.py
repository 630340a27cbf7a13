"""repodata of one repository folder: read it, and write it anew so that a reader sees the old or the new whole.

Data files carry their checksum in their name and repomd.xml, which names them, is replaced last by one rename. What an
earlier repomd.xml named stays beside it; the caller decides how long.

Whoever writes gives the packages: those of :func:`load`, less what goes, plus :func:`describe` of what comes. Only
that is hashed; a package that stays is never opened again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workers.errors import CannotRun

Package = Any  # createrepo_c.Package: the library carries no types

FRESH = ".repodata.new"
"""Folder in a repository in which an index is written; a killed writer leaves it, the next one replaces it."""


def describe(rpm: Path, href: str) -> Package:
    """Metadata of one package file; ``pkgId`` is the SHA-256 of its content.

    :param href: where the package lies, relative to its repository.
    :raises CannotRun: when it is no RPM package.
    """
    import createrepo_c

    try:
        return createrepo_c.package_from_rpm(str(rpm), location_href=href, changelog_limit=10)
    except (createrepo_c.CreaterepoCError, OSError) as error:
        raise CannotRun(f"{rpm.name} is not a readable RPM package: {error}", "build it again") from None


def load(repository: Path) -> list[Package]:
    """The packages a repository folder's index names; none when it has no index yet."""
    import createrepo_c

    if not (repository / "repodata" / "repomd.xml").is_file():
        return []
    return list(createrepo_c.RepositoryReader.from_path(str(repository)).iter_packages())


def data_files(repository: Path) -> set[str]:
    """Names in ``repodata/`` that repomd.xml speaks of, itself and its signature included."""
    import createrepo_c

    repomd = repository / "repodata" / "repomd.xml"
    if not repomd.is_file():
        return set()
    records = createrepo_c.Repomd(str(repomd)).records
    return {Path(record.location_href).name for record in records} | {"repomd.xml", "repomd.xml.asc"}


def write(repository: Path, packages: Iterable[Package], now: int) -> Path:
    """Write ``repodata/`` of a repository and return the path of repomd.xml.

    :param now: seconds since 1970, for revision and time stamps: clients ignore an index older than the one they have.
    """
    import createrepo_c

    listed = sorted(packages, key=lambda package: str(package.location_href))
    repodata, fresh = repository / "repodata", repository / FRESH
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    repodata.mkdir(exist_ok=True)
    try:
        repomd = _write_data(fresh, listed, now)
    except createrepo_c.CreaterepoCError as error:
        raise CannotRun(
            f"cannot write the index of {repository}: {error}", "is the disk full? then run it again"
        ) from None
    for path in fresh.iterdir():
        flush(path)
        path.replace(repodata / path.name)
    index = fresh / "repomd.xml"
    index.write_text(repomd, encoding="utf-8")
    flush(index)
    index.replace(repodata / index.name)
    fresh.rmdir()
    flush(repodata)
    return repodata / index.name


def _write_data(folder: Path, packages: list[Package], now: int) -> str:
    """Write the data files into a folder; the text of the repomd.xml that names them."""
    import createrepo_c

    kinds = (createrepo_c.PrimaryXmlFile, createrepo_c.FilelistsXmlFile, createrepo_c.OtherXmlFile)
    repomd = createrepo_c.Repomd()
    repomd.set_revision(str(now))
    for name, kind in zip(("primary", "filelists", "other"), kinds, strict=True):
        # gzip: every reader knows it, the solver that resolves BuildRequires included.
        path = folder / f"{name}.xml.gz"
        with contextlib.closing(kind(str(path), createrepo_c.GZ_COMPRESSION)) as data:
            data.set_num_of_pkgs(len(packages))
            for package in packages:
                data.add_pkg(package)
        record = createrepo_c.RepomdRecord(name, str(path))
        record.fill(createrepo_c.SHA256)
        record.rename_file()
        record.timestamp = now
        repomd.set_record(record)
    text: str = repomd.xml_dump()
    return text


def flush(path: Path) -> None:
    """Make a file, or the entries of a folder, outlive a power cut (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
