"""One small package from commit to installation, as a user that is not root, on a temporary account.

On two busy cores, the environment took two minutes and the demo eight.

The other end-to-end tests cover the rest. If an ordinary user runs them, these tests are not needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.account import CHECKOUT, Account, account, is_alive, remove_leftovers
from tests.end_to_end.conftest import TARGETS, until

pytestmark = [
    pytest.mark.service,
    pytest.mark.sandbox,
    pytest.mark.guest,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs-root: makes an account; the other tests run as an ordinary user already"
    ),
]

PACKAGE = "bzip2"


@pytest.fixture(scope="module")
def user() -> Iterator[Account]:
    with account() as ordinary:
        yield ordinary


@pytest.fixture(scope="module")
def demo(user: Account) -> Iterator[str]:
    try:
        yield user.kitten("demo", "--packages", PACKAGE, "--no-lab").stdout
    finally:
        user.kitten("down", check=False)


def test_the_account_cannot_read_the_files_of_root(user: Account) -> None:
    assert user.run("id", "-u").stdout.strip() not in ("", "0")
    assert user.run("ls", Path.home(), check=False).returncode != 0 or Path.home().stat().st_mode & 0o007


def test_an_ordinary_user_publishes_a_package_on_every_target(demo: str) -> None:
    rows = [line for line in demo.splitlines() if line.count("yes") == 4]
    assert len(rows) == len(TARGETS), demo[-4000:]


def test_an_ordinary_user_installs_the_package_with_both_signature_checks(user: Account, demo: str) -> None:
    assert PACKAGE in user.kitten("install-check", "--target", "s390x", PACKAGE).stdout
    scratch = user.home / ".cache/kitten-ci/scratch"
    assert [path.name for path in scratch.iterdir()] == ["sweep"]


def test_after_down_no_process_of_the_service_runs(user: Account, demo: str) -> None:
    user.kitten("down")
    until(lambda: not user.processes(), "the end of all processes of the account", 60)


_KILLED = """
import os, sys
from tests.end_to_end import account
from tests.end_to_end.account import Account
sys.argv[1:] = ["pytest"]
account._check_out = account._share_caches = account._set_up = lambda user: user.checkout.mkdir(exist_ok=True)
with account.account() as user:
    os.chown(user.checkout, *[__import__("pwd").getpwnam(user.name).pw_uid] * 2)
    user.run("sh", "-c", "setsid sleep 987656 >/dev/null 2>&1 & mktemp -d /tmp/kitten-e2e-left.XXXXXX")
    print(user.name, user.home, flush=True)
    sys.stdin.read()
"""


def test_an_account_of_a_killed_run_is_removed_by_the_next_run() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, "pytest"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        name, home = process.stdout.readline().split()
        left = Account(name, Path(home))
        assert any("987656" in line for line in left.processes().values())
        assert name not in remove_leftovers(), "the account of a running test must be kept"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sleeping = set(left.processes())
    assert name in remove_leftovers()
    assert not Path(home).exists()
    assert not list(Path("/tmp").glob("kitten-e2e-left.*"))
    assert not [pid for pid in sleeping if is_alive(pid)]
    assert name not in Path("/etc/subuid").read_text() + Path("/etc/passwd").read_text()
