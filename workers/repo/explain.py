"""Where a published package comes from and why it was let through, in words.

Told by the statement of provenance that lies beside the package; where there is none, by the result files of the build;
where those are gone too, by the record of the publication alone. What nothing tells is said to be unknown.

Signatures are not verified here: ``gpg --verify`` of the document does that, and the answer says where it lies.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from config.models import Site
from config.nevra import Nevra
from workers.errors import CannotRun
from workers.repo import documents, provenance
from workers.repo.evidence import evidence_at
from workers.repo.records import PublishedFile, PublishedRecord
from workers.repo.state import named_stage, published
from workers.results import Record

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_RULES = {
    "built": "the build held and names its inputs",
    "verified": "the proof held and speaks of each package by checksum",
    "tested": "the tests held and speak of each package by checksum",
}

Told = Literal["statement", "build", "record"]
_TOLD: Mapping[Told, str] = {
    "statement": "its statement of provenance",
    "build": "the result files of its build",
    "record": "the record of its publication alone: the build's files are gone, and no statement lies beside the package",
}


class Document(Record):
    """A document beside a package."""

    path: str
    """Below the distribution's root."""
    signature: str = ""
    """The same of its detached signature; empty where there is none."""


class Explanation(Record):
    """All that is known of one published package on one target."""

    version: Literal[1] = 1
    stage: str
    told_by: Told
    remarks: tuple[str, ...] = ()
    """What kept a better source from telling, or what does not fit together."""
    record: PublishedRecord
    provenance: Mapping[str, Any] = {}
    """The predicate (SLSA provenance v1); empty when only the record tells."""
    requires: tuple[str, ...] = ()
    """What the stage requires of a build, as configured today."""
    documents: tuple[Document, ...] = ()


def explain(site: Site, state: Path, name: str, *, target: str = "", stage: str = "kitten") -> Explanation:
    """Tell of a published package.

    :param name: source or binary package, by name, NEVRA or file name.
    :param target: needed where several have it.
    :raises CannotRun: when nothing of that name is published, with near names, or more than one thing is.
    """
    chosen = named_stage(site, stage)
    record = find(published(site, state, stage).values(), name, target)
    root = (state / chosen.url).absolute() / site.repositories.layout.root
    told, predicate, remarks = _told(site, root, record)
    return Explanation(
        stage=stage,
        told_by=told,
        remarks=tuple(remarks),
        record=record,
        provenance=predicate,
        requires=tuple(dict.fromkeys(("built", *chosen.requires))),
        documents=_documents(site, root, record),
    )


def find(records: Iterable[PublishedRecord], name: str, target: str = "") -> PublishedRecord:
    """The one published package that a name means.

    :raises CannotRun: with near names, or the targets to choose from.
    """
    listed = sorted(records, key=lambda record: (record.package, record.target))
    if not listed:
        raise CannotRun("nothing is published yet", "kitten publish")
    found = [record for record in listed if name in _names(record)]
    if not found:
        near = _near(name, listed)
        way_out = f"near it: {', '.join(near)}" if near else "kitten published lists what there is"
        raise CannotRun(f"no published package is named {_line(name)[:200]}", way_out)
    if target and not (of_target := [record for record in found if record.target == target]):
        raise CannotRun(f"{name} is not published on {target}", f"it is on {_targets(found)}")
    found = of_target if target else found
    if len(found) > 1 and len({record.package for record in found}) == 1:
        raise CannotRun(f"{name} is published on {len(found)} targets", f"name one: --target {_targets(found, ' | ')}")
    if len(found) > 1:
        packages = ", ".join(f"{record.nevr} on {record.target}" for record in found)
        raise CannotRun(f"{name} belongs to more than one package: {packages}", "give the NEVRA, and --target")
    return found[0]


def _names(record: PublishedRecord) -> set[str]:
    """Everything a person may call the package: its own names, and those of its files, with and without the epoch."""
    epoch = int(record.evr.partition(":")[0]) if ":" in record.evr else 0
    names = {record.package, record.nevr, f"{record.package}-{record.evr}"}
    for file in record.files:
        nevra = Nevra.from_file(file.name)
        with_epoch = Nevra(nevra.name, epoch, nevra.version, nevra.release, nevra.arch)
        names |= {nevra.name, file.name, str(nevra), str(with_epoch), f"{nevra.name}-{nevra.evr}"}
    return names


def _near(name: str, records: Iterable[PublishedRecord]) -> list[str]:
    known = sorted({known for record in records for known in _names(record) if not known.endswith(".rpm")})
    stem = re.sub(r"-(?:\d+:)?\d.*$", "", name)  # a version that is not there: the package may be
    near = [*difflib.get_close_matches(name[:200], known, 3), *difflib.get_close_matches(stem[:200], known, 3)]
    return list(dict.fromkeys(near))[:5]


def _targets(records: Iterable[PublishedRecord], between: str = ", ") -> str:
    return between.join(record.target for record in records)


def _told(site: Site, root: Path, record: PublishedRecord) -> tuple[Told, dict[str, Any], list[str]]:
    """Who tells, the predicate, and what kept the others from it."""
    remarks: list[str] = []
    target = next((t for t in site.targets if t.name == record.target), None)
    package = next((p for p in site.packages if p.name == record.package), None)
    if target is None or package is None:
        missing = f"target {record.target}" if target is None else f"package {record.package}"
        return "record", {}, [f"the site has no {missing} any more"]
    file = documents.names(record, target)[0]
    try:
        place = documents.home(record, file)
        document = provenance.validated((root / place.repository / place.path).read_bytes())
        if _speaks_of(document, record.files):
            return "statement", document["predicate"], remarks
        remarks.append(f"{file} does not speak of the published files: trust neither before you know why")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        remarks.append(f"{file} cannot be read: {_line(str(error))}")
    try:
        evidence = evidence_at(record.build) if record.build else None
        if evidence and evidence.build_json:
            document = provenance.validated(provenance.statement(site, target, package, record, evidence))
            return "build", document["predicate"], remarks
    except CannotRun as error:
        remarks.append(_line(error.what))
    return "record", {}, remarks


def _speaks_of(document: Mapping[str, Any], files: Iterable[PublishedFile]) -> bool:
    subjects = {(subject.get("name"), subject["digest"].get("sha256")) for subject in document["subject"]}
    return subjects == {(file.name, file.sha256) for file in files}


def _documents(site: Site, root: Path, record: PublishedRecord) -> tuple[Document, ...]:
    target = next((t for t in site.targets if t.name == record.target), None)
    found = []
    for name in documents.names(record, target) if target else ():
        place = documents.home(record, name)
        path = f"{place.repository}/{place.path}"
        if (root / path).is_file():
            signature = f"{path}.asc" if (root / f"{path}.asc").is_file() else ""
            found.append(Document(path=path, signature=signature))
    return tuple(found)


def words(told: Explanation) -> str:
    """The explanation for people: a paragraph for each question, no control characters in it."""
    record, definition = told.record, told.provenance.get("buildDefinition", {})
    lines = [
        f"{record.nevr} on {record.target}, stage {told.stage}",
        f"  published   snapshot {record.snapshot}, {record.published}: {_count(len(record.files), 'file')}",
        f"  from        {_source(record, definition.get('externalParameters', {}))}",
        *_modified(definition.get("internalParameters", {})),
        f"  built       {_built(record, told.provenance)}",
        f"  let through {_rules(told)}",
        *(f"              {line}" for line in _proof_lines(told.provenance)),
        f"  documents   {_document_line(told.documents)}",
        f"  told by     {_TOLD[told.told_by]}",
        *(f"  remark      {remark}" for remark in told.remarks),
    ]
    return "\n".join(_line(line) for line in lines)


def _source(record: PublishedRecord, external: Mapping[str, Any]) -> str:
    if not record.commit:
        return "no commit is recorded"
    source = external.get("source", {})
    where = f"{source['repository']}, " if source.get("repository") else ""
    branch = f" of branch {source['branch']}" if source.get("branch") else ""
    return f"{where}commit {record.commit}{branch}"


def _modified(internal: Mapping[str, Any]) -> list[str]:
    if not internal:
        return []
    if not (modification := internal.get("modification")):
        return ["  modified    no: as upstream has it"]
    return [f"  modified    {modification.get('summary', '')} (branch {modification.get('branch', '')})"]


def _built(record: PublishedRecord, predicate: Mapping[str, Any]) -> str:
    identity = f"build {record.identity[:12] or 'without an identity'}"
    if not predicate:
        return f"{identity}; by whom and from what is not known any more"
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    internal = definition.get("internalParameters", {})
    buildroot = [d for d in definition.get("resolvedDependencies", ()) if _is_buildroot(d)]
    level = internal.get("targetEntry", {}).get("isaLevel", "")
    how = f" with {internal['backend']}" if internal.get("backend") else ""
    tree = f" on tree {str(internal['tree'])[:12]}" if internal.get("tree") else ""
    held = f", for {level}" if level else ""
    return f"{identity} by {run['builder']['id']}{how}{held}; {_count(len(buildroot), 'buildroot package')}{tree}"


def _is_buildroot(dependency: Mapping[str, Any]) -> bool:
    name = str(dependency.get("name", ""))
    return "gitCommit" not in dependency.get("digest", {}) and name != "build tree" and not name.endswith(".src.rpm")


def _rules(told: Explanation) -> str:
    rules = "; ".join(f"{rule}: {_RULES[rule]}" for rule in told.requires)
    return f"stage {told.stage} requires {rules}"


def _proof_lines(predicate: Mapping[str, Any]) -> list[str]:
    if not predicate:
        return ["what its proofs said is not known any more"]
    said = {proof["name"]: proof.get("annotations", {}) for proof in predicate["runDetails"].get("byproducts", ())}
    lines = []
    if verify := said.get("verify.json"):
        counts = _counts(verify.get("checks", {}), ("held", "violated", "skipped"))
        lines.append(f"verified: {verify.get('outcome')}; checks: {counts}; {verify.get('summary', '')}")
    else:
        lines.append("verified: no verify.json")
    for suite, tested in said.get("test.json", {}).get("suites", {}).items():
        counts = _counts(tested.get("cases", {}), ("pass", "fail", "flaky", "skip"))
        how = " ".join(filter(None, (tested.get("cpu"), tested.get("accelerator"))))
        lines.append(f"tested, suite {suite}{f' ({how})' if how else ''}: {tested.get('outcome')}; cases: {counts}")
    if not said.get("test.json"):
        lines.append("tested: no test.json")
    return lines


def _counts(found: Mapping[str, int], order: Iterable[str]) -> str:
    return ", ".join(f"{found.get(name, 0)} {name}" for name in order)


def _document_line(found: Iterable[Document]) -> str:
    listed = [f"{document.path} ({'signed' if document.signature else 'NOT signed'})" for document in found]
    return ", ".join(listed) or "none lie beside the package"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text)
