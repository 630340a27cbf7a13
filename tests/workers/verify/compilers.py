"""Real compilers for all five targets: programs for which the right verdict is known. A missing compiler is a skip."""

from __future__ import annotations

import functools
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Target
from workers.base.run import run

SITE = load_site("demo")
HARDENED = ("-Wl,-z,relro,-z,now",)  # the distribution links so; the default of this compiler may differ
TARGETS = [target.name for target in SITE.targets]


@functools.cache
def target(name: str) -> Target:
    return SITE.target(name)


def tool(name: str, program: str) -> str:
    """Return the (cross) tool of a target, for example ``aarch64-linux-gnu-gcc``."""
    of = target(name)
    prefix = "" if of.machine_arch == platform.machine() else f"{of.architecture.triplet}-"
    if shutil.which(prefix + program) is None:
        pytest.skip(f"{prefix}{program} is not installed")
    return prefix + program


def flags(name: str) -> list[str]:
    """Return the options of a compilation for that target."""
    return ["-O2", "-g", "-grecord-gcc-switches", *target(name).flags.compiler]


def compiled(
    name: str, folder: Path, sources: Mapping[str, str], options: Sequence[str] | None = None,
    link: Sequence[str] = HARDENED, per_file: Mapping[str, Sequence[str]] | None = None, output: str = "program",
) -> Path:  # fmt: skip
    """Compile sources (file name → text) and link them.

    :param options: the options for every source. Default: the target's flags.
    :param per_file: file name → other options for this source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gcc = tool(name, "gcc")
    objects = []
    for source, text in sources.items():
        (folder / source).write_text(text)
        chosen = (per_file or {}).get(source, flags(name) if options is None else options)
        run([gcc, *chosen, "-c", source, "-o", f"{source}.o"], cwd=folder)
        objects.append(f"{source}.o")
    run([gcc, *link, "-Wl,--build-id=sha1", "-o", output, *objects], cwd=folder)
    return folder / output
