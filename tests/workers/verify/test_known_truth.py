"""Programs with known properties, made by real compilers for all five targets, and every verdict on them.

On each target, each rule has a program that passes and one that fails.
"""

from __future__ import annotations

import pytest

from tests.workers.verify.compilers import HARDENED, TARGETS, compiled, flags, target, tool
from tests.workers.verify.proving import ABOVE, SOURCES, WALK, broken, functions, proven, reasons
from workers.base.run import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TARGETS)
def test_program_with_the_flags_is_proven(tmp_path, name):
    result = proven(tmp_path, name, compiled(name, tmp_path / "c", SOURCES))
    assert broken(result) == {}
    (proof,) = result.files
    assert proof.framed >= 2
    assert proof.unframed == proof.above == 0
    assert proof.level == target(name).isa_level
    assert f"{proof.framed} functions framed of {proof.framed}, {proof.level} proven, 0 findings" in result.summary


@pytest.mark.parametrize("name", TARGETS)
def test_link_time_optimised_and_stripped_programs_are_proven(tmp_path, name):
    lto = compiled(name, tmp_path / "lto", SOURCES, [*flags(name), "-flto"], ["-flto", *flags(name), *HARDENED])
    assert broken(proven(tmp_path, name, lto)) == {}
    run([tool(name, "strip"), lto])
    stripped = proven(tmp_path, name, lto)
    assert broken(stripped) == {}
    assert reasons(stripped, "producer") == {"no-debuginfo"}
    assert stripped.files[0].framed >= 1


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "ppc64le"])
def test_function_without_a_frame_pointer_is_found_by_name(tmp_path, name):
    without = [flag for flag in flags(name) if flag not in target(name).flags.frame_pointers]
    program = compiled(name, tmp_path / "c", SOURCES, [*without, "-fomit-frame-pointer"])
    found = broken(proven(tmp_path, name, program))
    assert set(found) == {"producer", "frame-pointers"}
    assert {"walk", "twice"} <= functions(found["frame-pointers"])
    assert any("walk.c" in place.compiled_by for place in found["frame-pointers"].places)
    assert all(place.excerpt for place in found["frame-pointers"].places)


def test_on_power_the_flag_is_declared_and_the_back_chain_is_always_there(tmp_path):
    program = compiled("ppc64le", tmp_path / "c", SOURCES, [*flags("ppc64le"), "-fomit-frame-pointer"])
    assert set(broken(proven(tmp_path, "ppc64le", program))) == {"producer"}


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "ppc64le"])
def test_the_one_object_of_many_without_the_flag_is_named(tmp_path, name):
    without = [flag for flag in flags(name) if flag not in target(name).flags.frame_pointers]
    sources = {
        **SOURCES,
        **{f"more{n}.c": WALK.replace("walk", f"walk{n}").replace("twice", f"twice{n}") for n in range(8)},
    }
    program = compiled(name, tmp_path / "c", sources, per_file={"more5.c": [*without, "-fomit-frame-pointer"]})
    found = broken(proven(tmp_path, name, program))
    assert functions(found["frame-pointers"]) == {"walk5", "twice5"}
    assert "more5.c lacks" in found["producer"].detail


@pytest.mark.parametrize("name", TARGETS)
def test_one_function_above_the_level_is_found_with_its_instruction(tmp_path, name):
    statement, feature = ABOVE[name]
    sources = {**SOURCES, "leak.c": f"void leak(void) {{ {statement} }}\n"}
    result = proven(tmp_path, name, compiled(name, tmp_path / "c", sources))
    found = broken(result)
    assert set(found) == {"isa-level"}
    (place,) = found["isa-level"].places
    assert place.function == "leak"
    assert feature in place.detail
    assert sum(line.startswith("=>") for line in place.excerpt) == 1
    assert "leak.c" in place.compiled_by
    assert result.files[0].above == 1


@pytest.mark.parametrize(
    ("name", "higher"),
    [("x86_64", "-march=x86-64-v4"), ("x86_64_v2", "-march=x86-64-v3"), ("aarch64", "-march=armv8.2-a"),
     ("ppc64le", "-mcpu=power10"),
     ("s390x", "-march=z15")],
)  # fmt: skip
def test_object_compiled_for_another_level_is_a_producer_finding(tmp_path, name, higher):
    for position, level in enumerate((higher, "-O1")):
        isa = [
            level if flag in target(name).flags.isa and flag.startswith(("-march", "-mcpu")) else flag
            for flag in flags(name)
        ]
        program = compiled(name, tmp_path / str(position), SOURCES, per_file={"walk.c": isa})
        found = broken(proven(tmp_path, name, program))
        assert "walk.c lacks" in found["producer"].detail


@pytest.mark.parametrize("name", TARGETS)
def test_without_unwind_tables_symbols_are_used_and_without_both_nothing_is_proven(tmp_path, name):
    options = [*flags(name), "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0"]
    program = compiled(name, tmp_path / "c", SOURCES, options, ["-nostartfiles", "-Wl,-emain", *HARDENED])
    assert "frame-pointers" not in broken(proven(tmp_path, name, program))
    run([tool(name, "strip"), "-R", ".eh_frame", "-R", ".eh_frame_hdr", program])
    found = broken(proven(tmp_path, name, program))
    assert "no function could be judged" in found["frame-pointers"].detail


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_without_code_is_skipped_and_alone_proves_nothing(tmp_path, name):
    library = compiled(
        name, tmp_path / "c", {"data.c": "const int table[] = {1, 2, 3};\n"}, link=["-shared", "-nostdlib", *HARDENED]
    )
    result = proven(tmp_path, name, library)
    assert reasons(result, "frame-pointers") == {"no-code"}
    assert reasons(result, "isa-level") == {"no-code"}
    assert "no code" in result.summary


@pytest.mark.parametrize("name", TARGETS)
def test_hand_written_assembler_is_excused_if_debug_data_shows_it(tmp_path, name):
    moves = {
        "x86_64": "sub $24, %rsp\n .cfi_adjust_cfa_offset 24\n add $24, %rsp\n .cfi_adjust_cfa_offset -24\n ret",
        "aarch64": "sub sp, sp, #32\n .cfi_adjust_cfa_offset 32\n add sp, sp, #32\n .cfi_adjust_cfa_offset -32\n ret",
        "ppc64le": "addi 1, 1, -64\n .cfi_adjust_cfa_offset 64\n addi 1, 1, 64\n .cfi_adjust_cfa_offset -64\n blr",
        "s390x": "aghi %r15, -32\n .cfi_adjust_cfa_offset 32\n aghi %r15, 32\n .cfi_adjust_cfa_offset -32\n br %r14",
    }
    moves["x86_64_v2"] = moves["x86_64"]
    text = (
        f".globl hand\n.type hand, @function\nhand:\n .cfi_startproc\n {moves[name]}\n"
        " .cfi_endproc\n.size hand, .-hand\n"
        '.section .note.GNU-stack,"",@progbits\n'
    ).replace("@function", "%function" if name == "aarch64" else "@function").replace(
        "@progbits", "%progbits" if name == "aarch64" else "@progbits"
    )  # fmt: skip
    program = compiled(name, tmp_path / "c", {**SOURCES, "hand.S": text})
    result = proven(tmp_path, name, program)
    assert broken(result) == {}
    assert "language-assembler" in reasons(result, "frame-pointers")
    run([tool(name, "strip"), "-g", program])
    assert functions(broken(proven(tmp_path, name, program))["frame-pointers"]) == {"hand"}


LINKED = [
    (["-Wl,-z,execstack"], "executable-stack"),
    (["-Wl,-z,norelro"], "relro"),
    (["-no-pie"], "pie"),
    (["-Wl,-rpath,/opt/elsewhere"], "rpath"),
    (["-Wl,--build-id=none"], "build-id"),
]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("link", "rule"), LINKED, ids=[rule for _, rule in LINKED])
def test_how_a_program_was_linked(tmp_path, name, link, rule):
    folder = tmp_path / "c"
    compiled(name, folder, SOURCES)
    objects = [f"{source}.o" for source in SOURCES]
    options = ["-Wl,-z,relro,-z,now", "-Wl,--build-id=sha1"]
    run([tool(name, "gcc"), *options, "-o", "good", *objects], cwd=folder)
    pie = ["-c", "-fno-pie"] if rule == "pie" else ["-c"]
    for source in SOURCES:
        run([tool(name, "gcc"), *flags(name), *pie, source, "-o", f"{source}.o"], cwd=folder)
    run([tool(name, "gcc"), *options, *link, "-o", "bad", *objects], cwd=folder)
    assert rule not in broken(proven(tmp_path, name, folder / "good"))
    found = broken(proven(tmp_path, name, folder / "bad"))
    assert rule in found
    assert found[rule].grade in ("BAD", "VERIFY")


MODULE = """
const char info[] __attribute__((section(".modinfo"), used)) = "license=GPL";
extern int (*hook)(int);
int init_module(void) { return hook(1) + hook(2); }
"""


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "ppc64le"])
def test_a_kernel_module_is_judged_from_its_code(tmp_path, name):
    base = [*flags(name), "-ffreestanding", "-fno-asynchronous-unwind-tables", "-fno-pie", "-fno-stack-protector"]
    without = [flag for flag in base if flag not in target(name).flags.frame_pointers]
    for part, options, rules in (
        ("good", base, set()),
        ("bad", [*without, "-fomit-frame-pointer"], {"producer", "frame-pointers"}),
    ):
        folder = tmp_path / part
        compiled(name, folder, {"module.c": MODULE}, options, ["-nostdlib", "-r"], output="it.ko")
        result = proven(tmp_path, name, folder / "it.ko")
        assert set(broken(result)) - {"build-id"} == rules, part


def test_a_kernel_module_of_s390x_keeps_its_back_chain_elsewhere(tmp_path):
    packed = ["-ffreestanding", "-fno-asynchronous-unwind-tables", "-fno-pie", "-mpacked-stack", "-msoft-float"]
    for part, options, rules in (("good", [], set()), ("bad", ["-mno-backchain"], {"producer", "frame-pointers"})):
        folder = tmp_path / part
        compiled(
            "s390x",
            folder,
            {"module.c": MODULE},
            [*flags("s390x"), *packed, *options],
            ["-nostdlib", "-r"],
            output="it.ko",
        )
        assert set(broken(proven(tmp_path, "s390x", folder / "it.ko"))) == rules, part


def test_a_kernel_module_of_power_keeps_the_back_chain(tmp_path):
    options = [*flags("ppc64le"), "-ffreestanding", "-fno-asynchronous-unwind-tables", "-fno-pie"]
    compiled("ppc64le", tmp_path / "c", {"module.c": MODULE}, options, ["-nostdlib", "-r"], output="it.ko")
    assert broken(proven(tmp_path, "ppc64le", tmp_path / "c" / "it.ko")) == {}
