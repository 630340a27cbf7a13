"""YAML folders → ``Site``. Every error names file, line, key, what was found and what is allowed; all are reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from config.models import Site

FOLDER = Path(__file__).parent
SECTIONS = {
    "distribution": "site.yaml",
    "build": "build.yaml",
    "targets": "targets.yaml",
    "repositories": "repositories.yaml",
    "stages": "stages.yaml",
    "suites": "suites.yaml",
    "schedules": "schedules.yaml",
    "workers": "workers.yaml",
    "sources": "sources.yaml",
    "web": "web.yaml",
}


def site_folder(name_or_path: str) -> Path:
    """The folder of a site given by its name (below config/) or by a path."""
    return Path(name_or_path) if "/" in name_or_path else FOLDER / name_or_path


def load_site(name_or_path: str) -> Site:
    """Read a distribution's folder."""
    folder = site_folder(name_or_path)
    distribution = yaml.safe_load((folder / "site.yaml").read_text())
    folders = [folder]
    if distribution.get("extends"):
        folders.append(folder.parent / distribution["extends"])
    data: dict[str, Any] = {}
    for section, file in SECTIONS.items():
        for candidate in folders:
            if (candidate / file).is_file():
                data[section] = yaml.safe_load((candidate / file).read_text())
                break
    data["packages"] = [yaml.safe_load(p.read_text()) for p in sorted((folder / "packages").glob("*.yaml"))]
    return Site.model_validate(data)
