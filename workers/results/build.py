"""Results of ``kitten sandbox``, ``kitten source`` and ``kitten build``."""

from __future__ import annotations

from typing import Literal

from workers.results.document import Artifact, Record, Result


class TargetTree(Record):
    """The sandbox tree of one target: the base and, if the host needs a cross compiler, a layer over it."""

    target: str
    outcome: Literal["passed", "cannot-run"] = "passed"
    cause: str = ""
    """Why it could not be made."""
    hint: str = ""
    identity: str = ""
    """Of base and layer together. It is part of the identity of each build in this tree."""
    path: str = ""
    """Root folder of the layer; empty: the tree is only the base."""
    packages: int = 0
    """Number of packages of the layer."""
    size: int = 0
    """Bytes of the layer."""


class SandboxResult(Result):
    """``kitten sandbox``: the targets with a sandbox tree on this host, and why others have none."""

    command: Literal["sandbox"] = "sandbox"
    base: str = ""
    """Identity of the base; empty: it could not be made, and so no tree exists."""
    path: str = ""
    """Root folder of the base."""
    packages: int = 0
    """Number of packages of the base."""
    size: int = 0
    """Bytes of the base."""
    targets: tuple[TargetTree, ...] = ()


class SourceResult(Result):
    """``kitten source``: a commit became an SRPM."""

    command: Literal["source"] = "source"
    package: str
    branch: str
    commit: str
    nevr: str = ""
    srpm: Artifact | None = None
    tests: Artifact | None = None
    """tests/ of the dist-git repository as a tar, if it has any."""
    build_requires: tuple[str, ...] = ()
    binaries: tuple[str, ...] = ()
    patch: str = ""
    """SHA-256 of a contributor's patch on top of the commit. Such a source is only for try builds, never published."""
    reused: bool = False


class BuildResult(Result):
    """``kitten build``: an SRPM became RPMs on one target. The file is ``build.json`` beside these RPMs."""

    command: Literal["build"] = "build"
    target: str
    package: str
    nevr: str
    commit: str = ""
    identity: str = ""
    """Hash of all inputs: SRPM, target entry, build.yaml, buildroot packages, tool versions."""
    reused: bool = False
    trial: bool = False
    """Whether it is a try build, which no stage takes."""
    url: str = ""
    """Folder (fsspec URL) of build.json, the RPMs, the logs and, later, verify.json and test.json."""
    srpm: Artifact | None = None
    tests: Artifact | None = None
    rpms: tuple[Artifact, ...] = ()
    logs: tuple[Artifact, ...] = ()
    buildroot: tuple[str, ...] = ()
    """``NEVRA SHA-256`` of each package that was installed on top of the tree, sorted; with mock, only the NEVRA."""
    tree: str = ""
    """Identity of the target's sandbox tree, or of mock's chroot."""
