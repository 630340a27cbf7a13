"""What users see of the published folder, after a check that all of it is complete."""

from __future__ import annotations

import hashlib
from pathlib import Path

from config.models import Site
from workers.repository import index
from workers.repository.state import published


def seen(state: Path) -> dict[str, set[str]]:
    """Repository → file names, as users see them. Fails unless every index is whole, signed and true."""
    root = state / "published" / "10-kitten"
    found = {}
    for repomd in sorted(root.glob("**/repodata/repomd.xml")) if root.exists() else ():
        assert repomd.with_name("repomd.xml.asc").read_text().startswith("-----BEGIN PGP SIGNATURE-----")
        repository = repomd.parents[1]
        packages = index.load(repository)
        for package in packages:
            content = (repository / package.location_href).read_bytes()
            assert hashlib.sha256(content).hexdigest() == package.pkgId
        found[str(repository.relative_to(root))] = {Path(package.location_href).name for package in packages}
    return found


def versions(state: Path, site: Site) -> dict[str, str]:
    """Target → what its users see of tiny. Fails unless indexes and records agree."""
    records = published(site, state)
    recorded: dict[str, set[str]] = {}
    for record in records.values():
        for file in record.files:
            recorded.setdefault(file.repository, set()).add(file.name)
    assert {name: files for name, files in seen(state).items() if files} == recorded
    return {target: record.nevr for (package, target), record in records.items() if package == "tiny"}
