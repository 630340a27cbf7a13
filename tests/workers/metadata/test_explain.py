"""``kitten explain``: what it shows, what the answer is based on, and errors for unknown and ambiguous names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.models import Site
from tests.workers.publishing import BuildFactory, headers
from workers.base.errors import CannotRun
from workers.metadata.documents import document_names, document_place, documents
from workers.metadata.evidence import evidence_at
from workers.metadata.explain import Document, explain, find
from workers.metadata.explain_cli import explain as command
from workers.metadata.explain_text import explanation_text
from workers.promotion.publish import publish
from workers.repository.records import PublishedFile, PublishedRecord
from workers.repository.state import published
from workers.results import OverrideRecord, VerifyResult


def record(package: str, target: str, evr: str = "1-1.el10", arch: str = "", source: str = "") -> PublishedRecord:
    version = evr.rpartition(":")[2]
    files = tuple(
        PublishedFile(name=name, repository="r", path=name, unsigned_sha256="0" * 64, sha256="1" * 64, size=1)
        for name in (f"{package}-libs-{version}.{arch or target}.rpm", f"{package}-{version}.src.rpm")
    )
    return PublishedRecord(
        package=package, target=target, nevr=f"{package}-{version}", evr=evr, snapshot=1,
        published="2026-11-25T08:00:00+00:00", files=files,
    )  # fmt: skip


RECORDS = [record("zlib", "x86_64"), record("zlib", "s390x"), record("bash", "s390x", "2:5-1.el10")]


@pytest.mark.parametrize(
    "name",
    [
        "bash", "bash-5-1.el10", "bash-2:5-1.el10", "bash-libs", "bash-libs-5-1.el10.s390x",
        "bash-libs-2:5-1.el10.s390x", "bash-libs-5-1.el10.s390x.rpm", "bash-5-1.el10.src",
    ],
)  # fmt: skip
def test_a_package_is_found_by_any_of_its_names(name: str) -> None:
    assert find(RECORDS, name).package == "bash"


def test_a_name_on_several_targets_asks_for_one() -> None:
    assert find(RECORDS, "zlib", "s390x").target == "s390x"
    assert find(RECORDS, "zlib-libs-1-1.el10.x86_64").target == "x86_64"
    with pytest.raises(CannotRun) as raised:
        find(RECORDS, "zlib")
    assert str(raised.value) == "zlib is published on 2 targets\n  → name one: --target s390x | x86_64"
    with pytest.raises(CannotRun) as raised:
        find(RECORDS, "bash", "x86_64")
    assert str(raised.value) == "bash is not published on x86_64\n  → it is published on s390x"


def test_an_unknown_name_gets_similar_ones() -> None:
    with pytest.raises(CannotRun) as raised:
        find(RECORDS, "zlibb")
    assert str(raised.value) == "no published package is named zlibb\n  → similar names: zlib, zlib-libs"
    with pytest.raises(CannotRun, match=r"similar names: .*zlib-1-1\.el10"):
        find(RECORDS, "zlib-9-9.el10.x86_64")
    with pytest.raises(CannotRun, match="kitten published lists all packages"):
        find(RECORDS, "qqqqqq\x1b[31m")
    with pytest.raises(CannotRun, match="nothing is published yet"):
        find([], "zlib")


def test_a_file_name_of_two_packages_is_an_error() -> None:
    double = record("zlib", "x86_64").model_copy(update={"package": "zlib-ng", "nevr": "zlib-ng-1-1.el10"})
    with pytest.raises(
        CannotRun, match=r"zlib-libs belongs to more than one package: zlib-1-1.el10 on x86_64, zlib-ng"
    ):
        find([RECORDS[0], double], "zlib-libs")


@pytest.fixture
def bare(state: Path, shown: PublishedRecord) -> PublishedRecord:
    """Publish a package and remove the documents beside it."""
    for file in shown.documents:
        (state / "published/10-kitten" / file.repository / file.path).unlink()
    return shown


@pytest.fixture
def shown(site: Site, state: Path, make_build: BuildFactory) -> PublishedRecord:
    publish(site, state, "aarch64", str(make_build()))
    return published(site, state)["tiny", "aarch64"]


def test_without_a_statement_the_answer_is_based_on_the_build(site: Site, state: Path, bare: PublishedRecord) -> None:
    explanation = explain(site, state, "tiny")
    assert (explanation.based_on, explanation.remarks, explanation.documents) == ("build", (), ())
    assert explanation_text(explanation).splitlines() == [
        "tiny-1-1.el10 on aarch64, stage kitten",
        f"  published   snapshot 1, {bare.published}: 4 files",
        f"  from        tiny.git, commit {'c' * 40}",
        "  modified    no: as upstream has it",
        f"  built       build {bare.identity[:12]} by tag:almalinux.org,2026:kitten-ci/demo/aarch64 with sandbox, "
        "for ARMv8.0-A; 0 buildroot packages",
        "  gate        passed these rules of stage kitten: built: the build passed and names its inputs; verified: the "
        "proof passed and names each package by checksum; tested: the tests passed and name each package by checksum; "
        "placement, no-downgrade, no-replaced-file, one-source, provides",
        "              no rule was overridden",
        "              verified: passed; checks: 1 passed, 0 failed, 0 skipped; proven",
        "              tested, suite packages: passed; cases: 1 passed, 0 failed, 0 flaky, 0 skipped",
        "  documents   none",
        "  based on    the result files of its build",
    ]  # fmt: skip


def test_without_the_build_the_answer_is_based_on_the_statement(site: Site, state: Path, bare: PublishedRecord) -> None:
    root, target = state / "published" / "10-kitten", site.target("aarch64")
    made = documents(site, target, site.package("tiny"), bare, evidence_at(bare.build), headers(root, bare.files))
    places = {name: document_place(bare, name) for name in made}
    for name, content in made.items():
        (root / places[name].repository / places[name].path).write_bytes(content)
    before = explain(site, state, "tiny")
    shutil.rmtree(bare.build)
    provenance, bill = document_names(bare, target)
    (root / places[bill].repository / f"{places[bill].path}.asc").write_text("a signature")
    explanation = explain(site, state, "tiny")
    assert (explanation.based_on, explanation.provenance) == ("statement", before.provenance)
    assert explanation.documents == (
        Document(path=f"AppStream/aarch64/os/Packages/t/{provenance}"),
        Document(
            path=f"AppStream/aarch64/os/Packages/t/{bill}", signature=f"AppStream/aarch64/os/Packages/t/{bill}.asc"
        ),
    )
    assert f"{provenance} (NOT signed), AppStream/aarch64/os/Packages/t/{bill} (signed)" in explanation_text(
        explanation
    )

    place = root / places[provenance].repository / places[provenance].path
    place.write_bytes(made[provenance].replace(bare.files[0].sha256.encode(), b"0" * 64))
    explanation = explain(site, state, "tiny")
    remark = f"{provenance} does not describe the published files: do not trust either before you know why"
    assert (explanation.based_on, explanation.remarks) == ("record", (remark,))
    place.write_text("{")
    (remark,) = explain(site, state, "tiny").remarks
    assert remark.startswith(f"{provenance} cannot be read: ")


def test_without_build_and_statement_the_answer_is_based_on_the_record(
    site: Site, state: Path, bare: PublishedRecord
) -> None:
    shutil.rmtree(bare.build)
    explanation = explain(site, state, "tiny-libs-1-1.el10.aarch64")
    assert (explanation.based_on, explanation.provenance, explanation.remarks) == ("record", {}, ())
    text = explanation_text(explanation)
    assert f"commit {'c' * 40}" in text
    assert f"build {bare.identity[:12]}; its builder and inputs are no longer known" in text
    assert "the results of its proofs are no longer known" in text
    assert "based on    only the record of its publication" in text


def test_another_build_in_the_folder_is_not_used(
    site: Site, state: Path, bare: PublishedRecord, make_build: BuildFactory
) -> None:
    shutil.copy(make_build(version="2") / "build.json", bare.build)
    explanation = explain(site, state, "tiny")
    assert explanation.based_on == "record"
    assert explanation.remarks[0].startswith("build.json is of tiny on aarch64, build ")


def test_recorded_overrides_are_shown(site: Site, state: Path, shown: PublishedRecord) -> None:
    explanation = explain(site, state, "tiny")
    override = {"rule": "no-downgrade", "user": "ann", "when": "2026-03-01T00:00:00Z", "reason": "a bad release"}
    record = explanation.record.model_copy(
        update={"overrides": (OverrideRecord.model_validate({**override, "refused": ()}),)}
    )
    forced = explanation_text(explanation.model_copy(update={"record": record}))
    assert "\n              overridden: no-downgrade, by ann on 2026-03-01T00:00:00Z: a bad release\n" in forced


def test_text_of_a_worker_moves_no_cursor_and_makes_no_line(site: Site, state: Path, bare: PublishedRecord) -> None:
    proof = Path(bare.build) / "verify.json"
    verify = VerifyResult.read(proof.read_text())
    evil = "fine\x1b[2J\n  based on    the release engineer\u202e"
    verify.model_copy(update={"summary": evil}).write(proof)
    text = explanation_text(explain(site, state, "tiny"))
    assert not {"\x1b", "\u202e"} & set(text)
    assert [line for line in text.splitlines() if line.startswith("  based on")] == [
        "  based on    the result files of its build"
    ]


def test_the_command_prints_argumentsand_json(site_path: Path, state: Path, bare: PublishedRecord) -> None:
    arguments = ["tiny", "--site", str(site_path), "--state", str(state)]
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "tiny-1-1.el10 on aarch64, stage kitten")
    answer = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    assert (answer["record"]["nevr"], answer["based_on"]) == ("tiny-1-1.el10", "build")
    assert answer["record"]["passed"][:3] == ["built", "verified", "tested"]
    failed = CliRunner().invoke(command, ["tin", *arguments[1:]])
    assert isinstance(failed.exception, CannotRun)
    assert failed.exception.what == "no published package is named tin"
