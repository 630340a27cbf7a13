"""The newest commit of a package in dist-git, and the published commits.

This is a module apart from ``progress``, whose functions are pure.
"""

from __future__ import annotations

import json
import subprocess

from config.models import SourcePackage
from master.errors import ServiceError
from master.service.service import Service


def head(service: Service, package: SourcePackage) -> tuple[str, str]:
    """Return the preferred branch of a package's dist-git repository and its commit; both empty before the first push.

    :raises ServiceError: the repository cannot be read.
    """
    repository = service.site.sources.dist_git.format(package=package.name, state=service.state)
    done = subprocess.run(
        ["git", "ls-remote", "--heads", repository], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise ServiceError(f"dist-git of {package.name} cannot be read: {done.stderr.strip()}")
    heads = {line.split("\trefs/heads/")[1]: line.split("\t")[0] for line in done.stdout.splitlines()}
    branch = next((b for b in service.site.sources.branches if b in heads), "")
    return branch, heads.get(branch, "")


def published_commits(service: Service) -> dict[tuple[str, str], str]:
    """Return (package, target) → commit, as recorded in the published repositories."""
    done = service.kitten("published", "--json", capture_output=True)
    if done.returncode != 0:
        raise ServiceError(f"kitten published: {(done.stderr or done.stdout).strip()}")
    return {(r["package"], r["target"]): r["commit"] for r in json.loads(done.stdout)}
