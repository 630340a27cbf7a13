"""Work as root over one's own files: a user namespace of Linux, where this process is not root already.

Every namespace of the project is made by ``unshare``, ``bwrap`` or ``mmdebstrap``. What kept one of them from it is said
here, once for all places (`refusal`).
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
    """Words to put before a command that must be root over files of this user; none when this process is root.

    In the namespace root is this user. Its other users are the subordinate ids that /etc/subuid and /etc/subgid give this
    user; without them there is only root, and a file cannot be given to anybody else.

    :raises CannotRun: when this host lets this user make no user namespace.
    """
    if os.geteuid() == 0:
        return ()
    unshare = require("unshare", "util-linux")
    one, every = (unshare, *_ONE_ID), (unshare, *_ONE_ID, _OTHER_IDS)
    # First the one: where no namespace can be made, unshare 2.38 waits for ever with the other.
    done = run([*one, "true"], check=False)
    if done.status != 0:
        raise refusal(done) or CannotRun(f"no user namespace can be made: {done.output.strip() or done.status}")
    # Tried, not guessed: it needs newuidmap, that setuid works, a range of ids, and util-linux 2.38.
    return every if run([*every, "true"], check=False).status == 0 else one


def has_subordinate_ids() -> bool:
    """Whether a command behind `as_root` can give files to other users than root.

    :raises CannotRun: as `as_root`.
    """
    words = as_root()
    return not words or _OTHER_IDS in words


def no_subordinate_ids(what: str) -> CannotRun:
    """The error of work that needs subordinate ids where this user has none.

    :param what: what needs them, in words.
    """
    return CannotRun(
        f"{what}, and this user has no subordinate ids",
        f"an administrator runs: apt-get install uidmap && usermod --add-subuids 100000-165535 "
        f"--add-subgids 100000-165535 {_user()}   (other numbers where /etc/subuid has these; docs/how-to/prepare-a-host.md)",
    )


def refusal(done: Completed) -> CannotRun | None:
    """What kept a namespace from being made, if that is why the program failed; none for any other failure."""
    first = done.output.splitlines()[0] if done.output else ""
    if done.status == 0 or not first.startswith(_MAKERS):
        return None
    if os.geteuid() != 0 and _restricted_by_apparmor():
        return CannotRun(
            f"AppArmor on this host (Linux {platform.release()}) lets only listed programs use user namespaces: {first}",
            "an administrator runs `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or adds an AppArmor profile "
            "that allows `userns` to unshare, bwrap and mmdebstrap (docs/how-to/prepare-a-host.md)",
        )
    return CannotRun(
        f"the sandbox could not be made: {first}",
        "user namespaces are needed: an administrator runs `sysctl -w user.max_user_namespaces=10000`, and in a container "
        "allows them (seccomp, AppArmor)",
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
