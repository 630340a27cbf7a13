"""Read the repodata of one repository folder, and write it from the metadata in the catalogue.

The names of data files contain their checksum, and repomd.xml, which names them, is written last: a reader sees the old
index or the new one. Data files are sequences of the catalogue's zstd frames: dnf 4, libsolv and createrepo_c read them
as one stream.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from config.text import NOT_XML
from workers.base.errors import CannotRun
from workers.repository.catalogue import Catalogue
from workers.repository.frames import compressed
from workers.repository.packages import nevra_of, source_of
from workers.repository.protocols import IndexedPackage
from workers.repository.tables import KINDS, File, Frame, Metadata

_BLOCK = 1 << 20  # bytes of one read: with smaller ones, threads wait for each other more often
_NUMBER = "kitten-snapshot-"
_FIELDS = (
    *("name", "epoch", "version", "release", "arch", "rpm_sourcerpm", "rpm_license", "rpm_vendor", "rpm_packager"),
    *("rpm_group", "rpm_buildhost", "summary", "description", "url", "files", "changelogs"),
    *("provides", "obsoletes", "requires", "conflicts", "recommends", "suggests", "supplements", "enhances"),
)
"""The fields of a package's metadata that this project reads."""
_NOT_XML = re.compile(f"[{NOT_XML}]")
_COMMON, _RPM = "http://linux.duke.edu/metadata/common", "http://linux.duke.edu/metadata/rpm"
_ROOTS = {
    "primary": ("metadata", f'xmlns="{_COMMON}" xmlns:rpm="{_RPM}"'),
    "filelists": ("filelists", 'xmlns="http://linux.duke.edu/metadata/filelists"'),
    "other": ("otherdata", 'xmlns="http://linux.duke.edu/metadata/other"'),
}


def describe(rpm: Path, href: str) -> IndexedPackage:
    """The metadata of one package file; ``pkgId`` is the SHA-256 of its content.

    createrepo_c reads the header, not our own reader, because createrepo_c also writes the index. So the checks before
    a package is signed see the metadata with which clients resolve.

    :param href: place of the package, relative to its repository.
    :raises CannotRun: if it is no RPM package.
    """
    import createrepo_c

    try:
        package: IndexedPackage = createrepo_c.package_from_rpm(str(rpm), location_href=href, changelog_limit=10)
        for field in _FIELDS:  # createrepo_c decodes a text when it is read
            getattr(package, field)
    except UnicodeDecodeError:
        raise CannotRun(f"the header of {rpm.name} has text that is not UTF-8", "fix its spec") from None
    except (createrepo_c.CreaterepoCError, OSError, ValueError) as error:
        words = " ".join(str(error).split())
        raise CannotRun(f"{rpm.name} is not a readable RPM package: {words}", "build it again") from None
    return package


def catalogue_entry(repository: str, package: IndexedPackage, unsigned_sha256: str = "") -> File:
    """The catalogue's entry for a package.

    :raises CannotRun: if its header has text that no XML can contain: clients could not read the whole index.
    """
    import createrepo_c as c

    file = package.location_href.rpartition("/")[2]
    try:
        xml = (c.xml_dump_primary(package), c.xml_dump_filelists(package), c.xml_dump_other(package))
    except (c.CreaterepoCError, ValueError) as error:
        raise CannotRun(f"{file} cannot be put into an index: {error}", "build it again") from None
    if any(_NOT_XML.search(text) for text in xml):
        raise CannotRun(f"the header of {file} has control characters", "fix its spec, then build it again")
    nevra = nevra_of(package)
    metadata = Metadata(package.name, nevra.evr, package.arch, source_of(package), xml)
    path, size = package.location_href, package.size_package
    return File(repository, path, package.pkgId, size, unsigned_sha256 or package.pkgId, metadata)


def package_of(metadata: Metadata) -> IndexedPackage:
    """The package of a catalogue entry, as :func:`describe` returns it, with its changelog but without its files."""
    import createrepo_c as c

    package: IndexedPackage = c.Package()
    c.xml_parse_primary_snippet(metadata.xml[KINDS.index("primary")], newpkgcb=lambda *_: package, do_files=False)
    c.xml_parse_other_snippet(metadata.xml[KINDS.index("other")], newpkgcb=lambda *_: package)
    return package


def load(repository: Path) -> list[IndexedPackage]:
    """The packages in the index of a repository folder; none if it has no index yet."""
    import createrepo_c

    if not (repository / "repodata" / "repomd.xml").is_file():
        return []
    return list(createrepo_c.RepositoryReader.from_path(str(repository)).iter_packages())


def data_files(repository: Path) -> set[str]:
    """Names of the files in ``repodata/`` that repomd.xml lists, with repomd.xml and its signature."""
    import createrepo_c

    repomd = repository / "repodata" / "repomd.xml"
    if not repomd.is_file():
        return set()
    records = createrepo_c.Repomd(str(repomd)).records
    return {Path(record.location_href).name for record in records} | {"repomd.xml", "repomd.xml.asc"}


def number(repository: Path) -> int:
    """The snapshot number in an index; 0 if it has none."""
    import createrepo_c

    repomd = repository / "repodata" / "repomd.xml"
    tags = createrepo_c.Repomd(str(repomd)).repo_tags if repomd.is_file() else []
    return next((int(tag.removeprefix(_NUMBER)) for tag in tags if re.fullmatch(_NUMBER + "[0-9]{1,15}", tag)), 0)


def write(folder: Path, catalogue: Catalogue, repository: str, number: int, now: int) -> bytes:
    """Write and flush the data files of a repository's next index, and return the content of its repomd.xml.

    :param folder: folder for the data files; files that it has already stay; equal content has an equal name.
    :param number: number of the snapshot, for repomd.xml.
    :param now: seconds since 1970, for revision and time stamps: clients ignore an index older than the one they have.
    """
    import createrepo_c

    repomd = createrepo_c.Repomd()
    repomd.set_revision(str(now))
    repomd.add_repo_tag(f"{_NUMBER}{number}")
    # Checksums take most of the time; other threads compute them while this one reads the next file.
    with ThreadPoolExecutor(len(KINDS)) as pool:
        written = [
            (kind, pool.submit(_data, folder, name, content)) for kind, name, content in _files(catalogue, repository)
        ]
    for kind, data in written:
        repomd.set_record(_record(kind, data.result(), now))
    text: str = repomd.xml_dump()
    return text.encode()


def _files(catalogue: Catalogue, repository: str) -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and compressed content of each data file."""
    for kind in KINDS:
        yield kind, f"{kind}.xml", _framed(kind, catalogue.frames.read(repository, kind))
    for kind, content in catalogue.extras(repository).items():
        yield kind, {"group": "comps.xml"}.get(kind, f"{kind}.xml"), compressed(content)
    if errata := catalogue.errata(repository):
        yield "updateinfo", "updateinfo.xml", compressed(updateinfo(errata))


def updateinfo(chunks: Iterable[str]) -> bytes:
    """updateinfo.xml of ``<update>`` elements, which are written as the catalogue has them."""
    body = "".join(chunk if chunk.endswith("\n") else f"{chunk}\n" for chunk in chunks)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{body}</updates>\n'.encode()


def _framed(kind: str, frames: Sequence[Frame]) -> bytes:
    tag, names = _ROOTS[kind]
    count = sum(frame.packages for frame in frames)
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<{tag} {names} packages="{count}">\n'
    return b"".join((compressed(head.encode()), *(frame.data for frame in frames), compressed(f"</{tag}>\n".encode())))


@dataclass(frozen=True)
class _Data:
    """A data file that was written."""

    name: str
    checksum: str
    checksum_open: str
    size: int
    size_open: int


def _data(folder: Path, name: str, content: bytes) -> _Data:
    import zstandard

    opened, size_open, block = sha256(), 0, memoryview(bytearray(_BLOCK))
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as stream:
        while count := stream.readinto(block):
            opened.update(block[:count])
            size_open += count
    checksum = sha256(content).hexdigest()
    path = folder / f"{checksum}-{name}.zst"
    if not path.is_file():
        # A rename, so that a file with this name is complete even after a kill.
        partial = folder / f".{name}.partial"
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    return _Data(path.name, checksum, opened.hexdigest(), len(content), size_open)


def _record(kind: str, data: _Data, now: int) -> object:
    import createrepo_c

    record = createrepo_c.RepomdRecord(kind, None)
    record.location_href = f"repodata/{data.name}"
    record.checksum_type = record.checksum_open_type = "sha256"
    record.checksum, record.checksum_open = data.checksum, data.checksum_open
    record.size, record.size_open = data.size, data.size_open
    record.timestamp = now
    return record
