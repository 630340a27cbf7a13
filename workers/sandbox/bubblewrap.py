"""Running in the sandbox tree: bubblewrap, no network, nothing of the host in sight, nothing left behind.

Programs of a foreign target run unmodified, through an emulator that the kernel knows in this sandbox alone
(binfmt_misc of a user namespace, Linux 6.7 and later; https://docs.kernel.org/admin-guide/binfmt-misc.html). All mounts
belong to namespaces that end with the last process in them, so there is nothing to unmount, whatever happens.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, Target
from workers.base import cache, namespace
from workers.base.errors import CannotRun
from workers.base.run import CommandFailed, Completed, require, run
from workers.sandbox import flags
from workers.sandbox.tree import Tree, base_tree, is_foreign

Binds = Mapping[Path, tuple[str, bool]]
"""Host path → path inside, and whether it may be written."""

_ENTER = Path(__file__).with_name("enter.sh")
_REFUSED = 125  # enter.sh's own exit status


@dataclass(frozen=True)
class Layers:
    """A writable view of a tree: read-only folders, topmost first, and the scratch folder that takes what is written."""

    lower: tuple[Path, ...]
    upper: Path
    work: Path
    merged: Path

    @property
    def options(self) -> str:
        """Options of overlayfs that mount it."""
        return f"{_lower_option(self.lower)},upperdir={_named(self.upper)},workdir={_named(self.work)}"


def _lower_option(lower: Sequence[Path]) -> str:
    """Options of overlayfs in a user namespace (https://docs.kernel.org/filesystems/overlayfs.html)."""
    return f"userxattr,lowerdir={':'.join(_named(path) for path in lower)}"


def _named(path: Path) -> str:
    if any(character in str(path) for character in ",:\\"):
        raise CannotRun(f"overlayfs takes no comma, colon or backslash in {path}", "choose another KITTEN_CACHE")
    return str(path)


def layers(scratch: Path, *lower: Path) -> Layers:
    """A writable view of folders, topmost first, whose changes go below ``scratch``."""
    made = Layers(lower, scratch / "upper", scratch / "work", scratch / "merged")
    for path in (made.upper, made.work, made.merged):
        path.mkdir(parents=True)
    return made


def binfmt_handler(configuration: str, interpreter: Path) -> str:
    """A line of binfmt.d(5) for an emulator at ``interpreter``, kept open (F) so that it is found from every namespace."""
    line = next(line for line in configuration.splitlines() if line.startswith(":"))
    fields = line.split(":")
    return ":".join([*fields[:6], str(interpreter), "".join(sorted({*fields[7], "F"}))])


def environment(target: Target | None) -> dict[str, str]:
    """Every variable a program in the sandbox sees."""
    found = {
        "HOME": "/builddir",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PKG_CONFIG": "/usr/bin/pkg-config",
        # What BuildRequires bring, never what the tree holds for itself; -L/usr/lib64 is no news to any linker here.
        "PKG_CONFIG_LIBDIR": "/usr/lib64/pkgconfig:/usr/share/pkgconfig",
        "PKG_CONFIG_SYSTEM_LIBRARY_PATH": "/usr/lib64",
    }
    if target is not None and is_foreign(target):
        found["QEMU_LD_PREFIX"] = f"/usr/{target.architecture.triplet}"
        if target.toolchain.user_emulator_cpu:
            found["QEMU_CPU"] = target.toolchain.user_emulator_cpu
    return found


def command(
    root: Path,
    argv: Sequence[str],
    binds: Binds,
    target: Target | None,
    *,
    writable: bool = False,
    handler: str = "",
    overlay: str = "",
) -> list[str]:
    """The whole command line that runs ``argv`` in the sandbox over ``root``."""
    line = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]
    line += [str(_ENTER), handler, overlay, str(root)]
    line += ["bwrap", "--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    line += ["--hostname", "builder", "--bind" if writable else "--ro-bind", str(root), "/", "--dev", "/dev"]
    line += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--tmpfs", "/run"]  # noqa: S108 - inside
    for host, (inside, may_write) in binds.items():
        line += ["--bind" if may_write else "--ro-bind", str(host), inside]
    line += ["--clearenv"]
    for name, value in environment(target).items():
        line += ["--setenv", name, value]
    return [*line, "--chdir", "/builddir", "--", *argv]


def tree_command(
    made: Tree, argv: Sequence[str], binds: Binds, target: Target | None, over: Layers | None = None
) -> list[str]:
    """The command line that runs a program over the tree, or over layers that end with it.

    :param target: whose programs run, through an emulator if they are foreign; none: the host's own alone.
    :raises CannotRun: without bubblewrap, or without an emulator for a foreign target.
    """
    require("bwrap", "bubblewrap")
    handler = ""
    if target is not None and is_foreign(target):
        emulator = target.toolchain.user_emulator or target.architecture.user_emulator
        configuration, program = made.find(f"usr/lib/binfmt.d/{emulator}.conf"), made.find(f"usr/bin/{emulator}")
        if configuration is None or program is None:
            raise CannotRun(
                f"{target.name} names the emulator {emulator}, which Debian's qemu-user does not have",
                f"toolchain.user_emulator of the target in targets.yaml is one of: ls {made.base / 'usr/lib/binfmt.d'}",
            )
        handler = binfmt_handler(configuration.read_text(), program)
    if over:
        root, overlay = over.merged, over.options
    else:
        # In the command's own mount namespace, over the topmost folder: no empty folder is needed for it, and none is left.
        root, overlay = made.lower[0], _lower_option(made.lower) if len(made.lower) > 1 else ""
    return command(root, argv, binds, target, writable=over is not None, handler=handler, overlay=overlay)


def run_in(
    made: Tree,
    argv: Sequence[str],
    *,
    binds: Binds,
    target: Target | None,
    over: Layers | None = None,
    log: Path | None = None,
    echo: bool = False,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program over the tree, or over layers that end with it.

    :raises CommandFailed: as ``workers.base.run.run``.
    :raises CannotRun: when this host cannot make the sandbox; says what is missing.
    """
    line = tree_command(made, argv, binds, target, over)
    done = run(line, log=log, echo=echo, timeout=timeout, check=False)
    if done.status != 0 and (cannot := _refusal(done)):
        raise cannot
    if check and done.status != 0:
        raise CommandFailed(done)
    return done


def _refusal(done: Completed) -> CannotRun | None:
    """What kept the sandbox from being made, if that is why the program failed."""
    if done.status == _REFUSED:
        last = done.output.splitlines()[-1:]
        if last == ["kitten-sandbox: binfmt"]:
            return CannotRun(
                f"programs of other architectures cannot run in a sandbox on Linux {platform.release()}",
                "that needs Linux 6.7 or later with binfmt_misc (modprobe binfmt_misc); or build on a native worker",
            )
        if last == ["kitten-sandbox: register"]:
            return CannotRun(
                "the kernel refused the emulator of this target", "is the sandbox tree on a noexec or network mount?"
            )
        if last == ["kitten-sandbox: overlay"]:
            return CannotRun(
                f"overlayfs refuses {cache.root()} (Linux {platform.release()})",
                "export KITTEN_CACHE=FOLDER on a local file system such as ext4, xfs or btrfs; Linux 5.11 or later",
            )
    return namespace.refusal(done)


def run_in_base(
    site: Site,
    argv: Sequence[str],
    *,
    binds: Binds | None = None,
    target: Target | None = None,
    log: Path | None = None,
    echo: bool = False,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program in the base of the site's trees, read-only but for ``binds``: what needs no compiler of a target.

    :param target: whose rpm macros the program sees; none: the site's alone.
    :raises CommandFailed: on a non-zero exit (unless ``check`` is off) or when ``timeout`` seconds are over.
    :raises CannotRun: when the tree or the sandbox cannot be made on this host.
    """
    made = base_tree(site)
    with scratch() as folder:
        configured = {**rpm_configuration(folder, site, target), **(binds or {})}
        if not any(inside == "/builddir" for inside, _ in configured.values()):
            (folder / "builddir").mkdir()
            configured[folder / "builddir"] = ("/builddir", True)
        return run_in(made, argv, binds=configured, target=None, log=log, echo=echo, timeout=timeout, check=check)


def rpm_configuration(folder: Path, site: Site, target: Target | None) -> dict[Path, tuple[str, bool]]:
    """Write rpm's configuration for the target to ``folder``; where it goes in the sandbox."""
    (folder / "rpmrc").write_text(flags.rpmrc(site, target))
    (folder / "macros").write_text(flags.macros(site, target))
    return {folder / "rpmrc": ("/etc/rpmrc", False), folder / "macros": ("/etc/rpm/macros", False)}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a real file system for the length of a block. What a killed holder left is removed by the next one."""
    home = cache.root() / "scratch"
    home.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(8)
    folder, lock = home / name, home / f"{name}.lock"
    with contextlib.ExitStack() as held:
        with cache.hold_lock(home / "sweep"):  # so that nobody sweeps a lock that is made and not yet held
            for other in home.glob("*.lock"):
                with contextlib.suppress(OSError), cache.lock(other, cache.NO_WAIT):
                    if cache.remove(other.with_suffix("")):
                        other.unlink()
            held.enter_context(cache.lock(lock))
        folder.mkdir()
        try:
            yield folder
        finally:
            if cache.remove(folder):
                lock.unlink(missing_ok=True)
