"""Options for all tests: ``--quick``, the number of examples of property tests, and ``mounts`` for an ordinary user.

A test marked ``mounts`` runs in its own user namespace, where it is root and may mount.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A failed assertion of a helper shows its values too, as that of a test does.
pytest.register_assert_rewrite("tests.workers")

CHECKOUT = Path(__file__).parent.parent
_NOT_QUICK = ("sandbox", "guest", "service", "browser", "slow")
_PRIVATE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")

# A test that needs fewer examples sets its own number. Examples have no time limit: the machine may be busy.
settings.register_profile("short", max_examples=50, deadline=None)
settings.register_profile("long", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


class InNamespace(pytest.Item):
    """A test that another pytest runs, as root of a namespace. Its mounts end with its last process."""

    def runtest(self) -> None:
        pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", self.nodeid]
        command = [*_PRIVATE, *pytest_command]
        done = subprocess.run(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        last = done.stdout.splitlines()[-1] if done.stdout else ""
        if done.returncode == 0 and "1 passed" in last:
            return
        if done.returncode == 0 and "1 skipped" in last:
            pytest.skip(next((line for line in done.stdout.splitlines() if line.startswith("SKIPPED")), last))
        pytest.fail(f"in a user namespace ({' '.join(_PRIVATE)}):\n{output[-8000:]}", pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help=f"leave out the tests marked {', '.join(_NOT_QUICK)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        left_out = {item for item in items if any(map(item.get_closest_marker, _NOT_QUICK))}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    if os.geteuid() == 0:
        return
    for number, item in enumerate(items):
        if item.get_closest_marker("mounts") is None:
            continue
        wrapped: Any = InNamespace.from_parent(item.parent, name=item.name)
        wrapped.own_markers.extend(item.iter_markers())
        items[number] = wrapped
