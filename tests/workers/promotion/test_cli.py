"""The commands: exit status, result file, and what a person reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from config.loading import load_site
from tests.workers.publishing import BuildFactory
from workers.results import PublishResult, StageResult
from workers.sandbox.base_package import sandbox_base


def kitten(site: Path, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("kitten")
    argv = [str(program), *words, "--site", str(site), "--state", str(state)]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.mark.sandbox
def test_the_way_of_a_build(site_path: Path, state: Path, make_build: BuildFactory, tmp_path: Path) -> None:
    site = load_site(str(site_path))
    sandbox_base(site, site.target("aarch64"))  # made once for the cache, with lines of its own
    build = str(make_build())
    result = tmp_path / "result.json"
    done = kitten(site_path, state, "stage", "--target", "aarch64", "--build", build, "--json", str(result))
    assert (done.returncode, done.stdout) == (0, "tiny-1-1.el10: 2 packages staged for aarch64\n"), done.stderr
    assert StageResult.read(result.read_text()).nevr == "tiny-1-1.el10"
    assert kitten(site_path, state, "published").stdout == "nothing is published yet\n"
    done = kitten(site_path, state, "publish", "--target", "aarch64", "--build", build, "--json", str(result))
    assert (done.returncode, done.stdout) == (0, "tiny-1-1.el10: 4 packages published on aarch64, snapshot 1\n"), (
        done.stderr
    )
    assert PublishResult.read(result.read_text()).snapshot == 1
    records = {r["package"]: r for r in json.loads(kitten(site_path, state, "published", "--json").stdout)}
    assert set(records) == {"tiny", "sandbox-base"}
    record = records["tiny"]
    assert (record["package"], record["target"], record["nevr"]) == ("tiny", "aarch64", "tiny-1-1.el10")
    assert "tiny-1-1.el10" in kitten(site_path, state, "published").stdout


def test_a_refusal_exits_1_and_its_result_file_says_why(
    site_path: Path, state: Path, make_build: BuildFactory, tmp_path: Path
) -> None:
    build = make_build()
    (build / "test.json").unlink()
    result = tmp_path / "result.json"
    done = kitten(site_path, state, "publish", "--target", "aarch64", "--build", str(build), "--json", str(result))
    assert done.returncode == 1
    message = "tiny-1-1.el10 is not published on aarch64: tested: there is no test.json → kitten test"
    lines = [line for line in done.stderr.splitlines() if not line.startswith("cache: ")]  # an empty cache is filled
    assert lines[0].startswith(message)
    answer = PublishResult.read(result.read_text())
    assert (answer.outcome, answer.cause.split(":")[0]) == ("failed", "tested")


def test_what_cannot_run_exits_2_with_a_line_and_a_way_on(site_path: Path, state: Path) -> None:
    for words in (
        ["stage", "--target", "aarch64", "--build", "nowhere"],
        ["publish", "--target", "vax", "--build", "nowhere"],
        ["rollback"],
        ["install-check", "--target", "aarch64"],
    ):
        done = kitten(site_path, state, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("kitten: ")
        assert len(done.stderr.splitlines()) <= 2


def test_what_cannot_run_leaves_a_result_file_too(site_path: Path, state: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    kitten(site_path, state, "publish", "--target", "aarch64", "--build", "nowhere", "--json", str(result))
    answer = PublishResult.read(result.read_text())
    assert (answer.outcome, answer.target) == ("cannot-run", "aarch64")
    assert answer.summary.startswith("there is no build at ")
