"""The flags that the compiler of each unit got, and whether these are the target's flags. Pure functions over units.

GCC writes its flags into DW_AT_producer (-grecord-gcc-switches, its default). clang writes its whole command line with
-grecord-command-line. Flags do not change what an assembler makes; rustc, Go and others record no flags. For all of
these, the code decides, not the declaration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from workers.formats.facts import Unit

# The first words of producers, the longer ones first. GCC's front ends for D, Go, Ada, Fortran, Rust … record flags as
# its C compiler does.
_BEGINNINGS = (
    ("GNU AS ", "assembler"),
    ("GNU GIMPLE ", "lto-partition"),
    ("GNU ", "gnu"),
    ("NASM ", "assembler"),
    ("yasm ", "assembler"),
    ("Go cmd/compile", "go"),
    ("The Glorious Glasgow Haskell", "haskell"),
    ("zig ", "zig"),
)
# "Debian clang version 14.0.6", "clang version 19.1.0 (Red Hat 19.1.0-2.el10)", "flang version …"; then a command line.
_CLANG = re.compile(r"\b(?:clang|flang|flang-new) version ")
_RUST = re.compile(r"\brustc version ")

# clang puts a backslash before spaces and backslashes in a word. It separates joined arguments of these options.
_CLANG_WORD = re.compile(r"(?:\\.|[^ \\])+")
_ESCAPED = re.compile(r"\\(.)")
_TAKES_ARGUMENT = frozenset(
    "-D -U -I -L -T -o -x -l -u -z -include -imacros -isystem -iquote -idirafter -isysroot "  # noqa: SIM905
    "-include-pch -iprefix -iwithprefix -MF -MT -MQ -MJ -mllvm -target -arch -Xlinker -Xassembler -Xpreprocessor "
    "-Xclang".split()
)
# -Xclang passes these options to the compiler itself, after all options of the driver, so they overrule the driver's.
_FRAME_POINTER = {
    "-mframe-pointer=none": "-fomit-frame-pointer",
    "-mframe-pointer=non-leaf": "-momit-leaf-frame-pointer",
}


@dataclass(frozen=True, slots=True)
class UnitVerdict:
    """What the producer of one unit proves."""

    family: str
    """The rule that applies: ``gnu``, ``clang``, ``lto-partition``, a language, or empty for an unknown compiler."""
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""
    """The machine-readable reason of a skip: ``language-rust`` …, ``lto-partition``, ``cgo``."""
    missing: tuple[str, ...] = ()
    """The wanted flags that are not in force."""
    detail: str = ""
    """The explanation of a failure, for people."""


def judge_unit(unit: Unit, wanted: Sequence[str], beside_go: bool = False) -> UnitVerdict:
    """Check that a unit was compiled with the wanted flags.

    A unit fails if its compiler can record flags and did not.

    :param beside_go: whether the same file has units of Go. Go always compiles the C of such a program with
        -gno-record-gcc-switches (cmd/go, so that builds are reproducible), so units without any flag are skipped as
        ``cgo``.
    """
    rule = family(unit)
    if reason := _skip_reason(rule):
        return UnitVerdict(rule, "skipped", reason)
    name = unit.name or "(no name)"
    if not unit.producer and unit.name.endswith(".dwo"):
        why = f"the flags of a unit are in {name}, which is in no package: compile without -gsplit-dwarf"
        return UnitVerdict(rule, "failed", missing=tuple(wanted), detail=why)
    words = flags_of(unit)
    if not words and rule == "gnu" and beside_go:
        return UnitVerdict(rule, "skipped", "cgo")
    missing = missing_flags(words, wanted)
    if not missing:
        return UnitVerdict(rule, "passed")
    what = f"{name} lacks {' '.join(missing)}"
    if not words and rule in ("gnu", "clang"):
        how = "-grecord-gcc-switches" if rule == "gnu" else "-grecord-command-line"
        what = f"{name} records no flags: compile with {how}"
    return UnitVerdict(rule, "failed", missing=missing, detail=f"{what}; compiled by: {unit.producer or '(unknown)'}")


def family(unit: Unit) -> str:
    """Return the rule for a unit, from its producer; if that is unknown, its language.

    The language alone is not enough: gccgo and GNU D record flags as GCC does, and zig calls its units C.
    """
    if unit.language == "assembler":
        return "assembler"
    for beginning, name in _BEGINNINGS:
        if unit.producer.startswith(beginning):
            return name
    if unit.language == "rust" or _RUST.search(unit.producer):
        return "rust"
    if _CLANG.search(unit.producer):
        return "clang"
    return unit.language


def _skip_reason(rule: str) -> str:
    """Return why the flags of a unit are not checked, or an empty text.

    The partitions of GCC's link-time optimisation record the flags of the link. Beside them, each source has a unit,
    which records the flags of its compilation.
    """
    if rule in ("gnu", "clang", ""):
        return ""
    return rule if rule == "lto-partition" else f"language-{rule}"


def flags_of(unit: Unit) -> tuple[str, ...]:
    """Return the flags that a producer records, in the order of the command line; empty if it records none."""
    if (version := _CLANG.search(unit.producer)) is not None:
        return tuple(_clang_flags(unit.producer[version.end() :]))
    return tuple(word for word in unit.producer.split() if word.startswith("-"))


def _clang_flags(recorded: str) -> Iterator[str]:
    last = []
    words = iter([_ESCAPED.sub(r"\1", word) for word in _CLANG_WORD.findall(recorded)])
    for word in words:
        if word in _TAKES_ARGUMENT:
            argument = next(words, "")
            if word == "-Xclang" and argument in _FRAME_POINTER:
                last.append(_FRAME_POINTER[argument])
        if word.startswith("-"):
            yield word
    yield from last


def missing_flags(words: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted flags that are not in force: they are absent, or a later flag overrules them."""
    in_force = {_subject(word): word for word in words if word.startswith("-")}
    return tuple(flag for flag in wanted if in_force.get(_subject(flag)) != flag)


def _subject(flag: str) -> str:
    """Return the subject of a flag, which is the same for flags that overrule each other.

    Examples are -march=… and -march=…, -fX and -fno-X, -mX and -mno-X, -O2 and -O3. ``-Wp,…`` goes to the preprocessor
    as a whole, and overrules nothing here.
    """
    if flag.startswith("-Wp,"):
        return flag
    if flag.startswith("-O"):
        return "-O"
    if flag[:2] in ("-f", "-m"):
        name = flag[2:].split("=", 1)[0]
        return flag[:2] + name.removeprefix("no-")
    return flag
