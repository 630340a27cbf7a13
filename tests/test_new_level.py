"""A target with a new level needs one entry in targets.yaml and no code, from check-config to the proof."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from buildbot.config.master import MasterConfig
from click.testing import CliRunner

from config.cli import check_config
from config.loading import FOLDER, load_site
from master.configuration import Surroundings, configuration
from master.service.basedir import ensure_secrets, read_passwords
from tests.workers.verify.compilers import HARDENED, tool
from workers.base.errors import CheckFailed
from workers.base.run import run
from workers.lab.machine.command_line import Boot, arguments
from workers.results import VerifyResult
from workers.sandbox import flags
from workers.verify.cli import verify

FRAMES = ["-fno-omit-frame-pointer"]
ENTRIES: dict[str, dict[str, Any]] = {
    "x86_64_v4": {
        "description": "64-bit x86 with AVX-512",
        "rpm_arch": "x86_64_v4",
        "machine_arch": "x86_64",
        "isa_level": "x86-64-v4",
        "flags": {"isa": ["-march=x86-64-v4"], "frame_pointers": [*FRAMES, "-mno-omit-leaf-frame-pointer"]},
        "machine": {"machine": "q35", "cpu": "Skylake-Server-v4"},
    },
    "power10": {
        "description": "IBM POWER10 and later",
        "rpm_arch": "ppc64le",
        "machine_arch": "ppc64le",
        "isa_level": "POWER10",
        "flags": {"isa": ["-mcpu=power10"], "frame_pointers": FRAMES},
        "machine": {"machine": "pseries,x-vof=on", "cpu": "power10", "arguments": ["-vga", "none"]},
    },
    "aarch64_v8_1": {
        "description": "64-bit Arm with large system extensions",
        "rpm_arch": "aarch64",
        "machine_arch": "aarch64",
        "isa_level": "ARMv8.1-A",
        "flags": {"isa": ["-march=armv8.1-a"], "frame_pointers": [*FRAMES, "-mno-omit-leaf-frame-pointer"]},
        "machine": {"machine": "virt", "cpu": "cortex-a76"},
    },
}
EMULATORS = {"x86_64_v4": "qemu-system-x86_64", "power10": "qemu-system-ppc64", "aarch64_v8_1": "qemu-system-aarch64"}
CONSOLES = {"x86_64_v4": "ttyS0", "power10": "hvc0", "aarch64_v8_1": "ttyAMA0"}
LOWER = {"x86_64_v4": "x86_64", "power10": "ppc64le", "aarch64_v8_1": "aarch64"}
# Each program has one instruction of its level.
MAIN = {
    "x86_64_v4": 'int main(void) { __asm__ volatile("vpaddd %zmm0, %zmm1, %zmm2"); return 0; }\n',
    "power10": 'int main(void) { __asm__ volatile("brh 3, 4" ::: "3"); return 0; }\n',
    "aarch64_v8_1": 'long a; int main(void) { __asm__ volatile("ldadd x1, x1, [%0]" :: "r"(&a) : "x1"); return 0; }\n',
}
NAMES = pytest.mark.parametrize("name", ENTRIES)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    """A site with the entry and the demo's targets."""
    for shipped in ("kitten-10", "demo"):
        shutil.copytree(FOLDER / shipped, tmp_path / shipped)
    entry = {"name": name, "mock": {"config": f"mine-{name}"}, "suites": ["packages"], **ENTRIES[name]}
    with (tmp_path / "kitten-10/targets.yaml").open("a") as targets:
        targets.write(yaml.safe_dump([entry], sort_keys=False))
    return tmp_path / "demo"


@NAMES
def test_check_config_accepts_the_entry(name: str, folder: Path) -> None:
    done = CliRunner().invoke(check_config, [str(folder)])
    assert done.exit_code == 0, done.output
    assert f"s390x, {name}\n" in done.output


@NAMES
def test_the_target_has_its_builders(name: str, folder: Path, tmp_path: Path) -> None:
    site = load_site(str(folder))
    ensure_secrets(site, tmp_path / "state")
    passwords = read_passwords(tmp_path / "state/secrets") | {"database-password": "x"}
    surroundings = Surroundings("demo", str(tmp_path / "state"), 8010, 9989, 8031, passwords)
    master = MasterConfig.loadFromDict(configuration(site, surroundings), "test")
    assert {name, f"try-{name}"} <= {builder.name for builder in master.builders}
    assert f"to-{name}" in master.schedulers


@NAMES
def test_the_flags_reach_rpm(name: str, folder: Path) -> None:
    site = load_site(str(folder))
    target = site.target(name)
    values = flags.rpmrc(site, target).split()
    assert values[1] == ENTRIES[name]["rpm_arch"]
    assert values[-len(target.flags.compiler) :] == [
        *ENTRIES[name]["flags"]["isa"],
        *ENTRIES[name]["flags"]["frame_pointers"],
    ]
    assert f"%_host {target.architecture.triplet}\n" in flags.macros(site, target)


@NAMES
def test_a_program_of_the_level_passes_there_and_fails_on_the_level_below(
    name: str, folder: Path, tmp_path: Path
) -> None:
    target = load_site(str(folder)).target(name)
    (tmp_path / "main.c").write_text(MAIN[name])
    options = ["-O2", "-g", "-grecord-gcc-switches", *target.flags.compiler]
    gcc = tool(LOWER[name], "gcc")
    run([gcc, *options, "-c", "main.c", "-o", "main.o"], cwd=tmp_path)
    run([gcc, *HARDENED, "-Wl,--build-id=sha1", "-o", "program", "main.o"], cwd=tmp_path)
    results = {of: _verify(folder, of, tmp_path) for of in (name, LOWER[name])}
    assert results[name].outcome == "passed", results[name].cause
    assert f"{target.isa_level} proven" in results[name].summary
    broken = [check.rule for check in results[LOWER[name]].checks if check.outcome == "failed"]
    assert "isa-level" in broken


def _verify(folder: Path, target: str, work: Path) -> VerifyResult:
    out = work / f"{target}.json"
    words = ["--site", str(folder), "--state", str(work / "state"), "--jobs", "1", "--fresh", "--json", str(out)]
    done = CliRunner().invoke(verify, [*words, "--target", target, str(work / "program")])
    assert done.exception is None or isinstance(done.exception, CheckFailed), done.output
    return VerifyResult.read(out.read_text())


@NAMES
def test_the_guest_has_the_cpu_of_the_entry_and_the_settings_of_the_architecture(name: str, folder: Path) -> None:
    machine = load_site(str(folder)).target(name).machine
    line = arguments(Boot(machine, "tcg", Path("/kernel"), "/initramfs", 640), 3, 4, 5)
    assert line[0] == EMULATORS[name]
    assert line[line.index("-cpu") + 1] == ENTRIES[name]["machine"]["cpu"]
    assert line[line.index("-append") + 1].startswith(f"console={CONSOLES[name]} ")
