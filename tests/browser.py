"""A headless Chromium on an Airflow of the tests' own."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
"""Where screenshots are kept; git ignores it."""

_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)
_PATIENCE = 60_000


def chromium() -> str:
    """Debian's Chromium; without it the test is skipped, but not on CI."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("No chromium here: apt-get install chromium")
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    return found


@contextmanager
def logged_in(home: AirflowHome) -> Iterator[Page]:
    """A page of a browser that is logged in as admin."""
    executable = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_QUIET))
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        page.set_default_timeout(_PATIENCE)
        page.goto(f"{home.url}/connections")
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", "admin")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url)
        try:
            yield page
        finally:
            browser.close()


def screenshot(page: Page, name: str) -> str:
    """Keep a picture of the page, and return its text."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
    values = page.eval_on_selector_all("input, textarea", "found => found.map(one => one.value)")
    return "\n".join([page.locator("body").inner_text(), *values])
