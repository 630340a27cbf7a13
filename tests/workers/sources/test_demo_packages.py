"""The content of the demo's dist-git repositories, as far as it can be checked without rpm."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from config.loading import FOLDER, load_site
from workers.sources import lookaside, srpm

CONTENT = FOLDER / "demo" / "dist-git"
SITE = load_site("demo")
PACKAGES = [package.name for package in SITE.packages]


def test_the_demo_has_content_for_exactly_its_packages() -> None:
    assert sorted(path.name for path in CONTENT.iterdir()) == sorted(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_sources_file_names_the_sources_of_the_spec(name: str) -> None:
    spec = srpm.only_spec(CONTENT / name).read_text()
    values = dict(re.findall(r"(?m)^(Name|Version):\s+(\S+)$", spec))
    wanted = [
        line.replace("%{version}", values["Version"]).replace("%{name}", values["Name"])
        for line in re.findall(r"(?m)^Source\d*:\s+(\S+)$", spec)
    ]
    assert values["Name"] == name
    assert [tarball.file for tarball in lookaside.parse((CONTENT / name / "sources").read_text())] == wanted


@pytest.mark.parametrize("name", PACKAGES)
def test_the_spec_runs_upstreams_tests_and_is_dated(name: str) -> None:
    spec = srpm.only_spec(CONTENT / name).read_text()
    assert "\n%check\n" in spec
    assert srpm.changelog_seconds(spec) is not None
    assert SITE.package(name).upstream


@pytest.mark.parametrize("name", PACKAGES)
def test_the_plan_of_the_smoke_test_counts_its_checks(name: str) -> None:
    script = CONTENT / name / "tests" / "smoke.sh"
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    plan = re.search(r'(?m)^echo "1\.\.(\d+)"$', text)
    assert plan
    assert int(plan[1]) == len(re.findall(r"(?m)^check \"", text))


@pytest.mark.parametrize("name", PACKAGES)
def test_the_smoke_test_fails_if_the_package_is_missing(name: str, tmp_path: Path) -> None:
    """Each check uses the package's programs, not others of the same name on this machine, and fails without them."""
    program = {"zlib": "/usr/libexec/zlib/tests/minigzip"}.get(name, f"/usr/bin/{name}")
    script = (CONTENT / name / "tests" / "smoke.sh").read_text()
    assert program.rpartition("/")[0] in script
    broken = tmp_path / "smoke.sh"
    broken.write_text(script.replace("/usr/bin/", f"{tmp_path}/none/").replace("/usr/libexec/", f"{tmp_path}/none/"))
    done = subprocess.run(
        ["sh", broken], capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert "\nnot ok 1 " in done.stdout
    assert "\nok " not in done.stdout
