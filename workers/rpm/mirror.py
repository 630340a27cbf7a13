"""Where Debian packages come from: the host's own apt configuration, or ``$KITTEN_MIRROR``. No address is written here.

Both formats of sources.list(5) are read: one line per source, and deb822 stanzas.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from workers.errors import CannotRun
from workers.run import run

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")


@dataclass(frozen=True)
class Source:
    """One binary package source of apt."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def one_line_sources(text: str) -> list[Source]:
    """The enabled ``deb`` lines of a sources.list."""
    found = []
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.partition("#")[0].strip()):
            options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
            components = tuple(match["components"].split())
            found.append(Source(match["uri"], (match["suite"],), components, options.get("signed-by", "")))
    return found


def deb822_sources(text: str) -> list[Source]:
    """The enabled ``deb`` stanzas of a .sources file, one Source for each URI."""
    found = []
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        signed_by = fields.get("signed-by", "")
        found += [
            Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                "" if "\n" in signed_by else signed_by,  # a key written out in the stanza has no file to name
            )
            for uri in fields.get("uris", "").split()
        ]
    return found


def debian_source(apt: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")) -> Source:
    """The Debian archive this host installs from, or the one ``$KITTEN_MIRROR`` names.

    :raises CannotRun: where the host is no Debian, or names no archive.
    """
    mend = "name a Debian mirror: export KITTEN_MIRROR=http://HOST/debian (and apt-get install debian-archive-keyring)"
    if chosen := os.environ.get("KITTEN_MIRROR"):
        if not _KEYRING.is_file():
            raise CannotRun(f"no Debian keys to check the mirror with: {_KEYRING}", "apt-get install debian-archive-keyring")
        return Source(chosen, (), ("main",), str(_KEYRING))
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', os_release.read_text() if os_release.is_file() else ""))
    if release.get("ID") != "debian":
        raise CannotRun(f"the sandbox tree is Debian's, and {release.get('PRETTY_NAME', 'this host')} is not", mend)
    sources = [
        source
        for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
        if path.is_file() and path.suffix in {".list", ".sources"}
        for source in (one_line_sources if path.suffix == ".list" else deb822_sources)(path.read_text())
    ]
    wanted = {release.get("VERSION_CODENAME", ""), "stable", "testing", "sid", "unstable"}
    for source in sources:
        if "main" in source.components and wanted.intersection(source.suites):
            return source if source.signed_by or not _KEYRING.is_file() else Source(
                source.uri, source.suites, source.components, str(_KEYRING)
            )
    raise CannotRun(f"{apt} names no Debian archive with {release.get('VERSION_CODENAME', 'its suite')} main", mend)


def transport_options() -> list[str]:
    """How this host's apt reaches an archive (proxies, certificates), as apt.conf lines."""
    dump = run(["apt-config", "dump", "--format", '%f "%v";%n']).output
    keys = ("Proxy", "CAInfo", "Timeout", "Retries")
    return [line for line in dump.splitlines() if re.match(rf"Acquire::(https?::)?({'|'.join(keys)})\b.* \"[^\"]+\";", line)]
