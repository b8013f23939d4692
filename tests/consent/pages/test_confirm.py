"""Double opt-in from end to end: a pending grant, the mail that asks, the page that confirms, the verdict after it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tabellion.access.service import create_key
from tabellion.access.types import KeyOptions, Role
from tabellion.app.wiring import wire
from tabellion.consent.links.types import Confirm, Page
from tabellion.consent.types import RecipientSignal
from tabellion.core import ids
from tabellion.events.followers import follow
from tabellion.providers.base import Channel, Signal

from .conftest import ANN, HOUR, NUMBER, People, World, url_of

DECISION: dict[str, Any] = {
    "recipient": {"email": ANN}, "channel": "email", "purpose": "marketing", "decision": "granted", "basis": "consent",
    "method": "form", "source": "signup", "evidence": {"url": "https://example.org/join"},
    "notice": {"id": "weekly", "version": "3"}, "confirm": True,
}  # fmt: skip


async def ask(people: People, **changes: Any) -> dict[str, Any]:
    answer = await people.api.post("/v1/consents", json=DECISION | changes)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def asked(people: People, **changes: Any) -> str:
    """The confirm link that arrives."""
    await ask(people, **changes)
    await people.follow()
    [mail] = await people.world.mails(ANN)
    return await people.confirm_link(mail)


async def test_from_the_grant_to_the_verdict(people: People) -> None:
    pending = await ask(people)
    assert (pending["decision"], pending["applied"]) == ("pending", False)
    await people.follow()
    [mail] = await people.world.mails(ANN)
    assert mail["headers"]["Subject"] == "Please confirm: News and offers"
    assert "acme" in mail["text"]
    url = await people.confirm_link(mail)
    page = await people.open(url)
    assert page.status_code == 200
    assert "News and offers" in page.text
    assert ANN not in page.text
    assert await people.verdict(ANN) == "unknown"
    done = await people.submit(url, page.text, "confirm", agree="yes")
    assert done.status_code == 200
    assert await people.verdict(ANN) == "allowed"
    last = (await people.entries())[-1]
    assert (last["decision"], last["method"], last["rank"]) == ("granted", "double_opt_in", 3)


async def test_the_page_shows_the_text_that_was_agreed_to(people: People) -> None:
    made = await people.api.post("/v1/notices", json={"id": "weekly", "title": "Newsletter", "purposes": ["marketing"]})
    assert made.status_code == 201, made.text
    texts = {"en": "We write once a week.\n\n<b>No</b> more.", "de": "Wir schreiben einmal die Woche."}
    path = "/v1/notices/weekly/versions"
    made = await people.api.post(path, json={"version": "3", "default_language": "en", "texts": texts})
    assert made.status_code == 201, made.text
    assert (await people.api.post(f"{path}/3/publish", json={})).status_code in (200, 201)
    url = await asked(people)
    english = (await people.open(url)).text
    assert "We write once a week." in english
    assert "&lt;b&gt;No&lt;/b&gt; more." in english
    assert "Wir schreiben einmal die Woche." in (await people.open(f"{url}?lang=de")).text


async def test_confirming_again_grants_nothing_again(people: People) -> None:
    url = await asked(people)
    page = (await people.open(url)).text
    await people.submit(url, page, "confirm", agree="yes")
    unsubscribe = await people.unsubscribe_link((await people.entries())[-1]["recipient_id"])
    await people.one_click(unsubscribe)
    people.world.clock.advance(timedelta(minutes=5))
    again = await people.submit(url, page, "confirm", agree="yes")
    assert again.status_code == 410
    assert await people.verdict(ANN) == "denied"
    assert "<form" not in (await people.open(url)).text


async def test_a_link_that_was_used_says_that_it_holds(people: People) -> None:
    url = await asked(people)
    page = (await people.open(url)).text
    await people.submit(url, page, "confirm", agree="yes")
    for answer in (await people.open(url), await people.submit(url, page, "confirm", agree="yes")):
        assert (answer.status_code, "confirmed already" in answer.text) == (200, True)
    assert (await people.methods()).count("double_opt_in") == 1


async def test_what_a_wider_objection_refuses_is_not_called_confirmed(people: People, world: World) -> None:
    """The first answer was a refusal; the page opened again said thank you."""
    url = await asked(people)
    page = (await people.open(url)).text
    signal = RecipientSignal(Signal.COMPLAINED, Channel.EMAIL, ANN, "fake", "acc_1")
    await world.db.run(lambda tx: world.hub.consent.record_signals(tx, world.side, [signal]))
    world.clock.advance(timedelta(minutes=1))
    refused = await people.submit(url, page, "confirm", agree="yes")
    assert (refused.status_code, "objected" in refused.text) == (409, True)
    before = await people.entries()
    for answer in (await people.open(url), await people.submit(url, page, "confirm", agree="yes")):
        assert answer.status_code == 410
        assert "Thank you" not in answer.text
    assert await people.entries() == before
    assert await people.verdict(ANN) == "denied"


async def test_an_archived_purpose_is_not_asked_about_nor_confirmed(people: People, world: World) -> None:
    new = {"key": "wine", "title": "Wine club", "class": "marketing", "basis": "consent"}
    assert (await people.api.post("/v1/purposes", json=new)).status_code == 201
    url = await asked(people, purpose="wine")
    page = (await people.open(url)).text
    world.clock.advance(timedelta(hours=25))
    await ask(people, purpose="wine")
    assert (await people.api.delete("/v1/purposes/wine")).status_code < 300
    await people.follow()
    assert len(await world.mails(ANN)) == 1
    [event] = await people.events("confirmation.unsendable")
    assert event["reason"] == "purpose_archived"
    answer = await people.submit(url, page, "confirm", agree="yes")
    assert answer.status_code in (404, 410)
    assert (await people.open(url)).status_code == answer.status_code
    assert await people.verdict(ANN, purpose="wine") != "allowed"
    assert "double_opt_in" not in await people.methods()


async def test_a_withdrawal_after_the_question_is_lifted_by_the_answer_and_a_stop_is_not(
    people: People, world: World
) -> None:
    """Who unsubscribes and then confirms has changed their mind; STOP ends more than a link may bring back."""
    url = await asked(people)
    person = (await people.entries())[-1]["recipient_id"]
    page = (await people.open(url)).text
    await people.one_click(await people.unsubscribe_link(person))
    world.clock.advance(timedelta(minutes=1))
    assert (await people.submit(url, page, "confirm", agree="yes")).status_code == 200
    assert await people.verdict(ANN) == "allowed"
    await ask(people, recipient={"phone": NUMBER}, channel="sms")
    await people.follow()
    [text] = await world.texts(NUMBER)
    await world.stop(NUMBER)
    world.clock.advance(timedelta(minutes=1))
    refused = await people.press(await people.confirm_link({"text": str(text)}), "confirm", agree="yes")
    assert refused.status_code == 409
    assert await people.verdict(NUMBER, "sms") == "denied"


async def test_looking_confirms_nothing(people: People) -> None:
    url = await asked(people)
    for method in ("GET", "HEAD"):
        assert (await people.browser.request(method, url)).status_code == 200
    for body in ({}, {"do": "confirm", "agree": "yes"}, {"List-Unsubscribe": "One-Click"}):
        assert (await people.browser.post(url, data=body)).status_code == 422
    assert await people.verdict(ANN) == "unknown"


async def test_after_two_days_it_is_over_and_the_log_says_so(people: People, world: World) -> None:
    url = await asked(people)
    page = (await people.open(url)).text
    world.clock.advance(timedelta(hours=48))
    assert (await people.open(url)).status_code == 410
    assert (await people.submit(url, page, "confirm", agree="yes")).status_code == 410
    await world.hub.confirming.end(world.db)
    [event] = await people.events("consent.expired")
    assert event["consent"]["reason"] == "confirmation_expired"
    assert await world.rows("select entry_id from confirmations where workspace_id = $1", world.side) == []
    assert await people.verdict(ANN) == "unknown"


async def test_what_was_confirmed_does_not_expire(people: People, world: World) -> None:
    url = await asked(people)
    await people.press(url, "confirm", agree="yes")
    world.clock.advance(timedelta(hours=48))
    await world.hub.confirming.end(world.db)
    assert await people.events("consent.expired") == []
    assert await people.verdict(ANN) == "allowed"


async def test_an_address_is_asked_once_a_day(people: People, world: World) -> None:
    await ask(people)
    await ask(people)
    await people.follow()
    assert len(await world.mails(ANN)) == 1
    [event] = await people.events("confirmation.unsendable")
    assert event["reason"] == "asked_lately"
    world.clock.advance(timedelta(hours=24))
    await ask(people)
    await people.follow()
    assert len(await world.mails(ANN)) == 2


async def test_what_is_asked_late_is_asked_once_a_day_too(people: People, world: World) -> None:
    """The day was counted from the grant: a follower that came back after one asked twice within a second."""
    await ask(people)
    world.clock.advance(timedelta(hours=23))
    await ask(people)
    world.clock.advance(timedelta(hours=2))
    await people.follow()
    assert len(await world.mails(ANN)) == 1
    world.clock.advance(timedelta(hours=23, minutes=30))
    await world.hub.confirming.end(world.db)
    await ask(people)
    await people.follow()
    assert len(await world.mails(ANN)) == 1, "what is over goes on counting"
    world.clock.advance(HOUR)
    await world.hub.confirming.end(world.db)
    await ask(people)
    await people.follow()
    assert len(await world.mails(ANN)) == 2


async def test_it_is_asked_over_the_channel_of_the_grant_in_the_persons_language(people: People, world: World) -> None:
    made = await people.api.post(
        "/v1/recipients", json={"identifiers": [{"kind": "phone", "value": NUMBER}], "locale": "de"}
    )
    assert made.status_code == 201
    await ask(people, recipient={"phone": NUMBER}, channel="sms")
    await people.follow()
    [text] = await world.texts(NUMBER)
    assert "bitte hier bestätigen" in str(text)
    assert await world.mails(ANN) == []


async def test_a_stop_is_not_asked_around(people: People, world: World) -> None:
    await world.person(NUMBER)
    await world.stop(NUMBER)
    await ask(people, recipient={"phone": NUMBER}, channel="sms")
    await people.follow()
    assert await world.texts(NUMBER) == []
    [event] = await people.events("confirmation.unsendable")
    assert event["reason"]


async def test_a_withdrawal_of_the_purpose_does_not_keep_the_question_back(people: People, world: World) -> None:
    await world.person(ANN)
    await world.decide(ANN, "withdrawn", "email")
    world.clock.advance(HOUR)
    url = await asked(people)
    await people.press(url, "confirm", agree="yes")
    assert await people.verdict(ANN) == "allowed"


async def test_a_live_side_without_a_public_address_says_that_it_cannot_ask(people: People, world: World) -> None:
    live = await world.http("live")
    answer = await live.post("/v1/consents", json=DECISION)
    assert answer.json()["decision"] == "pending"
    await people.follow()
    rows = await world.rows(
        "select data from events where workspace_id = $1 and type = 'confirmation.unsendable'", world.workspace.live
    )
    assert [row["data"]["reason"] for row in rows] == ["no_public_url"]
    refused = await live.post(f"/v1/recipients/{answer.json()['recipient_id']}/links", json={"kind": "preferences"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_public_url")
    await live.aclose()


async def test_a_crash_before_the_commit_sends_it_once(people: People, world: World) -> None:
    """The follower's place and the message commit together."""
    await ask(people)
    asking = world.hub.asking

    async def crashing(tx: Any, events: Any) -> None:
        await asking.handle(tx, events)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await follow(world.db, replace(asking.follower(), handle=crashing), 100)
    await people.follow()
    await people.follow()
    assert len(await world.mails(ANN)) == 1


async def test_confirming_counts_as_showing_a_page_and_not_as_guessing(people: People, world: World) -> None:
    """Behind a proxy that nobody told the hub of, 30 people an hour could confirm, all together."""
    url = await asked(people)
    world.hub.site.limits.grants._most = 0
    assert (await people.press(url, "confirm", agree="yes")).status_code == 200
    assert await people.verdict(ANN) == "allowed"


async def test_two_who_confirm_at_once_grant_once(people: People) -> None:
    url = await asked(people)
    page = (await people.open(url)).text
    both = await asyncio.gather(*(people.submit(url, page, "confirm", agree="yes") for _ in range(2)))
    assert [one.status_code for one in both] == [200, 200]
    assert (await people.methods()).count("double_opt_in") == 1


async def test_an_address_that_is_anothers_by_then_is_not_confirmed(people: People, world: World) -> None:
    url = await asked(people)
    page = (await people.open(url)).text
    [row] = [one for one in await people.entries() if one["decision"] == "pending"]
    other = await world.person(NUMBER)
    await world.execute(
        "update identifiers set recipient_id = $3 where workspace_id = $1 and hash = $2",
        world.side, row["identifier_hash"], other,
    )  # fmt: skip
    answer = await people.submit(url, page, "confirm", agree="yes")
    assert answer.status_code == 422
    assert "double_opt_in" not in await people.methods()


async def test_a_link_that_names_nothing_waiting_is_no_link(people: People, world: World) -> None:
    gone = await url_of(world, Confirm(ids.new(), world.clock.now() + HOUR))
    assert (await people.open(gone)).status_code == 404


async def test_browsers_of_one_address_ask_for_few_confirmations(people: People, world: World) -> None:
    options = KeyOptions(source="shop", address_limit=1000)
    _, secret = await world.db.run(lambda tx: create_key(tx, world.workspace, "test", Role.PUBLIC, options))
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    statuses = [
        (await people.browser.post(f"{world.url}/v1/consents", json=DECISION, headers=headers)).status_code
        for _ in range(22)
    ]
    assert statuses == [202] * 20 + [429] * 2


async def test_another_process_goes_on_where_one_stopped(people: People, world: World) -> None:
    url = await asked(people)
    other = wire(world.hub.around)
    opened = await other.links.open(Page.CONFIRM, url.rpartition("/")[2])
    assert opened.workspace_id == world.side
    await other.close()
