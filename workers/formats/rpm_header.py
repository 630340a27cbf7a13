"""The project's only reader of RPM headers.

Package files may be hostile, so the reader checks every type, count and offset. rpm itself is only used to install, to
sign and to check signatures.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from config.nevra import Nevra, is_debug
from workers.base.errors import MalformedError
from workers.formats.rpm_sections import Tags, sections, tags_of

# rpmtag.h
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _PLATFORM, _OPTFLAGS = 1000, 1001, 1002, 1003, 1022, 1132, 1122
_SOURCERPM, _SIZE, _LONGSIZE = 1044, 1009, 5009
_DIRINDEXES, _BASENAMES, _DIRNAMES, _OLDFILENAMES = 1116, 1117, 1118, 1027
_FILEUSERNAME, _FILEGROUPNAME = 1039, 1040
_PAYLOADFORMAT, _PAYLOADCOMPRESSOR = 1124, 1125
# Names, flags and versions of dependencies.
_PROVIDES, _REQUIRES, _CONFLICTS, _OBSOLETES = (
    (1047, 1112, 1113),
    (1049, 1048, 1050),
    (1054, 1053, 1055),
    (1090, 1114, 1115),
)
_CONTENT = {
    "files": (_DIRINDEXES, _BASENAMES, _DIRNAMES, _OLDFILENAMES),
    "digests, modes, links, flags, owners, groups, capabilities": (1035, 1030, 1036, 1037, 1039, 1040, 5010),
    "provides": _PROVIDES,
    "requires": _REQUIRES,
    "conflicts": _CONFLICTS,
    "obsoletes": _OBSOLETES,
    "recommends, suggests, supplements, enhances": tuple(range(5046, 5058)),
    "scripts and what runs them": (1023, 1024, 1025, 1026, 1085, 1086, 1087, 1088, 1151, 1152, 1153, 1154),
    "triggers": (1065, 1066, 1067, 1068, 1069, 1092),
}
_RELATIONS = {2: "LT", 4: "GT", 8: "EQ", 2 | 8: "LE", 4 | 8: "GE"}  # rpmds.h: RPMSENSE_LESS, GREATER, EQUAL
_RELATION = 2 | 4 | 8
_SIGNS = {"EQ": "=", "LT": "<", "GT": ">", "LE": "<=", "GE": ">="}


@dataclass(frozen=True)
class Dependency:
    """``zlib-devel >= 1.3``, or a rich dependency (``(a or b)``) with nothing but a name."""

    name: str
    relation: str = ""
    """EQ, LT, GT, LE or GE, as in repository metadata."""
    evr: str = ""

    def __str__(self) -> str:
        return f"{self.name} {_SIGNS[self.relation]} {self.evr}" if self.relation else self.name


@dataclass(frozen=True)
class RpmHeader:
    """The parts of a package's header that the project uses."""

    name: str
    version: str
    release: str
    arch: str
    """``src`` for a source package."""
    epoch: int = 0
    platform: str = ""
    optflags: str = ""
    provides: tuple[Dependency, ...] = ()
    requires: tuple[Dependency, ...] = ()
    """Without ``rpmlib(…)``: features of rpm itself, which no package provides."""
    conflicts: tuple[Dependency, ...] = ()
    obsoletes: tuple[Dependency, ...] = ()
    files: tuple[str, ...] = ()
    owners: frozenset[str] = frozenset()
    """Users and groups that own its files."""
    installed_bytes: int = 0
    payload_format: str = "cpio"
    payload_compressor: str = "gzip"
    payload_offset: int = 0
    """Bytes from the start of the file."""
    source: str = ""
    """Name of the source package that it was built from; empty for a source package."""

    @property
    def nevra(self) -> Nevra:
        """Its full name."""
        return Nevra(self.name, self.epoch, self.version, self.release, self.arch)

    @property
    def is_debug(self) -> bool:
        """Whether it has only debug data or sources."""
        return is_debug(self.name)


def read_header(path: Path) -> RpmHeader:
    """Read a package's header.

    :raises MalformedError: the file is not a complete RPM.
    :raises OSError: it cannot be read.
    """
    tags, offset = _tags(path)
    return _header(tags, offset)


def content_digest(path: Path) -> str:
    """Return the SHA-256 of what a package installs, requires and runs, from its header.

    Files count with the digest of their content, mode, owner and link. Time stamps, the build's host and options, and
    the compression of the payload do not count. rpm compares the payload with the header when it installs the package.

    :raises MalformedError: the file is not a complete RPM.
    """
    tags, _ = _tags(path)
    return sha256(repr([[tags.get(tag) for tag in group] for group in _CONTENT.values()]).encode()).hexdigest()


def _tags(path: Path) -> tuple[Tags, int]:
    """Return the header's tags, and the end of the header."""
    with path.open("rb") as file:
        _, header = sections(file, os.fstat(file.fileno()).st_size)
        return tags_of(file, header), header.end


class _Reader:
    """Typed values of tags: in a damaged header, any tag may have any type."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def text(self, tag: int, default: str = "") -> str:
        return next(iter(self.texts(tag)), "") or default

    def texts(self, tag: int) -> tuple[str, ...]:
        return tuple(str(item) for item in self._tags.get(tag, ()))

    def numbers(self, tag: int) -> tuple[int, ...]:
        found = tuple(item for item in self._tags.get(tag, ()) if isinstance(item, int))
        if len(found) != len(self._tags.get(tag, ())):
            raise MalformedError(f"its tag {tag} is text, not numbers")
        return found

    def number(self, tag: int) -> int:
        return next(iter(self.numbers(tag)), 0)

    def dependencies(self, tags: tuple[int, int, int]) -> tuple[Dependency, ...]:
        names, flags, versions = self.texts(tags[0]), self.numbers(tags[1]), self.texts(tags[2])
        if not len(names) == len(flags) == len(versions):
            counts = f"{len(names)} names, {len(flags)} flags and {len(versions)} versions"
            raise MalformedError(f"its dependencies do not fit together: {counts}")
        relations = (_RELATIONS.get(flag & _RELATION, "") for flag in flags)
        return tuple(
            Dependency(name, relation, version.removeprefix("0:") if relation else "")
            for name, relation, version in zip(names, relations, versions, strict=True)
        )

    def files(self) -> tuple[str, ...]:
        folders, indexes, names = self.texts(_DIRNAMES), self.numbers(_DIRINDEXES), self.texts(_BASENAMES)
        if len(indexes) != len(names) or any(index >= len(folders) for index in indexes):
            raise MalformedError("the parts of its file list do not fit together")
        listed = tuple(folders[i] + name for i, name in zip(indexes, names, strict=True))
        return tuple(map(_absolute, listed or self.texts(_OLDFILENAMES)))


def _header(tags: Tags, offset: int) -> RpmHeader:
    read = _Reader(tags)
    if not read.text(_NAME) or not read.text(_ARCH):
        raise MalformedError("its header names no package")
    return RpmHeader(
        name=read.text(_NAME),
        version=read.text(_VERSION),
        release=read.text(_RELEASE),
        arch=read.text(_ARCH) if _SOURCERPM in tags else "src",
        epoch=read.number(_EPOCH),
        platform=read.text(_PLATFORM),
        optflags=read.text(_OPTFLAGS),
        provides=read.dependencies(_PROVIDES),
        requires=tuple(need for need in read.dependencies(_REQUIRES) if not need.name.startswith("rpmlib(")),
        conflicts=read.dependencies(_CONFLICTS),
        obsoletes=read.dependencies(_OBSOLETES),
        files=read.files(),
        owners=frozenset((*read.texts(_FILEUSERNAME), *read.texts(_FILEGROUPNAME))),
        installed_bytes=read.number(_LONGSIZE) or read.number(_SIZE),
        source=read.text(_SOURCERPM).rsplit("-", 2)[0],
        payload_format=read.text(_PAYLOADFORMAT, "cpio"),
        payload_compressor=read.text(_PAYLOADCOMPRESSOR, "gzip"),
        payload_offset=offset,
    )


def _absolute(path: str) -> str:
    """Return an absolute path. Files of a source package have no folder and count as in the root."""
    return path if path.startswith("/") else f"/{path}"
