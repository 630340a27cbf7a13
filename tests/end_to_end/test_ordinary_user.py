"""The way of one small package for a user who is not root, on a throw-away account.

On two busy cores the demo took eight minutes, and the environment before it two.

Root's other end-to-end tests show the rest; an ordinary user who runs these tests has shown it by then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.account import CHECKOUT, Account, account, remove_leftovers, runs
from tests.end_to_end.conftest import TARGETS, until

pytestmark = [
    pytest.mark.service,
    pytest.mark.sandbox,
    pytest.mark.guest,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs-root: makes an account; these tests run as an ordinary user already"
    ),
]

PACKAGE = "bzip2"


@pytest.fixture(scope="module")
def user() -> Iterator[Account]:
    with account() as made:
        yield made


@pytest.fixture(scope="module")
def demo(user: Account) -> Iterator[str]:
    try:
        yield user.kitten("demo", "--packages", PACKAGE, "--no-lab").stdout
    finally:
        user.kitten("down", check=False)


def test_the_account_can_read_nothing_of_root(user: Account) -> None:
    assert user.run("id", "-u").stdout.strip() not in ("", "0")
    assert user.run("ls", Path.home(), check=False).returncode != 0 or Path.home().stat().st_mode & 0o007


def test_an_ordinary_user_publishes_a_package_on_every_target(demo: str) -> None:
    rows = [line for line in demo.splitlines() if line.count("yes") == 4]
    assert len(rows) == len(TARGETS), demo[-4000:]


def test_an_ordinary_user_installs_it_with_both_signature_checks(user: Account, demo: str) -> None:
    assert PACKAGE in user.kitten("install-check", "--target", "s390x", PACKAGE).stdout
    scratch = user.home / ".cache/kitten-ci/scratch"
    assert [path.name for path in scratch.iterdir()] == ["sweep"]


def test_after_down_nothing_of_the_service_runs(user: Account, demo: str) -> None:
    user.kitten("down")
    until(lambda: not user.processes(), "the end of all the account started", 60)


_KILLED = """
import os, sys
from tests.end_to_end import account
from tests.end_to_end.account import Account
sys.argv[1:] = ["pytest"]
account._check_out = account._share_caches = account._set_up = lambda made: made.checkout.mkdir(exist_ok=True)
with account.account() as made:
    os.chown(made.checkout, *[__import__("pwd").getpwnam(made.name).pw_uid] * 2)
    made.run("sh", "-c", "setsid sleep 987656 >/dev/null 2>&1 & mktemp -d /tmp/kitten-e2e-left.XXXXXX")
    print(made.name, made.home, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, "pytest"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        name, home = process.stdout.readline().split()
        left = Account(name, Path(home))
        assert any("987656" in line for line in left.processes().values())
        assert name not in remove_leftovers(), "a run under way is left alone"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sleeping = set(left.processes())
    assert name in remove_leftovers()
    assert not Path(home).exists()
    assert not list(Path("/tmp").glob("kitten-e2e-left.*"))
    assert not [pid for pid in sleeping if runs(pid)]
    assert name not in Path("/etc/subuid").read_text() + Path("/etc/passwd").read_text()
