"""Where a published package comes from and why it passed the gate; ``explain_text.py`` makes the text.

The answer is based on the statement of provenance beside the package; without one, on the result files of the build;
without those, only on the record of the publication. What is not known is shown as unknown.

Signatures are not verified here. Use ``gpg --verify`` for a document; the answer has its path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from config.models import Site
from config.nevra import Nevra
from config.text import plain_line
from workers.base.errors import CannotRun
from workers.metadata import documents, provenance
from workers.metadata.evidence import evidence_at
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.state import named_stage, published
from workers.results import Record

Basis = Literal["statement", "build", "record"]


class Document(Record):
    """A document beside a package."""

    path: str
    """Path below the distribution's root."""
    signature: str = ""
    """Path of its detached signature; empty if it is not signed."""


class Explanation(Record):
    """All known facts about one published package on one target."""

    version: Literal[1] = 1
    stage: str
    based_on: Basis
    remarks: tuple[str, ...] = ()
    """Why a better basis could not be used, or what does not fit together."""
    record: PublishedRecord
    provenance: Mapping[str, Any] = {}
    """The predicate (SLSA provenance v1); empty if only the record is known."""
    documents: tuple[Document, ...] = ()


def explain(site: Site, state: Path, name: str, *, target: str = "", stage: str = "") -> Explanation:
    """Collect what is known about a published package.

    :param name: source or binary package, by name, NEVRA or file name.
    :param target: needed if the package is published on several targets.
    :raises CannotRun: no package of that name is published (with similar names), or several are.
    """
    chosen = named_stage(site, stage)
    record = find(published(site, state, stage).values(), name, target)
    root = (state / chosen.url).absolute() / site.repositories.layout.root
    basis, predicate, remarks = _provenance(site, root, record)
    return Explanation(
        stage=chosen.name,
        based_on=basis,
        remarks=tuple(remarks),
        record=record,
        provenance=predicate,
        documents=_documents(site, root, record),
    )


def find(records: Iterable[PublishedRecord], name: str, target: str = "") -> PublishedRecord:
    """Return the only published package that has a name.

    :raises CannotRun: there is no such package, or several; with similar names, or the targets to choose from.
    """
    listed = sorted(records, key=lambda record: (record.package, record.target))
    if not listed:
        raise CannotRun("nothing is published yet", "publish one: kitten publish")
    found = [record for record in listed if name in _names(record)]
    if not found:
        near = _near(name, listed)
        hint = f"similar names: {', '.join(near)}" if near else "kitten published lists all packages"
        raise CannotRun(f"no published package is named {plain_line(name)[:200]}", hint)
    if target and not (of_target := [record for record in found if record.target == target]):
        raise CannotRun(f"{name} is not published on {target}", f"it is published on {_targets(found)}")
    found = of_target if target else found
    if len(found) > 1 and len({record.package for record in found}) == 1:
        raise CannotRun(f"{name} is published on {len(found)} targets", f"name one: --target {_targets(found, ' | ')}")
    if len(found) > 1:
        packages = ", ".join(f"{record.nevr} on {record.target}" for record in found)
        raise CannotRun(f"{name} belongs to more than one package: {packages}", "give the NEVRA, and --target")
    return found[0]


def _names(record: PublishedRecord) -> set[str]:
    """Return all names of the package: its own names and those of its files, with and without the epoch."""
    epoch = int(record.evr.partition(":")[0]) if ":" in record.evr else 0
    names = {record.package, record.nevr, f"{record.package}-{record.evr}"}
    for file in record.files:
        nevra = Nevra.from_file(file.name)
        with_epoch = Nevra(nevra.name, epoch, nevra.version, nevra.release, nevra.arch)
        names |= {nevra.name, file.name, str(nevra), str(with_epoch), f"{nevra.name}-{nevra.evr}"}
    return names


def _near(name: str, records: Iterable[PublishedRecord]) -> list[str]:
    known = sorted({known for record in records for known in _names(record) if not known.endswith(".rpm")})
    stem = re.sub(r"-(?:\d+:)?\d.*$", "", name)  # without its version, which may not be published
    near = [*difflib.get_close_matches(name[:200], known, 3), *difflib.get_close_matches(stem[:200], known, 3)]
    return list(dict.fromkeys(near))[:5]


def _targets(records: Iterable[PublishedRecord], between: str = ", ") -> str:
    return between.join(record.target for record in records)


def _provenance(site: Site, root: Path, record: PublishedRecord) -> tuple[Basis, dict[str, Any], list[str]]:
    """Return the best basis that exists, its predicate, and why better ones could not be used."""
    remarks: list[str] = []
    target = next((t for t in site.targets if t.name == record.target), None)
    package = next((p for p in site.packages if p.name == record.package), None)
    if target is None or package is None:
        missing = f"target {record.target}" if target is None else f"package {record.package}"
        return "record", {}, [f"the site no longer has {missing}"]
    file = documents.document_names(record, target)[0]
    try:
        place = documents.document_place(record, file)
        document = provenance.parse_statement((root / place.repository / place.path).read_bytes())
        if _describes(document, record.files):
            return "statement", document["predicate"], remarks
        remarks.append(f"{file} does not describe the published files: do not trust either before you know why")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        remarks.append(f"{file} cannot be read: {plain_line(str(error))}")
    try:
        evidence = evidence_at(record.build) if record.build else None
        if evidence and evidence.build_json:
            document = provenance.parse_statement(provenance.statement(site, target, package, record, evidence))
            return "build", document["predicate"], remarks
    except CannotRun as error:
        remarks.append(plain_line(error.what))
    return "record", {}, remarks


def _describes(document: Mapping[str, Any], files: Iterable[PublishedFile]) -> bool:
    subjects = {(subject.get("name"), subject["digest"].get("sha256")) for subject in document["subject"]}
    return subjects == {(file.name, file.sha256) for file in files}


def _documents(site: Site, root: Path, record: PublishedRecord) -> tuple[Document, ...]:
    target = next((t for t in site.targets if t.name == record.target), None)
    found = []
    for name in documents.document_names(record, target) if target else ():
        place = documents.document_place(record, name)
        path = f"{place.repository}/{place.path}"
        if (root / path).is_file():
            signature = f"{path}.asc" if (root / f"{path}.asc").is_file() else ""
            found.append(Document(path=path, signature=signature))
    return tuple(found)
