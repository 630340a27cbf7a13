"""Folders in which a program looks for its libraries (DT_RPATH, DT_RUNPATH), and why one is not allowed."""

from __future__ import annotations

import functools
import posixpath
import re

SEARCHED = "/usr/lib64"
"""The dynamic linker's default folder on a 64-bit RPM distribution; /lib64 is a link to /usr/lib64."""
# Only packages write below these: a private folder there belongs to a package (the rule of rpm's check-rpaths).
_SYSTEM = ("/usr/lib64/", "/usr/lib/", "/usr/libexec/")
# Every package may install files in these, so they belong to none.
_SHARED = frozenset(
    ["/", "/usr", "/usr/bin", "/usr/sbin", "/usr/share", "/usr/local", "/usr/src", "/etc", "/home", "/opt", "/root",
     "/run", "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/tmp"]  # noqa: S108 - nothing is put there
)  # fmt: skip
_MERGED = re.compile(r"^/(lib64|lib|bin|sbin)(?=/|$)")


def _merged(path: str) -> str:
    return _MERGED.sub(r"/usr/\1", path)


def resolved_folder(entry: str, path: str) -> str:
    """Return the folder that an entry means to the dynamic linker (ld.so(8), "Rpath token expansion").

    :param path: path of the program or library, as installed.
    """
    text = re.sub(r"\$(?:LIB\b|\{LIB\})", "lib64", entry)
    text = re.sub(r"^\$(?:ORIGIN\b|\{ORIGIN\})", lambda _: posixpath.dirname(path), text)
    return _merged(posixpath.normpath(text)).replace("//", "/")


def problem_of(entry: str, path: str, package_files: frozenset[str]) -> str:
    """Return what is wrong with an entry; empty if nothing is.

    :param path: path of the program or library, as installed.
    :param package_files: installed paths of all files in the packages of the same source. An entry may lead to them.
    """
    if not entry.startswith(("/", "$ORIGIN", "${ORIGIN}")):
        return "does not begin with a folder" if "$" in entry else "relative to the user's current folder"
    folder = resolved_folder(entry, path)
    if "$ORIGIN" in folder or "${ORIGIN}" in folder:
        return "$ORIGIN is only allowed at the beginning"
    inside = [folder, *_parents(folder)]
    if folder == SEARCHED or f"{folder}/".startswith(_SYSTEM):
        return ""
    if any(place in _folders(package_files) for place in inside):
        return ""
    meant = f"is {folder}, " if entry != folder else ""
    return f"{meant}not a folder of this package or of the system"


@functools.lru_cache(maxsize=4)
def _folders(package_files: frozenset[str]) -> frozenset[str]:
    """Return the folders that belong to the packages; cached for all files of a package."""
    names = {_merged(name) for name in package_files}
    return frozenset(names | {posixpath.dirname(name) for name in names}) - _SHARED


def _parents(folder: str) -> list[str]:
    found = []
    while folder not in ("/", ""):
        folder = posixpath.dirname(folder)
        found.append(folder)
    return found
