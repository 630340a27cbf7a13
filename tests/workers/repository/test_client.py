"""dnf, as users have it, takes what is published and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.publishing import BuildFactory, write_index
from workers.base import cache, namespace
from workers.base.errors import CannotRun, CheckFailed
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository import index
from workers.repository.client import check_life, install
from workers.signing.sign import signer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dnf") is None, reason="dnf is not installed: apt-get install dnf"),
]


def replace(file: Path, content: bytes) -> None:
    """Write a new file; the old one may be a hard link."""
    file.unlink()
    file.write_bytes(content)


@pytest.mark.parametrize("target", ["x86_64", "x86_64_v2", "aarch64", "ppc64le", "s390x"])
def test_dnf_installs_what_is_published(site: Site, state: Path, make_build: BuildFactory, target: str) -> None:
    publish(site, state, target, str(make_build(target)))
    assert install(site, state, target) == ("tiny-doc-0:1-1.el10.noarch", f"tiny-libs-0:1-1.el10.{target}")


def test_dnf_refuses_a_package_changed_by_one_byte(site: Site, state: Path, make_build: BuildFactory) -> None:
    result = publish(site, state, "aarch64", str(make_build()))
    (rpm,) = (Path(p.url) for p in result.packages if p.name.startswith("tiny-libs-1"))
    content = bytearray(rpm.read_bytes())
    content[-1] ^= 1
    replace(rpm, bytes(content))
    with pytest.raises(CheckFailed, match=r"(?s)dnf refused to install tiny-libs for aarch64.*checksum"):
        install(site, state, "aarch64", ["tiny-libs"])


def test_dnf_refuses_an_index_edited_by_hand_and_a_rollback_to_the_same_content_repairs_it(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    repomd = state / "published/10-kitten/BaseOS/aarch64/os/repodata/repomd.xml"
    replace(repomd, repomd.read_bytes().replace(b"<revision>", b"<revision>1"))
    with pytest.raises(CheckFailed) as refusal:
        install(site, state, "aarch64", ["tiny-libs"])
    first, *words = str(refusal.value).splitlines()
    assert first == (
        f"{state}/published/.snapshots/0001/BaseOS/aarch64/os/repodata/repomd.xml was changed by hand: "
        "publication 1 wrote another one → kitten rollback --to 1 writes it again"
    )
    assert words[0] == "dnf refused to install tiny-libs for aarch64:"
    assert re.search(r"GPG verification|Bad (PGP|GPG) signature", "\n".join(words))
    assert rollback(site, state, 1) == "snapshot 2 shows the content of 1 in place of 1"
    assert install(site, state, "aarch64", ["tiny-libs"]) == ("tiny-libs-0:1-1.el10.aarch64",)


def test_dnf_refuses_a_package_that_is_not_signed_though_the_index_is(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    build = make_build()
    result = publish(site, state, "aarch64", str(build))
    (rpm,) = (Path(p.url) for p in result.packages if p.name.startswith("tiny-libs-1"))
    replace(rpm, (build / rpm.name).read_bytes())
    repository = state / "published/10-kitten/BaseOS/aarch64/os"
    repomd = write_index(repository, [index.describe(rpm, str(rpm.relative_to(repository)))], 2_000_000_000)
    with signer(state / "secrets/gnupg", "Tests") as key:
        key.sign_detached(repomd)
    with pytest.raises(CheckFailed, match=r"(?s)dnf refused.*is not signed"):
        install(site, state, "aarch64", ["tiny-libs"])


def test_nothing_published_is_one_line(site: Site, state: Path) -> None:
    with pytest.raises(CannotRun, match="nothing is published for aarch64"):
        install(site, state, "aarch64")


@pytest.fixture
def lax(staged: Site) -> Site:
    """Two signed stages, to both of which builds may go by themselves."""
    first, testing, kitten = staged.stages
    return staged.model_copy(update={"stages": (first, testing, kitten.model_copy(update={"gate": testing.gate}))})


def signed_folders(state: Path, stage: str, target: str) -> dict[str, Path]:
    return {name: state / stage / f"10-kitten/{name}/{target}/os" for name in ("BaseOS", "AppStream")}


@pytest.mark.parametrize("target", ["x86_64_v2", "s390x"])
def test_dnf_installs_what_users_have_upgrades_and_removes_it(
    lax: Site, state: Path, make_build: BuildFactory, target: str
) -> None:
    publish(lax, state, target, str(make_build(target)), stage_name="kitten")
    publish(lax, state, target, str(make_build(target, version="2")), stage_name="testing")
    before, after = (signed_folders(state, stage, target) for stage in ("published", "testing"))
    packages = [f"tiny-libs-2-1.el10.{target}", "tiny-doc-2-1.el10.noarch"]
    key = state / "published/RPM-GPG-KEY-demo"
    upgraded = check_life(lax.target(target), packages, before, after, key)
    assert upgraded == ("tiny-doc-0:1-1.el10.noarch", f"tiny-libs-0:1-1.el10.{target}")


def test_a_package_that_lacks_its_other_half_is_not_installed(lax: Site, state: Path, make_build: BuildFactory) -> None:
    publish(lax, state, "aarch64", str(make_build(version="2")), stage_name="testing")
    after = {"AppStream": state / "testing/10-kitten/AppStream/aarch64/os"}
    key = state / "testing/RPM-GPG-KEY-demo"
    with pytest.raises(CheckFailed, match=r"(?s)dnf refused to install tiny-doc-2-1.*nothing provides tiny-libs"):
        check_life(lax.target("aarch64"), ["tiny-doc-2-1.el10.noarch"], {}, after, key)


def test_an_older_version_is_no_upgrade(lax: Site, state: Path, make_build: BuildFactory) -> None:
    publish(lax, state, "aarch64", str(make_build(version="2")), stage_name="kitten")
    publish(lax, state, "aarch64", str(make_build()), stage_name="testing")
    before, after = (signed_folders(state, stage, "aarch64") for stage in ("published", "testing"))
    packages = ["tiny-libs-1-1.el10.aarch64"]
    with pytest.raises(
        CheckFailed, match=r"dnf left out tiny-libs-1-1.el10.aarch64 for aarch64: a newer version is there"
    ):
        check_life(lax.target("aarch64"), packages, before, after, state / "published/RPM-GPG-KEY-demo")


ONE_ID = ("unshare", "--user", "--map-root-user")


@pytest.fixture
def one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without subordinate ids: of users there is root alone."""
    monkeypatch.setattr(namespace, "as_root", lambda: ONE_ID)


OTHERS = """
Name: others
Version: 1
Release: 1
Summary: A folder of another user than root
License: MIT
BuildArch: noarch
Requires: others-users
%description
A folder of another user than root.
%package users
Summary: The users of a system
%description users
The users of a system.
%install
mkdir -p %{buildroot}/etc %{buildroot}/var/spool/others
echo mail:x:8:12::/:/bin/false > %{buildroot}/etc/passwd
echo mail:x:12: > %{buildroot}/etc/group
%files users
/etc/passwd
/etc/group
%files
%attr(0700,mail,mail) %dir /var/spool/others
"""


@pytest.fixture
def others(tmp_path: Path, key_home: Path) -> tuple[dict[str, Path], Path]:
    """A signed repository with a package whose folder is not root's, and its key."""
    folder = tmp_path / "others"
    folder.mkdir()
    (tmp_path / "others.spec").write_text(OTHERS)
    places = {"_topdir": tmp_path / "top", "_rpmdir": folder, "_dbpath": tmp_path / "db"}
    defines = [word for name, value in places.items() for word in ("--define", f"{name} {value}")]
    words = ["rpmbuild", *defines, "-bb", str(tmp_path / "others.spec")]
    subprocess.run(words, capture_output=True, text=True, check=True)
    rpms = sorted(folder.glob("noarch/*.rpm"))
    with signer(key_home, "Tests") as key:
        key.sign_packages(rpms)
        described = [index.describe(rpm, str(rpm.relative_to(folder))) for rpm in rpms]
        key.sign_detached(write_index(folder, described, 2_000_000_000))
        (folder / "KEY").write_text(key.public_key)
    return {"others": folder}, folder / "KEY"


def test_dnf_needs_no_more_than_a_namespace_of_one_user(
    site: Site, state: Path, make_build: BuildFactory, one_id: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(state / "cache" / ("a long name " * 12)))
    publish(site, state, "s390x", str(make_build("s390x")))
    assert install(site, state, "s390x") == ("tiny-doc-0:1-1.el10.noarch", "tiny-libs-0:1-1.el10.s390x")
    assert [path.name for path in (cache.root() / "scratch").iterdir()] == ["sweep"]


def test_a_package_with_files_of_other_owners_is_installed_and_nothing_of_it_stays(
    site: Site, others: tuple[dict[str, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not namespace.has_subordinate_ids():
        pytest.skip("needs-subordinate-ids: usermod --add-subuids")
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    check_life(site.target("x86_64"), ["others-1-1.noarch", "others-users-1-1.noarch"], {}, *others)
    assert [path.name for path in (cache.root() / "scratch").iterdir()] == ["sweep"]


def test_a_package_that_needs_more_users_than_there_are_is_one_line_with_a_hint(
    site: Site, others: tuple[dict[str, Path], Path], one_id: None
) -> None:
    with pytest.raises(
        CannotRun, match=r"others-1-1.noarch has files of mail, and this user has no subordinate ids"
    ) as refusal:
        check_life(site.target("x86_64"), ["others-1-1.noarch", "others-users-1-1.noarch"], {}, *others)
    assert "usermod --add-subuids" in refusal.value.hint
