"""Groups: the content of a repository's comps.xml, and that dnf lists and installs its groups."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from config.models import Groups
from tests.workers.publishing import RpmFactory
from workers.base import namespace
from workers.metadata.comps import comps_xml

GROUPS = Groups.model_validate(
    {
        "groups": [
            {
                "name": "parts",
                "title": "Parts",
                "mandatory": ["tiny-libs"],
                "default": ["tiny-doc"],
                "optional": ["huge"],
            },
            {"name": "hidden", "title": "Hidden", "visible": False, "optional": ["tiny-doc"]},
            {"name": "elsewhere", "title": "Elsewhere", "default": ["huge"]},
        ],
        "categories": [{"name": "all", "title": "All", "groups": ["elsewhere", "parts"]}],
        "environments": [
            {"name": "system", "title": "System", "groups": ["parts", "elsewhere"], "optional": ["hidden"]},
            {"name": "none", "title": "None", "groups": ["elsewhere"]},
        ],
    }
)


def read(text: bytes) -> object:
    import libcomps

    comps = libcomps.Comps()
    assert comps.fromxml_str(text.decode()) == 0, comps.get_last_errors()
    return comps


def test_comps_has_only_groups_and_members_of_the_repository() -> None:
    text = comps_xml(GROUPS, {"tiny-libs", "tiny-doc"})
    assert text is not None
    comps = read(text)
    groups = {g.id: ([p.name for p in g.packages], g.uservisible) for g in comps.groups}  # type: ignore[attr-defined]
    assert groups == {"parts": (["tiny-libs", "tiny-doc"], True), "hidden": (["tiny-doc"], False)}
    assert [[i.name for i in c.group_ids] for c in comps.categories] == [["parts"]]  # type: ignore[attr-defined]
    (system,) = comps.environments  # type: ignore[attr-defined]
    assert (system.id, [i.name for i in system.group_ids]) == ("system", ["parts"])
    assert [i.name for i in system.option_ids] == ["hidden"]


def test_a_repository_without_members_has_no_comps() -> None:
    assert comps_xml(GROUPS, {"other"}) is None


def test_the_same_input_gives_the_same_bytes() -> None:
    assert comps_xml(GROUPS, ["tiny-doc", "tiny-libs"]) == comps_xml(GROUPS, ["tiny-libs", "tiny-doc", "other"])


CONTROL = b"""<comps><group><id>control</id><name>Control</name><uservisible>true</uservisible><packagelist>
<packagereq type="mandatory">tiny-libs</packagereq></packagelist></group></comps>"""


def test_dnf_lists_and_installs_a_group(make_rpms: RpmFactory, tmp_path: Path) -> None:
    for tool in ("dnf", "createrepo_c"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install {tool.replace('_', '-')}")
    repository = tmp_path / "repository"
    repository.mkdir()
    for rpm in make_rpms("aarch64"):
        if not rpm.name.endswith(".src.rpm"):
            shutil.copy(rpm, repository)
    (tmp_path / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    command = [*namespace.as_root(), "dnf", "--noplugins", "--assumeyes", "--forcearch", "aarch64"]
    command += ["--releasever", "10", "--installroot", str(tmp_path / "root")]
    command += [f"--setopt={name}={tmp_path / name}" for name in ("cachedir", "persistdir", "logdir")]
    command += ["--setopt=reposdir=/nowhere", "--setopt=gpgcheck=0", f"--repofrompath=tiny,file://{repository}"]
    (tmp_path / "logdir").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}

    def dnf(*words: str, statuses: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True)
        assert done.returncode in statuses, done.stdout + done.stderr
        return done.stdout

    def groups(comps: bytes, *statuses: int) -> set[str]:
        (tmp_path / "comps.xml").write_bytes(comps)
        make = ["createrepo_c", "--groupfile", tmp_path / "comps.xml", repository]
        subprocess.run(make, check=True, capture_output=True)
        return {line.strip() for line in dnf("--refresh", "group", "list", statuses=(0, *statuses)).splitlines()}

    if "Control" not in groups(CONTROL, -signal.SIGSEGV):
        pytest.skip("dnf of this host lists no group of any repository, or crashes (seen with dnf 4.23 of Debian 13)")
    text = comps_xml(GROUPS, {"tiny-libs", "tiny-doc"})
    assert text is not None
    listed = groups(text)
    assert {"System", "Parts"} <= listed
    assert not {"Hidden", "Elsewhere", "None"} & listed
    installed = dnf("group", "install", "parts")
    assert "tiny-libs" in installed
    assert "tiny-doc" in installed
