"""The losses of a file since the published build."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.workers.verify.compilers import TARGETS, compiled, flags
from workers.formats.elf import Elf
from workers.formats.facts import AboveLevel, FileFacts, Framing, Function, IsaFacts, Traits, Unframed
from workers.formats.traits import read_traits
from workers.results import Check
from workers.verify.compare import compare

GOOD = Traits("ab" * 20, False, "full", True, False, ("/usr/lib64/it",), ())
FILE = FileFacts("elf", "EM_X86_64", "ET_DYN", True, traits=GOOD)
PATH = "it:/usr/bin/it"


def findings(old: FileFacts, new: FileFacts) -> list[tuple[str, str]]:
    checks = compare({PATH: old}, {PATH: new})
    assert {(check.rule, check.file) for check in checks} <= {("regression", PATH), ("regression", "")}
    return [(check.grade, check.detail) for check in checks if check.outcome == "failed"]


def framing(framed: int, *unframed: str, leaf: int = 0) -> Framing:
    lost = tuple(Unframed(Function(number, 16, name), "no frame") for number, name in enumerate(unframed))
    return Framing("cfi", framed + leaf + len(lost), framed, leaf, lost)


def above(*names: str, dispatch: str = "") -> IsaFacts:
    functions = [AboveLevel(Function(n, 16, name), ("AVX512F",), 1, (), dispatch) for n, name in enumerate(names)]
    return IsaFacts("x86-64-v3", 1000, 0, tuple(functions))


def test_same_file_lost_nothing() -> None:
    assert compare({PATH: FILE}, {PATH: FILE}) == (
        Check(rule="regression", file="", outcome="passed", detail="1 files lost nothing since the published build"),
    )


def test_first_build_has_nothing_to_lose() -> None:
    assert compare({}, {PATH: FILE}) == (
        Check(rule="regression", file="", outcome="skipped", reason="nothing-published"),
    )


@pytest.mark.parametrize(
    ("change", "grade", "detail"),
    [
        ({"pie": False}, "VERIFY", "lost PIE: loaded at a fixed address now"),
        ({"relro": "partial"}, "VERIFY", "lost RELRO: partial, was full"),
        ({"relro": "none"}, "BAD", "lost RELRO: none, was full"),
        ({"executable_stack": True}, "BAD", "lost the non-executable stack"),
        ({"text_relocations": True}, "BAD", "has text relocations now"),
        ({"build_id": ""}, "BAD", "lost its build-id"),
        ({"rpath": ("/usr/lib64/it", "", "/opt/it")}, "VERIFY", "has a new rpath: (empty), /opt/it"),
        ({"build_paths": ("/builddir/it.c",)}, "VERIFY", "now contains the path of its build folder: /builddir/it.c"),
    ],
)
def test_lost_trait(change: dict[str, object], grade: str, detail: str) -> None:
    worse = replace(FILE, traits=replace(GOOD, **change))  # type: ignore[arg-type]
    assert findings(FILE, worse) == [(grade, detail)]
    assert findings(worse, FILE) == [], "what became better is no loss"
    assert findings(worse, worse) == [], "what was so before is no loss"


def test_trait_that_no_longer_applies_is_no_loss() -> None:
    """A program that became static has neither RELRO nor an rpath to lose."""
    static = replace(FILE, traits=replace(GOOD, relro="", text_relocations=None, rpath=()))
    assert findings(FILE, static) == []


def test_code_for_another_machine_is_the_only_finding() -> None:
    other = FileFacts("elf", "EM_AARCH64", "ET_EXEC", True, traits=Traits(relro="none", pie=False))
    assert findings(FILE, other) == [("BAD", "code for EM_AARCH64, was for EM_X86_64")]


def test_fewer_frame_pointers() -> None:
    old = replace(FILE, framing=framing(98, "asm_a", "asm_b"))
    new = replace(FILE, framing=framing(90, "asm_a", "fast.cold", "copy"))
    assert findings(old, new) == [
        ("VERIFY", "keeps frame pointers in 96.8% of its functions, was 98.0%: fast.cold, copy"),
    ]
    assert findings(new, old) == []
    assert findings(old, replace(FILE, framing=framing(97, "asm_a", "asm_b", leaf=500))) == [], "leaves do not count"
    assert findings(old, replace(FILE, framing=None)) == [("BAD", "its frame pointers can no longer be read")]
    assert findings(old, replace(FILE, framing=Framing("", 0, 0, 0))) == [
        ("BAD", "its frame pointers can no longer be read")
    ]
    assert findings(replace(FILE, framing=framing(0, leaf=3)), replace(FILE, framing=None)) == []


def test_new_functions_above_the_level() -> None:
    old = replace(FILE, isa=above("known"))
    assert findings(old, replace(FILE, isa=above("known.constprop.0"))) == []
    assert findings(old, replace(FILE, isa=above("known", "fresh"))) == [
        ("BAD", "1 new functions above x86-64-v3: fresh")
    ]
    assert findings(old, replace(FILE, isa=above("known", ""))) == [("BAD", "1 new functions above x86-64-v3")]
    assert findings(old, replace(FILE, isa=above("fresh_avx512", dispatch="ifunc: reached from the resolver"))) == []
    allowed = replace(FILE, isa=above("fresh", dispatch="ifunc"))
    assert findings(allowed, replace(FILE, isa=above("fresh"))) == [("BAD", "1 new functions above x86-64-v3: fresh")]
    many = replace(FILE, isa=above(*(f"f{n}x" for n in range(9))))
    assert findings(old, many)[0][1].endswith(": f0x, f1x, f2x, f3x, f4x and 4 more")
    other_level = replace(FILE, isa=IsaFacts("x86-64-v2", 1000, 0))
    assert findings(other_level, many) == [], "the level was another: nothing can be compared"


def test_file_that_is_gone_is_reported() -> None:
    checks = compare({PATH: FILE, "it:/usr/bin/old": FILE}, {PATH: FILE})
    assert [(check.file, check.outcome, check.grade) for check in checks] == [
        ("it:/usr/bin/old", "passed", "INFO"),
        ("", "passed", "OK"),
    ]


def test_next_version_of_a_library_is_its_successor() -> None:
    worse = replace(FILE, traits=replace(GOOD, relro="none"))
    (check,) = compare({"z:/usr/lib64/libz.so.1.2.13": FILE}, {"z:/usr/lib64/libz.so.1.3": worse})
    assert (check.file, check.outcome) == ("z:/usr/lib64/libz.so.1.3", "failed")
    old = {"k:/lib/modules/6.12.0-1.el10/a.ko": FILE, "k:/lib/modules/6.12.0-1.el10/b.ko": FILE}
    new = {"k:/lib/modules/6.12.0-23.el10/a.ko": worse, "k:/lib/modules/6.12.0-23.el10/b.ko": FILE}
    assert [check.file for check in compare(old, new) if check.outcome == "failed"] == [
        "k:/lib/modules/6.12.0-23.el10/a.ko"
    ]


def test_no_guess_if_two_files_could_be_the_successor() -> None:
    worse = replace(FILE, traits=replace(GOOD, relro="none"))
    checks = compare({"z:/lib/libz.so.1": FILE}, {"z:/lib/libz.so.2": worse, "z:/lib/libz.so.3": worse})
    assert [(check.file, check.grade) for check in checks] == [("z:/lib/libz.so.1", "INFO")]


@pytest.mark.parametrize("name", TARGETS)
def test_two_real_builds(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    sources = {"main.c": 'int puts(const char *); int main(void) { return puts("hello"); }\n'}

    def build(options: list[str], link: list[str]) -> FileFacts:
        path = compiled(name, tmp_path_factory.mktemp("build"), sources, [*flags(name), *options], link)
        elf = Elf(path.read_bytes())
        return FileFacts("elf", elf.machine, elf.type, bool(elf.code), traits=read_traits(elf))

    old = build(["-fPIE"], ["-pie", "-Wl,-z,relro,-z,now"])
    new = build(["-fno-pie"], ["-no-pie", "-Wl,-z,norelro,-z,execstack,-rpath,/opt/it"])
    assert findings(old, new) == [
        ("BAD", "lost the non-executable stack"),
        ("BAD", "lost RELRO: none, was full"),
        ("VERIFY", "lost PIE: loaded at a fixed address now"),
        ("VERIFY", "has a new rpath: /opt/it"),
    ]
