"""The result files: one versioned JSON document for each worker command. ``steps`` reads nothing else of ``workers``.

A command writes its result once, at its end, by one rename. Addresses of artifacts are fsspec URLs. Durations are in
seconds, sizes in bytes; checksums are SHA-256 in lower-case hexadecimal.
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
