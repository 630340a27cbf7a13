"""The repository that a target's builds take packages from, on this host."""

from __future__ import annotations

import hashlib
from pathlib import Path

from config.models import Site, Target
from workers.base import cache
from workers.base.errors import CannotRun


def staged_folder(site: Site, state: Path, target: Target) -> Path:
    """The target's buildroot repository; a remote one is copied to the cache first.

    :raises CannotRun: when a remote one cannot be read.
    """
    url = site.stage_for("buildroot").url
    if "://" not in url:
        return (state / url).absolute() / target.name
    import fsspec

    copy = cache.root() / "buildroots" / hashlib.sha256(url.encode()).hexdigest()[:16] / target.name
    try:
        system, path = fsspec.core.url_to_fs(f"{url}/{target.name}")
        with cache.hold_lock(copy.with_name(f".{target.name}.lock")):
            for name in system.find(path) if system.exists(path) else []:
                local = copy / name[len(path) :].lstrip("/")
                if "/repodata/" in name or not local.exists():
                    local.parent.mkdir(parents=True, exist_ok=True)
                    system.get_file(name, str(local))
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(
            f"cannot read {url}/{target.name}: {error}", "check stages.yaml, the network, the credentials"
        ) from None
    return copy
