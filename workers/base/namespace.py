"""Work as root on this user's own files, in a user namespace of Linux.

``unshare``, ``bwrap`` or ``mmdebstrap`` makes each namespace of the project. If one of them fails, :func:`refusal`
turns its output into the error for the user.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import Completed, require, run

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")  # Ubuntu 23.10 and later
_MAKERS = ("unshare:", "bwrap:", "newuidmap:", "newgidmap:")

_ONE_ID = ("--user", "--map-root-user")
_OTHER_IDS = "--map-auto"


@functools.cache
def as_root() -> tuple[str, ...]:
    """Return the command-line prefix that runs a command as root on files of this user; empty if this process is root.

    In the namespace, root is this user. Its other users are the subordinate ids that /etc/subuid and /etc/subgid give
    this user. Without these ids, the namespace has only root, and no file can have another owner.

    :raises CannotRun: if this user cannot make a user namespace on this host.
    """
    if os.geteuid() == 0:
        return ()
    unshare = require("unshare", "util-linux")
    one, every = (unshare, *_ONE_ID), (unshare, *_ONE_ID, _OTHER_IDS)
    # Try one id first: if this host allows no namespace, unshare 2.38 with --map-auto never ends.
    done = run([*one, "true"], check=False)
    if done.status != 0:
        raise refusal(done) or CannotRun(f"no user namespace can be made: {done.output.strip() or done.status}")
    # Try --map-auto instead of guessing: it needs newuidmap, setuid that works, a range of ids, util-linux 2.38.
    return every if run([*every, "true"], check=False).status == 0 else one


def has_subordinate_ids() -> bool:
    """Return whether a command that runs with :func:`as_root` can give files to users other than root.

    :raises CannotRun: as :func:`as_root`.
    """
    prefix = as_root()
    return not prefix or _OTHER_IDS in prefix


def no_subordinate_ids(what: str) -> CannotRun:
    """Return the error for work that needs subordinate ids, which this user does not have.

    :param what: what needs them, as the beginning of a sentence.
    """
    return CannotRun(
        f"{what}, and this user has no subordinate ids",
        f"an administrator runs: apt-get install uidmap && usermod --add-subuids 100000-165535 "
        f"--add-subgids 100000-165535 {_user()}   (use other numbers if /etc/subuid has these already; "
        "docs/how-to/prepare-a-host.md)",
    )


def refusal(done: Completed) -> CannotRun | None:
    """Return the error if a program failed because no namespace could be made; None for any other failure."""
    first = done.output.splitlines()[0] if done.output else ""
    if done.status == 0 or not first.startswith(_MAKERS):
        return None
    if os.geteuid() != 0 and _restricted_by_apparmor():
        return CannotRun(
            f"on this host (Linux {platform.release()}), AppArmor lets only listed programs use namespaces: {first}",
            "an administrator runs `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or adds an AppArmor "
            "profile that allows `userns` to unshare, bwrap and mmdebstrap (docs/how-to/prepare-a-host.md)",
        )
    return CannotRun(
        f"the sandbox could not be made: {first}",
        "user namespaces are needed: an administrator runs `sysctl -w user.max_user_namespaces=10000`; in a container, "
        "seccomp and AppArmor must allow them, too",
    )


def _restricted_by_apparmor() -> bool:
    try:
        return _APPARMOR.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
