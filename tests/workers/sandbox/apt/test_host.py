"""Settings from the host: mirror, keys and limits."""

from pathlib import Path

import pytest

from workers.base.errors import CannotRun
from workers.sandbox import apt

UBUNTU = """Component: main
Label: Ubuntu
Origin: Ubuntu
Repo-URI: http://ubuntu.example.org/ubuntu/
"""
DEBIAN = """Component: main
Label: Debian-Security
Origin: Debian
Repo-URI: http://security.example.org/debian-security/

Component: main
Label: Debian
Origin: Debian
Repo-URI: http://mirror.example.org/debian/
"""


def test_the_main_archive_is_the_mirror_not_the_security_one():
    assert apt.mirror_of(DEBIAN) == "http://mirror.example.org/debian"


def test_a_host_of_another_distribution_names_no_debian_mirror():
    assert apt.mirror_of(UBUNTU) is None
    assert apt.mirror_of("") is None


def test_an_environment_variable_overrides_the_hosts_mirror(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", "http://here.example.org/debian/")
    assert apt.mirror() == "http://here.example.org/debian"


def test_paragraphs_keep_continuation_lines():
    first, second = apt.paragraphs("A: 1\nB: x\n y\n z\n\n\nA: 2\n")
    assert first == {"A": "1", "B": "x\ny\nz"}
    assert second == {"A": "2"}


def test_a_keyring_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KITTEN_DEBIAN_KEYRING", str(tmp_path / "missing.gpg"))
    with pytest.raises(CannotRun, match=r"KITTEN_DEBIAN_KEYRING names .*missing\.gpg, which is no file"):
        apt.keyring()


def test_an_unreachable_mirror_is_reported_in_one_line_with_apts_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", f"file://{tmp_path}/nowhere")
    with pytest.raises(CannotRun, match=r"apt-get update.*trixie, s390x.*nowhere"):
        apt.private_root("trixie", "s390x")


def test_a_full_disk_is_no_inconsistent_mirror():
    words = (
        "E: Failed to fetch http://x/a.deb  Hash Sum mismatch\nE: Write error - write (28: No space left on device)\n"
    )
    assert apt.contradiction(words) is None
