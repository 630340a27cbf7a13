"""The files that a master and its workers need before they start: base folders, Twisted's .tac files, passwords.

Each function can run again at any time, also after a kill in the middle: a file is written whole, by one rename.
"""

from __future__ import annotations

import os
import secrets as tokens
import stat
from importlib.metadata import version
from pathlib import Path

from buildbot.config import error

from config.models import Site
from master.web.authz import users

SECRETS = ("worker-", "web-", "database-")
"""Prefixes of the files that the master reads in the secrets folder. The signing keys there are not for the master."""
TOKEN_BYTES = 24
LOG_BYTES, LOGS_KEPT = 10_000_000, 10


def master_tac(basedir: Path) -> str:
    """Return the text of the master's ``buildbot.tac``, with which Twisted starts it."""
    return f"""import os

from buildbot.master import BuildMaster
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile

basedir = {str(basedir)!r}
application = service.Application('buildmaster')
logfile = LogFile.fromFullPath(
    os.path.join(basedir, "twistd.log"), rotateLength={LOG_BYTES}, maxRotatedFiles={LOGS_KEPT}
)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
m = BuildMaster(basedir, "master.cfg", None)
m.setServiceParent(application)
m.log_rotation.rotateLength = {LOG_BYTES}
m.log_rotation.maxRotatedFiles = {LOGS_KEPT}
"""


def worker_tac(basedir: Path, name: str, password_file: Path, port: int, host: str = "127.0.0.1") -> str:
    """Return the text of a worker's ``buildbot.tac``. The worker reads its password when it starts."""
    return f"""import os
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile

basedir = {str(basedir)!r}
application = service.Application('buildbot-worker')
logfile = LogFile.fromFullPath(
    os.path.join(basedir, "twistd.log"), rotateLength={LOG_BYTES}, maxRotatedFiles={LOGS_KEPT}
)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
password = Path({str(password_file)!r}).read_text().strip()
worker = Worker({host!r}, {port}, {name!r}, password, basedir, keepalive=60, umask=0o022, maxdelay=30)
worker.setServiceParent(application)
"""


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file in one step: a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    temporary.replace(path)


def prepare_master(state: Path, checkout: Path) -> Path:
    """Make the folder ``STATE/master`` and return it. Its ``master.cfg`` is a link, so a changed file needs no copy."""
    basedir = (state / "master").resolve()
    write_whole(basedir / "buildbot.tac", master_tac(basedir))
    target = (checkout / "master" / "master.cfg").resolve()
    link = basedir / "master.cfg"
    if not link.is_symlink() or link.readlink() != target:
        temporary = basedir / f".master.cfg.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    return basedir


def needs_upgrade(basedir: Path) -> bool:
    """Return whether ``buildbot upgrade-master`` must run first: the database is new, or Buildbot's version changed."""
    stamp = basedir / ".database-of"
    return not stamp.is_file() or stamp.read_text().strip() != version("buildbot")


def record_upgrade(basedir: Path) -> None:
    """Record that ``buildbot upgrade-master`` has run with this version."""
    write_whole(basedir / ".database-of", version("buildbot") + "\n")


def prepare_worker(state: Path, name: str, port: int, host: str = "127.0.0.1") -> Path:
    """Make the folder ``STATE/workers/NAME`` and return it."""
    basedir = (state / "workers" / name).resolve()
    password_file = (state / "secrets" / f"worker-{name}").resolve()
    write_whole(basedir / "buildbot.tac", worker_tac(basedir, name, password_file, port, host), 0o600)
    write_whole(basedir / "info" / "admin", "kitten up\n")
    write_whole(basedir / "info" / "host", f"{os.uname().nodename} {os.uname().machine}\n")
    return basedir


def ensure_secrets(site: Site, state: Path) -> Path:
    """Make the missing passwords of workers and web users; return their folder. No password is ever replaced."""
    folder = state / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [f"worker-{name}" for pool in site.workers for name in pool.workers]
    for name in [*names, *(f"web-{user}" for user in users(site))]:
        path = folder / name
        if path.exists():
            continue
        temporary = folder / f".{name}.{os.getpid()}"
        write_whole(temporary, tokens.token_urlsafe(TOKEN_BYTES) + "\n", 0o600)
        try:
            os.link(temporary, path)  # unlike a rename, this never replaces a file that another process made
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return folder


def read_passwords(folder: Path) -> dict[str, str]:
    """Return secret name → secret. A file that other users can read is a configuration error."""
    passwords = {}
    if not folder.is_dir():
        error(f"the folder {folder} is missing; `kitten up` makes it")
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(SECRETS) or not path.is_file():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            error(f"secret {path} can be read by others (mode {mode:04o}); chmod 600 {path}, and change the secret")
        passwords[path.name] = path.read_text(encoding="utf-8").strip()
    return passwords
