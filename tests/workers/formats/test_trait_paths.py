"""Library folders (rpath) and build paths in files of real linkers of all five targets."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.workers.formats.conftest import HARDENED, LIBRARY, NAMES_ITSELF, Make, facts, judged, traits, verdict_of
from tests.workers.verify.compilers import TARGETS
from workers.base.errors import MalformedError
from workers.formats import traits as reader
from workers.formats.elf import Elf
from workers.formats.traits import read_traits

# ------------------------------------------------------------------------------------------------------------ rpath


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_rpath_is_read_from_either_tag(make: Make, name: str, tags: str) -> None:
    path = make(name, (*HARDENED, f"-Wl,{tags},-rpath,/usr/lib64/it:$ORIGIN/../x"))
    assert traits(path).rpath == ("/usr/lib64/it", "$ORIGIN/../x")


def test_empty_entry_is_kept_and_an_empty_rpath_has_no_entry(make: Make) -> None:
    assert traits(make("x86_64", (*HARDENED, "-Wl,-rpath,/usr/lib64/it:"))).rpath == ("/usr/lib64/it", "")
    data = make("x86_64", (*HARDENED, "-Wl,-rpath,/usr/lib64/it")).read_bytes()
    assert read_traits(Elf(data.replace(b"/usr/lib64/it\0", bytes(14)))).rpath == ()


@pytest.mark.parametrize(
    ("entries", "owned", "verdict", "grade"),
    [
        (["/usr/lib64/it"], [], "passed", "OK"),
        (["/lib64/it"], [], "passed", "OK"),
        (["/usr/libexec/it"], [], "passed", "OK"),
        (["$ORIGIN/../lib64/it", "${ORIGIN}/../lib/it"], [], "passed", "OK"),
        (["/usr/$LIB/it"], [], "passed", "OK"),
        (["/opt/it/lib"], ["/opt/it/lib/libit.so"], "passed", "OK"),
        (["/opt/it/lib/deeper"], ["/opt/it/lib"], "passed", "OK"),
        (["/usr/lib64"], [], "passed", "INFO"),
        (["/lib64/"], [], "passed", "INFO"),
        (["$ORIGIN/../lib64"], [], "passed", "INFO"),
        (["/opt/it/lib"], ["/opt/other/libit.so"], "failed", "BAD"),
        (["/opt"], ["/opt/libit.so"], "failed", "BAD"),
        (["/tmp/lib"], ["/tmp/x"], "failed", "BAD"),
        (["/builddir/build/BUILD/it-1/.libs"], [], "failed", "BAD"),
        (["/usr/lib64/it", "/home/me/lib"], [], "failed", "BAD"),
        (["/usr/lib64/../../tmp"], [], "failed", "BAD"),
        (["$ORIGIN"], [], "failed", "BAD"),
        (["$ORIGIN"], ["/usr/bin/it"], "failed", "BAD"),
        (["$ORIGIN/../../../../../../srv/x"], [], "failed", "BAD"),
        (["/usr/lib64/$ORIGIN"], [], "failed", "BAD"),
        (["$ORIGINS/x"], [], "failed", "BAD"),
        (["$LIB/x"], [], "failed", "BAD"),
        ([""], [], "failed", "BAD"),
        (["."], [], "failed", "BAD"),
        (["lib"], [], "failed", "BAD"),
        (["../lib"], [], "failed", "BAD"),
    ],
)
def test_rpath_that_leads(entries: list[str], owned: list[str], verdict: str, grade: str, make: Make) -> None:
    of = facts(make("x86_64"))
    of = replace(of, traits=replace(of.traits, rpath=tuple(entries)))
    check = judged("x86_64", of, owned=owned)["rpath"]
    assert (check.outcome, check.grade) == (verdict, grade), check.detail


def test_private_library_finds_its_siblings_beside_it(make: Make) -> None:
    of = facts(make("x86_64", ("-shared", "-Wl,-rpath,$ORIGIN"), LIBRARY, ("-fPIC",)))
    assert verdict_of("x86_64", of, "rpath", "it:/opt/it/libit.so", ["/opt/it/libit.so"]) == ("passed",)
    assert verdict_of("x86_64", of, "rpath", "it:/opt/it/libit.so") == ("failed", "BAD")
    assert verdict_of("x86_64", of, "rpath", "it:/usr/lib64/it/libit.so") == ("passed",)


def test_second_rpath_is_damage(make: Make) -> None:
    """The dynamic linker reads one of each; very many of them would give a very large result."""
    data = bytearray(make("x86_64", (*HARDENED, "-Wl,-rpath,/usr/lib64/it")).read_bytes())
    elf = Elf(bytes(data))
    table = next(s for s in elf.segments if s.type == 2)
    value = dict(elf.dynamic)[29]
    struct.pack_into("<QQ", data, table.offset, 29, value)
    with pytest.raises(MalformedError, match="more than one DT_RPATH or DT_RUNPATH"):
        read_traits(Elf(bytes(data)))


# ------------------------------------------------------------------------------------------------------- build paths


@pytest.mark.parametrize("name", TARGETS)
def test_build_path_in_loaded_data(make: Make, name: str) -> None:
    found = facts(
        make(
            name, sources=NAMES_ITSELF, options=("-fPIE", "-fmacro-prefix-map=main.c=/builddir/build/BUILD/it-1/main.c")
        )
    )
    assert found.traits.build_paths == ("/builddir/build/BUILD/it-1/main.c",)
    check = judged(name, found)["build-path"]
    assert (check.outcome, check.grade) == ("failed", "VERIFY")
    assert "/builddir/build/BUILD/it-1/main.c" in check.detail


def test_build_path_in_debug_data_is_allowed(make: Make) -> None:
    path = make("x86_64", sources=NAMES_ITSELF, options=("-fPIE", "-fdebug-prefix-map=/=/builddir/build/BUILD/"))
    assert b"/builddir/build/BUILD/" in path.read_bytes()
    assert verdict_of("x86_64", facts(path), "build-path") == ("passed",)


def test_build_path_in_a_stripped_file_without_section_headers(make: Make) -> None:
    path = make("x86_64", sources=NAMES_ITSELF, options=("-fPIE", "-fmacro-prefix-map=main.c=/builddir/it/main.c"))
    data = bytearray(path.read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3C:0x3E] = bytes(2)  # e_shnum
    assert read_traits(Elf(bytes(data))).build_paths == ("/builddir/it/main.c",)


def test_build_path_across_pieces_and_no_more_than_the_first_few(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ", ".join(f'"/builddir/{number:03}/{"x" * (number % 7)}"' for number in range(100))
    main = "int main(int n, char **w) { return all[n][n]; }\n"
    sources = {"main.c": f"const char *const all[] = {{{texts}}}; {main}"}
    path = make("x86_64", sources=sources)
    whole = traits(path).build_paths
    assert len(whole) == 16
    assert whole[0] == "/builddir/000/"
    monkeypatch.setattr(reader, "_CHUNK", 20)
    assert traits(path).build_paths == whole
    assert traits(make("x86_64")).build_paths == ()
    assert traits(path, ["/nowhere/"]).build_paths == ()
