"""Debug data whose strings dwz moved into a file of their own: read with that file, refused without it."""

from __future__ import annotations

import io
import shutil

import pytest

from tests.workers.rpms import compile_program
from workers.run import run
from workers.verify.header import MalformedError
from workers.verify.producers import read_units, supplementary_name

pytestmark = pytest.mark.skipif(shutil.which("dwz") is None, reason="dwz is not installed")


def test_producers_are_found_through_the_supplementary_file(tmp_path, target):
    programs = [compile_program(tmp_path / n, n, [*target.flags.compiler, f"-DNAME_{n}"]) for n in ("one", "two")]
    common = tmp_path / "common"
    run(["dwz", "-m", common, "-M", "/usr/lib/debug/.dwz/common", *programs])
    data = programs[0].read_bytes()
    assert supplementary_name(io.BytesIO(data)) == "/usr/lib/debug/.dwz/common"
    units = read_units(io.BytesIO(data), common)
    assert len(units) == 2
    assert all("-march=x86-64-v3" in unit.producer for unit in units)
    with pytest.raises(MalformedError, match="supplementary"):
        read_units(io.BytesIO(data))
