"""The pages in a real browser that runs no script: readable by everybody, by keyboard, on a small screen.

With `TABELLION_SCREENSHOTS=FOLDER` it leaves a picture of each.
"""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser

from tabellion.consent.links.types import Preferences
from tabellion.consent.pages.texts import load

from .browsing import NEEDED, PHONE, SMALL, WIDE, chromium, reader
from .conftest import ANN, HOUR, NUMBER, People, World, url_of
from .test_confirm import DECISION

pytestmark = [NEEDED, pytest.mark.slow]
LANGUAGES = sorted(load().languages)
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = [("en", "dark", PHONE), ("ar", "light", PHONE), ("de", "light", SMALL), ("fr", "dark", WIDE)]
PRESSED = [("preferences", "on"), ("code", "grant"), ("preferences", "everything"), ("unsubscribe", "this"),
           ("unsubscribe", "everything"), ("confirm", "confirm")]  # fmt: skip
"""Page and button, one after the other; `code` is where `on` leads."""
SHOTS = os.environ.get("TABELLION_SCREENSHOTS")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest.fixture
async def ann(world: World) -> UUID:
    person = await world.person(ANN, NUMBER)
    await world.decide(ANN, "granted", "email")
    return person


@pytest.fixture
async def urls(people: People, ann: UUID, world: World) -> dict[str, str]:
    """Every page that a link leads to."""
    await _notice(people)
    answer = await people.api.post("/v1/consents", json=DECISION | {"recipient": {"phone": NUMBER}, "channel": "sms"})
    assert answer.json()["decision"] == "pending", answer.text
    await people.follow()
    [text] = await world.texts(NUMBER)
    confirm = re.search(r"https?://\S+/r/c/[A-Za-z0-9_-]+", str(text))
    assert confirm
    expired = await url_of(world, Preferences(ann, world.clock.now() - HOUR))
    unknown = f"{world.url}/r/u/none"
    return {
        "unsubscribe": await people.unsubscribe_link(ann),
        "preferences": await people.preferences_link(ann),
        "confirm": confirm[0],
        "expired": expired,
        "unknown": unknown,
    }


async def _notice(people: People) -> None:
    body = {"id": "weekly", "title": "Newsletter", "purposes": ["marketing"]}
    assert (await people.api.post("/v1/notices", json=body)).status_code == 201
    text = "I want news and offers by text message, about twice a month.\n\n" + "I can end this at any time. " * 20
    version = {"version": "3", "default_language": "en", "texts": {"en": text}}
    path = "/v1/notices/weekly/versions"
    assert (await people.api.post(path, json=version)).status_code == 201
    assert (await people.api.post(f"{path}/3/publish", json={})).status_code < 300


async def picture(page: Any, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


async def violations(browser: Browser, url: str, **options: Any) -> list[str]:
    """What axe finds on a page as a browser shows it."""
    context = await browser.new_context(bypass_csp=True, viewport=PHONE, **options)
    page = await context.new_page()
    await page.goto(url)
    found = await wrong_with(page)
    await context.close()
    return found


async def wrong_with(page: Any) -> list[str]:
    found = (await Axe().run(page, options=WCAG)).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]


@pytest.mark.parametrize(("scheme", "languages"), [("light", LANGUAGES), ("dark", ("en", "ar"))])
async def test_axe_finds_nothing_on_any_page_in_any_language(
    browser: Browser, urls: dict[str, str], people: People, scheme: Any, languages: Any
) -> None:
    """In the dark only colours differ: a language of either direction is enough there."""
    people.world.hub.site.limits.shown._most = 10_000
    found = {}
    for language in languages:
        for name, url in urls.items():
            headers = {"Sec-GPC": "1"} if name == "preferences" else {}
            where = f"{url}?lang={language}"
            if wrong := await violations(browser, where, color_scheme=scheme, extra_http_headers=headers):
                found[f"{name} {language}"] = wrong
    assert found == {}


async def test_axe_finds_nothing_on_what_forms_lead_to(browser: Browser, urls: dict[str, str], people: People) -> None:
    limits = people.world.hub.site.limits
    limits.shown._most = limits.codes._most = limits.grants._most = 10_000
    found = {}
    context = await browser.new_context(bypass_csp=True, viewport=PHONE, color_scheme="dark")
    page = await context.new_page()
    for language in LANGUAGES:
        for name, does in PRESSED:
            if name in urls:
                await page.goto(f"{urls[name]}?lang={language}")
            for box in await page.get_by_role("checkbox").all():
                await box.check()
            for field in await page.locator("input.code").all():
                await field.fill("000000")
            button = page.locator(f"button[value={does}]").first
            if await button.count():
                await button.click()
            if wrong := await wrong_with(page):
                found[f"{name} {does} {language}"] = wrong
    await context.close()
    assert found == {}


async def test_every_page_fits_the_smallest_screen(browser: Browser, urls: dict[str, str], people: People) -> None:
    people.world.hub.site.limits.shown._most = 10_000
    context = await browser.new_context(viewport=SMALL)
    page = await context.new_page()
    for language in LANGUAGES:
        for name, url in urls.items():
            await page.goto(f"{url}?lang={language}")
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= SMALL["width"], (name, language)
            small = await page.evaluate(
                "[...document.querySelectorAll('button, footer a')].filter(e => e.getBoundingClientRect().height < 44)"
                ".map(e => e.outerHTML)"
            )
            assert small == [], (name, language)
    await context.close()


async def test_a_person_unsubscribes_without_script(browser: Browser, urls: dict[str, str], people: People) -> None:
    async with reader(browser) as page:
        await page.goto(urls["unsubscribe"])
        await picture(page, "unsubscribe")
        await page.get_by_role("button", name="Unsubscribe", exact=True).click()
        await page.get_by_role("heading", name="You are unsubscribed").wait_for()
        await picture(page, "unsubscribed")
        await page.get_by_role("link", name="Open your preferences").click()
        await page.get_by_role("heading", name="Your preferences").wait_for()
        await picture(page, "preferences-after")
    assert await people.verdict(ANN) == "denied"


async def test_a_person_turns_something_on_by_keyboard_alone(
    browser: Browser, people: People, ann: UUID, world: World
) -> None:
    url = await people.preferences_link(ann)
    async with reader(browser) as page:
        await page.goto(url)
        await _tab_to(page, "on")
        await picture(page, "keyboard")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Enter your code").wait_for()
        await picture(page, "code")
        await page.keyboard.press("Tab")
        await page.keyboard.type("000000")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        await picture(page, "code-wrong")
        await page.keyboard.press("Tab")
        await page.keyboard.type(await people.code(ann))
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("status").wait_for()
        await picture(page, "preferences-saved")
    assert await people.verdict(NUMBER, "sms") == "allowed"


async def _tab_to(page: Any, does: str) -> None:
    """Press Tab until a button that does this has the focus, which must be visible there."""
    for _ in range(30):
        await page.keyboard.press("Tab")
        focused = page.locator(f"button[value={does}]:focus-visible")
        if await focused.count():
            outline = await focused.evaluate("e => getComputedStyle(e).outlineStyle")
            assert outline == "solid"
            return
    raise AssertionError(f"no button {does} can be reached")


async def test_a_person_confirms_without_script(browser: Browser, urls: dict[str, str], people: People) -> None:
    async with reader(browser) as page:
        await page.goto(urls["confirm"])
        await picture(page, "confirm")
        await page.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Confirm").click()
        await page.get_by_role("heading", name="Thank you").wait_for()
        await picture(page, "confirmed")
    assert await people.verdict(NUMBER, "sms") == "allowed"


@pytest.mark.skipif(not SHOTS, reason="TABELLION_SCREENSHOTS names no folder")
async def test_pictures(browser: Browser, urls: dict[str, str]) -> None:
    for name, url in urls.items():
        for language, scheme, size in LOOKS:
            headers = {"Sec-GPC": "1"}
            async with reader(browser, color_scheme=scheme, viewport=size, extra_http_headers=headers) as page:
                await page.goto(f"{url}?lang={language}")
                await picture(page, f"{name}-{language}-{scheme}")
