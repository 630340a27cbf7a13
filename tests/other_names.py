"""The demo under other names: all names that a site may choose differ from those of the sites in config/."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[1] / "config"
STAGES = {"staged": "pool", "testing": "preview", "kitten": "main"}
"""Name of a stage in the demo → its name here."""


def site_with_other_names(folder: Path) -> Path:
    """Copy the demo into a folder, with other stages, product, dist tag, tag URI and top folder; return the copy."""
    shutil.copytree(CONFIG / "kitten-10", folder / "kitten-10")
    site = shutil.copytree(CONFIG / "demo", folder / "harbour")

    def change(section: str, **changes: Any) -> None:
        file = site / f"{section}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))

    change("site", name="harbour", title="Harbour 3", short="harbour", version="3", tag="tag:example.org,2026:harbour")
    change("build", dist=".hb3", vendor="Harbour")
    change("repositories", layout={"root": "harbour-3"})
    stages = site / "stages.yaml"
    entries = [
        {**entry, "name": STAGES[entry["name"]], "url": STAGES[entry["name"]]}
        for entry in yaml.safe_load(stages.read_text())
    ]
    stages.write_text(yaml.safe_dump(entries, sort_keys=False))
    return site
