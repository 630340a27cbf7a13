"""Folders in which a program looks for its libraries (DT_RPATH, DT_RUNPATH): which they are, and whether only packages write there."""

from __future__ import annotations

import functools
import posixpath
import re

SEARCHED = "/usr/lib64"
"""Where the dynamic linker of a 64-bit RPM distribution looks by itself; /lib64 is a link to /usr/lib64."""
# Only packages write below these: a private folder there is some package's own, as rpm's check-rpaths has it.
_SYSTEM = ("/usr/lib64/", "/usr/lib/", "/usr/libexec/")
# Every package may place something in these: that this one does makes none of them its own.
_SHARED = frozenset(
    ["/", "/usr", "/usr/bin", "/usr/sbin", "/usr/share", "/usr/local", "/usr/src", "/etc", "/home", "/opt", "/root", "/run",
     "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/tmp"]  # noqa: S108 - nothing is put there
)  # fmt: skip
_MERGED = re.compile(r"^/(lib64|lib|bin|sbin)(?=/|$)")


def _merged(path: str) -> str:
    return _MERGED.sub(r"/usr/\1", path)


def resolved_folder(entry: str, path: str) -> str:
    """The folder an entry means to the dynamic linker (ld.so(8), "Rpath token expansion").

    :param path: of the program or library, as installed.
    """
    text = re.sub(r"\$(?:LIB\b|\{LIB\})", "lib64", entry)
    text = re.sub(r"^\$(?:ORIGIN\b|\{ORIGIN\})", lambda _: posixpath.dirname(path), text)
    return _merged(posixpath.normpath(text)).replace("//", "/")


def problem_of(entry: str, path: str, package_files: frozenset[str]) -> str:
    """What is wrong with an entry, or an empty text.

    :param path: of the program or library, as installed.
    :param package_files: installed paths of everything in the packages of the same source: an entry may lead to them.
    """
    if not entry.startswith(("/", "$ORIGIN", "${ORIGIN}")):
        return "looked up in the folder the user is in" if not entry or "$" not in entry else "begins with no folder"
    folder = resolved_folder(entry, path)
    if "$ORIGIN" in folder or "${ORIGIN}" in folder:
        return "$ORIGIN makes sense at the beginning only"
    inside = [folder, *_parents(folder)]
    if folder == SEARCHED or f"{folder}/".startswith(_SYSTEM):
        return ""
    if any(place in _folders(package_files) for place in inside):
        return ""
    meant = f"is {folder}, " if entry != folder else ""
    return f"{meant}no folder of this package's or the system's"


@functools.lru_cache(maxsize=4)
def _folders(package_files: frozenset[str]) -> frozenset[str]:
    """The folders that are the packages' own, made once for all of a package's files."""
    names = {_merged(name) for name in package_files}
    return frozenset(names | {posixpath.dirname(name) for name in names}) - _SHARED


def _parents(folder: str) -> list[str]:
    found = []
    while folder not in ("/", ""):
        folder = posixpath.dirname(folder)
        found.append(folder)
    return found
