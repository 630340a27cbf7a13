"""Programs for guests in their own assembler: a few instructions, no library, so that nothing else is on trial.

``NAME-ARCH.s`` lies beside this file, ARCH as ``uname -m`` has it.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from config.models import Target
from workers import cache
from workers.run import require, run

_TIMEOUT = 60.0


def assemble(target: Target, name: str, *options: str) -> bytes:
    """The static program NAME for a target.

    :param options: of the assembler, e.g. the processor whose instructions it may know.
    :raises CannotRun: when the binutils for that architecture are missing.
    """
    return assembled(target, Path(__file__).with_name(f"{name}-{target.machine_arch}.s").read_text(), *options)


def assembled(target: Target, source: str, *options: str) -> bytes:
    """The static program of an assembler text whose first instruction is ``_start``, from the cache."""
    triplet = target.toolchain.triplet
    native = platform.machine() == target.machine_arch
    prefix, package = ("", "binutils") if native else (f"{triplet}-", f"binutils-{triplet.replace('_', '-')}")
    tools = [require(f"{prefix}{tool}", package) for tool in ("as", "ld")]
    key = hashlib.sha256("\0".join([source, *options]).encode()).hexdigest()

    def make(folder: Path) -> None:
        (folder / "program.s").write_text(source)
        run([tools[0], *options, "-o", folder / "program.o", folder / "program.s"], timeout=_TIMEOUT)
        run([tools[1], "-s", "-o", folder / "program", folder / "program.o"], timeout=_TIMEOUT)

    return (cache.entry("guest-programs", f"{triplet}-{key[:16]}", make) / "program").read_bytes()
