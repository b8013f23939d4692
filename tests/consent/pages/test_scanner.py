"""What looks into mail and presses everything: it may end what a person wants, and can start nothing.

And what is around each page: headers, neutral refusals, nothing of a token in a log line.
"""

import re
from uuid import UUID

import httpx
import pytest

from .conftest import ANN, NUMBER, Forms, People, World
from .test_confirm import asked


async def crawl(browser: httpx.AsyncClient, url: str, *, buttons: bool, depth: int = 3) -> set[str]:
    """Get, head and follow every link, and submit every form, with a guess in each open field."""
    seen: set[str] = set()
    waiting = [(url, 0)]
    while waiting:
        where, level = waiting.pop()
        if where in seen or level > depth:
            continue
        seen.add(where)
        await browser.head(where)
        pages = [await browser.get(where)]
        for form in Forms(pages[0].text).forms:
            for button in form.buttons if buttons else [None]:
                fields = {**form.fields, "code": "123456", **({"do": button} if button else {})}
                pages.append(await browser.post(str(httpx.URL(where).join(form.action)), data=fields))
        for page in pages:
            waiting += [(str(page.url.join(link)), level + 1) for link in Forms(page.text).links if "lang" not in link]
    return seen


@pytest.fixture
async def links(people: People, world: World) -> list[str]:
    person = await world.person(ANN, NUMBER)
    await world.decide(ANN, "granted", "email")
    world.hub.site.limits.shown._most = 10_000
    pending = await asked(people)
    return [await people.unsubscribe_link(person), await people.preferences_link(person), pending]


async def test_a_scanner_that_submits_forms_without_a_button_changes_nothing(people: People, links: list[str]) -> None:
    before = await people.entries()
    for url in links:
        await crawl(people.browser, url, buttons=False)
    assert await people.entries() == before
    assert await people.events("consent.code_requested") == []


async def test_one_that_presses_every_button_only_restricts(people: People, links: list[str]) -> None:
    """It knows no code and ticks no box. It may press "unsubscribe": better a lost newsletter than an unwanted one."""
    before = len(await people.entries())
    for url in links:
        await crawl(people.browser, url, buttons=True)
    after = (await people.entries())[before:]
    assert after
    assert {one["decision"] for one in after} == {"withdrawn"}
    assert await people.verdict(ANN) == "denied"
    assert await people.verdict(NUMBER, "sms") != "allowed"
    assert len(await people.events("consent.code_requested")) <= 2


async def test_every_page_is_closed_to_caches_referrers_robots_and_scripts(people: People, links: list[str]) -> None:
    for url in [*links, f"{people.world.url}/r/u/none"]:
        head = (await people.open(url)).headers
        assert head["cache-control"] == "no-store"
        assert head["referrer-policy"] == "no-referrer"
        assert "noindex" in head["x-robots-tag"]
        assert head["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in head
        policy = head["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert head["content-type"] == "text/html; charset=utf-8"


async def test_pages_load_one_file_and_that_is_style(people: People, links: list[str]) -> None:
    for url in links:
        page = await people.open(url)
        assert "<script" not in page.text
        assert "style=" not in page.text
        style = await people.browser.get(str(page.url.join("../style.css")))
        assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")


@pytest.mark.parametrize("behind", ["/", "%2F"])
async def test_a_slash_too_many_leads_to_the_same_pages(people: People, links: list[str], behind: str) -> None:
    """What stood beside the page was looked for one step too near: it came without its style, and led nowhere."""
    url = links[0] + behind
    page = await people.open(url)
    [style] = re.findall(r'href="([^"]*style.css)"', page.text)
    assert (await people.browser.get(str(page.url.join(style)))).status_code == 200
    left = await people.submit(url, page.text, "this")
    [undo] = [one for one in Forms(left.text).links if "/p/" in one]
    assert (await people.open(str(left.url.join(undo)))).status_code == 200


@pytest.mark.parametrize("foreign", [{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, {}])
async def test_a_foreign_page_without_the_nonce_does_nothing(
    people: People, links: list[str], foreign: dict[str, str]
) -> None:
    before = await people.entries()
    for url in links:
        for does in ("this", "everything", "off", "gpc", "confirm"):
            said = {"do": does, "gpc": "yes", "agree": "yes", "purpose": "marketing", "channel": "email"}
            assert (await people.browser.post(url, data=said, headers=foreign)).status_code == 422
    assert await people.entries() == before


async def test_no_method_but_get_head_and_post_is_there(people: People, links: list[str]) -> None:
    before = await people.entries()
    for url in links:
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            assert (await people.browser.request(method, url)).status_code in (204, 404, 405)
        answer = await people.open(url, Accept="application/json", Range="bytes=0-9")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert await people.entries() == before


async def test_what_went_wrong_is_in_the_title(people: People, links: list[str]) -> None:
    """Who hears pages hears the title first; a message that is there from the start may never be read."""
    for url in links:
        wrong = await people.browser.post(url, data={"do": "nothing"})
        assert "<title>Nothing was changed yet." in wrong.text


async def test_garbage_of_any_kind_gets_the_one_page(people: People, links: list[str], world: World) -> None:
    token = links[0].rpartition("/")[2]
    garbage = ["x", "x" * 203, token[:-1], token + "A", token[:-2] + "zz", "%00x"[3:], "é", "A" * 5_000]
    pages = set()
    for word in "upc":
        for one in garbage:
            answer = await people.open(f"{world.url}/r/{word}/{one}")
            assert answer.status_code == 404
            pages.add(answer.text)
            answer = await people.browser.post(f"{world.url}/r/{word}/{one}", data={"do": "this"})
            assert answer.status_code == 404
            pages.add(answer.text)
    answer = await people.open(f"{world.url}/r/p/{token}")
    pages.add(answer.text)
    assert len(pages) == 1


async def test_a_body_that_is_too_large_is_a_page_too(people: People, links: list[str]) -> None:
    answer = await people.browser.post(links[0], data={"do": "x" * 10_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")


async def test_no_log_line_and_no_metric_has_a_token_or_an_address(people: People, links: list[str]) -> None:
    for url in links:
        await people.open(f"{url}?lang=de")
        word = url.split("/")[-2]
        await people.press(url, {"u": "this", "p": "everything", "c": "confirm"}[word], agree="yes")
    await people.open(f"{links[0]}x")
    logged = people.world.lines.getvalue()
    measured = people.world.hub.around.metrics.render().decode()
    assert '"/r/u/{token}"' in logged
    for url in links:
        assert url.rpartition("/")[2][:40] not in logged + measured
    assert ANN not in logged + measured


async def test_too_many_pages_from_one_source_are_a_page_too(people: People, links: list[str]) -> None:
    people.world.hub.site.limits.shown._buckets.clear()
    people.world.hub.site.limits.shown._most = 3
    statuses = [(await people.open(links[1])).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    answer = await people.open(links[1])
    assert "Too many requests" in answer.text
    assert answer.headers["retry-after"] == "60"


async def test_the_mail_that_is_to_be_left_never_grants(people: People, world: World) -> None:
    """An unsubscribe token only restricts, whatever is posted to its page."""
    person: UUID = await world.person(NUMBER)
    url = await people.unsubscribe_link(person, "sms")
    page = (await people.open(url)).text
    form = Forms(page).forms[0]
    for word in ("on", "grant", "confirm", "resubscribe"):
        answer = await people.browser.post(url, data={**form.fields, "do": word})
        assert answer.status_code == 422
    assert await people.verdict(NUMBER, "sms") == "unknown"
