"""The host's apt, borrowed: which mirror, and a private root that leaves the host alone."""

import os
import re
from pathlib import Path

import pytest

from workers import apt
from workers.errors import CannotRun
from workers.run import Completed

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


def test_an_environment_variable_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", "http://here.example.org/debian/")
    assert apt.mirror() == "http://here.example.org/debian"


def test_paragraphs_keep_continuation_lines():
    first, second = apt.paragraphs("A: 1\nB: x\n y\n z\n\n\nA: 2\n")
    assert first == {"A": "1", "B": "x\ny\nz"}
    assert second == {"A": "2"}


def test_an_unreachable_mirror_is_one_line_with_apt_s_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", f"file://{tmp_path}/nowhere")
    with pytest.raises(CannotRun, match=r"apt-get update.*trixie, s390x.*nowhere"):
        apt.private_root("trixie", "s390x")


def answers(monkeypatch: pytest.MonkeyPatch, *words: str, codename: str = "forky") -> list[str]:
    """Let apt-get update answer with these, one after the other: an error's words, or "" for success."""
    asked: list[str] = []
    left = list(words)

    def apt_get(self: apt.AptRoot, tool: str, *arguments: str, cwd: Path | None = None) -> Completed:
        if arguments[0] == "indextargets":
            return Completed(("apt-get",), 0, f"{codename}\n")
        sources = (self.folder / "etc" / "parts" / "debian.sources").read_text()
        asked.append(re.findall("Suites: (.*)", sources)[0])
        if word := left.pop(0):
            raise CannotRun(word)
        return Completed(("apt-get",), 0, "")

    monkeypatch.setattr(apt.AptRoot, "apt", apt_get)
    monkeypatch.setattr(apt, "_PAUSES_SECONDS", (0, 0))
    return asked


SYNC = "unexpected size. Mirror sync in progress?"
ALIASES = ["stable", "oldstable", "testing"]


def test_a_mirror_in_the_middle_of_its_own_update_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    asked = answers(monkeypatch, SYNC, *[SYNC] * 3, SYNC, "")
    apt.private_root("trixie", "s390x")
    assert asked == ["trixie", *ALIASES, "trixie", "trixie"]


def test_a_mirror_that_is_whole_under_another_name_of_the_release_is_used_under_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    asked = answers(monkeypatch, SYNC, "", codename="trixie")
    apt.private_root("trixie", "s390x")
    apt.private_root("trixie", "s390x")  # its lists are fresh
    assert asked == ["trixie", "stable"]
    assert "as stable it does not" in capsys.readouterr().out


def test_another_release_of_that_name_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    asked = answers(monkeypatch, SYNC, "", "", "", "", codename="forky")
    root = apt.private_root("trixie", "s390x")
    assert asked == ["trixie", *ALIASES, "trixie"]
    assert "Suites: trixie" in (root.folder / "etc" / "parts" / "debian.sources").read_text()


def test_another_error_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    asked = answers(monkeypatch, "no network")
    with pytest.raises(CannotRun, match="no network"):
        apt.private_root("trixie", "s390x")
    assert asked == ["trixie"]


def test_lists_of_yesterday_do_when_today_s_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    asked = answers(monkeypatch, "", "no network")
    stamp = apt.private_root("trixie", "s390x").folder / "updated"
    os.utime(stamp, (0, 0))
    apt.private_root("trixie", "s390x")
    assert asked == ["trixie"] * 2
    assert "stay as they were: no network" in capsys.readouterr().out
