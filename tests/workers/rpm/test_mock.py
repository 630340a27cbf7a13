"""The mock backend: configuration, command line and causes of failures. The logs are like those of mock 6."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from config.loading import load_site
from config.models import Site, Target
from tests.workers.rpm.conftest import LIBRARY, MakeSource
from workers.base.errors import CannotRun
from workers.repository import buildroot
from workers.rpm import mock
from workers.rpm.build import Order, backend, build

SITE = load_site("kitten-10")


def evaluated(text: str) -> tuple[dict[str, Any], list[str]]:
    """Return the options that mock reads, and its includes: its configuration files are Python."""
    options: dict[str, Any] = {"macros": {}, "plugin_conf": {}, "dnf.conf": "[main]\n"}
    included: list[str] = []
    exec(compile(text, "mock.cfg", "exec"), {"config_opts": options, "include": included.append})  # noqa: S102
    return options, included


@pytest.mark.parametrize("target", SITE.targets, ids=lambda target: target.name)
def test_each_target_has_its_configuration_with_its_options(target: Target) -> None:
    options, included = evaluated(mock.configuration(SITE, target, None))
    assert included == [f"/etc/mock/{target.mock.config}.cfg"]
    for name, value in target.mock.options.items():
        assert options[name] == value
    assert options["macros"]["%vendor"] == SITE.build.vendor
    assert options["dist"] == "el10"
    assert options["rpmbuild_timeout"] == SITE.build.timeout_minutes * 60
    assert options["rpmbuild_networking"] is False


def test_staged_packages_are_one_more_repository_if_it_has_an_index(tmp_path: Path) -> None:
    assert evaluated(mock.configuration(SITE, SITE.targets[0], None))[0]["dnf.conf"] == "[main]\n"
    text = evaluated(mock.configuration(SITE, SITE.targets[0], tmp_path))[0]["dnf.conf"]
    assert f"baseurl=file://{tmp_path}\n" in text
    assert "[kitten-staged]\nname=Packages that this target has staged\n" in text


def test_a_nested_option_reaches_the_plugins() -> None:
    target = SITE.targets[0]
    asked = target.mock.model_copy(
        update={"options": {"plugin_conf.ccache_enable": False, "dnf.conf": "[main]\nbest=1\n"}}
    )
    options, _ = evaluated(mock.configuration(SITE, target.model_copy(update={"mock": asked}), None))
    assert options["plugin_conf"]["ccache_enable"] is False
    assert options["dnf.conf"] == "[main]\nbest=1\n"


def test_the_command_line_is_one_of_mock() -> None:
    line = mock.command_line("mock", Path("/w/kitten-x86_64.cfg"), Path("/w/results"), "kitten-1", Path("/w/a.src.rpm"))
    assert line == (
        [
            "mock",
            "--root",
            "/w/kitten-x86_64.cfg",
            "--resultdir",
            "/w/results",
            "--uniqueext",
            "kitten-1",
            "--rebuild",
            "/w/a.src.rpm",
        ]
    )


BUILD = """Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.3
FAIL: test-2
error: Bad exit status from /var/tmp/rpm-tmp.3 (%check)
Child return code was: 1
EXCEPTION: [Error('Command failed: \\n # bash --login -c /usr/bin/rpmbuild -bb ...\\n', 1)]
"""
STATE = "2025-06-02 10:13:17,222 - Start: rpmbuild bzip2-1.0.8-1.el10.src.rpm\n"
ROOT = """INFO buildroot.py:672:  Installed packages:
DEBUG util.py:460:  No matching package to install: 'zlib-ng-devel'
DEBUG util.py:460:  Not all dependencies satisfied
DEBUG util.py:460:  Error: Some packages could not be found.
DEBUG util.py:609:  Child return code was: 1
"""
MIRROR = """DEBUG util.py:460:  Errors during downloading metadata for repository 'baseos':
DEBUG util.py:460:  Error: Failed to download metadata for repo 'baseos': Cannot download repomd.xml
"""
OUTPUT = """Finish: build phase for bzip2-1.0.8-1.el10.src.rpm
ERROR: Exception(bzip2-1.0.8-1.el10.src.rpm) Config(kt) 1 minutes 48 seconds
INFO: Results and/or logs in: /w
ERROR: builddep command missing.
Please install package dnf-plugins-core.
"""


@pytest.mark.parametrize(
    ("status", "texts", "log", "message"),
    [
        (1, {"build.log": BUILD, "state.log": STATE}, "build.log", "%check failed: FAIL: test-2"),
        (10, {"build.log": BUILD}, "build.log", "%check failed: FAIL: test-2"),
        (30, {"root.log": ROOT}, "root.log", "No matching package to install: 'zlib-ng-devel'"),
        (30, {"root.log": MIRROR, "build.log": ""}, "root.log", "Failed to download metadata for repo 'baseos'"),
        (1, {"root.log": "DEBUG util.py:1:  fine\n", "mock.log": OUTPUT}, "mock.log", "builddep command missing"),
        (11, {"build.log": "Executing(%check): x\nround 12\n"}, "build.log", "%check did not end within 240 min"),
        (1, {"mock.log": "Traceback\nOSError: gone\n"}, "mock.log", "mock failed with 1: OSError: gone"),
    ],
)
def test_the_log_with_the_cause_is_named(status: int, texts: dict[str, str], log: str, message: str) -> None:
    name, line = mock.classify(status, texts, 240)
    assert name == log
    assert message in line


def test_the_buildroots_packages_are_read() -> None:
    text = "zlib-0:1.3.1-1.el10.x86_64 1748822400 94332 installed\ngcc-0:14.2.1-7.el10.x86_64 1748822400 1 installed\n"
    assert mock.installed_packages(text) == ("gcc-0:14.2.1-7.el10.x86_64", "zlib-0:1.3.1-1.el10.x86_64")


@pytest.mark.skipif(shutil.which("mock") is not None, reason="mock is installed here")
def test_a_host_without_mock_gets_a_hint(tmp_path: Path) -> None:
    package = buildroot.Solvable("a", "1-1", "src", tmp_path / "a.src.rpm")
    (tmp_path / "kt.cfg").touch()
    with pytest.raises(CannotRun, match="mock is not installed") as caught:
        mock.Mock(SITE, SITE.targets[0], tmp_path).plan(package)
    assert "dnf install mock" in caught.value.hint


@pytest.mark.skipif(
    shutil.which("mock") is None, reason="mock is not installed: it comes with Enterprise Linux and Fedora only"
)
def test_mock_rebuilds_a_source_package(site: Site, tmp_path: Path, make_srpm: MakeSource) -> None:
    with_mock = site.model_copy(update={"build": site.build.model_copy(update={"backend": "mock"})})
    target = with_mock.target("x86_64")
    srpm = make_srpm("greet", "int greet(void) { return 42; }\n", **LIBRARY)
    result = build(
        Order(with_mock, tmp_path, target, srpm=str(srpm)), backend(with_mock, target, tmp_path / "staged/x86_64")
    )
    assert result.outcome == "passed", result.cause
    assert {rpm.name.rsplit("-", 2)[0] for rpm in result.rpms} >= {"greet", "greet-devel"}
    assert result.buildroot
