"""Errata as clients read them: one ``<update>`` element each, and updateinfo.xml of them.

updateinfo.xml is such elements between ``<updates>`` and ``</updates>``: an element that was kept is never made again.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.metadata.errata import Erratum


def to_xml(erratum: Erratum) -> str:
    """The erratum as one ``<update>`` element, equal for equal input.

    Written by createrepo_c, which escapes what is markup.
    """
    import createrepo_c

    record = createrepo_c.UpdateRecord()
    record.fromstr, record.status, record.version = erratum.contact, "final", "1"
    record.type, record.id, record.title = erratum.kind, erratum.id, erratum.title
    # Without its zone: createrepo_c writes the time as given, and clients read it as UTC.
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


def updateinfo(chunks: Iterable[str]) -> bytes:
    """updateinfo.xml of kept ``<update>`` elements."""
    body = "".join(chunk if chunk.endswith("\n") else f"{chunk}\n" for chunk in chunks)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{body}</updates>\n'.encode()
