"""What the host's apt knows: the mirror and the archive keys; and the format of Debian's control files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import require, run


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """The paragraphs of a Debian control file (Packages, Sources, apt's index targets); continuation lines are kept."""
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
    """The Debian mirror in the output of ``apt-get indextargets``: the first main archive whose origin is Debian."""
    for target in paragraphs(index_targets):
        main_archive = target.get("Label", "Debian") == "Debian" and target.get("Component") == "main"
        if target.get("Origin") == "Debian" and main_archive:
            return target["Repo-URI"].rstrip("/")
    return None


def mirror() -> str:
    """The mirror to use: ``$KITTEN_DEBIAN_MIRROR``, else the one the host's apt uses, else mmdebstrap's own (on Ubuntu).

    :raises CannotRun: on a host without apt, or if none of them names a mirror.
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
    """The keys that sign the archive: ``$KITTEN_DEBIAN_KEYRING``, else Debian's archive keys on this host.

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
    """A whole number of an environment variable.

    :raises CannotRun: if it is anything else.
    """
    text = os.environ.get(variable) or str(default)
    if text.isdecimal():
        return int(text)
    raise CannotRun(f"{variable} is {text!r}, not a whole number", f"export {variable}={default}, or unset it")
