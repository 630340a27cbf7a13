"""Take the pictures for the README from the demo that runs on this machine.

.venv/bin/python tools/screenshots.py [STATE-FOLDER]
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import requests
from playwright.sync_api import sync_playwright

CHECKOUT = Path(__file__).resolve().parent.parent
IMAGES = CHECKOUT / "docs" / "images"


def main() -> None:
    """Write docs/images/build.png, report.png and packages.png."""
    state = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT / "var" / "demo"
    port = json.loads((state / "service" / "ports.json").read_text())["web"]
    url = f"http://127.0.0.1:{port}/"
    builder = requests.get(f"{url}api/v2/builders/s390x", timeout=30).json()["builders"][0]["builderid"]
    builds = requests.get(
        f"{url}api/v2/builders/{builder}/builds", params={"results": 0, "order": "-number"}, timeout=30
    ).json()["builds"]
    build = f"#/builders/{builder}/builds/{builds[0]['number']}"
    steps = requests.get(f"{url}api/v2/builds/{builds[0]['buildid']}/steps", timeout=30).json()["steps"]
    proof = next(step["number"] for step in steps if step["name"] == "verify code and flags")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        for name, address, wait in (
            ("build", build, "hand to promote"),
            ("report", f"{build}/steps/{proof}/logs/report", "Files"),
            ("packages", "#/packages", "s390x"),
        ):
            page.goto(url + address)
            page.get_by_text(wait).first.wait_for()
            page.wait_for_timeout(2000)  # the page shows badges and summaries after the rows
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
