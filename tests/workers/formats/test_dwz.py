"""Debug data whose texts dwz moved into another file: read with that file, refused without it or with a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workers.rpms import compile_program
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.dwarf import read_units, supplementary_link
from workers.formats.elf import Elf

pytestmark = pytest.mark.skipif(shutil.which("dwz") is None, reason="dwz is not installed")


def shared(folder: Path, target, *options: str) -> tuple[list[Elf], Elf]:
    """Return two programs and the file that their debug data shares."""
    programs = [
        compile_program(folder / n, n, [*target.flags.compiler, *options, f"-DNAME_{n}"]) for n in ("one", "two")
    ]
    common = folder / "common"
    edition = ["--dwarf-5"] if "-gdwarf-5" in options else []
    run(["dwz", *edition, "-m", common, "-M", "/usr/lib/debug/.dwz/common", *programs])
    return [Elf(program.read_bytes()) for program in programs], Elf(common.read_bytes())


@pytest.mark.parametrize("edition", ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_producers_are_found_through_the_supplementary_file(tmp_path, target, edition):
    programs, common = shared(tmp_path, target, edition)
    for program in programs:
        link = supplementary_link(program)
        assert link is not None
        assert link.path == "/usr/lib/debug/.dwz/common"
        assert len(link.identity) == 40  # SHA-1
        units = read_units(program, common)
        assert [unit.name for unit in units] == ["main.c", "half.c"]
        assert all("-march=x86-64-v3" in unit.producer for unit in units)
        with pytest.raises(MalformedError, match="supplementary file that is not there"):
            read_units(program)


def test_another_supplementary_file_is_refused_rather_than_misread(tmp_path, target):
    (program, _), _ = shared(tmp_path / "a", target)
    _, other = shared(tmp_path / "b", target, "-O1", "-DOTHER=1")
    with pytest.raises(MalformedError, match=r"is not /usr/lib/debug/\.dwz/common of identity"):
        read_units(program, other)


def test_a_file_that_shares_nothing_refers_to_nothing(tmp_path, target):
    program = Elf(compile_program(tmp_path, "alone", target.flags.compiler).read_bytes())
    assert supplementary_link(program) is None
    assert len(read_units(program)) == 2
