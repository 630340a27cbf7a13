"""Programs of real linkers for tests of how files were linked, and the verdicts on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.workers.verify.compilers import compiled, flags, target
from workers.formats.elf import Elf
from workers.formats.facts import FileFacts, Traits
from workers.formats.traits import BUILD_FOLDERS, is_kernel_module, read_traits
from workers.results import Check
from workers.verify.rules.link import RULES, judge_traits

MAIN = {"main.c": 'int puts(const char *); int main(void) { return puts("hello"); }\n'}
LIBRARY = {"lib.c": 'int puts(const char *); int value; int *half(void) { puts("half"); return &value; }\n'}
NAMES_ITSELF = {"main.c": "int puts(const char *); int main(void) { return puts(__FILE__); }\n"}
HARDENED = ("-pie", "-Wl,-z,relro,-z,now")

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Compile and link once for each set of arguments."""

    @functools.cache
    def once(name: str, sources: tuple[tuple[str, str], ...], options: tuple[str, ...], link: tuple[str, ...]) -> Path:
        return compiled(name, tmp_path_factory.mktemp("traits"), dict(sources), [*flags(name), *options], link)

    def call(
        name: str,
        link: Sequence[str] = HARDENED,
        sources: Mapping[str, str] = MAIN,
        options: Sequence[str] = ("-fPIE",),
    ) -> Path:
        return once(name, tuple(sources.items()), tuple(options), tuple(link))

    return call


def traits(path: Path, build_folders: Sequence[str] = BUILD_FOLDERS) -> Traits:
    return read_traits(Elf(path.read_bytes()), build_folders)


def facts(path: Path) -> FileFacts:
    elf = Elf(path.read_bytes())
    return FileFacts(
        "elf", elf.machine, elf.type, bool(elf.code), is_module=is_kernel_module(elf), traits=read_traits(elf)
    )


def judged(name: str, of: FileFacts, file: str = "it:/usr/bin/it", owned: Sequence[str] = ()) -> dict[str, Check]:
    checks = judge_traits(target(name), file, of, frozenset(owned))
    assert tuple(check.rule for check in checks) == RULES, "every rule answers once"
    return {check.rule: check for check in checks}


def verdict_of(
    name: str, of: FileFacts, rule: str, file: str = "it:/usr/bin/it", owned: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the outcome, and the grade of a finding or the reason of a skip."""
    check = judged(name, of, file, owned)[rule]
    if check.outcome == "failed":
        assert check.detail
        return check.outcome, check.grade
    return (check.outcome, check.reason) if check.outcome == "skipped" else (check.outcome,)
