"""Files that a compromised worker may send: each is refused in one line with its name, before anything is signed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion import hostile
from tests.workers.promotion.hostile import NAME, Refused
from tests.workers.promotion.user_view import seen
from workers.base.errors import CannotRun
from workers.promotion.publish import publish
from workers.promotion.stage import stage

pytestmark = [hostile.needs_rpmbuild, pytest.mark.slow]


def test_what_the_hostile_cases_are_made_of_is_published(
    odd: Site, state: Path, tmp_path: Path, good: list[Path]
) -> None:
    build = str(hostile.result_folder(tmp_path / "build", "odd", good))
    assert stage(odd, state, "aarch64", build).outcome == "passed"
    assert publish(odd, state, "aarch64", build).outcome == "passed"
    assert NAME in seen(state)["BaseOS/aarch64/os"]


@pytest.mark.parametrize(
    "name",
    [
        "../../evil-1-1.aarch64.rpm",
        "/etc/passwd.rpm",
        "-rf-1-1.aarch64.rpm",
        "--root=x-1-1.aarch64.rpm",
        "a\nb-1-1.aarch64.rpm",
        "a\x1b[31m-1-1.aarch64.rpm",
        "a b-1-1.aarch64.rpm",
        ".hidden-1-1.aarch64.rpm",
        "odd-1-1.el10.aarch64.rpm\n",
        "a\0b-1-1.aarch64.rpm",
        "%{lua:x}-1-1.aarch64.rpm",
    ],
)
def test_a_file_name_that_is_none(refused: Refused, good: list[Path], tmp_path: Path, name: str) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    document = json.loads((folder / "build.json").read_text())
    document["rpms"][0]["name"] = name
    (folder / "build.json").write_text(json.dumps(document))
    checksum = document["rpms"][0]["sha256"]
    assert refused(None, folder) == (
        f"{folder}/build.json: {name!r} with checksum {checksum!r} is no package file",
        "build the package again",
    )


@pytest.mark.parametrize("nevr", ["glibc-2.39-1.el10", "odd-1-1.el10\n\x1b[2Jpublished", "", "../odd-1-1.el10"])
def test_a_build_that_calls_itself_something_else(
    refused: Refused, good: list[Path], tmp_path: Path, nevr: str
) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    document = json.loads((folder / "build.json").read_text()) | {"nevr": nevr}
    (folder / "build.json").write_text(json.dumps(document))
    assert refused(None, folder) == (
        f"{folder}/build.json: {nevr!a} is not the name of odd-1-1.el10.src.rpm",
        "build the package again",
    )


def test_a_symbolic_link_in_place_of_a_package(refused: Refused, good: list[Path], tmp_path: Path) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    elsewhere = (folder / NAME).rename(tmp_path / "elsewhere")
    (folder / NAME).symlink_to(elsewhere)
    assert refused(None, folder) == (f"{folder}/{NAME} is a symbolic link, not a package", "build it again")


def test_a_folder_a_pipe_or_nothing_in_place_of_a_package(refused: Refused, good: list[Path], tmp_path: Path) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    (folder / NAME).unlink()
    assert refused(None, folder)[0] == f"{folder}/{NAME} is missing"
    os.mkfifo(folder / NAME)
    assert refused(None, folder) == (f"{folder}/{NAME} is no plain file", "build it again")
    (folder / NAME).unlink()
    (folder / NAME).mkdir()
    assert refused(None, folder) == (f"{folder}/{NAME} is no plain file", "build it again")


def test_a_file_outside_under_the_name_of_a_missing_one(refused: Refused, good: list[Path], tmp_path: Path) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    (folder / NAME).unlink()
    document = json.loads((folder / "build.json").read_text())
    for url in ("http://169.254.169.254/latest/meta-data/", "memory://x/y", "ftp://localhost/x"):
        document["rpms"][0]["url"] = url
        (folder / "build.json").write_text(json.dumps(document))
        assert refused(None, folder)[0] == f"{folder}/{NAME} is missing", "another store is never asked"
    document["rpms"][0]["url"] = "/dev/zero"
    (folder / "build.json").write_text(json.dumps(document))
    assert refused(None, folder) == ("/dev/zero is no plain file", "build it again")


def test_a_package_that_somebody_else_has_a_link_to_is_copied(
    odd: Site, state: Path, tmp_path: Path, good: list[Path]
) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    os.link(folder / NAME, tmp_path / "kept")
    stage(odd, state, "aarch64", str(folder))
    (staged,) = (state / "staged/aarch64/packages").glob(f"*/{NAME}")
    with (tmp_path / "kept").open("r+b") as file:
        file.write(b"changed through the link")
    assert staged.stat().st_nlink == 1
    assert staged.read_bytes() == good[0].read_bytes()


@pytest.mark.parametrize("document", ["build.json", "verify.json", "test.json"])
def test_a_result_file_that_is_none(
    odd: Site, state: Path, good: list[Path], tmp_path: Path, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hostile.result_folder(tmp_path / "build", "odd", good)
    (folder / document).unlink()
    (folder / document).symlink_to("/dev/zero")
    with pytest.raises(CannotRun) as caught:
        publish(odd, state, "aarch64", str(folder))
    assert caught.value.what == f"{folder}/{document} is no plain file"
    (folder / document).unlink()
    (folder / document).write_bytes(b"[" * 100_000)
    with pytest.raises(CannotRun) as caught:
        publish(odd, state, "aarch64", str(folder))
    assert caught.value.what.startswith(f"{folder}/{document}: not a result of ")
    assert "\n" not in caught.value.what
    with (folder / document).open("wb") as file:
        file.truncate(1 << 40)  # takes no room
    with pytest.raises(CannotRun) as caught:
        publish(odd, state, "aarch64", str(folder))
    assert caught.value.what == f"{folder}/{document} has more than 256 MiB"
