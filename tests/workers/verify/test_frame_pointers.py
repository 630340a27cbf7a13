"""Frame pointers: with the flags, every function keeps its own; without them, each missing one is found by name."""

from __future__ import annotations

import shutil

import pytest

from tests.workers.verify.compilers import TARGETS, compiled, flags, target, tool
from tests.workers.verify.frame_programs import (
    FRAMED,
    OMITTING_TARGETS,
    OPTIMISATIONS,
    OTHERS,
    SHAPES,
    assembled,
    names,
    seen,
    without,
)
from workers.base.run import run
from workers.verify.frame_pointers import START_UP_FUNCTIONS

pytestmark = pytest.mark.slow


# ------------------------------------------------------------------------------------------------ with the flags


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("optimisation", ["-O2", *OPTIMISATIONS])
def test_with_the_flags_no_function_is_unframed(name, optimisation, tmp_path):
    options = [*flags(name), *optimisation.split()]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options))
    assert found.unframed == ()
    assert found.framed >= 13
    assert found.leaf >= 2
    assert found.evidence == "cfi and code"  # crtbegin.o has no unwind tables on Debian


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("link", [["-shared"], ["-no-pie"], ["-flto"], ["-Wl,-z,now"], ["-Wl,-s"]])
def test_result_is_the_same_however_it_is_linked(name, link, tmp_path):
    options = [*flags(name), *(["-flto"] if "-flto" in link else ["-fPIC"])]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options, link=[*flags(name), *link]))
    assert found.unframed == ()
    assert found.framed >= (2 if "-flto" in link else 13)


@pytest.mark.parametrize("name", TARGETS)
def test_an_object_file_is_judged_before_it_is_linked(name, tmp_path):
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES}, link=["-r", "-nostdlib"]))
    assert (found.evidence, found.unframed) == ("cfi", ())
    assert found.framed >= 13


def test_cpp_with_exceptions(tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    source = """
    #include <stdexcept>
    #include <string>
    #include <vector>
    struct guard { std::string &s; ~guard() { s += "x"; } };
    int thrower(std::string s) { guard g{s}; if (s.size() > 3) throw std::runtime_error(s); return s.size(); }
    int main(int n, char **w) { std::vector<std::string> v(w, w + n);
      try { for (auto &s : v) n += thrower(s); } catch (const std::exception &e) { return e.what()[0]; } return n; }
    """
    (tmp_path / "a.cpp").write_text(source)
    for options, unframed in ((flags("x86_64"), False), (without("x86_64"), True)):
        run(["g++", *options, "a.cpp", "-o", "program"], cwd=tmp_path)
        found = seen(tmp_path / "program")
        assert bool(found.unframed) == unframed
        assert ("main" in names(found)) == unframed


# --------------------------------------------------------------------------------------------- without the flags


@pytest.mark.parametrize("name", OMITTING_TARGETS)
@pytest.mark.parametrize("optimisation", ["-O2", "-O1", "-O3", "-Os", "-O2 -fstack-clash-protection"])
def test_without_the_flags_functions_are_found_by_name(name, optimisation, tmp_path):
    options = [*without(name), *optimisation.split()]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options))
    assert names(found) >= FRAMED
    assert "leaf_without_stack" not in names(found)
    assert not names(found) & START_UP_FUNCTIONS
    assert len({unframed.why for unframed in found.unframed}) <= 2


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ("EM_X86_64", "moves the stack pointer, and no CFA is computed from rbp"),
        ("EM_AARCH64", "moves the stack pointer and does not save x29"),
        ("EM_S390", "lowers r15 and stores no back chain at 0(%r15)"),
    ],
)
def test_reason_of_an_unframed_function_is_reported(machine, why, tmp_path):
    name = next(name for name in TARGETS if target(name).elf_machine == machine)
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, without(name)))
    assert {u.why for u in found.unframed if str(u.function) == "with_floating_point"} == {why}


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_one_object_of_many_without_the_flags_is_found_exactly(name, tmp_path):
    stray = """
    int callee(int, char *);
    int stray(int x) { char b[300]; return callee(x, b) + 1; }
    int lone(int x) { return x + 1; }
    """
    sources = {"a.c": SHAPES, "b.c": OTHERS, "stray.c": stray}
    found = seen(compiled(name, tmp_path, sources, per_file={"stray.c": without(name)}))
    assert names(found) == {"stray"}
    assert found.framed >= 13


def test_x29_saved_as_any_other_register_is_no_frame_pointer(tmp_path):
    body = (
        "stp x29, x30, [sp, #-16]!; {cfi} 16; .cfi_offset 29, -16; .cfi_offset 30, -8; mov x29, x0; bl other; "
        "add x0, x0, x29; ldp x29, x30, [sp], #16; {cfi} 0; ret"
    )
    (unframed,) = seen(assembled("aarch64", tmp_path / "1", body, cfi=".cfi_def_cfa_offset")).unframed
    assert (str(unframed.function), unframed.why) == ("written", "saves x29 and never sets it from sp")
    kept = body.replace("mov x29, x0", "mov x29, sp")
    assert seen(assembled("aarch64", tmp_path / "2", kept, cfi=".cfi_def_cfa_offset")).unframed == ()


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_lto_without_the_flags(name, tmp_path):
    options = [*without(name), "-flto"]
    found = seen(compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, options, link=[*options, "-shared", "-fPIC"]))
    assert names(found) >= {"shrink_wrapped", "with_big_frame"}


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_a_stripped_file_is_judged_by_address_and_named_by_its_debug_file(name, tmp_path):
    path = compiled(name, tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, [*without(name), "-g"])
    whole = seen(path)
    debug = tmp_path / "debug"
    run([tool(name, "objcopy"), "--only-keep-debug", path, debug])
    run([tool(name, "strip"), path])
    stripped = seen(path)
    ours = {u.function.address for u in whole.unframed}
    assert {u.function.address for u in stripped.unframed} == ours
    assert {str(u.function) for u in stripped.unframed} & {hex(address) for address in ours}
    assert stripped.evidence == "cfi"
    assert names(seen(path, debug)) == names(whole)


@pytest.mark.parametrize("name", OMITTING_TARGETS)
def test_a_static_program_brings_the_functions_of_its_libraries(name, tmp_path):
    sources = {"a.c": SHAPES, "b.c": OTHERS}
    kept = names(seen(compiled(name, tmp_path / "with", sources, link=["-static"])))
    omitted = names(seen(compiled(name, tmp_path / "without", sources, without(name), link=["-static"])))
    assert not kept & FRAMED  # the unframed functions are those of Debian's glibc, which is built without the flags
    assert omitted >= {"with_cold_partition"}
    assert not (kept | omitted) & START_UP_FUNCTIONS


def test_a_static_position_independent_program(tmp_path):
    found = seen(
        compiled("x86_64", tmp_path, {"a.c": SHAPES, "b.c": OTHERS}, [*flags("x86_64"), "-fPIE"], link=["-static-pie"])
    )
    assert not names(found) & FRAMED
    assert not names(found) & START_UP_FUNCTIONS
    assert "__libc_setup_tls" in names(found)  # Debian's glibc
