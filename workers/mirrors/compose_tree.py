"""One compose on the disk: hard links to the files of one publication, and a few new files.

It is made under a name that begins with a dot. When all its content is on the disk, one rename gives it its name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from config.models import Site
from workers.base.errors import CannotRun
from workers.base.files import flush, sha256_of
from workers.mirrors import compose_metadata
from workers.mirrors.compose_metadata import ImageFile, Release
from workers.repository.protocols import IndexedPackage
from workers.repository.snapshot import Snapshot
from workers.results import Record

IMAGES = ("isos", "live", "cloud")
"""Folders of images."""


@dataclass(frozen=True)
class RepositoryView:
    """One repository of one publication."""

    folder: str
    """Below the distribution's root: ``BaseOS/aarch64/os``."""
    repodata: Path
    """Folder with repomd.xml and all files that it names."""
    packages: Path
    """Folder to which the paths of its packages are relative."""


@dataclass(frozen=True)
class Content:
    """The content of a compose: one publication, whose files do not change."""

    snapshot: int
    repositories: tuple[RepositoryView, ...]


class ComposeRecord(Record):
    """``compose.json`` of a compose."""

    version: Literal[1] = 1
    id: str
    date: str
    respin: int
    snapshot: int
    made: int
    """Seconds since 1970."""
    images: tuple[ImageFile, ...] = ()

    @property
    def order(self) -> tuple[str, int]:
        """Return the sort key; a later compose has a greater one."""
        return self.date, self.respin


def content_of(snapshot: Snapshot) -> Content:
    """Return a snapshot as the content of a compose.

    :raises CannotRun: if an index was changed by hand, because no mirror must copy it.
    """
    snapshot.require_unchanged()
    views = tuple(
        RepositoryView(folder, snapshot.folder / folder / "repodata", snapshot.tree / folder)
        for folder in snapshot.record.repositories
    )
    return Content(snapshot.record.number, views)


def images_below(folder: Path | None, before: ComposeRecord | None) -> Iterator[ImageFile]:
    """Yield the images, sorted by path. An image that is the same file as in the last compose is not read again."""
    if folder is None:
        return
    known: Mapping[str, ImageFile] = {file.path: file for file in (before.images if before else ())}
    for kind in IMAGES:
        for path in sorted((folder / kind).rglob("*")):
            relative = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in relative.parts):
                continue  # a file whose name begins with a dot is not complete yet
            if path.name in ("CHECKSUM", "CHECKSUM.asc"):
                continue  # a compose has its own
            stat = path.stat()
            file = known.get(str(relative))
            if file and (file.size, file.mtime, file.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
                yield file
                continue
            yield ImageFile(str(relative), stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256_of(path))


@dataclass(frozen=True)
class ComposeTree:
    """One compose that :meth:`make` adds to the folder of all composes.

    rsync takes two files of the same name, size and modification time (in seconds) for the same file. So each file
    whose content can change under its name gets the time of its compose, and no two composes have the same time.
    Otherwise, two publications within a second could leave mirrors with the index of one and the data of the other.
    """

    folder: Path
    site: Site
    release: Release
    before: ComposeRecord | None

    def make(
        self, content: Content, images: Path | None, files: tuple[ImageFile, ...], sign: Callable[[Path], object] | None
    ) -> ComposeRecord:
        """Make the compose and return its record. After an error, nothing of it stays.

        :param images: folder to which the paths of ``files`` are relative.
        :param sign: writes the detached signature of a CHECKSUM file beside it.
        :raises CannotRun: if a package is not as its index says.
        :raises FileNotFoundError: if a file of the publication was removed in the meantime.
        """
        release = self.release
        partial = self.folder / f".{release.id}.partial"
        try:
            tree = partial / self.site.repositories.layout.root
            tree.mkdir(parents=True)
            indexes = {view.folder: self._link_repository(view, tree / view.folder) for view in content.repositories}
            if images is not None:
                for file in files:
                    _link(images / file.path, tree / file.path)
            for checksums in compose_metadata.write(tree, self.site, release, indexes, files):
                if sign:
                    sign(checksums)
            for path in _new_files(tree):
                os.utime(path, (release.made, release.made))
            record = ComposeRecord(
                id=release.id,
                date=release.date,
                respin=release.respin,
                snapshot=content.snapshot,
                made=release.made,
                images=files,
            )
            (partial / "compose.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            _flush(partial)
            partial.rename(self.folder / release.id)
            flush(self.folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return record

    def _link_repository(self, view: RepositoryView, into: Path) -> list[IndexedPackage]:
        """Link the index and all files that it names; return its packages."""
        import createrepo_c

        repodata = into / "repodata"
        repodata.mkdir(parents=True)
        self._link_index(view, repodata)
        records = {record.type: record for record in createrepo_c.Repomd(str(repodata / "repomd.xml")).records}
        for record in records.values():
            name = PurePosixPath(record.location_href).name
            _link(view.repodata / name, repodata / name)
        packages = _packages(into / records["primary"].location_href)
        made: set[Path] = set()
        for package in packages:
            href = PurePosixPath(package.location_href)
            if href.is_absolute() or ".." in href.parts:
                raise CannotRun(
                    f"the index of {view.folder} names {href}, which is outside the repository",
                    "publish the repository again",
                )
            _link(view.packages / href, into / href, made)
            if (size := (into / href).stat().st_size) != package.size_package:
                what = f"{view.folder}/{href} has {size} bytes, its index says {package.size_package}"
                raise CannotRun(what, "it was changed by hand: kitten rollback, or publish a new release")
        return packages

    def _link_index(self, view: RepositoryView, repodata: Path) -> None:
        """Bring repomd.xml and, if the stage has one, its signature."""
        for name in ("repomd.xml", "repomd.xml.asc"):
            source = view.repodata / name
            if name == "repomd.xml" or source.exists():
                self._link_or_copy(source, repodata / name, f"{view.folder}/repodata/{name}")

    def _link_or_copy(self, source: Path, into: Path, path: str) -> None:
        """Bring a file whose content can change under its name: link it if the last compose has the same content."""
        old = self.folder / self.before.id / self.site.repositories.layout.root / path if self.before else None
        if old and old.is_file() and old.read_bytes() == source.read_bytes():
            os.link(old, into)
        else:
            shutil.copyfile(source, into)
            os.utime(into, (self.release.made, self.release.made))


def _packages(primary: Path) -> list[IndexedPackage]:
    import createrepo_c

    packages: list[IndexedPackage] = []
    createrepo_c.xml_parse_primary(str(primary), pkgcb=packages.append, do_files=False)
    return packages


def _link(source: Path, to: Path, made: set[Path] | None = None) -> None:
    if made is None or to.parent not in made:
        to.parent.mkdir(parents=True, exist_ok=True)
        if made is not None:
            made.add(to.parent)
    os.link(source, to)


def _new_files(folder: Path) -> Iterator[Path]:
    """Yield the files that are not hard links; linked files were on the disk before."""
    for parent, _, files in os.walk(folder):
        yield from (path for name in files if (path := Path(parent, name)).stat().st_nlink == 1)


def _flush(folder: Path) -> None:
    for path in _new_files(folder):
        flush(path)
    for parent, _, _ in os.walk(folder):
        flush(Path(parent))
