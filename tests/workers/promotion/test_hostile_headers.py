"""Headers that a compromised worker may send: each is refused in one line with its name, before anything is signed."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Site, Target
from tests.workers.promotion import hostile
from tests.workers.promotion.hostile import NAME, Refused
from tests.workers.promotion.user_view import seen
from workers.base.errors import CannotRun
from workers.formats import rpm_file
from workers.promotion.publish import publish
from workers.repository import index
from workers.repository.packages import check_header

pytestmark = [hostile.needs_rpmbuild, pytest.mark.slow]

UNREADABLE = f"{NAME} is not a readable RPM package"
COUNT = 53
"""Entries of that package's header."""


# ------------------------------------------------------------------------------------------- what the header says


def test_a_foreign_architecture(refused: Refused, tmp_path: Path) -> None:
    rpm = hostile.rpms_of(tmp_path / "s390x", "odd", arch="s390x")[0]
    assert refused(rpm) == (
        "odd-1-1.el10.s390x.rpm has architecture s390x; target aarch64 expects aarch64 or noarch",
        "pass the build of this target",
    )


@pytest.mark.parametrize("name", ["glibc-1-1.el10.aarch64.rpm", "odd-2-1.el10.aarch64.rpm", "odd-1-1.el10.noarch.rpm"])
def test_another_name_than_the_header_says(refused: Refused, rpm: Path, name: str, odd: Site) -> None:
    if name.startswith("glibc"):  # whose name nothing places: the header is not even looked at
        (entry,) = (package for package in odd.packages if package.name == "odd")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(entry.__dict__, "binaries", ("odd", "glibc"))
            answer = refused(rpm.rename(rpm.with_name(name)))
    else:
        answer = refused(rpm.rename(rpm.with_name(name)))
    assert answer == (
        f"{name} has another package: odd-1-1.el10.aarch64",
        "build it again; a file name must be the package's NEVRA",
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"/usr/../../etc/", "which leads elsewhere"),
        (b"/usr//share/od/", "which leads elsewhere"),
        (b"/usr/sh/./odd1/", "which leads elsewhere"),
        (b"./usr/share/od/", "which is not absolute"),
        (b"/usr/share/\nod/", "which has a control character"),
        (b"/usr/shar\x1b[2Jo/", "which has a control character"),
        (b"/usr/share/\xc2\x9bx/", "which has a control character"),
    ],
)
def test_a_path_that_leads_elsewhere_or_that_no_index_can_carry(
    refused: Refused, rpm: Path, path: bytes, why: str
) -> None:
    shown = ascii(path.decode() + "file")
    assert refused(hostile.edited(rpm, b"/usr/share/odd/", path)) == (
        f"{NAME} has a file {shown}, {why}",
        "fix %files in its spec, then build it again",
    )


def test_a_source_package_whose_files_are_in_folders(odd: Site, state: Path, tmp_path: Path, good: list[Path]) -> None:
    source = Path(shutil.copy(good[1], tmp_path))
    hostile.edited(source, b"odd.spec\0", b"../.spec\0")
    build = hostile.result_folder(tmp_path / "build", "odd", [good[0], source])
    with pytest.raises(CannotRun) as caught:
        publish(odd, state, "aarch64", str(build))
    assert caught.value.what == (
        "odd-1-1.el10.src.rpm has a file '../.spec', but files of a source package have no folders"
    )
    assert not seen(state)


def test_a_source_package_that_is_none(refused: Refused, rpm: Path) -> None:
    hostile.edited(rpm, b"odd-1-1.el10.src.rpm", b"odd.1.1.el10.src/../")
    assert refused(rpm) == (
        "the header of odd names 'odd.1.1.el10.src/../' as its source package, which is none",
        "build it again",
    )


# ---------------------------------------------------------------------------------------------------- huge headers


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (
            {"data": 0xFFFFFFFF},
            f"{UNREADABLE}: its header claims {COUNT} entries and 4095 MiB; the limits are 65535 and 64 MiB",
        ),
        (
            {"data": 0x0FFFFFFF},
            f"{UNREADABLE}: its header claims {COUNT} entries and 255 MiB; the limits are 65535 and 64 MiB",
        ),
        (
            {"entries": 1 << 30},
            f"{UNREADABLE}: its header claims 1073741824 entries and 0 MiB; the limits are 65535 and 64 MiB",
        ),
        (
            {"data": 0xFFFFFFFF, "signature": True},
            f"{UNREADABLE}: its signature header claims 7 entries and 4095 MiB; the limits are 65535 and 64 MiB",
        ),
    ],
)
def test_a_header_that_claims_gigabytes(refused: Refused, rpm: Path, sizes: dict[str, int], says: str) -> None:
    assert refused(hostile.claiming(rpm, **sizes))[0] == says


def test_a_header_that_claims_more_than_the_file_has(refused: Refused, rpm: Path) -> None:
    end = hostile.header_at(rpm.read_bytes()) + 16 + 16 * COUNT + (60 << 20)
    size = rpm.stat().st_size
    hostile.claiming(rpm, data=60 << 20)
    assert refused(rpm)[0] == f"{UNREADABLE}: it is cut: its header ends after {end} bytes, the file after {size}"


def peak_of(work: Callable[[], object]) -> int:
    """Bytes of memory that a process had more than at its start, at most."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the process before
        words = Path("/proc/self/status").read_text
        before = _kib(words(), "VmRSS")
        try:
            work()
        finally:
            os.write(writing, str(_kib(words(), "VmHWM") - before).encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return int(pipe.read()) << 10


def _kib(status: str, name: str) -> int:
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def test_300_mib_of_real_header_take_no_memory(refused: Refused, rpm: Path) -> None:
    content = rpm.read_bytes()
    start, end = hostile.header_at(content), hostile.payload_at(content)
    with rpm.open("wb") as file:
        file.write(content[:end])
        file.seek(300 << 20, os.SEEK_CUR)  # of zeros: text that never ends
        file.write(content[end:])
    hostile.claiming(rpm, data=end - start - 16 - 16 * COUNT + (300 << 20))

    def work() -> None:
        with pytest.raises(CannotRun, match=f"claims {COUNT} entries and 300 MiB"):
            rpm_file.require_unsigned_package(rpm)

    assert peak_of(work) < 8 << 20
    assert peak_of(lambda: rpm.read_bytes()) > 200 << 20, "what it would have taken"
    assert (
        refused(rpm)[0]
        == f"{UNREADABLE}: its header claims {COUNT} entries and 300 MiB; the limits are 65535 and 64 MiB"
    )


# ------------------------------------------------------------------------------------------------------------- fuzz

FLIPS = int(os.environ.get("KITTEN_FLIPS", "400"))


def test_no_byte_of_lead_signature_and_header_leads_to_a_traceback_or_memory(
    odd: Site, rpm: Path, tmp_path: Path
) -> None:
    """Bytes are changed at random, one to eight of them; the answer is a package or one line. KITTEN_FLIPS for more."""
    process = get_context("fork").Process(target=flip, args=(rpm, odd.target("aarch64"), tmp_path / "answer"))
    process.start()
    process.join()
    assert process.exitcode == 0, (tmp_path / "answer").read_text()
    accepted, refusals = map(int, (tmp_path / "answer").read_text().split())
    assert accepted > FLIPS / 100
    assert refusals > FLIPS / 100
    assert accepted + refusals == FLIPS


def flip(rpm: Path, target: Target, answer: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))  # what asks for gigabytes fails
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # librpm speaks of what it finds
    content, chance = rpm.read_bytes(), random.Random(10)  # noqa: S311
    end, counts = hostile.payload_at(content), [0, 0]
    for _ in range(FLIPS):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(end)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        rpm.write_bytes(changed)
        try:
            rpm_file.require_unsigned_package(rpm)
            described = index.describe(rpm, rpm.name)
            check_header(described, rpm.name, target)
            index.catalogue_entry("", described)
        except CannotRun as error:
            if "\n" in error.what or not error.hint:
                answer.write_text(f"not one line: {error!r}")
                os._exit(1)
            counts[1] += 1
        except BaseException as error:
            answer.write_text(f"{type(error).__name__}: {error}")
            rpm.rename(answer.with_name("kept.rpm"))
            os._exit(1)
        else:
            counts[0] += 1
    answer.write_text(f"{counts[0]} {counts[1]}")
    os._exit(0)
