"""The text of an explanation: a line for each question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from config.text import plain_line
from workers.metadata.explain import Basis, Document, Explanation
from workers.repository.records import PublishedRecord
from workers.results import OverrideRecord, current_outcome

_RULES = {
    "built": "the build passed and names its inputs",
    "verified": "the proof passed and names each package by checksum",
    "tested": "the tests passed and name each package by checksum",
}
_BASES: Mapping[Basis, str] = {
    "statement": "its statement of provenance",
    "build": "the result files of its build",
    "record": "only the record of its publication; the build's files were removed, and no statement is stored",
}


def explanation_text(explanation: Explanation) -> str:
    """Return the explanation as lines without control characters."""
    record, definition = explanation.record, explanation.provenance.get("buildDefinition", {})
    lines = [
        f"{record.nevr} on {record.target}, stage {explanation.stage}",
        f"  published   snapshot {record.snapshot}, {record.published}: {_count(len(record.files), 'file')}",
        f"  from        {_source(record, definition.get('externalParameters', {}))}",
        *_modification_lines(definition.get("internalParameters", {})),
        f"  built       {_build(record, explanation.provenance)}",
        f"  gate        {_rules(explanation)}",
        f"              {_overrides(record.overrides)}",
        *(f"              {line}" for line in _proof_lines(explanation.provenance)),
        f"  documents   {_document_line(explanation.documents)}",
        f"  based on    {_BASES[explanation.based_on]}",
        *(f"  remark      {remark}" for remark in explanation.remarks),
    ]
    return "\n".join(plain_line(line) for line in lines)


def _source(record: PublishedRecord, external: Mapping[str, Any]) -> str:
    if not record.commit:
        return "no commit is recorded"
    source = external.get("source", {})
    where = f"{source['repository']}, " if source.get("repository") else ""
    branch = f" of branch {source['branch']}" if source.get("branch") else ""
    return f"{where}commit {record.commit}{branch}"


def _modification_lines(internal: Mapping[str, Any]) -> list[str]:
    if not internal:
        return []
    if not (modification := internal.get("modification")):
        return ["  modified    no: as upstream has it"]
    return [f"  modified    {modification.get('summary', '')} (branch {modification.get('branch', '')})"]


def _build(record: PublishedRecord, predicate: Mapping[str, Any]) -> str:
    identity = f"build {record.identity[:12] or 'without an identity'}"
    if not predicate:
        return f"{identity}; its builder and inputs are no longer known"
    definition, run = predicate["buildDefinition"], predicate["runDetails"]
    internal = definition.get("internalParameters", {})
    buildroot = [d for d in definition.get("resolvedDependencies", ()) if _is_buildroot(d)]
    level = internal.get("targetEntry", {}).get("isaLevel", "")
    how = f" with {internal['backend']}" if internal.get("backend") else ""
    tree = f" on tree {str(internal['tree'])[:12]}" if internal.get("tree") else ""
    isa = f", for {level}" if level else ""
    return f"{identity} by {run['builder']['id']}{how}{isa}; {_count(len(buildroot), 'buildroot package')}{tree}"


def _is_buildroot(dependency: Mapping[str, Any]) -> bool:
    name = str(dependency.get("name", ""))
    return "gitCommit" not in dependency.get("digest", {}) and name != "build tree" and not name.endswith(".src.rpm")


def _rules(explanation: Explanation) -> str:
    passed = explanation.record.passed
    rules = [f"{rule}: {_RULES[rule]}" for rule in passed if rule in _RULES]
    others = [rule for rule in passed if rule not in _RULES]
    return f"passed these rules of stage {explanation.stage}: {'; '.join([*rules, ', '.join(others)])}"


def _overrides(overrides: Iterable[OverrideRecord]) -> str:
    listed = [f"{each.rule}, by {each.user} on {each.when}: {each.reason}" for each in overrides]
    return f"overridden: {'; '.join(listed)}" if listed else "no rule was overridden"


def _proof_lines(predicate: Mapping[str, Any]) -> list[str]:
    if not predicate:
        return ["the results of its proofs are no longer known"]
    proofs = {proof["name"]: proof.get("annotations", {}) for proof in predicate["runDetails"].get("byproducts", ())}
    lines = []
    if verify := proofs.get("verify.json"):
        counts = _counts(verify.get("checks", {}), ("passed", "failed", "skipped"))
        lines.append(
            f"verified: {current_outcome(str(verify.get('outcome')))}; checks: {counts}; {verify.get('summary', '')}"
        )
    else:
        lines.append("verified: no verify.json")
    for suite, tested in proofs.get("test.json", {}).get("suites", {}).items():
        counts = _counts(tested.get("cases", {}), ("passed", "failed", "flaky", "skipped"))
        how = " ".join(filter(None, (tested.get("cpu"), tested.get("accelerator"))))
        outcome = current_outcome(str(tested.get("outcome")))
        lines.append(f"tested, suite {suite}{f' ({how})' if how else ''}: {outcome}; cases: {counts}")
    if not proofs.get("test.json"):
        lines.append("tested: no test.json")
    return lines


def _counts(found: Mapping[str, int], order: Iterable[str]) -> str:
    """Return the counts of outcomes; older documents use the words of version 1 of the result files."""
    counts: Counter[str] = Counter()
    for word, count in found.items():
        counts[current_outcome(word)] += count
    return ", ".join(f"{counts[name]} {name}" for name in order)


def _document_line(found: Iterable[Document]) -> str:
    listed = [f"{document.path} ({'signed' if document.signature else 'NOT signed'})" for document in found]
    return ", ".join(listed) or "none"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
