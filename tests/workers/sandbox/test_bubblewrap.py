"""The sandbox: its command line, the errors on hosts that cannot make one, and that no leftovers stay."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from config.models import Site
from workers.base import cache, namespace
from workers.base.errors import CannotRun
from workers.base.run import CommandFailed, Completed, run
from workers.sandbox import bubblewrap
from workers.sandbox.tree import Tree


def test_the_binfmt_line_names_the_emulator_of_the_tree() -> None:
    line = r":qemu-s390x:M::\x7fELF\x02:\xff\xff:/usr/libexec/qemu-binfmt/s390x-binfmt-P:OCP"
    handler = bubblewrap.binfmt_handler(f"# comment\n{line}\n", Path("/tree/usr/bin/qemu-s390x"))
    assert handler == r":qemu-s390x:M::\x7fELF\x02:\xff\xff:/tree/usr/bin/qemu-s390x:CFOP"


def test_a_foreign_target_is_emulated_with_its_own_cpu(site: Site) -> None:
    seen = bubblewrap.environment(site.target("ppc64le"))
    assert seen["QEMU_LD_PREFIX"] == "/usr/powerpc64le-linux-gnu"
    assert seen["QEMU_CPU"] == "power9"
    assert not any(name.startswith("QEMU") for name in bubblewrap.environment(None))


def test_the_sandbox_has_no_network_and_sees_no_other_processes() -> None:
    line = bubblewrap.command(Path("/tree"), ["true"], {}, None)
    assert {"--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--clearenv"} <= {
        *line
    }
    assert line[line.index("--ro-bind") + 1 :][:2] == ["/tree", "/"]


def test_a_path_with_a_character_of_overlayfs_options_is_refused() -> None:
    with pytest.raises(CannotRun, match="no comma, colon or backslash"):
        _ = bubblewrap.Layers((Path("/tree"),), Path("/a:b/upper"), Path("/a:b/work"), Path("/a:b/merged")).options


def test_an_emulator_that_qemu_does_not_have_is_named(site: Site, tmp_path: Path) -> None:
    target = site.target("s390x")
    toolchain = target.toolchain.model_copy(update={"user_emulator": "qemu-vax"})
    other = target.model_copy(update={"toolchain": toolchain})
    with pytest.raises(CannotRun, match="s390x names the emulator qemu-vax"):
        bubblewrap.tree_command(Tree((tmp_path,), ""), ["true"], {}, other)


@pytest.mark.parametrize(
    ("status", "output", "hint"),
    [
        (125, "kitten-sandbox: binfmt", "use Linux 6.7 or later"),
        (125, "kitten-sandbox: overlay", "local file system"),
        (125, "kitten-sandbox: register", "noexec"),
        (1, "unshare: unshare failed: No space left on device", "user namespaces are needed"),
    ],
)
def test_a_host_that_cannot_make_a_sandbox_gets_an_error_with_the_reason(status: int, output: str, hint: str) -> None:
    refusal = bubblewrap._refusal(Completed(("unshare",), status, output + "\n"))
    assert refusal is not None
    assert hint in refusal.hint


def test_a_program_that_fails_in_the_sandbox_is_no_error_of_the_host() -> None:
    assert bubblewrap._refusal(Completed(("unshare",), 1, "make: *** Error 1\n")) is None
    assert bubblewrap._refusal(Completed(("unshare",), 125, "env: cannot run\n")) is None


def test_the_scratch_folder_of_a_dead_process_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    home = cache.root() / "scratch"
    for name in ("dead", "alive"):
        (home / name / "upper").mkdir(parents=True)
        (home / f"{name}.lock").touch()
    with (home / "alive.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with bubblewrap.scratch() as mine:
            assert mine.is_dir()
            assert sorted(path.name for path in home.iterdir() if path.is_dir()) == sorted(["alive", mine.name])
    assert sorted(path.name for path in home.iterdir()) == ["alive", "alive.lock", "sweep"]


def test_a_scratch_folder_is_removed_with_closed_folders_and_files_of_other_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    with bubblewrap.scratch() as mine:
        (mine / "work").mkdir()
        (mine / "work/file").touch()
        (mine / "work").chmod(0)
        if namespace.has_subordinate_ids():
            script = (
                f"mkdir -m 0700 {mine}/of-another && touch {mine}/of-another/file && chown -R 8:12 {mine}/of-another"
            )
            run([*namespace.as_root(), "sh", "-ec", script])
    assert [path.name for path in (cache.root() / "scratch").iterdir()] == ["sweep"]


@pytest.mark.sandbox
def test_the_base_is_read_only_and_the_hosts_environment_does_not_leak(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    done = bubblewrap.run_in_base(site, ["sh", "-c", "env; touch /usr/x"], check=False)
    assert "SECRET" not in done.output
    assert "Read-only file system" in done.output
    assert done.status == 1


@pytest.mark.sandbox
def test_after_a_timeout_no_process_of_the_sandbox_runs(site: Site, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    argv = ["sh", "-c", "(setsid sleep 987654 &) ; sleep 987654"]
    with pytest.raises(CommandFailed) as caught:
        bubblewrap.run_in_base(site, argv, binds={tmp_path / "b": ("/builddir", True)}, timeout=2)
    assert caught.value.timed_out
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"987654" in _read(path)]
    assert not left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
