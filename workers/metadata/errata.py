"""Errata: what ``dnf updateinfo`` shows about an update, made from the new changelog entries.

Pure: new entries and packages → an :class:`Erratum`. ``workers.metadata.changelog`` finds the new entries,
``workers.repository.index`` writes updateinfo.xml.

Many people write a changelog. Its text is reduced to characters that XML 1.0 allows and to a limited length, and only
identifiers of a fixed form become references.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from config.nevra import Nevra, is_debug
from config.text import plain_text
from workers.metadata.changelog import Entry

if TYPE_CHECKING:
    from workers.repository.records import PublishedFile

Kind = Literal["security", "bugfix", "enhancement", "newpackage"]

DESCRIPTION_CHARACTERS = 32_000
"""Limit of a description. A longer one is cut and ends with a note."""
REFERENCES = 500
"""Limit of the references of an erratum."""

REBOOT = frozenset(
    (
        "kernel", "kernel-core", "kernel-rt", "kernel-rt-core", "kernel-64k", "kernel-64k-core", "glibc",
        "linux-firmware", "systemd", "dbus", "dbus-broker", "dbus-daemon", "microcode_ctl",
    )
)  # fmt: skip
"""Packages that take effect when the machine restarts: those of ``needs-restarting --reboothint`` (dnf-plugins-core),
and the kernels of Enterprise Linux."""

_CVE = re.compile(r"\bCVE-(?:19|20)\d{2}-\d{4,19}\b", re.IGNORECASE)
_BUGZILLA = re.compile(r"\b(?:rhbz|bz|bug)\s{0,3}#?\s{0,3}(\d{5,9})\b|(?<![\w#])#(\d{6,9})\b", re.IGNORECASE)
_JIRA = re.compile(r"\bRHEL-\d{1,9}\b")
_RFE = re.compile(
    r"\b(?:rfe|enhancements?|new features?|rebase[ds]?(?: to)?|(?:add|enable)s? support)\b", re.IGNORECASE
)
_FIX = re.compile(r"\b(?:resolves?|related|fix(?:e[ds])?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """A link to more information."""

    kind: Literal["cve", "bugzilla", "other"]
    id: str
    href: str


@dataclass(frozen=True)
class Updated:
    """One binary package of an erratum."""

    nevra: Nevra
    sha256: str
    """As published, signature included."""
    source: str
    """File name of its source package."""

    @property
    def reboot_suggested(self) -> bool:
        """Whether it takes effect only when the machine restarts."""
        return self.nevra.name in REBOOT


@dataclass(frozen=True)
class Erratum:
    """The description of one update of a package."""

    id: str
    kind: Kind
    title: str
    description: str
    issued: datetime
    references: tuple[Reference, ...]
    packages: tuple[Updated, ...]
    release: str = ""
    """Title of the distribution: AlmaLinux OS Kitten 10."""
    contact: str = ""
    """The element ``from``: where to report a mistake."""
    collection: str = ""
    """Short name of the package collection: ``kitten-10-x86_64``."""


def erratum(
    id: str,  # noqa: A002 - the field's name in updateinfo
    package: str,
    evr: str,
    entries: Sequence[Entry],
    packages: Iterable[Updated],
    issued: datetime,
    *,
    is_new: bool = False,
    old_version: str = "",
    release: str = "",
    contact: str = "",
    collection: str = "",
) -> Erratum:
    """Make the erratum of one published update.

    :param id: stable and unique, e.g. ``ALKITTEN-2026:0042``.
    :param package: name of the source package; ``evr`` is its ``[epoch:]version-release``.
    :param entries: from :func:`workers.metadata.changelog.newer_entries`; for a new package, its newest entry.
    :param is_new: no version of the package was published before.
    :param old_version: upstream version that was published before. If the version changes and the entries name no
        reason, the update is an enhancement.
    """
    text = plain_text("\n".join(entry.text for entry in entries))
    references = _references(text)
    version = Nevra.parse(f"x-{evr}.src").version
    kind = _kind(text, references, is_new=is_new, is_rebase=bool(old_version) and old_version != version)
    return Erratum(
        id=id,
        kind=kind,
        title=f"{package}-{evr}: {_KIND_TITLES[kind]}",
        description=_description(entries) or f"{package} {evr} is {'new' if is_new else 'built again'}.",
        issued=issued.astimezone(UTC),
        references=references,
        packages=tuple(sorted(packages, key=lambda updated: (updated.nevra, updated.sha256))),
        release=plain_text(release),
        contact=plain_text(contact),
        collection=plain_text(collection),
    )


_KIND_TITLES: dict[Kind, str] = {
    "security": "security update",
    "bugfix": "bug fix update",
    "enhancement": "enhancement update",
    "newpackage": "new package",
}


def updated_files(files: Iterable[PublishedFile], epochs: dict[str, int] | None = None) -> tuple[Updated, ...]:
    """Return the binary packages of a published record, without debuginfo, which belongs to another package.

    :param epochs: package name → epoch, for packages that have one: file names have none.
    """
    listed = tuple(files)
    source = next((file.name for file in listed if file.name.endswith(".src.rpm")), "")
    found = []
    for file in listed:
        nevra = Nevra.from_file(file.name)
        if nevra.arch == "src" or is_debug(nevra.name):
            continue
        epoch = (epochs or {}).get(nevra.name, 0)
        found.append(Updated(Nevra(nevra.name, epoch, nevra.version, nevra.release, nevra.arch), file.sha256, source))
    return tuple(found)


def _kind(text: str, references: Sequence[Reference], *, is_new: bool, is_rebase: bool) -> Kind:
    if is_new:
        return "newpackage"
    if any(reference.kind == "cve" for reference in references):
        return "security"
    if _RFE.search(text):
        return "enhancement"
    named_fix = _FIX.search(text) or references
    return "enhancement" if is_rebase and not named_fix else "bugfix"


def _references(text: str) -> tuple[Reference, ...]:
    """Return what the text refers to, CVEs first, each once. Only digits and fixed words get into a URL."""
    cves = sorted({match.upper() for match in _CVE.findall(text)})
    bugs = sorted({number for pair in _BUGZILLA.findall(text) for number in pair if number}, key=int)
    issues = sorted(set(_JIRA.findall(text)), key=lambda key: int(key.removeprefix("RHEL-")))
    found = [Reference("cve", cve, f"https://www.cve.org/CVERecord?id={cve}") for cve in cves]
    found += [Reference("bugzilla", bug, f"https://bugzilla.redhat.com/show_bug.cgi?id={bug}") for bug in bugs]
    found += [Reference("other", issue, f"https://issues.redhat.com/browse/{issue}") for issue in issues]
    return tuple(found[:REFERENCES])


def _description(entries: Sequence[Entry]) -> str:
    lines = []
    for entry in entries:
        day = datetime.fromtimestamp(max(0, min(entry.time, 253_402_300_799)), UTC).date().isoformat()
        evr = entry.evr
        lines.append(f"{day}{f', {evr.evr}' if evr else ''}:\n{plain_text(entry.text).strip()}")
    text = plain_text("\n\n".join(lines))
    if len(text) > DESCRIPTION_CHARACTERS:
        text = f"{text[:DESCRIPTION_CHARACTERS].rstrip()}\n… (cut; the package's changelog has the rest)"
    return text


def to_xml(erratum: Erratum) -> str:
    """Return the erratum as one ``<update>`` element. The same input gives the same text.

    createrepo_c writes it and escapes markup.
    """
    import createrepo_c

    record = createrepo_c.UpdateRecord()
    record.fromstr, record.status, record.version = erratum.contact, "final", "1"
    record.type, record.id, record.title = erratum.kind, erratum.id, erratum.title
    # Without the time zone: createrepo_c writes the time unchanged, and clients read it as UTC.
    record.issued_date = record.updated_date = erratum.issued.replace(tzinfo=None, microsecond=0)
    record.severity, record.release, record.description = "None", erratum.release, erratum.description
    record.reboot_suggested = any(package.reboot_suggested for package in erratum.packages)
    for reference in erratum.references:
        entry = createrepo_c.UpdateReference()
        entry.type, entry.id, entry.title, entry.href = reference.kind, reference.id, reference.id, reference.href
        record.append_reference(entry)
    collection = createrepo_c.UpdateCollection()
    collection.shortname, collection.name = erratum.collection, erratum.release
    for updated in erratum.packages:
        package = createrepo_c.UpdateCollectionPackage()
        nevra = updated.nevra
        package.name, package.version, package.release, package.arch = (
            nevra.name, nevra.version, nevra.release, nevra.arch,
        )  # fmt: skip
        package.epoch, package.src, package.filename = str(nevra.epoch), updated.source, nevra.file
        package.sum, package.sum_type = updated.sha256, createrepo_c.SHA256
        package.reboot_suggested = updated.reboot_suggested
        collection.append(package)
    record.append_collection(collection)
    text: str = createrepo_c.xml_dump_updaterecord(record)
    return text
