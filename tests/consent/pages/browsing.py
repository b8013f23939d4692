"""A headless Chromium that runs no script of a page, and what it finds."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: install `chromium` to look at the pages")
SMALL = {"width": 320, "height": 640}
WIDE = {"width": 1100, "height": 800}
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def reader(browser: Browser, **options: Any) -> AsyncIterator[Any]:
    """A page of somebody without JavaScript."""
    context = await browser.new_context(java_script_enabled=False, **{"viewport": PHONE, **options})
    yield await context.new_page()
    await context.close()
