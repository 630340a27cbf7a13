"""The public API for other projects: docs/reference/verify.md, "As a library"."""

from __future__ import annotations

import platform
import re
import shutil
from importlib import resources
from pathlib import Path

import pytest

import workers
from workers import formats
from workers.verify import observe

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "verify.md"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the example reads a program of x86_64")
def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert len(example) == 1
    program = shutil.which("true")
    assert program
    exec(example[0].replace("/usr/bin/zstd", program), {})  # noqa: S102 - of our own documentation
    framed, functions = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ \[.*\]", framed)
    assert functions == "[]"


def test_readers_read_a_program() -> None:
    program = shutil.which("true")
    assert program
    elf = formats.Elf(memoryview(Path(program).read_bytes()))
    assert elf.code
    assert isinstance(formats.read_units(elf), tuple)
    with pytest.raises(formats.MalformedError):
        formats.Pe(memoryview(b"MZ"))
    with pytest.raises(formats.MalformedError):
        observe.observe(memoryview(b"neither"), observe.LEVELS["x86-64-v2"])


def test_package_has_type_information() -> None:
    assert resources.files(workers).joinpath("py.typed").is_file()
