"""The statement of provenance of a published package: in-toto Statement v1 with SLSA provenance v1.

One statement is about all files of a package on a target. Its subjects are the files that users download, signature
included. Each subject has the checksum from before signing too, which the proofs name. The statement has only recorded
facts: what the build did not record is absent, and no SLSA level is claimed.

Formats: https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1. Equal input gives equal bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from config.identity import identity_of
from config.models import Site, SourcePackage, Target
from workers.base.errors import CannotRun
from workers.metadata.evidence import Evidence
from workers.repository.records import PublishedRecord
from workers.results import BuildResult, TestResult, VerifyResult

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def build_type(site: Site) -> str:
    """Return the URI of the build type: an SRPM made from ``source``, built for ``target`` by rpmbuild or mock.

    It is below the site's tag URI, which is a name and needs no server.
    """
    return f"{site.distribution.tag}/rpm-build/v1"


def builder_id(site: Site, target: str) -> str:
    """Return the URI of the builder: the service of this site, for this target."""
    return f"{site.distribution.tag}/{site.distribution.name}/{target}"


def statement(site: Site, target: Target, package: SourcePackage, record: PublishedRecord, evidence: Evidence) -> bytes:
    """Return the provenance of a published package on a target: UTF-8 JSON that ends in a newline.

    :param record: the publication; its files are the subjects.
    :param evidence: the build's result files, with build.json.
    :raises CannotRun: build.json is missing or of another build, or the statement is not valid.
    """
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.v1.statement import Statement

    build = _build(record, evidence)
    predicate = _predicate(site, target, package, record, evidence, build)
    attestation = Statement(_subjects(record), PREDICATE_TYPE, predicate)
    try:
        attestation.validate()
    except ValueError as error:
        raise CannotRun(f"{record.nevr} on {record.target}: {error}", "publish the package again") from None
    return _canonical(_with_integers(MessageToDict(attestation.pb)))


def parse_statement(content: bytes) -> dict[str, Any]:
    """Return a statement of provenance as a document, validated by the schemas of in-toto and SLSA.

    :raises ValueError: it is not a valid statement; in one line.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    document = json.loads(content)
    try:
        parsed = ParseDict(document, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
        provenance = ParseDict(document.get("predicate", {}), provenance_pb2.Provenance())
    except (ParseError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    if parsed.predicate_type != PREDICATE_TYPE:
        raise ValueError(f"predicate type {parsed.predicate_type!r} is not {PREDICATE_TYPE}")
    if not provenance.build_definition.build_type or not provenance.run_details.builder.id:
        raise ValueError("SLSA provenance must name its build type and its builder")
    return dict(document)


def _build(record: PublishedRecord, evidence: Evidence) -> BuildResult:
    build = evidence.build
    what = f"{record.nevr} on {record.target}"
    if build is None:
        raise CannotRun(f"build.json of {what} is missing", "publish from the build's folder")
    if (build.identity, build.target, build.package) != (record.identity, record.target, record.package):
        found = f"{build.package} on {build.target}, build {build.identity[:12]}"
        raise CannotRun(
            f"build.json is of {found}, not of {what}, build {record.identity[:12]}", "give the right build"
        )
    return build


def _subjects(record: PublishedRecord) -> list[Any]:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return [
        ResourceDescriptor(
            name=file.name,
            digest={"sha256": file.sha256},
            annotations={"unsignedSha256": file.unsigned_sha256, "repository": file.repository},
        ).pb
        for file in sorted(record.files, key=lambda file: file.name)
    ]


def _predicate(
    site: Site, target: Target, package: SourcePackage, record: PublishedRecord, evidence: Evidence, build: BuildResult
) -> dict[str, Any]:
    """Return SLSA provenance, validated by its schema: an unknown or misplaced field raises an error."""
    from google.protobuf.json_format import MessageToDict, ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

    entry = target.model_dump(mode="json")
    repository = _repository(site, package)
    source = evidence.source
    external = {
        "package": package.name,
        "target": target.name,
        "source": _present(
            repository=repository, commit=record.commit, branch=source.branch if source else "",
            patch=source.patch if source else "",
        ),
    }  # fmt: skip
    internal = _present(
        identity=build.identity,
        backend=site.build.backend,
        tree=build.tree,
        buildConfigurationSha256=identity_of(site.build.model_dump(mode="json")),
        targetEntry={
            "sha256": identity_of(entry),
            "rpmArch": target.rpm_arch,
            "isaLevel": target.isa_level,
            "flags": target.flags.model_dump(mode="json"),
        },
        modification=package.modification.model_dump(mode="json") if package.modification else None,
    )
    document = {
        "buildDefinition": {
            "buildType": build_type(site),
            "externalParameters": external,
            "internalParameters": internal,
            "resolvedDependencies": _dependencies(record, build, repository),
        },
        "runDetails": {
            "builder": {
                "id": builder_id(site, target.name),
                "version": _present(backend=site.build.backend, tree=build.tree),
            },
            "metadata": {"invocationId": build.identity},
            "byproducts": [*_proofs(evidence), *_logs(build)],
        },
    }
    parsed = ParseDict(document, provenance_pb2.Provenance())
    return dict(MessageToDict(parsed))


def _dependencies(record: PublishedRecord, build: BuildResult, repository: str) -> list[dict[str, Any]]:
    """Return all inputs of the build: commit, source package, packages of the buildroot, the build tree."""
    found: list[dict[str, Any]] = []
    if record.commit:
        uri = f"git+{repository}@{record.commit}" if "://" in repository else ""
        found.append(_present(name=f"{record.package}.git", uri=uri, digest={"gitCommit": record.commit}))
    if build.srpm:
        found.append({"name": build.srpm.name, "digest": {"sha256": build.srpm.sha256}})
    if build.tree:
        found.append({"name": "build tree", "annotations": {"identity": build.tree}})
    for line in sorted(build.buildroot):
        nevra, _, checksum = line.partition(" ")
        found.append(_present(name=nevra, digest={"sha256": checksum} if checksum else None))
    return found


def _proofs(evidence: Evidence) -> Iterable[dict[str, Any]]:
    """Yield the result files with their checksums and counts."""
    counts: dict[str, Mapping[str, Any]] = {
        "build.json": {},
        "verify.json": proof_counts(evidence.verify) if evidence.verify else {},
        "test.json": suite_counts(evidence.test) if evidence.test else {},
    }
    for name in evidence.files:
        yield _present(
            name=name, mediaType="application/json", digest={"sha256": evidence.sha256(name)}, annotations=counts[name]
        )


def _logs(build: BuildResult) -> Iterable[dict[str, Any]]:
    for log in sorted(build.logs, key=lambda log: log.name):
        yield {"name": log.name, "digest": {"sha256": log.sha256}}


def proof_counts(verify: VerifyResult) -> dict[str, Any]:
    """Return the numbers of a proof: checks by outcome, functions, frame pointers."""
    outcomes = Counter(check.outcome for check in verify.checks)
    return {
        "outcome": verify.outcome,
        "summary": verify.summary,
        "isaLevel": verify.level,
        "checks": {name: outcomes[name] for name in ("passed", "failed", "skipped")},
        "functions": sum(file.functions for file in verify.files),
        "framePointers": sum(file.framed for file in verify.files),
    }


def suite_counts(test: TestResult) -> dict[str, Any]:
    """Return the numbers of a test: cases by outcome, for each suite."""
    return {
        "outcome": test.outcome,
        "summary": test.summary,
        "suites": {
            suite.suite: {
                "outcome": suite.outcome,
                "cases": _outcomes(case.outcome for case in suite.cases),
                **_present(accelerator=suite.accelerator, cpu=suite.cpu, kernel=suite.kernel),
            }
            for suite in test.suites
        },
    }


def _outcomes(outcomes: Iterable[str]) -> dict[str, int]:
    counted = Counter(outcomes)
    return {name: counted[name] for name in ("passed", "failed", "flaky", "skipped")}


def _repository(site: Site, package: SourcePackage) -> str:
    """Return the address of the package's dist-git without credentials; for a folder of this host, only its name."""
    address = site.sources.dist_git.format(package=package.name, state="")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "ssh", "git"):
        return f"{package.name}.git"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _present(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in ("", None, {}, ())}


def _with_integers(value: Any) -> Any:
    """Return the value with whole numbers as integers: protobuf's Struct has only floating-point numbers."""
    if isinstance(value, dict):
        return {name: _with_integers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_integers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _canonical(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
