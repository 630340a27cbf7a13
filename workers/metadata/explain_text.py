"""An explanation for people: a line for each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from config.text import plain_line
from workers.metadata.explain import Document, Explanation, Told
from workers.repository.records import PublishedRecord
from workers.results import OverrideRecord, current_outcome

_RULES = {
    "built": "the build passed and names its inputs",
    "verified": "the proof passed and speaks of each package by checksum",
    "tested": "the tests passed and speak of each package by checksum",
}
_TOLD: Mapping[Told, str] = {
    "statement": "its statement of provenance",
    "build": "the result files of its build",
    "record": "the record of its publication alone: the build's files are gone, and no statement lies beside the package",
}


def words(told: Explanation) -> str:
    """The explanation for people: no control characters in it."""
    record, definition = told.record, told.provenance.get("buildDefinition", {})
    lines = [
        f"{record.nevr} on {record.target}, stage {told.stage}",
        f"  published   snapshot {record.snapshot}, {record.published}: {_count(len(record.files), 'file')}",
        f"  from        {_source(record, definition.get('externalParameters', {}))}",
        *_modified(definition.get("internalParameters", {})),
        f"  built       {_built(record, told.provenance)}",
        f"  let through {_rules(told)}",
        f"              {_overrides(record.overrides)}",
        *(f"              {line}" for line in _proof_lines(told.provenance)),
        f"  documents   {_document_line(told.documents)}",
        f"  told by     {_TOLD[told.told_by]}",
        *(f"  remark      {remark}" for remark in told.remarks),
    ]
    return "\n".join(plain_line(line) for line in lines)


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
    held = told.record.passed
    rules = [f"{rule}: {_RULES[rule]}" for rule in held if rule in _RULES]
    others = [rule for rule in held if rule not in _RULES]
    return f"of the rules of stage {told.stage} passed {'; '.join([*rules, ', '.join(others)])}"


def _overrides(overrides: Iterable[OverrideRecord]) -> str:
    listed = [f"{each.rule}, by {each.user} on {each.when}: {each.reason}" for each in overrides]
    return f"overridden: {'; '.join(listed)}" if listed else "no rule was overridden"


def _proof_lines(predicate: Mapping[str, Any]) -> list[str]:
    if not predicate:
        return ["what its proofs said is not known any more"]
    said = {proof["name"]: proof.get("annotations", {}) for proof in predicate["runDetails"].get("byproducts", ())}
    lines = []
    if verify := said.get("verify.json"):
        counts = _counts(verify.get("checks", {}), ("passed", "failed", "skipped"))
        lines.append(
            f"verified: {current_outcome(str(verify.get('outcome')))}; checks: {counts}; {verify.get('summary', '')}"
        )
    else:
        lines.append("verified: no verify.json")
    for suite, tested in said.get("test.json", {}).get("suites", {}).items():
        counts = _counts(tested.get("cases", {}), ("passed", "failed", "flaky", "skipped"))
        how = " ".join(filter(None, (tested.get("cpu"), tested.get("accelerator"))))
        lines.append(
            f"tested, suite {suite}{f' ({how})' if how else ''}: {current_outcome(str(tested.get('outcome')))}; cases: {counts}"
        )
    if not said.get("test.json"):
        lines.append("tested: no test.json")
    return lines


def _counts(found: Mapping[str, int], order: Iterable[str]) -> str:
    """Count outcomes; older documents use the words of version 1 of the result files."""
    counts: Counter[str] = Counter()
    for word, count in found.items():
        counts[current_outcome(word)] += count
    return ", ".join(f"{counts[name]} {name}" for name in order)


def _document_line(found: Iterable[Document]) -> str:
    listed = [f"{document.path} ({'signed' if document.signature else 'NOT signed'})" for document in found]
    return ", ".join(listed) or "none lie beside the package"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
