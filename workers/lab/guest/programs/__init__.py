"""Programs for guests in their own assembler: a few instructions, no library, so that nothing else is on trial.

``NAME-ARCH.s`` lies beside this file, ARCH as ``uname -m`` has it.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from config.models import Target
from workers.base import cache
from workers.base.run import require, run

_TIMEOUT = 60.0


def assemble(target: Target, name: str, *options: str, symbols: bool = False) -> bytes:
    """The static program NAME for a target.

    :param options: of the assembler, e.g. the processor whose instructions it may know.
    :param symbols: with its symbol table.
    :raises CannotRun: when the binutils for that architecture are missing.
    """
    source = Path(__file__).with_name(f"{name}-{target.machine_arch}.s").read_text()
    triplet = target.architecture.triplet
    native = platform.machine() == target.machine_arch
    prefix, package = ("", "binutils") if native else (f"{triplet}-", f"binutils-{target.architecture.debian_triplet}")
    tools = [require(f"{prefix}{tool}", package) for tool in ("as", "ld")]
    link = [tools[1]] if symbols else [tools[1], "-s"]
    key = hashlib.sha256("\0".join([source, *options, *(["with symbols"] if symbols else [])]).encode()).hexdigest()

    def make(folder: Path) -> None:
        (folder / "program.s").write_text(source)
        run([tools[0], *options, "-o", folder / "program.o", folder / "program.s"], timeout=_TIMEOUT)
        run([*link, "-o", folder / "program", folder / "program.o"], timeout=_TIMEOUT)

    return (cache.entry("guest-programs", f"{triplet}-{key[:16]}", make) / "program").read_bytes()
