"""Pictures of our pages, taken in a real browser. `UPDATE_PICTURES=1` puts them into the documentation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = Path(__file__).parent.parent / "docs" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium, or whatever installs it"
)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def opened(address: str, *, width: int = 1280, height: int = 1000, **options: Any) -> Iterator[Page]:
    """A page in headless Chromium; it must neither fail nor ask another host for anything."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, **options)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.on("request", lambda request: None if _is_local(request.url) else errors.append(request.url))
            page.goto(address)
            yield page
        finally:
            browser.close()
    assert errors == []


def take(page: Page, name: str, tmp_path: Path) -> bytes:
    """Take a picture; where it was asked for, into the documentation."""
    path = (IMAGES if os.environ.get("UPDATE_PICTURES") else tmp_path) / f"{name}.png"
    return page.screenshot(path=path)


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "ws://127.0.0.1:", "http://localhost:"))
