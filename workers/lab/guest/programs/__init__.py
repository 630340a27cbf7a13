"""Small programs for guests, in assembler: a few instructions and no library, so that a test tests nothing else.

The sources are ``NAME-ARCH.s`` in this folder, with ARCH as in ``uname -m``.
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
    """Assemble the static program NAME for a target, or take it from the cache.

    :param options: options of the assembler, for example the processor whose instructions are allowed.
    :param symbols: keep the symbol table.
    :raises CannotRun: if the binutils for that architecture are not installed.
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
