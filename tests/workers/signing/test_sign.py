"""The key, its agent, and which packages count as signed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.workers.publishing import RpmFactory
from workers.base.errors import CannotRun
from workers.repository import index
from workers.signing.sign import signer, verify_packages

pytestmark = pytest.mark.slow


def agents(home: Path) -> set[int]:
    """Return the process ids of the agents that serve a home, under any name of it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"gpg-agent" in words[0] and os.fsencode(home.resolve()) in [os.path.realpath(word) for word in words]:
            found.add(int(process.name))
    return found


def gone_soon(processes: set[int]) -> bool:
    """Return whether they end within the few seconds after which an agent checks its program."""
    for _ in range(300):
        if not any(_runs(process) for process in processes):
            return True
        time.sleep(0.1)
    return False


def _runs(process: int) -> bool:
    try:
        return bool(
            Path(f"/proc/{process}/cmdline").read_bytes()
        )  # empty: it ended, and its parent did not wait for it yet
    except OSError:
        return False


def copies(rpms: tuple[Path, ...], into: Path) -> list[Path]:
    return [Path(shutil.copy(rpm, into)) for rpm in rpms]


def test_a_second_user_of_the_key_waits_for_the_first_whose_agent_it_would_end(state: Path, tmp_path: Path) -> None:
    home, (first, second) = state / "secrets" / "gnupg", (tmp_path / "first", tmp_path / "second")
    for file in (first, second):
        file.write_text(file.name)

    context = get_context("fork")
    begins = context.Event()

    def sign_second() -> None:
        begins.wait()
        with signer(home, "Tests") as key:
            key.sign_detached(second)

    other = context.Process(target=sign_second)
    other.start()  # before the lock is taken: a later fork would inherit the lock
    with signer(home, "Tests") as key:
        begins.set()
        other.join(2)
        assert other.is_alive()
        key.sign_detached(first)
    other.join(60)
    assert other.exitcode == 0
    assert second.with_name("second.asc").is_file()


def test_the_key_is_made_once_and_no_other_user_may_read_it(tmp_path: Path) -> None:
    home = tmp_path / "secrets" / "gnupg"
    with signer(home, "Tests") as first:
        assert "BEGIN PGP PUBLIC KEY BLOCK" in first.public_key
    with signer(home, "Tests") as second:
        assert second.fingerprint == first.fingerprint
    assert (home.stat().st_mode & 0o777, home.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_a_home_that_others_may_enter_is_refused(state: Path) -> None:
    (state / "secrets/gnupg").chmod(0o750)
    with (
        pytest.raises(CannotRun, match="has the signing key, but other users may enter it"),
        signer(state / "secrets/gnupg", ""),
    ):
        pass


def test_a_home_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gnupg").mkdir(mode=0o700)
    with pytest.raises(CannotRun, match="has no key"), signer(tmp_path / "gnupg", "Tests"):
        pass


def test_signed_packages_verify_with_the_public_key(state: Path, tmp_path: Path, make_rpms: RpmFactory) -> None:
    packages = copies(make_rpms("aarch64"), tmp_path)
    with signer(state / "secrets/gnupg", "Tests") as key:
        key.sign_packages(packages)
    verify_packages(packages, key.public_key)


def test_an_unsigned_package_is_refused(state: Path, make_rpms: RpmFactory) -> None:
    with signer(state / "secrets/gnupg", "Tests") as key:
        pass
    with pytest.raises(CannotRun, match="not signed by the distribution's key: tiny-libs"):
        verify_packages([p for p in make_rpms("aarch64") if p.name.startswith("tiny-libs-1")], key.public_key)


def test_a_package_signed_with_another_key_is_refused(state: Path, tmp_path: Path, make_rpms: RpmFactory) -> None:
    packages = copies(make_rpms("aarch64"), tmp_path)
    with signer(tmp_path / "other", "Somebody else") as other:
        other.sign_packages(packages)
    with (
        signer(state / "secrets/gnupg", "Tests") as key,
        pytest.raises(CannotRun, match="not signed by the distribution"),
    ):
        verify_packages(packages, key.public_key)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_signed_package_changed_by_one_byte_is_refused(
    state: Path, tmp_path: Path, make_rpms: RpmFactory, place: float
) -> None:
    packages = copies(make_rpms("aarch64")[:1], tmp_path)
    with signer(state / "secrets/gnupg", "Tests") as key:
        key.sign_packages(packages)
    content = bytearray(packages[0].read_bytes())
    covered = index.describe(packages[0], "").rpm_header_start  # before it are the signature and padding
    content[covered + int((len(content) - covered) * place)] ^= 1
    packages[0].write_bytes(content)
    with pytest.raises(CannotRun, match="not signed by the distribution's key"):
        verify_packages(packages, key.public_key)


def test_no_agent_is_left_behind(state: Path) -> None:
    home = state / "secrets/gnupg"
    with signer(home, "Tests"):
        assert (served := agents(home))
    assert gone_soon(served)
    with pytest.raises(IsADirectoryError), signer(home, "Tests") as key:
        key.sign_detached(state)
    assert not agents(home)


@pytest.mark.parametrize("meanwhile", [True, False], ids=["the next one signs", "nothing happens"])
def test_no_agent_outlives_a_killed_process(state: Path, tmp_path: Path, meanwhile: bool) -> None:
    home = state / "secrets/gnupg"
    child = os.fork()
    if child == 0:
        with signer(home, "Tests"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (served := agents(home))
    if meanwhile:
        file = tmp_path / "file"
        file.write_text("content")
        with signer(home, "Tests") as key:
            assert key.sign_detached(file).read_text().startswith("-----BEGIN PGP SIGNATURE-----")
    assert gone_soon(served)


@pytest.mark.parametrize("length", [105, 106, 107, 108, 160])
def test_a_home_with_a_long_path_signs(tmp_path: Path, length: int) -> None:
    """Lengths at and around the limit of the agent's longest socket path."""
    file = tmp_path / "file"
    file.write_text("content")
    with tempfile.TemporaryDirectory() as short:  # pytest's folder may be too long, because it has the user's name
        home = Path(short) / ("d" * (length - len(f"{short}//gnupg/S.gpg-agent.browser"))) / "gnupg"
        with signer(home, "Tests") as key:
            key.sign_detached(file)
        assert not list(home.glob(".gnupg.partial"))


def test_a_detached_signature_never_writes_into_an_earlier_one(state: Path, tmp_path: Path) -> None:
    file, earlier = tmp_path / "repomd.xml", tmp_path / "earlier.asc"
    file.write_text("one")
    with signer(state / "secrets/gnupg", "Tests") as key:
        os.link(key.sign_detached(file), earlier)
        before = earlier.read_bytes()
        file.write_text("two")
        key.sign_detached(file)
    assert earlier.read_bytes() == before
