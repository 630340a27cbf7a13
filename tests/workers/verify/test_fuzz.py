"""Damaged files: all readers answer within limits of time and memory.

``KITTEN_FUZZ=50 make test PYTEST=tests/workers/verify/test_fuzz.py`` tries fifty times as many as the tests do.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import struct

import pytest

from tests.workers.verify.compilers import TARGETS, compiled, target, tool
from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.facts import FileFacts
from workers.verify.isa.levels import LEVELS
from workers.verify.observe import observe
from workers.verify.parallel import time_limit

pytestmark = pytest.mark.slow

INPUTS = 120 * int(os.environ.get("KITTEN_FUZZ", "1"))
"""For each target."""
MEMORY = 512 * 1024**2  # bytes in addition to those that the tests have mapped; the files have some 20,000
SECONDS = 20.0  # for one file, on a machine with other work
NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, (1 << 64) - 1)

SOURCE = {
    "main.c": "extern int (*hook)(int);\nint twice(int v) { return hook(v) + hook(v + 1); }\n"
    "int (*hook)(int) = twice;\nint main(int c, char **v) { return twice(c) + !v; }\n"
}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Damage a file: flip bits, cut it short, change sizes and offsets, or move parts."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        # Headers and tables at both ends control the readers, so half of the changes are there.
        size = len(broken)
        near = min(1024, size)
        place = chance.choice(
            (chance.randrange(size), chance.randrange(near), size - 1 - chance.randrange(min(2400, size)))
        )
        kind = chance.randrange(5)
        if kind == 0:
            broken[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            width = chance.choice((2, 4, 8))
            number = chance.choice(NUMBERS) & ((1 << 8 * width) - 1)
            form = chance.choice("<>") + {2: "H", 4: "I", 8: "Q"}[width]
            start = max(0, min(place & ~(width - 1), size - width))
            struct.pack_into(form, broken, start, number)
        elif kind == 2:
            start = chance.randrange(size)
            broken[place : place + 64] = (bytes(broken[start : start + 64]) + bytes(64))[: min(64, size - place)]
        elif kind == 3:
            broken[place : place + 16] = chance.randbytes(16)[: size - place]
        elif size > 2048:
            del broken[max(place, 1100) :]
    return bytes(broken)


def _try_all(name: str, data: bytes, seed: int, report: multiprocessing.connection.Connection) -> None:
    """Read damaged files in a separate process with a limit on its memory."""
    chance = random.Random(seed)  # noqa: S311 - the same files again in each run
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pages of the whole address space
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    level = LEVELS[target(name).isa_level]
    answers = {"read": 0, "refused": 0, "problems": 0}
    for number in range(INPUTS):
        changed = damaged(data, chance)
        try:
            with time_limit(SECONDS, f"input {number}"):
                facts = observe(memoryview(changed), level)
            assert isinstance(facts, FileFacts)
            answers["problems" if facts.problems else "read"] += 1
        except MalformedError as error:
            if "was not read within" in str(error) or "\n" in str(error):
                report.send(f"input {number} of seed {seed}: {error}")
                return
            answers["refused"] += 1
        except BaseException as error:
            report.send(f"input {number} of seed {seed}: {type(error).__name__}: {error}")
            return
    report.send(answers)


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_gets_an_answer_in_bounded_time_and_memory(tmp_path, name):
    program = compiled(name, tmp_path, SOURCE)
    stripped = tmp_path / "stripped"
    run([tool(name, "strip"), "-o", stripped, program])
    for seed, file in enumerate((program, stripped)):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(
            target=_try_all, args=(name, file.read_bytes(), seed, theirs)
        )
        child.start()
        theirs.close()
        try:
            answers = ours.recv()
        except EOFError:
            child.join()
            answers = f"it died with {child.exitcode}"
        child.join()
        assert isinstance(answers, dict), answers
        assert sum(answers.values()) == INPUTS
        assert min(answers["read"], answers["problems"]) > 0, answers
