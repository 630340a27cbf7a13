"""The masks that reduce code lose no instruction: the C library, random encodings, changed code."""

from __future__ import annotations

import functools
import random
import re
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workers.verify.compilers import target
from tests.workers.verify.scanning import OTHERS, features, scanned, tools_of
from workers.base.run import run
from workers.formats.elf import Elf
from workers.formats.elf_records import Code
from workers.verify.functions import FunctionTable
from workers.verify.isa import aarch64, binutils, gnu, ppc64, s390x
from workers.verify.isa.levels import LEVELS

pytestmark = pytest.mark.slow


LIBRARIES = [(name, Path(f"/usr/{target(name).architecture.triplet}/lib/libc.so.6")) for name in OTHERS]
ARCHITECTURES = {"aarch64": aarch64, "ppc64le": ppc64, "s390x": s390x}


@pytest.mark.parametrize(("name", "library"), LIBRARIES, ids=OTHERS)
def test_full_disassembly_of_the_c_library_gives_the_same_hits(name, library):
    """Judge every instruction in objdump's own listing: masks hide none, and add none."""
    if not library.is_file():
        pytest.skip(f"{library} is not installed")
    tools, level = tools_of(name), LEVELS[target(name).isa_level]
    elf, result = scanned(name, library)
    listing = run([tools.objdump, "-d", "-w", "-z", library]).output
    rows = re.findall(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2,8} )+) *\t(\S.*)$", listing, re.MULTILINE)
    assert len(rows) > 200_000
    codes = elf.code
    encodings = {}
    for address, raw, text in rows:
        at = int(address, 16)
        code = codes[bisect_right(codes, at, key=lambda code: code.address) - 1]
        size = sum(map(len, raw.split())) // 2
        encodings[at] = (bytes(code.data[at - code.address :][:size]), text)
    distinct = list({encoding for encoding, _ in encodings.values() if len(encoding) in (2, 4, 6)})
    verdicts = dict(zip(distinct, ARCHITECTURES[name].verdicts(distinct, level, tools), strict=True))
    above = {at for at, (encoding, _) in encodings.items() if verdicts.get(encoding)}
    found = {hit.address for hit in result.hits}
    tables = above - found if name == "ppc64le" else set()  # objdump decodes words of jump tables
    assert above - tables == found
    assert len(tables) <= 4
    for hit in result.hits:
        assert hit.text.split()[0] == encodings[hit.address][1].split()[0]


EXPECTED = {
    # Functions that glibc chooses by ifunc (memset with SVE …) or tests for at run time (outline atomics).
    "aarch64": {"sve", "lse", "memtag"},
    "ppc64le": {"power10"},
    "s390x": set(),
}


@pytest.mark.parametrize(("name", "library"), LIBRARIES, ids=OTHERS)
def test_c_library_has_only_variants_that_it_chooses_at_run_time(name, library):
    if not library.is_file():
        pytest.skip(f"{library} is not installed")
    elf, result = scanned(name, library)
    assert features(result) <= EXPECTED[name]
    assert bool(result.hits) == bool(EXPECTED[name])
    assert result.undecoded < 0.05 * sum(len(code.data) for code in elf.code)


def random_encodings(name: str, count: int) -> list[bytes]:
    source = random.Random(10)  # noqa: S311
    if name != "s390x":
        encodings = [source.randbytes(4) for _ in range(count)]
        return [item for item in encodings if name != "ppc64le" or item[3] >> 2 != 1]  # prefixes are pairs
    encodings = []
    for number in range(count):  # each operation code in turn, both in the second byte and in the last one
        item = bytearray(source.randbytes(6))
        item[0], item[1 if number % 2 else 5] = number >> 9 & 0xFF, number >> 1 & 0xFF
        encodings.append(bytes(item[: (2, 4, 4, 6)[item[0] >> 6]]))
    return encodings


@pytest.mark.parametrize(("name", "count"), [("aarch64", 10_000), ("ppc64le", 30_000), ("s390x", 131_072)])
def test_no_mask_hides_an_instruction_above_the_level(name, count):
    tools, level = tools_of(name), LEVELS[target(name).isa_level]
    encodings = random_encodings(name, count)
    starts, at = [], 0
    for encoding in encodings:
        starts.append(at)
        at += len(encoding)
    found = {
        hit.address for hit in binutils.scan([Code("", 0, memoryview(b"".join(encodings)))], starts, level, tools).hits
    }
    verdicts = ARCHITECTURES[name].verdicts(encodings, level, tools)
    allowed = ("dcbf", "sync", "phwsync", "plwsync", "dcbstps")  # their bits that POWER9 ignores are masked on purpose
    above = [(start, item) for start, item, verdict in zip(starts, encodings, verdicts, strict=True) if verdict]
    missed = [item for start, item in above if start not in found]
    assert len(above) > 50
    assert [text for text in gnu.disassemble(tools, missed) if not text.startswith(allowed)] == []


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 7, 511, 513, 514])
def test_code_of_any_length_is_accounted_for_to_the_byte(name, size):
    data = random.Random(size).randbytes(size)  # noqa: S311
    code = Code("", 0x1001 if size % 2 else 0x1000, memoryview(data))
    starts = [0, 0x1000, 0x1003, 0x1006, 0x1008, 2**64 - 2]
    result = binutils.scan([code], starts, LEVELS[target(name).isa_level], tools_of(name))
    assert 0 <= result.undecoded <= size
    assert all(code.address <= hit.address < code.end for hit in result.hits)


@functools.cache
def real_code(name: str) -> tuple[Code, tuple[int, ...]]:
    """Return the code of the C library, and the starts of its functions."""
    library = dict(LIBRARIES)[name]
    if not library.is_file():
        pytest.skip(f"{library} is not installed")
    elf = Elf(library.read_bytes())
    return max(elf.code, key=lambda code: len(code.data)), tuple(FunctionTable(elf).starts)


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    place=st.integers(0, 900_000), size=st.integers(0, 3000), shift=st.integers(0, 7),
    changes=st.lists(st.tuples(st.integers(0, 2999), st.binary(min_size=1, max_size=8)), max_size=4),
)  # fmt: skip
def test_mutated_code_is_read_and_accounted_for(name, place, size, shift, changes):
    """40 inputs for each architecture: parts of the C library, shifted, with some changed bytes."""
    code, starts = real_code(name)
    data = bytearray(code.data[place : place + size])
    for at, value in changes:
        data[at : at + len(value)] = value
    mutated = Code("", code.address + place + shift, memoryview(data))
    result = binutils.scan([mutated], starts, LEVELS[target(name).isa_level], tools_of(name))
    assert 0 <= result.undecoded <= len(data)
    assert list(result.hits) == sorted(result.hits, key=lambda hit: hit.address)
    assert all(mutated.address <= hit.address and hit.address + hit.size <= mutated.end for hit in result.hits)
    assert all(hit.features and hit.text for hit in result.hits)
