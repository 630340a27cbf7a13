"""Synthetic repositories: primary.xml as createrepo_c writes it, from one line for each package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

_SIGNS = {"=": "EQ", "<": "LT", ">": "GT", "<=": "LE", ">=": "GE"}
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" '
    'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{}">\n'
)


def entry(dependency: str) -> str:
    """``name``, ``name = [epoch:]version[-release]`` or ``(a if b)`` as an rpm:entry."""
    if dependency.startswith("(") or " " not in dependency:
        return f"<rpm:entry name={quoteattr(dependency)}/>"
    name, sign, evr = dependency.split(" ")
    epoch, _, vr = evr.rpartition(":")
    version, _, release = vr.partition("-")
    release = f' rel="{release}"' if release else ""
    return f'<rpm:entry name="{name}" flags="{_SIGNS[sign]}" epoch="{epoch or 0}" ver="{version}"{release}/>'


def element(
    nevr: str,
    *,
    arch: str = "x86_64",
    source: str = "",
    provides: Iterable[str] = (),
    requires: Iterable[str] = (),
    conflicts: Iterable[str] = (),
    obsoletes: Iterable[str] = (),
    recommends: Iterable[str] = (),
    files: Iterable[str] = (),
) -> bytes:
    """The ``<package>`` element of a package.

    :param nevr: ``name-[epoch:]version-release``.
    :param source: name of its source package; by default its own.
    """
    name, evr, release = nevr.rsplit("-", 2)
    epoch, _, version = evr.rpartition(":")
    epoch = epoch or "0"
    itself = f"{name} = {epoch}:{version}-{release}"
    lists = {
        "provides": (itself, *provides),
        "requires": requires,
        "conflicts": conflicts,
        "obsoletes": obsoletes,
        "recommends": recommends,
    }
    deps = "".join(
        f"<rpm:{kind}>{''.join(map(entry, listed))}</rpm:{kind}>"
        for kind, words in lists.items()
        if (listed := tuple(words))
    )
    listed_files = "".join(f"<file>{escape(file)}</file>" for file in files)
    content = f"{nevr}{arch}{deps}{listed_files}"
    file = f"{name}-{version}-{release}.{arch}.rpm"
    return (
        f'<package type="rpm"><name>{name}</name><arch>{arch}</arch>'
        f'<version epoch="{epoch}" ver="{version}" rel="{release}"/>'
        f'<checksum type="sha256" pkgid="YES">{hashlib.sha256(content.encode()).hexdigest()}</checksum>'
        f"<summary>{name}</summary><description>The package {name}, of no use to anybody, described in a sentence of "
        f"the length that descriptions have.</description><packager>builder</packager>"
        f'<url>https://{name}.example.org/</url><time file="1760000000" build="1760000000"/>'
        f'<size package="91420" installed="180224" archive="183320"/><location href="Packages/{name[0]}/{file}"/>'
        f"<format><rpm:license>MIT</rpm:license><rpm:vendor>Kitten</rpm:vendor><rpm:group>Unspecified</rpm:group>"
        f"<rpm:buildhost>builder</rpm:buildhost>"
        f"<rpm:sourcerpm>{source or name}-{version}-{release}.src.rpm</rpm:sourcerpm>"
        f'<rpm:header-range start="4504" end="9000"/>{deps}{listed_files}</format></package>'
    ).encode()


def primary(packages: Iterable[bytes]) -> bytes:
    """primary.xml of packages."""
    listed = tuple(packages)
    return HEAD.format(len(listed)).encode() + b"\n".join(listed) + b"\n</metadata>\n"
