"""`/r/p/{token}`: what it shows, what it turns off at once, and what it turns on only with a code."""

from datetime import timedelta
from uuid import UUID

import pytest

from tabellion.access.service import create_key
from tabellion.access.types import KeyOptions, Role
from tabellion.consent.links.types import Preferences
from tabellion.consent.types import RecipientSignal
from tabellion.core import ids
from tabellion.providers.base import Channel, Signal

from .conftest import ANN, HOUR, MINUTE, NUMBER, Forms, People, World, url_of

GPC = {"Sec-GPC": "1"}


@pytest.fixture
async def ann(world: World) -> UUID:
    person = await world.person(ANN, NUMBER)
    await world.decide(ANN, "granted", "email")
    return person


@pytest.fixture
async def url(people: People, ann: UUID) -> str:
    return await people.preferences_link(ann)


async def test_it_shows_each_address_masked_with_what_is_on(people: People, url: str) -> None:
    page = (await people.open(url)).text
    assert "a•••@e•••.org" in page
    assert "+12 ••• 11" in page
    assert ANN not in page
    assert NUMBER not in page
    assert [one.buttons for one in Forms(page).forms][:2] == [["off"], ["on"]]


async def test_off_is_at_once(people: People, url: str) -> None:
    answer = await people.press(url, "off")
    assert answer.status_code == 200
    assert await people.verdict(ANN) == "denied"
    last = (await people.entries())[-1]
    assert (last["method"], last["rank"], last["decision"]) == ("preference_centre", 3, "withdrawn")


async def test_everything_is_off_at_once_and_what_serves_the_person_is_not(people: People, url: str) -> None:
    await people.press(url, "everything")
    assert await people.verdict(ANN) == "denied"
    assert await people.verdict(NUMBER, "sms") == "denied"
    assert await people.verdict(NUMBER, "sms", "transactional") == "unknown"


async def test_on_needs_the_code_that_was_sent_to_that_address(people: People, url: str, ann: UUID) -> None:
    asked = await people.press(url, "on")
    assert "+12 ••• 11" in asked.text
    assert await people.verdict(NUMBER, "sms") == "unknown"
    code = await people.code(ann)
    wrong = await people.submit(url, asked.text, "grant", code=f"{(int(code) + 1) % 1_000_000:06d}")
    assert wrong.status_code == 422
    assert await people.verdict(NUMBER, "sms") == "unknown"
    right = await people.submit(url, wrong.text, "grant", code=f"{code[:3]} {code[3:]}")
    assert right.status_code == 200
    assert await people.verdict(NUMBER, "sms") == "allowed"
    last = (await people.entries())[-1]
    assert (last["method"], last["rank"], last["decision"]) == ("preference_centre", 3, "granted")


async def test_the_code_arrives_over_the_channel_it_is_for(people: People, url: str, ann: UUID, world: World) -> None:
    await people.press(url, "on")
    code = await people.code(ann)
    await people.follow()
    [text] = await world.texts(NUMBER)
    assert code in str(text)
    await people.follow()
    assert len(await world.texts(NUMBER)) == 1


async def test_a_grant_lifts_what_the_page_turned_off(people: People, url: str, ann: UUID, world: World) -> None:
    await people.press(url, "off")
    world.clock.advance(MINUTE)
    asked = await people.press(url, "on")
    await people.submit(url, asked.text, "grant", code=await people.code(ann))
    assert await people.verdict(ANN) == "allowed"


async def test_a_wider_objection_is_not_lifted_here_and_the_page_says_so(
    people: People, url: str, ann: UUID, world: World
) -> None:
    signal = RecipientSignal(Signal.COMPLAINED, Channel.EMAIL, ANN, "fake", "acc_1")
    await world.db.run(lambda tx: world.hub.consent.record_signals(tx, world.side, [signal]))
    world.clock.advance(MINUTE)
    asked = await people.press(url, "on")
    answer = await people.submit(url, asked.text, "grant", code=await people.code(ann))
    assert answer.status_code == 409
    assert "objected" in answer.text
    assert await people.verdict(ANN) == "denied"


async def test_a_code_works_once_for_ten_minutes_and_five_tries(
    people: People, url: str, ann: UUID, world: World
) -> None:
    asked = await people.press(url, "on")
    code = await people.code(ann)
    for _ in range(5):
        await people.submit(url, asked.text, "grant", code="x")
    assert (await people.submit(url, asked.text, "grant", code=code)).status_code == 422
    world.clock.advance(MINUTE)
    asked = await people.press(url, "on")
    code = await people.code(ann)
    world.clock.advance(10 * MINUTE)
    assert (await people.submit(url, asked.text, "grant", code=code)).status_code == 422
    asked = await people.press(url, "on")
    code = await people.code(ann)
    assert (await people.submit(url, asked.text, "grant", code=code)).status_code == 200
    await people.press(url, "off", at=1)
    assert (await people.submit(url, asked.text, "grant", code=code)).status_code == 422
    assert await people.verdict(NUMBER, "sms") == "denied"


async def test_the_code_of_one_address_opens_no_other(people: People, ann: UUID, world: World) -> None:
    other = "bea@example.org"
    person = await world.person(other, "+12025550199")
    url = await people.preferences_link(person)
    page = (await people.open(url)).text
    to_mail, to_phone = [one for one in Forms(page).forms if "on" in one.buttons]
    asked = await people.browser.post(url, data=to_mail.pressed("on"))
    code = await people.code(person)
    form = next(one for one in Forms(asked.text).forms if "grant" in one.buttons)
    stolen = {**form.pressed("grant", code=code), "at": to_phone.fields["at"], "channel": "sms"}
    assert (await people.browser.post(url, data=stolen)).status_code == 422
    assert await people.verdict("+12025550199", "sms") == "unknown"


async def test_codes_are_limited_by_address_and_by_source(people: People, url: str, world: World) -> None:
    statuses = []
    for _ in range(6):
        statuses.append((await people.press(url, "on")).status_code)
        world.clock.advance(2 * MINUTE)
    assert statuses == [200] * 5 + [429]
    rows = await world.rows("select day_sent from link_codes where workspace_id = $1", world.side)
    assert [row["day_sent"] for row in rows] == [5]
    world.clock.advance(timedelta(days=1))
    assert (await people.press(url, "on")).status_code == 200
    people.world.hub.site.limits.codes._buckets.clear()
    for _ in range(12):
        last = await people.press(url, "on")
    assert last.status_code == 429


async def test_twice_within_a_minute_sends_one_code(people: People, url: str, ann: UUID, world: World) -> None:
    await people.press(url, "on")
    await people.press(url, "on")
    await people.follow()
    assert len(await world.texts(NUMBER)) == 1


async def test_restrictions_are_never_limited(people: People, url: str, ann: UUID) -> None:
    page = (await people.open(url)).text
    assert 429 in {(await people.open(url)).status_code for _ in range(130)}
    assert (await people.submit(url, page, "everything")).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_it_ends_after_its_time(people: People, ann: UUID, world: World) -> None:
    url = await people.link(ann, kind="preferences", expires_in=3600)
    page = (await people.open(url)).text
    world.clock.advance(HOUR)
    assert (await people.open(url)).status_code == 410
    assert (await people.submit(url, page, "off")).status_code == 410
    assert await people.verdict(ANN) == "allowed"


async def test_an_erased_person_has_no_page(people: People, world: World) -> None:
    gone = await url_of(world, Preferences(ids.new(), world.clock.now() + HOUR))
    assert (await people.open(gone)).status_code == 404


async def test_who_shares_a_crowded_address_turns_everything_off_all_the_same(
    people: People, url: str, world: World
) -> None:
    world.hub.site.limits.shown._most = 0
    page = await people.open(url)
    assert page.status_code == 429
    assert (await people.submit(url, page.text, "everything")).status_code == 200
    assert await people.verdict(ANN) == "denied"


async def test_the_signal_of_a_browser_is_offered_and_recorded_with_what_is_chosen(people: People, url: str) -> None:
    page = await people.open(url, **GPC)
    assert "Global Privacy Control" in page.text
    before = await people.entries()
    assert len(before) == 1
    await people.submit(url, page.text, "gpc", headers=GPC)
    assert await people.verdict(ANN) == "denied"
    assert set((await people.methods())[1:]) == {"gpc"}


async def test_the_signal_alone_restricts_nothing_by_default(people: People, url: str) -> None:
    await people.open(url, **GPC)
    await people.press(url, "off", headers=GPC)
    assert "gpc" not in await people.methods()
    consent, side = people.world.hub.consent, people.world.side
    rows = await people.world.rows("select id from consent_entries where workspace_id = $1 order by log_index", side)
    opened = await people.world.db.run(lambda tx: consent.records(tx, side, [rows[-1]["id"]]))
    assert opened[rows[-1]["id"]]["evidence"]["sec_gpc"] == "1"


@pytest.mark.parametrize(("asked", "kept"), [("%3Cscript%3E", None), ("xx", None), ("de", "de")])
async def test_the_evidence_has_a_language_there_is_and_nothing_else_of_the_address(
    people: People, url: str, asked: str, kept: str | None
) -> None:
    """Whatever stood behind `?lang=` went into the ledger."""
    page = (await people.open(url)).text
    await people.submit(f"{url}?lang={asked}", page, "off")
    consent, side = people.world.hub.consent, people.world.side
    rows = await people.world.rows("select id from consent_entries where workspace_id = $1 order by log_index", side)
    opened = await people.world.db.run(lambda tx: consent.records(tx, side, [rows[-1]["id"]]))
    assert (opened[rows[-1]["id"]].get("evidence") or {}).get("language") == kept


async def test_a_side_may_let_the_signal_restrict(people: People, url: str) -> None:
    answer = await people.api.put("/v1/page-settings", json={"gpc": "restrict"})
    assert answer.json()["settings"]["gpc"] == "restrict"
    await people.open(url, **GPC)
    assert "gpc" not in await people.methods()
    await people.press(url, "off", headers=GPC)
    assert "gpc" in await people.methods()
    assert await people.verdict(NUMBER, "sms") == "denied"


async def test_a_side_may_leave_the_signal_alone(people: People, url: str) -> None:
    await people.api.put("/v1/page-settings", json={"gpc": "ignore"})
    assert "Global Privacy Control" not in (await people.open(url, **GPC)).text


async def test_the_language_is_the_chosen_one_then_the_persons_then_the_browsers(
    people: People, url: str, ann: UUID
) -> None:
    async def spoken(where: str, accept: str = "") -> str:
        return (await people.open(where, **{"Accept-Language": accept})).text.partition('lang="')[2][:2]

    assert await spoken(url) == "en"
    assert await spoken(url, "xx, it;q=0.8, nl;q=0.9") == "nl"
    await people.api.put("/v1/page-settings", json={"language": "pl"})
    assert await spoken(url, "xx") == "pl"
    path = f"/v1/recipients/{ids.show('rcp', ann)}"
    assert (await people.api.patch(path, json={"locale": "de-AT"})).status_code == 200
    assert await spoken(url, "it") == "de"
    assert await spoken(f"{url}?lang=ar", "it") == "ar"
    assert 'dir="rtl"' in (await people.open(f"{url}?lang=ar")).text
    assert await spoken(f"{url}?lang=xx", "it") == "de"


async def test_what_is_not_on_the_page_cannot_be_chosen(people: People, url: str) -> None:
    page = (await people.open(url)).text
    form = next(one for one in Forms(page).forms if "off" in one.buttons)
    for wrong in ({"purpose": "security"}, {"channel": "voice"}, {"at": "0" * 16}, {"do": "more"}, {"nonce": ""}):
        answer = await people.browser.post(url, data={**form.pressed("off"), **wrong})
        assert answer.status_code == 422
    assert len(await people.entries()) == 1


async def test_purposes_are_called_as_the_side_says_and_named_with_their_brand(people: People, url: str) -> None:
    assert (await people.api.put("/v1/brands/hats", json={"name": "Hats & Co"})).status_code == 200
    new = {
        "key": "marketing.hats", "title": "Hat letters", "titles": {"de": "Hutbrief"}, "class": "marketing",
        "basis": "consent", "brand": "hats", "parent": "marketing",
    }  # fmt: skip
    made = await people.api.post("/v1/purposes", json=new)
    assert made.status_code == 201, made.text
    page = (await people.open(url)).text
    assert "Hat letters" in page
    assert "Hats &amp; Co" in page
    assert "Hutbrief" in (await people.open(f"{url}?lang=de")).text


async def test_an_archived_purpose_is_not_offered(people: People, url: str, ann: UUID) -> None:
    new = {"key": "wine", "title": "Wine club", "class": "marketing", "basis": "consent"}
    assert (await people.api.post("/v1/purposes", json=new)).status_code == 201
    unsubscribe = await people.unsubscribe_link(ann, purpose="wine")
    assert "Wine club" in (await people.open(url)).text
    await people.one_click(unsubscribe)
    assert (await people.api.delete("/v1/purposes/wine")).status_code < 300
    assert "Wine club" not in (await people.open(url)).text
    assert (await people.one_click(unsubscribe)).status_code == 200


async def test_a_browser_that_asks_for_privacy_leaves_it_in_the_evidence_of_a_public_call(
    people: People, world: World
) -> None:
    options = KeyOptions(source="shop", address_limit=1000)
    _, secret = await world.db.run(lambda tx: create_key(tx, world.workspace, "test", Role.PUBLIC, options))
    decision = {"recipient": {"email": "eve@example.org"}, "channel": "email", "purpose": "marketing",
                "decision": "withdrawn", "method": "form", "source": "x"}  # fmt: skip
    headers = {"Authorization": f"Bearer {secret.reveal()}", **GPC}
    answer = await people.browser.post(f"{world.url}/v1/consents", json=decision, headers=headers)
    assert answer.status_code == 202
    sql = "select id from consent_entries where workspace_id = $1 order by log_index desc limit 1"
    [last] = await world.rows(sql, world.side)
    opened = await world.db.run(lambda tx: world.hub.consent.records(tx, world.side, [last["id"]]))
    assert opened[last["id"]]["evidence"] == {"sec_gpc": "1"}
