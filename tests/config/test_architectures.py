"""Architectures: each module is complete; the missing parts of an unknown architecture are one problem."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from config import architectures
from config.architecture import Architecture
from config.cli import check_config
from config.loading import FOLDER, load_site
from tests.config.conftest import Break, lines

RISCV64 = """
- name: riscv64
  description: 64-bit RISC-V with the general-purpose profile RVA20
  rpm_arch: riscv64
  machine_arch: riscv64
  isa_level: rv64gc
  required: false
  flags:
    isa: [-march=rv64gc]
    frame_pointers: [-fno-omit-frame-pointer, -mno-omit-leaf-frame-pointer]
  mock: {config: almalinux-kitten-10-riscv64}
  machine: {machine: virt, cpu: rv64}
  suites: [packages]
"""
ALLOWED = "allowed: aarch64, ppc64le, s390x, x86_64, or a new one with these files: docs/how-to/add-an-architecture.md"
OTHER_FILES = (
    "workers/verify/architectures/riscv64.py, workers/lab/guest/programs/frames-riscv64.s, "
    "workers/lab/guest/programs/level-riscv64.s, workers/lab/guest/programs/renew-riscv64.s"
)


@pytest.fixture
def with_riscv64(folder: Path) -> Path:
    """Sites with a target of an architecture that the project does not know."""
    with (folder / "kitten-10/targets.yaml").open("a") as targets:
        targets.write(RISCV64)
    return folder


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules are architectures, in addition to those of the project."""
    known = (architectures.by_name, architectures.machines, architectures.architecture_of)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    for function in known:
        function.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    sys.modules.pop("config.architectures.riscv64", None)
    for function in known:
        function.cache_clear()


def about_the_architecture(folder: Path) -> str:
    (found,) = [line for line in lines(folder, "kitten-10") if "architecture" in line]
    return found


@pytest.mark.parametrize("name", architectures.by_name())
def test_each_architecture_is_complete(name: str) -> None:
    assert architectures.missing_files(name) == ()


def test_each_module_is_an_architecture() -> None:
    files = {path.stem for path in (FOLDER / "architectures").glob("[!_]*.py")}
    assert set(architectures.by_name()) == files == {"aarch64", "ppc64le", "s390x", "x86_64"}


@pytest.mark.parametrize("architecture", architectures.by_name().values(), ids=lambda one: one.name)
def test_levels_have_unique_names_and_one_decoder(architecture: Architecture) -> None:
    names = [level.name for one in architectures.by_name().values() for level in one.levels]
    assert len(names) == len(set(names))
    for level in architecture.levels:
        assert bool(level.features) == (architecture.disassembler is None)
        assert bool(level.assembler) == (architecture.disassembler is not None)


def test_each_level_of_x86_includes_the_lower_ones() -> None:
    levels = architectures.by_name()["x86_64"].levels
    assert all(lower.features < higher.features for lower, higher in itertools.pairwise(levels))


def test_all_missing_files_of_an_unknown_architecture_are_one_problem(with_riscv64: Path) -> None:
    line = (with_riscv64 / "kitten-10/targets.yaml").read_text().splitlines().index("  machine_arch: riscv64") + 1
    assert about_the_architecture(with_riscv64) == (
        f"kitten-10/targets.yaml:{line}: targets[5].machine_arch: found architecture 'riscv64', "
        f"which lacks config/architectures/riscv64.py, {OTHER_FILES}, {ALLOWED}"
    )


def test_check_config_reports_an_unknown_architecture_without_a_traceback(with_riscv64: Path) -> None:
    done = CliRunner().invoke(check_config, [str(with_riscv64 / "kitten-10")])
    assert done.exit_code == 2
    assert "config/architectures/riscv64.py" in done.output
    assert "Traceback" not in done.output


def test_an_unfinished_module_is_reported_with_its_missing_fields(with_riscv64: Path, modules: Path) -> None:
    text = (FOLDER / "architectures/s390x.py").read_text().replace('name="s390x"', 'name="riscv64"')
    for field in ("console", "kernel_package"):
        kept = [line for line in text.splitlines() if not line.startswith(f"    {field}=")]
        assert len(kept) < len(text.splitlines())
        text = "\n".join(kept)
    (modules / "riscv64.py").write_text(text)
    found = about_the_architecture(with_riscv64)
    assert "config/architectures/riscv64.py (" in found
    assert "2 required keyword-only arguments: 'console' and 'kernel_package'" in found
    assert OTHER_FILES in found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no attribute 'ARCHITECTURE'"),
        ("ARCHITECTURE = 1\n", "ARCHITECTURE is not the record of riscv64"),
        ("from config.architectures.s390x import ARCHITECTURE\n", "ARCHITECTURE is not the record of riscv64"),
        ("import config.nothing\n", "No module named 'config.nothing'"),
        ("def\n", "invalid syntax"),
    ],
)
def test_a_broken_module_is_reported_with_the_reason(with_riscv64: Path, modules: Path, text: str, reason: str) -> None:
    (modules / "riscv64.py").write_text(text)
    assert reason in about_the_architecture(with_riscv64)


def test_a_broken_module_that_no_target_names_is_ignored(modules: Path) -> None:
    (modules / "riscv64.py").write_text("ARCHITECTURE = 1\n")
    assert len(load_site("demo").targets) == 5


def test_an_unknown_level_is_reported_with_the_known_ones(problems: Break) -> None:
    found = problems("targets.yaml", "isa_level: z14", "isa_level: z14a", site="kitten-10")
    (line,) = [line for line in found if "level" in line]
    assert line.endswith("found unknown level 'z14a' of s390x, allowed: z14? (all: z13, z14, z15, z16, z17)")


def test_a_level_of_another_architecture_is_unknown(problems: Break) -> None:
    found = problems("targets.yaml", "isa_level: z14", "isa_level: POWER10", site="kitten-10")
    assert any("found unknown level 'POWER10' of s390x" in line for line in found)


def test_a_machine_has_the_defaults_of_the_architecture(folder: Path) -> None:
    path = folder / "kitten-10/targets.yaml"
    text = path.read_text()
    path.write_text(text.replace("machine: s390-ccw-virtio", "machine: s390-ccw-virtio\n    console: ttysclp1"))
    machine = load_site(str(folder / "kitten-10")).target("s390x").machine
    assert (machine.emulator, machine.console, machine.serial_bus, machine.kernel_package) == (
        "qemu-system-s390x",
        "ttysclp1",
        "virtio-serial-ccw",
        "linux-image-s390x",
    )
