"""Mirror and archive keys of the host's apt; a parser of Debian's control files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import require, run


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """Yield the paragraphs of a Debian control file (Packages, Sources, index targets) with continuation lines."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line[:1] in " \t" and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, value = line.split(":", 1)
                fields[last] = value.strip()
        if fields:
            yield fields


def mirror_of(index_targets: str) -> str | None:
    """Return the Debian mirror in the output of ``apt-get indextargets``: its first main archive of origin Debian."""
    for target in paragraphs(index_targets):
        main_archive = target.get("Label", "Debian") == "Debian" and target.get("Component") == "main"
        if target.get("Origin") == "Debian" and main_archive:
            return target["Repo-URI"].rstrip("/")
    return None


def mirror() -> str:
    """Return the mirror: ``$KITTEN_DEBIAN_MIRROR``, else that of the host's apt, else mmdebstrap's default (on Ubuntu).

    :raises CannotRun: if the host has no apt, or none of the three names a mirror.
    """
    if chosen := os.environ.get("KITTEN_DEBIAN_MIRROR"):
        return chosen.rstrip("/")
    if found := mirror_of(run([require("apt-get", "apt"), "indextargets"]).output):
        return found
    script = Path(require("mmdebstrap", "mmdebstrap")).read_text(errors="replace")
    if default := re.search(r"""\$mirror\s*=\s*['"](https?://[^'"]+)['"]""", script):
        return default[1].rstrip("/")
    raise CannotRun("no mirror of Debian's packages is known on this host", "export KITTEN_DEBIAN_MIRROR=URL")


def keyring() -> Path:
    """Return the file of the archive's keys: ``$KITTEN_DEBIAN_KEYRING``, else Debian's archive keys on this host.

    :raises CannotRun: if the file does not exist, or the keys are not installed.
    """
    if chosen := os.environ.get("KITTEN_DEBIAN_KEYRING"):
        if (path := Path(chosen).absolute()).is_file():
            return path
        raise CannotRun(
            f"KITTEN_DEBIAN_KEYRING names {chosen}, which is no file",
            "name a file of OpenPGP public keys, or unset it to use Debian's archive keys",
        )
    for name in ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg"):
        if (path := Path("/usr/share/keyrings") / name).is_file():
            return path
    raise CannotRun("Debian's archive keys are not installed", "apt-get install debian-archive-keyring")


def whole_number(variable: str, default: int) -> int:
    """Return the whole number in an environment variable, or a default if it is not set.

    :raises CannotRun: if the variable is no whole number.
    """
    text = os.environ.get(variable) or str(default)
    if text.isdecimal():
        return int(text)
    raise CannotRun(f"{variable} is {text!r}, not a whole number", f"export {variable}={default}, or unset it")
