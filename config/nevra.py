"""NEVRA: a package's name, epoch, version, release and architecture; parsed, printed and ordered as rpm does.

The order is that of rpm-version(7): versions are compared segment by segment, digits as numbers and letters as text.
``~`` sorts before everything, even the end of the version; ``^`` sorts right after the end.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Self

# Names from find-debuginfo and %debug_package, and from the kernel's spec: kernel-debuginfo-common-x86_64.
_DEBUG = re.compile(r"-(?:debuginfo(?:-common(?:-[^-]+)?)?|debugsource)\Z")
_SEGMENT = re.compile(r"[~^]|[0-9]+|[A-Za-z]+")
_END = (1,)
# The epoch stands only before the version, as `rpm -q --qf '%{NEVRA}'` prints it. The name may have dashes: greedy.
_NEVRA = re.compile(
    r"(?P<name>[A-Za-z0-9._+][A-Za-z0-9._+-]*)-(?:(?P<epoch>[0-9]+):)?(?P<version>[^-:/\s]+)-(?P<release>[^-:/\s]+)"
    r"\.(?P<arch>[A-Za-z0-9_]+)"
)

Segment = tuple[int] | tuple[int, str] | tuple[int, int, str]


def is_debug(name: str) -> bool:
    """Check whether a binary package of this name contains only debug data or debug sources."""
    return _DEBUG.search(name) is not None


def without_debug(name: str) -> str:
    """Return the name of the binary package that a debug package belongs to; any other name is returned unchanged."""
    return _DEBUG.sub("", name)


@functools.lru_cache(maxsize=4096)
def version_key(version: str) -> tuple[Segment, ...]:
    """Return a sort key of a version or release: keys compare as rpmvercmp compares the texts.

    Separators only separate segments. A number is kept as its length and its digits, so it may have any length.
    """
    key: list[Segment] = []
    for segment in _SEGMENT.findall(version):
        if segment == "~":
            key.append((0,))
        elif segment == "^":
            key.append((2,))
        elif segment.isdigit():
            digits = segment.lstrip("0")
            key.append((4, len(digits), digits))
        else:
            key.append((3, segment))
    return (*key, _END)


def compare_versions(one: str, other: str) -> int:
    """Return -1, 0 or 1 if ``one`` is older than, equal to or newer than ``other``, as rpmvercmp does."""
    a, b = version_key(one), version_key(other)
    return (a > b) - (a < b)


@functools.total_ordering
@dataclass(frozen=True)
class Nevra:
    """One package. Sorted by name, then by epoch, version and release in rpm's order, then by architecture.

    Equality compares the text: 1.0 and 1.00 are different packages of equal age; their spelling decides their order.
    """

    name: str
    epoch: int
    version: str
    release: str
    arch: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``name-[epoch:]version-release.arch``.

        :raises ValueError: with the text and the expected form, in one line.
        """
        match = _NEVRA.fullmatch(text)
        if match is None or len(match["epoch"] or "") > 10:  # rpm's epoch has 32 bits
            raise ValueError(f"not a package: {text[:200]!r}; the form is name-[epoch:]version-release.arch")
        return cls(match["name"], int(match["epoch"] or 0), match["version"], match["release"], match["arch"])

    @classmethod
    def from_file(cls, path: str) -> Self:
        """Parse the file name of an RPM; a path or URL may precede it. File names have no epoch, so it is 0.

        :raises ValueError: if it is not the file name of an RPM.
        """
        file = path.rsplit("/", 1)[-1]
        if not file.endswith(".rpm"):
            raise ValueError(f"not an RPM: {file[:200]!r}; the form is name-version-release.arch.rpm")
        return cls.parse(file.removesuffix(".rpm"))

    @property
    def evr(self) -> str:
        """``[epoch:]version-release``; the epoch is left out if it is 0."""
        return f"{f'{self.epoch}:' if self.epoch else ''}{self.version}-{self.release}"

    @property
    def file(self) -> str:
        """The RPM's file name."""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"

    @property
    def evr_key(self) -> tuple[int, tuple[Segment, ...], tuple[Segment, ...]]:
        """Sort key of epoch, version and release: packages with equal keys are equally new to rpm."""
        return self.epoch, version_key(self.version), version_key(self.release)

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.arch}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Nevra):
            return NotImplemented
        return self._order() < other._order()

    def _order(self) -> tuple[object, ...]:
        return self.name, self.evr_key, self.arch, self.version, self.release
