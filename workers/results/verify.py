"""Results of ``kitten verify`` and ``kitten contents``."""

from __future__ import annotations

from typing import Literal

from workers.results.document import Artifact, Record, Result


class Place(Record):
    """A place in a file that a check reports: a function that breaks the rule, or one with an exemption."""

    function: str
    """The function's name, or its address if no symbol names it."""
    function_address: int = 0
    address: int
    """Address of the function, or of the instruction in it that the check reports."""
    size: int = 0
    """Bytes of the function or instruction at ``address``."""
    detail: str = ""
    """What is wrong there, or why it is allowed."""
    excerpt: tuple[str, ...] = ()
    """The disassembly around ``address``."""
    compiled_by: str = ""
    """Source and command line of the compile unit, if the debug data has them."""


class Check(Record):
    """The result of one rule on one file."""

    rule: str
    file: str
    outcome: Literal["passed", "failed", "skipped"]
    level: Literal["", "INFO", "VERIFY", "BAD"] = ""
    """The grade of a finding, as in rpminspect. A failed check without a grade is BAD. VERIFY: a person must look, and
    adds an exemption if the finding is correct. INFO on a passed check: worth knowing, nothing to do."""
    detail: str = ""
    reason: str = ""
    """Machine-readable reason of a skip: ``no-code``, ``language-rust`` …"""
    places: tuple[Place, ...] = ()
    """The first places, at most as many as the report lists; ``detail`` gives their number."""

    @property
    def grade(self) -> str:
        """Return OK, INFO, VERIFY or BAD."""
        return self.level or {"passed": "OK", "skipped": "INFO", "failed": "BAD"}[self.outcome]


class FileProof(Record):
    """The counts of one file with code."""

    file: str
    build_id: str = ""
    level: str
    """The instruction set level that it was checked for."""
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
    """Functions without a frame pointer that need none or have an exemption."""
    code_bytes: int = 0
    above: int = 0
    """Functions with instructions above the level, without an explanation."""
    dispatched: int = 0
    """Functions with instructions above the level that run only on processors with these instructions."""


class VerifyResult(Result):
    """``kitten verify``: the proof, or why it failed."""

    command: Literal["verify"] = "verify"
    target: str
    level: str = ""
    """The target's instruction set level."""
    checked: tuple[Artifact, ...] = ()
    """The packages or files that were checked, with their checksums."""
    files: tuple[FileProof, ...] = ()
    checks: tuple[Check, ...] = ()


class ContentsResult(Result):
    """``kitten contents``: what users must find in the repositories, or what a kernel must support."""

    command: Literal["contents"] = "contents"
    target: str
    repositories: tuple[str, ...] = ()
    """URLs of the repositories that were read."""
    checks: tuple[Check, ...] = ()
