"""How files were linked: real linkers of all five targets, with right and wrong options."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.formats.conftest import HARDENED, LIBRARY, NAMES_ITSELF, Make, facts, judged, traits, verdict_of
from tests.workers.verify.compilers import TARGETS, flags, tool
from workers.base.errors import MalformedError
from workers.base.run import CommandFailed, run
from workers.formats import traits as reader
from workers.formats.elf import Elf
from workers.formats.facts import FileFacts, Traits, Unit
from workers.formats.traits import read_traits
from workers.verify.rules.link import RULES

# ------------------------------------------------------------------------------------------------- as it should be


@pytest.mark.parametrize("name", TARGETS)
def test_hardened_program_passes_every_rule(make: Make, name: str) -> None:
    found = traits(make(name))
    assert len(found.build_id) == 40
    assert found == Traits(found.build_id, False, "full", True, False, (), ())
    assert {check.outcome for check in judged(name, facts(make(name))).values()} == {"passed"}


@pytest.mark.parametrize("name", TARGETS)
def test_hardened_library_passes_every_rule_but_pie_is_skipped(make: Make, name: str) -> None:
    path = make(name, ("-shared", "-Wl,-z,relro,-z,now"), LIBRARY, ("-fPIC",))
    found = traits(path)
    assert found == Traits(found.build_id, False, "full", None, False, (), ())
    outcomes = {rule: check.outcome for rule, check in judged(name, facts(path)).items()}
    assert outcomes == dict.fromkeys(RULES, "passed") | {"pie": "skipped"}
    assert verdict_of(name, facts(path), "pie") == ("skipped", "library")


# ---------------------------------------------------------------------------------------------- each rule, violated


@pytest.mark.parametrize("name", TARGETS)
def test_missing_build_id(make: Make, name: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    run([tool(name, "objcopy"), "--remove-section", ".note.gnu.build-id", make(name), path])
    assert verdict_of(name, facts(path), "build-id") == ("failed", "BAD")
    assert verdict_of(name, replace(facts(path), has_code=False), "build-id") == ("skipped", "no-code")


@pytest.mark.parametrize("name", TARGETS)
def test_executable_stack(make: Make, name: str) -> None:
    path = make(name, (*HARDENED, "-Wl,-z,execstack"))
    assert traits(path).executable_stack is True
    assert verdict_of(name, facts(path), "executable-stack") == ("failed", "BAD")


@pytest.mark.parametrize("name", TARGETS)
def test_assembler_source_without_a_note_of_the_stack(name: str, tmp_path: Path) -> None:
    by_default = name not in ("aarch64", "ppc64le")
    for text, executable in (
        (".text\nnop\n", by_default),
        ('.text\nnop\n.section .note.GNU-stack,"",@progbits\n', False),
    ):
        source = text.replace("nop", "nopr" if name == "s390x" else "nop")
        (tmp_path / "it.s").write_text(source)
        run([tool(name, "gcc"), "-c", "it.s"], cwd=tmp_path)
        of = facts(tmp_path / "it.o")
        assert of.traits.executable_stack is executable
        expected = ("failed", "BAD") if executable else ("passed",)
        assert verdict_of(name, of, "executable-stack", "it:/usr/lib64/libit.a(it.o)") == expected
        assert verdict_of(name, of, "executable-stack", "it:/usr/lib64/it.o") == expected
        assert verdict_of(name, of, "executable-stack", "it:/usr/lib/grub/it.mod") == ("skipped", "object")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("link", "relro", "verdict"),
    [
        (("-Wl,-z,norelro",), "none", ("failed", "BAD")),
        (("-Wl,-z,relro,-z,lazy",), "partial", ("failed", "VERIFY")),
        (("-Wl,-z,relro,-z,now",), "full", ("passed",)),
    ],
)
def test_relro(make: Make, name: str, link: tuple[str, ...], relro: str, verdict: tuple[str, ...]) -> None:
    path = make(name, ("-pie", *link))
    assert traits(path).relro == relro
    assert verdict_of(name, facts(path), "relro") == verdict


@pytest.mark.parametrize("name", TARGETS)
def test_relro_is_full_without_now_if_nothing_is_bound_later(make: Make, name: str) -> None:
    sources = {"lib.c": "int value; int *half(void) { return &value; }\n"}
    path = make(name, ("-shared", "-nostdlib", "-Wl,-z,relro,-z,lazy"), sources, ("-fPIC",))
    assert traits(path).relro == "full"


@pytest.mark.parametrize("name", TARGETS)
def test_program_at_a_fixed_address(make: Make, name: str) -> None:
    path = make(name, ("-no-pie", "-Wl,-z,relro,-z,now"), options=("-fno-pie",))
    assert traits(path).pie is False
    assert verdict_of(name, facts(path), "pie") == ("failed", "VERIFY")
    assert verdict_of(name, facts(path), "relro") == ("passed",)
    assert verdict_of(name, facts(path), "pie", "kernel:/boot/vmlinux") == ("skipped", "kernel-image")


@pytest.mark.parametrize("name", TARGETS)
def test_static_program(make: Make, name: str) -> None:
    of = facts(make(name, ("-static",), options=()))
    assert (of.traits.pie, of.traits.relro, of.traits.text_relocations) == (False, "", None)
    assert verdict_of(name, of, "pie") == ("failed", "VERIFY")
    for rule in ("relro", "text-relocations", "rpath"):
        assert verdict_of(name, of, rule) == ("skipped", "static")
    assert verdict_of(name, of, "executable-stack") == ("passed",)


@pytest.mark.parametrize("name", TARGETS)
def test_static_pie(make: Make, name: str) -> None:
    try:
        path = make(name, ("-static-pie", "-Wl,-z,relro"))
    except CommandFailed as error:
        pytest.skip(f"{name}: no static-pie here: {str(error).splitlines()[-1]}")
    if Elf(path.read_bytes()).type != "ET_DYN":
        pytest.skip(f"{name}: this gcc makes a program at a fixed address of -static-pie")
    of = facts(path)
    assert (of.traits.pie, of.traits.relro) == (True, "full")
    assert {verdict_of(name, of, rule) for rule in RULES} == {("passed",)}


def test_text_relocations_by_the_linkers_flag(make: Make) -> None:
    sources = {"lib.c": "static int value; int *half(void) { return &value; }\n"}
    path = make("x86_64", ("-shared", "-Wl,-z,notext"), sources, ("-fno-pic", "-mcmodel=large"))
    assert traits(path).text_relocations is True
    assert verdict_of("x86_64", facts(path), "text-relocations") == ("failed", "BAD")


@pytest.mark.parametrize("name", TARGETS)
def test_text_relocation_without_the_linkers_flag(make: Make, name: str) -> None:
    path = make(name, ("-shared", "-Wl,-z,relro,-z,now"), LIBRARY, ("-fPIC",))
    data = bytearray(path.read_bytes())
    elf = Elf(bytes(data))
    assert read_traits(elf).text_relocations is False
    rela = dict(elf.dynamic)[7]
    segment = next(s for s in elf.segments if s.type == 1 and s.address <= rela < s.address + s.file_size)
    code = elf.code[0].address
    order = "<" if elf.little_endian else ">"
    struct.pack_into(f"{order}Q", data, segment.offset + rela - segment.address, code)
    assert read_traits(Elf(bytes(data))).text_relocations is True


# ---------------------------------------------------------------------------- what is out of scope, other languages


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("it-debuginfo:/usr/lib/debug/usr/bin/it.debug", {}, "debuginfo"),
        ("it:/usr/lib/debug/usr/bin/it.debug", {}, "debuginfo"),
        ("it:/boot/efi/it.efi", {"format": "efi"}, "efi"),
        ("it:/usr/share/qemu/firmware", {"machine": "EM_BPF"}, "other-machine"),
    ],
)
def test_out_of_scope(make: Make, file: str, change: dict[str, str], reason: str) -> None:
    of = replace(facts(make("x86_64", ("-no-pie", "-Wl,-z,execstack"))), **change)  # type: ignore[arg-type]
    assert {verdict_of("x86_64", of, rule, file) for rule in RULES} == {("skipped", reason)}


@pytest.mark.parametrize("name", TARGETS)
def test_kernel_module_is_checked_only_for_build_id_and_build_path(name: str, tmp_path: Path) -> None:
    text = '__attribute__((section(".modinfo"), used)) static const char info[] = "name=it";\n'
    text += "int init(void) { return 1; }\n"
    (tmp_path / "it.c").write_text(text)
    gcc = tool(name, "gcc")
    run([gcc, *flags(name), "-fno-pic", "-c", "it.c"], cwd=tmp_path)
    run([gcc, "-nostdlib", "-no-pie", "-r", "-Wl,--build-id=sha1", "it.o", "-o", "it.ko"], cwd=tmp_path)
    of = facts(tmp_path / "it.ko")
    assert of.is_module
    file = "kernel-modules:/lib/modules/6.12/kernel/it.ko"
    for rule in RULES:
        expected = ("passed",) if rule in ("build-id", "build-path") else ("skipped", "kernel-module")
        assert verdict_of(name, of, rule, file) == expected


def test_object_is_not_linked_yet(tmp_path: Path) -> None:
    (tmp_path / "it.c").write_text("int it(void) { return 1; }\n")
    run([tool("x86_64", "gcc"), *flags("x86_64"), "-c", "it.c"], cwd=tmp_path)
    of = facts(tmp_path / "it.o")
    for rule in ("build-id", "relro", "pie", "text-relocations", "rpath"):
        assert verdict_of("x86_64", of, rule, "it:/usr/lib64/it.o") == ("skipped", "object")
        assert verdict_of("x86_64", of, rule, "it:/usr/lib64/libit.a(it.o)") == ("skipped", "static-library")


def test_findings_of_a_go_program_name_gos_options() -> None:
    settings_of_go = (("GOAMD64", "v3"),)
    bare = Traits(relro="none", pie=False, text_relocations=False, executable_stack=False, go_settings=settings_of_go)
    of = FileFacts("elf", "EM_X86_64", "ET_EXEC", True, traits=replace(bare, build_paths=("/builddir/build/x.go",)))
    checks = judged("x86_64", of)
    assert (checks["relro"].grade, checks["pie"].grade, checks["build-id"].grade) == ("VERIFY", "VERIFY", "BAD")
    assert "-linkmode=external" in checks["relro"].detail
    assert "-buildmode=pie" in checks["pie"].detail
    assert "-ldflags=-B" in checks["build-id"].detail
    assert (checks["build-path"].outcome, checks["build-path"].reason) == ("skipped", "language-go")
    assert "-trimpath" in checks["build-path"].detail


def test_rust_program_is_judged_like_others_except_for_paths_of_panics() -> None:
    paths = ("/builddir/build/BUILD/it/vendor/x/src/lib.rs",)
    weak = Traits("ab", True, "none", False, True, (), paths)
    of = FileFacts("elf", "EM_X86_64", "ET_EXEC", True, traits=weak, units=(Unit("main.rs", "rustc", "rust"),))
    grades = {rule: check.grade for rule, check in judged("x86_64", of).items() if check.outcome == "failed"}
    assert grades == {"executable-stack": "BAD", "relro": "BAD", "pie": "VERIFY", "text-relocations": "BAD"}
    assert verdict_of("x86_64", of, "build-path") == ("skipped", "language-rust")
    of = replace(of, traits=replace(weak, build_paths=(*paths, "/builddir/build/BUILD/it/main.c")))
    check = judged("x86_64", of)["build-path"]
    assert (check.outcome, check.grade) == ("failed", "VERIFY")
    assert "main.c" in check.detail
    assert "lib.rs" not in check.detail


# ---------------------------------------------------------------------------------------------------- hostile input


@given(seed=st.integers(0, 2**32))
def test_mutated_file_is_read_or_refused(make: Make, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - damage, no secret
    name = chance.choice(["x86_64", "s390x", "ppc64le"])
    data = bytearray(make(name, (*HARDENED, "-Wl,-rpath,/usr/lib64/it"), NAMES_ITSELF).read_bytes())
    headers = [*range(64), *range(64, 64 + 56 * 13)]
    for _ in range(chance.randint(1, 12)):
        place = chance.choice(headers) if chance.random() < 0.7 else chance.randrange(len(data))
        data[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    try:
        found = read_traits(Elf(bytes(data)))
    except MalformedError as error:
        text = str(error)
    else:
        text = found.relro
        assert found.relro in ("", "none", "partial", "full")
        assert len(found.build_paths) <= 16
    assert "\n" not in text


def test_ten_thousand_sections_over_the_same_bytes_are_searched_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(make("x86_64").read_bytes())
    count = 10_000
    header = struct.pack("<IIQQQQIIQQ", 0, 1, 2, 0, 0, len(data), 0, 0, 0, 0)
    struct.pack_into("<Q", data, 0x28, len(data))
    struct.pack_into("<HHH", data, 0x3A, 64, count, 0)
    hostile = bytes(data) + header * count
    looked_at = []
    searched = reader._next
    monkeypatch.setattr(reader, "_next", lambda *of: looked_at.append(of[2] - of[1]) or searched(*of))
    assert read_traits(Elf(hostile)).build_paths == ()
    assert sum(looked_at) <= len(hostile)


def test_file_full_of_build_paths_is_copied_about_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"/builddir/it\0" * 20_000
    copied = []

    class Counted:
        """The file's bytes, as far as the search takes them; counts the copied bytes."""

        def __getitem__(self, part: slice) -> memoryview:
            copied.append(part.stop - part.start)
            return memoryview(text)[part]

    position, found = 0, set()
    data: Any = Counted()
    while (place := reader._next(data, position, len(text), (b"/builddir/",))) is not None:
        one, position = reader._text_around(memoryview(text), 0, place, len(text))
        found.add(one)
    assert found == {"/builddir/it"}
    assert sum(copied) < 30 * len(text)
