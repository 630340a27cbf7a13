"""What a person sees: the builders page and the steps of one build, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import TARGETS, Service

pytestmark = [pytest.mark.service, pytest.mark.sandbox, pytest.mark.guest, pytest.mark.browser]
STEPS = ("build RPMs", "verify code and flags", "test in QEMU", "stage for next builds", "hand to promote")


@pytest.fixture(scope="module")
def page(service: Service, demo: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this host: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_the_builders_page_lists_a_builder_for_each_target(service: Service, page: Any) -> None:
    page.goto(f"{service.url}#/builders")
    for name in ("source", *TARGETS, "promote", "lab"):
        page.get_by_role("link", name=name, exact=True).first.wait_for()


def test_a_build_page_shows_its_steps_and_what_they_found(service: Service, page: Any) -> None:
    builders = {name: number for number, name in service.builders().items()}
    builds = [b for b in service.builds(builderid=builders["x86_64"]) if b["results"] == 0]
    assert builds, "the pipeline tests leave a successful build on x86_64"
    build = builds[0]
    page.goto(f"{service.url}#/builders/{build['builderid']}/builds/{build['number']}")
    for step in STEPS:
        page.get_by_text(step).first.wait_for()
    package = build["properties"]["package"][0]
    assert f"{package}-" in page.inner_text("body")
    assert "RPMs" in page.inner_text("body")
