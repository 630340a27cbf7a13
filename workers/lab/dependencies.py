"""Which further packages a guest needs: shared libraries that the packages under test require and nobody in there brings.

Only sonames are followed (``libz.so.1()(64bit)``). What Debian's C library provides in the guest counts as there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from workers.errors import CannotRun
from workers.verify.header import Header, MalformedError, read_header

_SONAME = re.compile(r"((?:lib|ld)[^/\s()]*\.so\.?[^/\s()]*)\(.*")


def sonames(capabilities: Sequence[str]) -> frozenset[str]:
    """The sonames among RPM capabilities, without symbol versions and word size."""
    return frozenset(found.group(1) for text in capabilities if (found := _SONAME.fullmatch(text)))


def missing(headers: Sequence[Header], present: Collection[str]) -> frozenset[str]:
    """Sonames the packages require that neither they nor the guest bring."""
    required = frozenset().union(*(sonames(header.requires) for header in headers))
    provided = frozenset().union(*(sonames(header.provides) for header in headers))
    return required - provided - frozenset(present)


def resolve(
    headers: Sequence[Header], present: Collection[str], staged: Mapping[Path, Header]
) -> tuple[tuple[Path, ...], frozenset[str]]:
    """The staged packages that bring what is missing, theirs included, and the sonames that nobody brings."""
    chosen: dict[Path, Header] = {}
    while True:
        wanted = missing([*headers, *chosen.values()], present)
        providers = {path: header for path, header in staged.items() if wanted & sonames(header.provides)}
        fresh = providers.keys() - chosen.keys()
        if not fresh:
            return tuple(sorted(chosen)), wanted
        for path in fresh:
            chosen[path] = providers[path]


def staged_headers(folder: Path, rpm_arch: str) -> dict[Path, Header]:
    """The headers of a target's staged packages; none where nothing is staged yet.

    :raises CannotRun: when one of them is damaged.
    """
    found = {}
    for path in sorted(folder.glob("**/*.rpm")):
        try:
            header = read_header(path)
        except MalformedError as error:
            raise CannotRun(f"{path}: {error}", "stage that package again") from None
        if header.arch in (rpm_arch, "noarch") and not header.is_debug:
            found[path] = header
    return found
