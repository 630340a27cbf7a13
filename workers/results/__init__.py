"""The result files: one versioned JSON document per worker command. The only thing of ``workers`` that ``steps`` reads.

A result is written once, whole (``write``: temporary file, then rename), at the end of a command. Paths of artifacts are
fsspec URLs. Durations are seconds, sizes bytes, checksums lower-case hexadecimal SHA-256.
"""

from workers.results.build import (
    BuildResult,
    SandboxResult,
    SourceResult,
    TargetTree,
)
from workers.results.document import (
    VERSION,
    Artifact,
    Outcome,
    Record,
    Result,
    current_outcome,
)
from workers.results.lab import (
    Case,
    GuestsResult,
    SuiteResult,
    TargetGuest,
    TestResult,
)
from workers.results.stage import (
    CleanResult,
    ComposeResult,
    GateResult,
    OverrideRecord,
    Promoted,
    PromoteResult,
    PublishResult,
    RuleVerdict,
    StageResult,
    StoreFolder,
)
from workers.results.verify import (
    Check,
    ContentsResult,
    FileProof,
    Place,
    VerifyResult,
)

__all__ = [
    "VERSION",
    "Artifact",
    "BuildResult",
    "Case",
    "Check",
    "CleanResult",
    "ComposeResult",
    "ContentsResult",
    "FileProof",
    "GateResult",
    "GuestsResult",
    "Outcome",
    "OverrideRecord",
    "Place",
    "PromoteResult",
    "Promoted",
    "PublishResult",
    "Record",
    "Result",
    "RuleVerdict",
    "SandboxResult",
    "SourceResult",
    "StageResult",
    "StoreFolder",
    "SuiteResult",
    "TargetGuest",
    "TargetTree",
    "TestResult",
    "VerifyResult",
    "current_outcome",
]
