"""docs/reference/code-map.md names every package, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent


def test_the_code_map_has_a_line_for_each_package() -> None:
    text = (CHECKOUT / "docs" / "reference" / "code-map.md").read_text()
    named = re.findall(r"^\| `([\w/]+)/` \| \S", text, re.MULTILINE)
    folders = [CHECKOUT / top for top in ("config", "workers", "steps", "master")]
    found = {str(init.parent.relative_to(CHECKOUT)) for folder in folders for init in folder.rglob("__init__.py")}
    assert len(named) == len(set(named))
    assert set(named) == found
