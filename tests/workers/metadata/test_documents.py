"""The statement of provenance and the bill of materials: their content, validity and errors."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.publishing import BuildFactory, headers
from workers.base.errors import CannotRun
from workers.metadata import provenance, sbom
from workers.metadata.documents import document_names, document_place, documents
from workers.metadata.evidence import Evidence, evidence_at
from workers.promotion.publish import publish
from workers.repository.index import describe
from workers.repository.placement import Place
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.state import published

pytestmark = pytest.mark.slow

Unit = tuple[PublishedRecord, Evidence, dict[str, IndexedPackage]]


@pytest.fixture
def unit(site: Site, state: Path, make_build: BuildFactory) -> Unit:
    """Publish a package on aarch64; return its record, its evidence and the headers of its files."""
    build = make_build()
    publish(site, state, "aarch64", str(build))
    record = published(site, state)["tiny", "aarch64"]
    return record, evidence_at(record.build), headers(state / "published" / "10-kitten", record.files)


def made_documents(site: Site, unit: Unit) -> dict[str, bytes]:
    record, evidence, files = unit
    return documents(site, site.target("aarch64"), site.package("tiny"), record, evidence, files)


def test_both_documents_are_stored_beside_the_package(site: Site, unit: Unit) -> None:
    record = unit[0]
    found = made_documents(site, unit)
    assert tuple(found) == document_names(record, site.target("aarch64")) == (
        "tiny-1-1.el10.aarch64.intoto.json", "tiny-1-1.el10.aarch64.cdx.json",
    )  # fmt: skip
    place = document_place(record, "tiny-1-1.el10.aarch64.cdx.json.asc")
    assert place == Place("AppStream/aarch64/os", "Packages/t/tiny-1-1.el10.aarch64.cdx.json.asc")


def test_the_same_publication_gives_the_same_bytes(site: Site, unit: Unit) -> None:
    assert made_documents(site, unit) == made_documents(site, unit)


def test_the_statement_says_where_each_published_file_comes_from(site: Site, unit: Unit) -> None:
    record, _, files = unit
    document = provenance.parse_statement(made_documents(site, unit)["tiny-1-1.el10.aarch64.intoto.json"])
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert {subject["name"]: subject["digest"]["sha256"] for subject in document["subject"]} == {
        name: header.pkgId for name, header in files.items()
    }
    unsigned = {subject["name"]: subject["annotations"]["unsignedSha256"] for subject in document["subject"]}
    assert unsigned == dict(record.unsigned)
    assert all(unsigned[s["name"]] != s["digest"]["sha256"] for s in document["subject"]), "signed files differ"
    definition, run = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert definition["externalParameters"] == {
        "package": "tiny", "target": "aarch64", "source": {"repository": "tiny.git", "commit": "c" * 40},
    }  # fmt: skip
    entry = definition["internalParameters"]["targetEntry"]
    assert (entry["isaLevel"], len(entry["sha256"])) == ("ARMv8.0-A", 64)
    assert "-fno-omit-frame-pointer" in entry["flags"]["frame_pointers"]
    assert run["builder"]["id"] == "tag:almalinux.org,2026:kitten-ci/demo/aarch64"
    assert run["metadata"]["invocationId"] == record.identity
    proofs = {proof["name"]: proof for proof in run["byproducts"]}
    folder = Path(record.build)
    for name in ("build.json", "verify.json", "test.json"):
        assert proofs[name]["digest"]["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert proofs["verify.json"]["annotations"]["checks"] == {"passed": 1, "failed": 0, "skipped": 0}
    suites = proofs["test.json"]["annotations"]["suites"]
    assert suites == {"packages": {"outcome": "passed", "cases": {"passed": 1, "failed": 0, "flaky": 0, "skipped": 0}}}
    assert str(folder.parent) not in json.dumps(document), "no path of the host is published"


def test_the_buildroot_is_named_with_the_checksums_that_are_known(site: Site, unit: Unit) -> None:
    record, evidence, _ = unit
    build = evidence.build
    assert build is not None
    rooted = build.model_copy(update={"buildroot": ("bar-1-1.noarch", f"foo-1-1.aarch64 {'f' * 64}"), "tree": "t"})
    changed = Evidence(rooted.model_dump_json().encode(), evidence.verify_json)
    text = provenance.statement(site, site.target("aarch64"), site.package("tiny"), record, changed)
    document = provenance.parse_statement(text)
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[0] == {"name": "tiny.git", "digest": {"gitCommit": "c" * 40}}
    assert dependencies[1]["name"] == "tiny-1-1.el10.src.rpm"
    assert dependencies[2:] == [
        {"name": "build tree", "annotations": {"identity": "t"}},
        {"name": "bar-1-1.noarch"},
        {"name": "foo-1-1.aarch64", "digest": {"sha256": "f" * 64}},
    ]
    assert [p["name"] for p in document["predicate"]["runDetails"]["byproducts"]] == ["build.json", "verify.json"]


def test_credentials_in_the_address_of_dist_git_are_not_published(site: Site, unit: Unit) -> None:
    sources = site.sources.model_copy(update={"dist_git": "https://ci:secret@git.example.org/rpms/{package}.git?t=k"})
    document = made_documents(site.model_copy(update={"sources": sources}), unit)[
        "tiny-1-1.el10.aarch64.intoto.json"
    ].decode()
    assert f"git+https://git.example.org/rpms/tiny.git@{'c' * 40}" in document
    assert "secret" not in document


def test_another_builds_evidence_is_refused(site: Site, unit: Unit) -> None:
    record, evidence, files = unit
    build = evidence.build
    assert build is not None
    other = Evidence(build.model_copy(update={"identity": "0" * 64}).model_dump_json().encode())
    with pytest.raises(CannotRun, match=r"build.json is of tiny on aarch64, build 000000000000, not of tiny-1-1.el10"):
        made_documents(site, (record, other, files))
    with pytest.raises(CannotRun, match=r"build.json of tiny-1-1.el10 on aarch64 is missing"):
        made_documents(site, (record, Evidence(), files))
    with pytest.raises(CannotRun, match=r"build.json: not a result of BuildResult"):
        made_documents(site, (record, Evidence(b"{}"), files))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "Wrong statement type"),
        ({"subject": []}, "At least one subject required"),
        ({"subject": [{"name": "a"}]}, "At least one digest required"),
        ({"predicateType": "https://example.org/other"}, "is not https://slsa.dev/provenance/v1"),
        ({"predicate": {"buildDefinition": {}, "runDetails": {}}}, "must name its build type and its builder"),
        ({"predicate": {"invented": 1}}, 'no field named "invented"'),
    ],
)
def test_an_invalid_statement_of_provenance_is_refused(site: Site, unit: Unit, change: object, why: str) -> None:
    document = json.loads(made_documents(site, unit)["tiny-1-1.el10.aarch64.intoto.json"])
    document.update(change)
    with pytest.raises(ValueError, match=why):
        provenance.parse_statement(json.dumps(document).encode())


def test_the_bill_lists_packages_files_and_dependencies(site: Site, unit: Unit) -> None:
    content = made_documents(site, unit)["tiny-1-1.el10.aarch64.cdx.json"]
    assert sbom.problems(content) == ()
    bill = json.loads(content)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = {component["bom-ref"]: component for component in bill["components"]}
    libs = "pkg:rpm/kitten-ci-demo/tiny-libs@1-1.el10?arch=aarch64&upstream=tiny-1-1.el10.src.rpm"
    doc = "pkg:rpm/kitten-ci-demo/tiny-doc@1-1.el10?arch=noarch&upstream=tiny-1-1.el10.src.rpm"
    assert {"pkg:rpm/kitten-ci-demo/tiny@1-1.el10?arch=src", libs, doc} < set(components)
    record = unit[0]
    published_sums = {file.sha256 for file in record.files}
    assert {component["hashes"][0]["content"] for component in bill["components"]} == published_sums
    assert components[libs]["licenses"] == [{"license": {"id": "MIT"}}]
    (file,) = components[libs]["components"]
    assert (file["type"], file["name"]) == ("file", "/usr/share/tiny/libs")
    assert file["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"libs\n").hexdigest()}]
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    assert depends[doc] == [libs]
    assert depends[libs] == []
    assert sorted(depends["tiny-1-1.el10 on aarch64"]) == sorted(components)


SPEC = """
Name: odd
Version: 1.5
Release: 1
Epoch: 3
Summary: Odd & <b>bold</b>
License: GPLv2+ and Redistributable, no modification permitted
BuildArch: noarch
Provides: bundled(golang(example.org/x)) = 0.3
Provides: bundled(foo)
Requires: bar >= 2:1-1
Requires: libz.so.1()(64bit)
%description
Odd.
%files
"""


def test_bundled_projects_and_outside_dependencies_are_listed(site: Site, tmp_path: Path) -> None:
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not installed: apt-get install rpm")
    (tmp_path / "odd.spec").write_text(SPEC)
    subprocess.run(["rpmbuild", "-bb", "--define", f"_topdir {tmp_path}", "odd.spec"], cwd=tmp_path, check=True)
    (rpm,) = tmp_path.glob("RPMS/*/*.rpm")
    checksum = hashlib.sha256(rpm.read_bytes()).hexdigest()
    file = PublishedFile(
        name=rpm.name, repository="BaseOS/aarch64/os", path=rpm.name, unsigned_sha256="0" * 64, sha256=checksum, size=1
    )
    record = PublishedRecord(
        package="odd", target="aarch64", nevr="odd-1.5-1", evr="3:1.5-1", snapshot=1,
        published="2026-11-25T08:00:00+00:00", files=(file,),
    )  # fmt: skip
    zlib = "pkg:rpm/almalinux/zlib@1.3-1.el10?arch=aarch64"
    content = sbom.sbom(site, record, {rpm.name: describe(rpm, rpm.name)}, {"libz.so.1()(64bit)": zlib})
    bill = json.loads(content)
    odd = next(component for component in bill["components"] if component["name"] == "odd")
    assert odd["purl"] == "pkg:rpm/kitten-ci-demo/odd@1.5-1?arch=noarch&epoch=3&upstream=odd-1.5-1.src.rpm"
    assert odd["description"] == "Odd & <b>bold</b>"
    assert odd["licenses"] == [{"license": {"name": "GPLv2+ and Redistributable, no modification permitted"}}]
    assert {(part["name"], part.get("version")) for part in odd["components"]} == {
        ("golang(example.org/x)", "0.3"),
        ("foo", None),
    }
    assert odd["properties"] == [{"name": "rpm:requires", "value": "bar >= 2:1-1"}]
    assert {"ref": odd["bom-ref"], "dependsOn": [zlib]} in bill["dependencies"]
    assert bill["metadata"]["timestamp"] == "2026-11-25T08:00:00+00:00"


def test_a_bill_says_how_many_files_it_leaves_out(site: Site, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "MAX_FILES", 1)
    bill = json.loads(made_documents(site, unit)["tiny-1-1.el10.aarch64.cdx.json"])
    counts = [
        p["value"] for c in bill["components"] for p in c.get("properties", ()) if p["name"] == "rpm:files-left-out"
    ]
    listed = [part for c in bill["components"] for part in c.get("components", ()) if part["type"] == "file"]
    assert (len(listed), sum(map(int, counts))) == (1, 3)  # doc, libs, their debug file, the spec


def test_a_changed_package_gets_no_bill(site: Site, unit: Unit) -> None:
    record, evidence, files = unit
    damaged = record.files[0].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(CannotRun, match="is not the published file: its checksum differs"):
        made_documents(site, (record.model_copy(update={"files": (damaged, *record.files[1:])}), evidence, files))
    with pytest.raises(CannotRun, match=r"tiny-1-1.el10 on aarch64: tiny-1-1.el10.src.rpm is missing"):
        made_documents(site, (record, evidence, {}))


def test_an_invalid_bill_has_problems(site: Site, unit: Unit) -> None:
    bill = json.loads(made_documents(site, unit)["tiny-1-1.el10.aarch64.cdx.json"])
    bill["invented"] = True
    assert sbom.problems(json.dumps(bill).encode()) == (
        "Additional properties are not allowed ('invented' was unexpected)",
    )


def test_a_build_that_is_gone_leaves_no_evidence(tmp_path: Path) -> None:
    assert evidence_at(str(tmp_path / "gone")) == Evidence()
    assert Evidence().build is None
    (tmp_path / "build.json").write_text("{}")
    assert evidence_at(str(tmp_path)).files == {"build.json": b"{}"}
