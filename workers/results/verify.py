"""Results of ``kitten verify`` and ``kitten contents``."""

from __future__ import annotations

from typing import Literal

from workers.results.document import Artifact, Record, Result


class Place(Record):
    """A place in a file that a check speaks of: a function that breaks the rule, or one that is excused."""

    function: str
    """Its name, or its address where nothing names it."""
    function_address: int = 0
    address: int
    """Of the function, or of the instruction in it that is meant."""
    size: int = 0
    """Bytes of that."""
    detail: str = ""
    """What is wrong there, or why it is lawful."""
    excerpt: tuple[str, ...] = ()
    """The disassembly around it."""
    compiled_by: str = ""
    """The compile unit's source and command line, where debug data knows it."""


class Check(Record):
    """One question asked of one file, and its answer."""

    rule: str
    file: str
    outcome: Literal["passed", "failed", "skipped"]
    level: Literal["", "INFO", "VERIFY", "BAD"] = ""
    """As rpminspect grades findings. A violation is BAD unless it says VERIFY: a person must look, and write an exception
    if it is right so. INFO on what held: worth knowing, no more."""
    detail: str = ""
    reason: str = ""
    """Machine-readable, for a skip: ``no-code``, ``language-rust`` …"""
    places: tuple[Place, ...] = ()
    """The first of them, at most as many as the report lists; ``detail`` tells how many there are."""

    @property
    def grade(self) -> str:
        """OK, INFO, VERIFY or BAD."""
        return self.level or {"passed": "OK", "skipped": "INFO", "failed": "BAD"}[self.outcome]


class FileProof(Record):
    """What was counted in one file with code."""

    file: str
    build_id: str = ""
    level: str
    """The instruction set level it was held against."""
    units: int = 0
    """Compile units that carry the flags."""
    functions: int = 0
    framed: int = 0
    """Functions that make a frame and keep the frame pointer."""
    leaf: int = 0
    """Functions that make no frame."""
    unframed: int = 0
    """Functions that break the rule."""
    excused: int = 0
    """Functions without a frame pointer that need none, or have an exception."""
    code_bytes: int = 0
    above: int = 0
    """Functions with instructions above the level that nothing explains."""
    dispatched: int = 0
    """Functions with instructions above the level that only processors which have them reach."""


class VerifyResult(Result):
    """``kitten verify``: the proof, or what is missing from it."""

    command: Literal["verify"] = "verify"
    target: str
    level: str = ""
    """The target's instruction set level."""
    checked: tuple[Artifact, ...] = ()
    """The packages or files the proof speaks of, by checksum."""
    files: tuple[FileProof, ...] = ()
    checks: tuple[Check, ...] = ()


class ContentsResult(Result):
    """``kitten contents``: what users must find in the repositories, or what a kernel must support."""

    command: Literal["contents"] = "contents"
    target: str
    repositories: tuple[str, ...] = ()
    """Addresses of the repositories that were read."""
    checks: tuple[Check, ...] = ()
