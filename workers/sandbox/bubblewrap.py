"""Run programs in the sandbox tree with bubblewrap: without network, without access to the host's files.

Programs of a foreign target run unmodified in an emulator. The kernel knows the emulator only in this sandbox
(binfmt_misc of a user namespace, Linux 6.7 and later; https://docs.kernel.org/admin-guide/binfmt-misc.html). All mounts
belong to namespaces that end with their last process, so nothing has to be unmounted.
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
"""Path on the host → path in the sandbox, and whether it is writable."""

_ENTER = Path(__file__).with_name("enter.sh")
_REFUSED = 125  # exit status of enter.sh if it could not prepare the sandbox


@dataclass(frozen=True)
class Layers:
    """A writable view of a tree: its read-only folders, topmost first, and the folders of overlayfs for changes."""

    lower: tuple[Path, ...]
    upper: Path
    work: Path
    merged: Path

    @property
    def options(self) -> str:
        """Return the mount options for overlayfs."""
        return f"{_lower_option(self.lower)},upperdir={_overlay_path(self.upper)},workdir={_overlay_path(self.work)}"


def _lower_option(lower: Sequence[Path]) -> str:
    """Return mount options of a read-only overlay in a user namespace.

    Source: https://docs.kernel.org/filesystems/overlayfs.html
    """
    return f"userxattr,lowerdir={':'.join(_overlay_path(path) for path in lower)}"


def _overlay_path(path: Path) -> str:
    if any(character in str(path) for character in ",:\\"):
        raise CannotRun(f"overlayfs allows no comma, colon or backslash in {path}", "choose another KITTEN_CACHE")
    return str(path)


def layers(scratch: Path, *lower: Path) -> Layers:
    """Return a writable view of folders, topmost first; ``scratch`` receives the changes."""
    view = Layers(lower, scratch / "upper", scratch / "work", scratch / "merged")
    for path in (view.upper, view.work, view.merged):
        path.mkdir(parents=True)
    return view


def binfmt_handler(configuration: str, interpreter: Path) -> str:
    """Return the binfmt.d(5) line of a configuration, with the emulator ``interpreter``.

    The flag F makes the kernel open the emulator at once, so that every namespace finds it.
    """
    line = next(line for line in configuration.splitlines() if line.startswith(":"))
    fields = line.split(":")
    return ":".join([*fields[:6], str(interpreter), "".join(sorted({*fields[7], "F"}))])


def environment(target: Target | None) -> dict[str, str]:
    """Return all environment variables of a program in the sandbox."""
    variables = {
        "HOME": "/builddir",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PKG_CONFIG": "/usr/bin/pkg-config",
        # Only libraries from BuildRequires, never those of the tree. Every linker here searches /usr/lib64 already.
        "PKG_CONFIG_LIBDIR": "/usr/lib64/pkgconfig:/usr/share/pkgconfig",
        "PKG_CONFIG_SYSTEM_LIBRARY_PATH": "/usr/lib64",
    }
    if target is not None and is_foreign(target):
        variables["QEMU_LD_PREFIX"] = f"/usr/{target.architecture.triplet}"
        if target.toolchain.user_emulator_cpu:
            variables["QEMU_CPU"] = target.toolchain.user_emulator_cpu
    return variables


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
    """Return the command line that runs ``argv`` in the sandbox with ``root`` as its root folder."""
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
    tree: Tree, argv: Sequence[str], binds: Binds, target: Target | None, over: Layers | None = None
) -> list[str]:
    """Return the command line that runs a program in a tree, or in a writable view of it.

    :param target: the target whose programs can run, in an emulator if they are foreign; None: only the host's.
    :param over: the writable view; without it, the tree is read-only.
    :raises CannotRun: if bubblewrap, or the emulator of a foreign target, is missing.
    """
    require("bwrap", "bubblewrap")
    handler = ""
    if target is not None and is_foreign(target):
        emulator = target.toolchain.user_emulator or target.architecture.user_emulator
        configuration, program = tree.find(f"usr/lib/binfmt.d/{emulator}.conf"), tree.find(f"usr/bin/{emulator}")
        if configuration is None or program is None:
            raise CannotRun(
                f"{target.name} names the emulator {emulator}, which Debian's qemu-user does not have",
                "set toolchain.user_emulator of the target in targets.yaml to an emulator in "
                f"{tree.base / 'usr/lib/binfmt.d'}",
            )
        handler = binfmt_handler(configuration.read_text(), program)
    if over:
        root, overlay = over.merged, over.options
    else:
        # The overlay is mounted on the topmost folder, in the command's own mount namespace: it needs no empty folder.
        root, overlay = tree.lower[0], _lower_option(tree.lower) if len(tree.lower) > 1 else ""
    return command(root, argv, binds, target, writable=over is not None, handler=handler, overlay=overlay)


def run_in(
    tree: Tree,
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
    """Run a program in a tree, or in a writable view of it. For the parameters see :func:`tree_command`.

    :raises CommandFailed: as :func:`workers.base.run.run`.
    :raises CannotRun: if this host cannot make the sandbox; the hint says what is missing.
    """
    line = tree_command(tree, argv, binds, target, over)
    done = run(line, log=log, echo=echo, timeout=timeout, check=False)
    if done.status != 0 and (cannot := _refusal(done)):
        raise cannot
    if check and done.status != 0:
        raise CommandFailed(done)
    return done


def _refusal(done: Completed) -> CannotRun | None:
    """Return the error if a program failed because the sandbox could not be made; None for any other failure."""
    if done.status == _REFUSED:
        last = done.output.splitlines()[-1:]
        if last == ["kitten-sandbox: binfmt"]:
            return CannotRun(
                f"programs of other architectures cannot run in a sandbox on Linux {platform.release()}",
                "use Linux 6.7 or later with binfmt_misc (modprobe binfmt_misc), or build on a native worker",
            )
        if last == ["kitten-sandbox: register"]:
            return CannotRun(
                "the kernel refused the emulator of this target",
                "put the cache (KITTEN_CACHE) on a local file system without noexec",
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
    """Run a program that needs no compiler of a target, in the base of the site's trees. Only ``binds`` are writable.

    :param target: the target whose rpm macros the program sees; None: only the site's macros.
    :raises CommandFailed: if it exits with another status than 0 (unless ``check`` is off) or takes too long.
    :raises CannotRun: if the tree or the sandbox cannot be made on this host.
    """
    tree = base_tree(site)
    with scratch() as folder:
        configured = {**rpm_configuration(folder, site, target), **(binds or {})}
        if not any(inside == "/builddir" for inside, _ in configured.values()):
            (folder / "builddir").mkdir()
            configured[folder / "builddir"] = ("/builddir", True)
        return run_in(tree, argv, binds=configured, target=None, log=log, echo=echo, timeout=timeout, check=check)


def rpm_configuration(folder: Path, site: Site, target: Target | None) -> dict[Path, tuple[str, bool]]:
    """Write rpm's configuration for the target to ``folder``; return the binds that put it into the sandbox."""
    (folder / "rpmrc").write_text(flags.rpmrc(site, target))
    (folder / "macros").write_text(flags.macros(site, target))
    return {folder / "rpmrc": ("/etc/rpmrc", False), folder / "macros": ("/etc/rpm/macros", False)}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder on a real file system for a ``with`` block. It also removes the folders of killed commands."""
    home = cache.root() / "scratch"
    home.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(8)
    folder, lock = home / name, home / f"{name}.lock"
    with contextlib.ExitStack() as held:
        with cache.hold_lock(home / "sweep"):  # so that no other process removes a new lock file before it is locked
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
