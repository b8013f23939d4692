"""`/r/u/{token}`: one click of a mailbox provider, the page of a person, and what the link outlives."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.app.wiring import Callbacks
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import Page, Unsubscribe
from tabellion.consent.pages.clicks import clicked
from tabellion.consent.placing import erased
from tabellion.consent.recording import Recorder
from tabellion.core import ids
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

from .conftest import ANN, HOUR, NUMBER, Forms, People, World


@pytest.fixture
async def ann(world: World) -> UUID:
    person = await world.person(ANN)
    await world.decide(ANN, "granted", "email")
    return person


async def test_one_click_withdraws_at_once_without_cookie_or_redirect(people: People, ann: UUID) -> None:
    url = await people.unsubscribe_link(ann)
    assert await people.verdict(ANN) == "allowed"
    answer = await people.one_click(url)
    assert (answer.status_code, answer.headers.get("set-cookie"), answer.history) == (200, None, [])
    assert await people.verdict(ANN) == "denied"
    last = (await people.entries())[-1]
    assert (last["decision"], last["channel"], last["purpose"]) == ("withdrawn", "email", "marketing")
    assert (last["method"], last["rank"], last["person_scope"]) == ("one_click", 3, True)


async def test_one_click_as_multipart_does_the_same(people: People, ann: UUID) -> None:
    url = await people.unsubscribe_link(ann)
    answer = await people.browser.post(url, files={"List-Unsubscribe": (None, "One-Click")})
    assert answer.status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_one_click_again_changes_nothing_and_leaves_no_second_entry(people: People, ann: UUID) -> None:
    url = await people.unsubscribe_link(ann)
    await people.one_click(url)
    before = await people.entries()
    assert (await people.one_click(url)).status_code == 200
    assert await people.entries() == before


async def test_one_click_after_a_new_grant_withdraws_again(people: People, ann: UUID, world: World) -> None:
    url = await people.unsubscribe_link(ann)
    await people.one_click(url)
    world.clock.advance(HOUR)
    page = await people.preferences_link(ann)
    asked = await people.press(page, "on")
    await people.submit(page, asked.text, "grant", code=await people.code(ann))
    assert await people.verdict(ANN) == "allowed"
    await people.one_click(url)
    assert await people.verdict(ANN) == "denied"


async def test_one_click_in_pieces_with_what_else_machines_send(people: People, ann: UUID) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"List-Unsub"
        yield b"scribe=One-Click"

    url = await people.unsubscribe_link(ann)
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "Origin": "null",
               "Idempotency-Key": "x" * 300, "Cookie": "a=b", "Sec-Fetch-Site": "cross-site"}  # fmt: skip
    answer = await people.browser.post(url, content=pieces(), headers=headers)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (200, None)
    assert await people.verdict(ANN) == "denied"


@pytest.mark.parametrize(
    ("body", "media"),
    [
        ("List-Unsubscribe=One-Click", "text/plain"),
        ("List-Unsubscribe=one-click", "application/x-www-form-urlencoded"),
        ("List-Unsubscribe=One-Click&more=1", "application/x-www-form-urlencoded"),
        ("", "application/x-www-form-urlencoded"),
        ('{"List-Unsubscribe": "One-Click"}', "application/json"),
    ],
)
async def test_what_is_not_exactly_one_click_shows_the_page(people: People, ann: UUID, body: str, media: str) -> None:
    url = await people.unsubscribe_link(ann)
    answer = await people.browser.post(url, content=body, headers={"Content-Type": media})
    assert (answer.status_code, "<form" in answer.text) == (422, True)
    assert await people.verdict(ANN) == "allowed"


async def test_looking_changes_nothing(people: People, ann: UUID) -> None:
    url = await people.unsubscribe_link(ann)
    before = await people.entries()
    for method in ("GET", "HEAD", "GET"):
        answer = await people.browser.request(method, url)
        assert answer.status_code == 200
    assert "acme" in answer.text
    assert ANN not in answer.text
    assert await people.entries() == before
    assert await people.verdict(ANN) == "allowed"


async def test_a_person_presses_one_button(people: People, ann: UUID) -> None:
    answer = await people.press(await people.unsubscribe_link(ann), "this")
    assert answer.status_code == 200
    assert await people.verdict(ANN) == "denied"
    assert (await people.methods())[-1] == "preference_centre"


async def test_everything_stops_all_channels(people: People, world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.decide(ANN, "granted", "email")
    await world.decide(NUMBER, "granted", "sms")
    await people.press(await people.unsubscribe_link(person), "everything")
    assert await people.verdict(ANN) == "denied"
    assert await people.verdict(NUMBER, "sms") == "denied"
    assert await people.verdict(ANN, "email", "transactional") == "unknown"


async def undo_of(people: People, url: str, button: str = "this") -> str:
    """Where the page after an unsubscription leads."""
    left = await people.press(url, button)
    [undo] = re.findall(r'href="([^"]*/p/[^"]*)"', left.text)
    return str(left.url.join(undo))


async def test_the_page_after_it_is_about_what_was_left_alone(people: People, world: World) -> None:
    """A forwarded mail told a third person what else somebody gets, and the start of their address."""
    person = await world.person(ANN, NUMBER)
    new = {"key": "wine", "title": "Wine club", "class": "marketing", "basis": "consent"}
    assert (await people.api.post("/v1/purposes", json=new)).status_code == 201
    preferences = await undo_of(people, await people.unsubscribe_link(person))
    page = await people.open(preferences, **{"Sec-GPC": "1"})
    assert page.status_code == 200
    [form] = Forms(page.text).forms
    assert (form.buttons, form.fields["purpose"], form.fields["channel"]) == (["on"], "marketing", "email")
    for secret in ("a•••", "@", "+12", "Wine club", "Privacy Control", "everything"):
        assert secret not in page.text
    before = await people.entries()
    for more in ({"do": "everything"}, {"do": "gpc", "gpc": "yes"}, {"do": "on", "purpose": "wine"}):
        assert (await people.browser.post(preferences, data={**form.fields, **more})).status_code == 422
    assert await people.entries() == before
    asked = await people.submit(preferences, page.text, "on")
    assert "a•••" not in asked.text
    world.clock.advance(timedelta(hours=1, seconds=1))
    assert (await people.open(preferences)).status_code == 410


@pytest.mark.parametrize("purpose", ["marketing", "transactional"])
async def test_who_left_by_mistake_comes_back_with_a_code(
    people: People, ann: UUID, world: World, purpose: str
) -> None:
    """What serves a person can be left by a link, and was not on the page that should bring it back."""
    preferences = await undo_of(people, await people.unsubscribe_link(ann, purpose=purpose))
    assert await people.verdict(ANN, purpose=purpose) == "denied"
    world.clock.advance(timedelta(minutes=1))
    asked = await people.press(preferences, "on")
    back = await people.submit(preferences, asked.text, "grant", code=await people.code(ann))
    assert back.status_code == 200
    assert await people.verdict(ANN, purpose=purpose) == "allowed"


async def test_a_form_that_was_open_for_too_long_asks_again(people: People, ann: UUID, world: World) -> None:
    url = await people.unsubscribe_link(ann)
    page = (await people.open(url)).text
    world.clock.advance(timedelta(hours=1, seconds=1))
    late = await people.submit(url, page, "this")
    assert late.status_code == 422
    assert await people.verdict(ANN) == "allowed"
    assert (await people.submit(url, late.text, "this")).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_the_nonce_of_one_link_is_none_of_another(people: People, ann: UUID) -> None:
    one, other = await people.unsubscribe_link(ann), await people.unsubscribe_link(ann)
    page = (await people.open(one)).text
    assert (await people.submit(other, page, "this")).status_code == 422
    assert await people.verdict(ANN) == "allowed"


async def test_a_link_works_for_years_and_through_every_rotation_of_keys(
    people: People, ann: UUID, world: World
) -> None:
    url = await people.unsubscribe_link(ann)
    for _ in range(26):
        world.clock.advance(timedelta(days=30))
        await world.hub.rotation.apply(world.db)
    assert world.hub.around.vault.epochs.destroyed_at("2026-11") is not None
    token = url.rpartition("/")[2]
    restarted = Links(world.db, world.hub.around.vault, Callbacks(world.hub.around, world.hub.sides).reach)
    assert (await restarted.open(Page.UNSUBSCRIBE, token)).workspace_id == world.side
    assert (await people.one_click(url)).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def erase(world: World, people: People, person: UUID, *, keep: bool = True) -> None:
    order = {"type": "erase", "recipient": {"id": ids.show("rcp", person)}, "verified_by": "letter",
             "immediate": True, "keep_opt_outs": keep}  # fmt: skip
    answer = await people.api.post("/v1/regulations", json=order)
    assert answer.status_code == 202, answer.text
    for _ in range(6):
        await world.pass_time(timedelta(seconds=70))


@pytest.mark.parametrize("keep", [True, False])
async def test_after_erasure_it_still_answers_and_keeps_the_address_restricted(
    people: People, ann: UUID, world: World, keep: bool
) -> None:
    url = await people.unsubscribe_link(ann, purpose="transactional")
    await erase(world, people, ann, keep=keep)
    assert await people.verdict(ANN, purpose="transactional") == "unknown"
    page = await people.open(url)
    assert page.status_code == 200
    answer = await people.one_click(url)
    assert answer.status_code == 200
    assert await people.verdict(ANN, purpose="transactional") == "denied"
    known = await world.rows("select count(*) from identifiers where workspace_id = $1", world.side)
    assert known[0]["count"] == 0
    entries = await people.entries()
    await people.one_click(url)
    assert await people.entries() == entries
    again = await world.person(ANN)
    assert again != ann
    assert await people.verdict(ANN, purpose="transactional") == "denied"


async def test_after_erasure_what_was_kept_by_hash_is_enough(people: People, ann: UUID, world: World) -> None:
    url = await people.unsubscribe_link(ann)
    await erase(world, people, ann)
    before = await people.entries()
    assert (await people.one_click(url)).status_code == 200
    assert await people.entries() == before
    assert await people.verdict(ANN) == "denied"


async def test_it_follows_the_address_to_another_person(people: People, ann: UUID, world: World) -> None:
    url = await people.unsubscribe_link(ann)
    path = f"/v1/recipients/{ids.show('rcp', await world.person(NUMBER))}/merge"
    answer = await people.api.post(path, json={"from": ids.show("rcp", ann), "reason": "same"})
    assert answer.status_code < 300, answer.text
    await people.one_click(url)
    assert await people.verdict(ANN) == "denied"


async def test_a_restriction_is_never_limited(people: People, ann: UUID, world: World) -> None:
    url = await people.unsubscribe_link(ann)
    seen = {(await people.open(url)).status_code for _ in range(130)}
    assert 429 in seen
    assert (await people.one_click(url)).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_who_shares_a_crowded_address_leaves_by_the_page_too(people: People, ann: UUID, world: World) -> None:
    """The page was refused with 429, and with it the form: a restriction was limited away."""
    url = await people.unsubscribe_link(ann)
    world.hub.site.limits.shown._most = 0
    page = await people.open(url)
    assert (page.status_code, page.headers["retry-after"]) == (429, "60")
    assert (await people.submit(url, page.text, "this")).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_pages_shown_for_forms_that_do_nothing_are_counted(people: People, ann: UUID, world: World) -> None:
    """Whoever posts nothing was shown as many as they liked."""
    url = await people.unsubscribe_link(ann)
    world.hub.site.limits.shown._most = 2
    statuses = [(await people.browser.post(url, data={"do": "x"})).status_code for _ in range(4)]
    assert statuses == [422, 422, 429, 429]


async def test_a_storm_of_clicks_is_recorded_together_and_each_is_its_own(people: People, world: World) -> None:
    """Of two links of one person, of one pressed twice, and of somebody erased."""
    ann, eve = await world.person(ANN, NUMBER), await world.person("eve@example.org")
    gone = await world.person("gone@example.org")
    urls = [await people.unsubscribe_link(ann), await people.unsubscribe_link(ann, "sms")]
    urls += [urls[0], await people.unsubscribe_link(eve, purpose="transactional")]
    urls += [await people.unsubscribe_link(gone)]
    await erase(world, people, gone, keep=False)
    before, sizes = len(await people.entries()), []
    world.hub.site.clicks._observe = sizes.append
    answers = await asyncio.gather(*(people.one_click(one) for one in urls))
    assert [one.status_code for one in answers] == [200] * 5
    assert len(sizes) < len(urls)
    news = (await people.entries())[before:]
    assert sorted((one["channel"], one["purpose"], one["person_scope"]) for one in news) == [
        ("email", "marketing", False), ("email", "marketing", True), ("email", "transactional", True),
        ("sms", "marketing", True),
    ]  # fmt: skip
    assert {one["method"] for one in news} == {"one_click"}
    assert await people.verdict(ANN) == await people.verdict(NUMBER, "sms") == "denied"
    assert await people.verdict("eve@example.org") == "unknown"
    assert await people.verdict("gone@example.org") == "denied"


async def test_under_load_no_click_is_refused(people: People, world: World) -> None:
    """Of 200 at once some waited for a connection to the database until they were told 429."""
    addresses = [f"p{number}@example.org" for number in range(200)]
    for one in addresses:
        await world.person(one)
    rows = await world.rows("select hash from identifiers where workspace_id = $1", world.side)
    named = [Unsubscribe(row["hash"], Kind.EMAIL, Channel.EMAIL, "marketing") for row in rows]
    urls = await world.db.run(lambda tx: _urls(world, tx, named))
    answers = await asyncio.gather(*(people.one_click(one) for one in urls))
    assert {one.status_code for one in answers} == {200}
    assert len(await people.entries()) == 200


async def _urls(world: World, tx: Any, named: list[Unsubscribe]) -> list[str]:
    return [str(await world.hub.links.unsubscribe_url(tx, world.side, one)) for one in named]


async def test_more_clicks_than_the_ledger_takes_at_once(people: People, world: World) -> None:
    addresses = [f"p{number}@example.org" for number in range(300)]
    for one in addresses:
        await world.person(one)
    rows = await world.rows("select hash from identifiers where workspace_id = $1", world.side)
    said = [clicked(Unsubscribe(row["hash"], Kind.EMAIL, Channel.EMAIL, "marketing"), {}) for row in rows]
    became = await world.db.run(lambda tx: world.hub.consent.withdraw(tx, world.side, said + said))
    assert [len(one) for one in became] == [1] * 600
    assert len(await people.entries()) == 300
    again = await world.db.run(lambda tx: world.hub.consent.withdraw(tx, world.side, said))
    assert again == [[]] * 300


async def test_who_cannot_be_recorded_hears_it_and_nobody_else(
    people: People, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, eve = await world.person(ANN), await world.person("eve@example.org")
    urls = [await people.unsubscribe_link(ann), await people.unsubscribe_link(eve)]
    record = world.hub.consent._recorder.record

    async def refusing(self: Any, tx: Any, side: Any, policies: Any, decisions: Any, **more: Any) -> Any:
        kept = [one for one in decisions if one.recipient.value != ANN]
        recorded = iter(await record(tx, side, policies, kept, **more) if kept else [])
        return [erased() if one.recipient.value == ANN else next(recorded) for one in decisions]

    monkeypatch.setattr(Recorder, "record", refusing)
    answers = await asyncio.gather(*(people.one_click(one) for one in urls))
    assert [one.status_code for one in answers] == [409, 200]
    assert await people.verdict("eve@example.org") == "denied"


async def test_a_purpose_that_is_none_any_more_was_of_marketing(people: People, ann: UUID, world: World) -> None:
    from dataclasses import replace

    hash_ = (await people.entries())[0]["identifier_hash"]

    named = replace(Unsubscribe(hash_, Kind.EMAIL, Channel.EMAIL, "x"), purpose="marketing.gone")
    url = await world.db.run(lambda tx: world.hub.links.unsubscribe_url(tx, world.side, named))
    assert (await people.one_click(url)).status_code == 200
    assert await people.verdict(ANN) == "denied"
