"""mmdebstrap with the lists of a private root: it downloads only packages, and a 404 in its output is recognized."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tests.workers.debian import Debian
from workers.base.run import CommandFailed, run
from workers.sandbox import apt


@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap's mode that needs no name spaces is for root")
def test_if_the_pool_lacks_a_file_the_lists_of_another_name_are_used(
    debian: Debian, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    architecture = run(["dpkg", "--print-architecture"]).output.strip()
    debian.archive.architecture = architecture
    old, new = debian.archive.package("tool", "1"), debian.archive.package("tool", "2")
    debian.archive.release("trixie", packages=[new])
    debian.archive.release("stable", packages=[old])
    debian.mirror.faults = lambda path: 404 if "tool_2" in path else None
    tar = tmp_path / "tree.tar"

    def make(root: apt.AptRoot) -> None:
        options, line = root.for_mmdebstrap()
        argv = ["mmdebstrap", "--mode=root", "--variant=extract", "--include=tool", *options]
        try:
            run([*argv, "--skip=cleanup/apt/lists", "trixie", tar, line])
        except CommandFailed as error:
            raise (apt.contradiction(error.done.output) or error) from None

    apt.with_lists("trixie", architecture, make)
    with tarfile.open(tar) as tree:
        content = tree.extractfile("./usr/share/tool/version")
        assert content is not None
        assert content.read() == b"1"
    assert "tool_2" in capsys.readouterr().out
    assert debian.mirror.asked.count("dists/trixie/InRelease") == 2, "mmdebstrap itself asked for no lists"
