"""STOP, START and HELP from a person's phone to the answer on it, with the vendors' own callbacks."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.accounts.types import NewAccount
from tabellion.consent.brands import store as brands
from tabellion.consent.brands.types import Brand
from tabellion.core import ids
from tabellion.events.followers import Turn, follow
from tabellion.identity.review_types import ReviewState
from tabellion.simulators.twilio import signed

from .conftest import ACCOUNT, MINUTE, NUMBER, OTHER_NUMBER, SECRET, World

OURS, OURS_TOO = "+15005550006", "+15005550099"


@pytest.fixture
async def hub_answers(world: World) -> World:
    """Follows from here on."""
    await listen(world)
    return world


async def listen(world: World) -> None:
    while await follow(world.db, world.hub.answering.follower(), 500) is not Turn.NOTHING:
        pass


async def answered(world: World) -> None:
    """Let the keywords that came be answered, and the answers go out."""
    await listen(world)
    await world.run()


async def text_in(
    world: World, account: UUID, text: str, person: str = NUMBER, to: str = OURS, number: int = 0
) -> None:
    """A person texts the fake vendor, which says what they wrote and makes nothing of it."""
    event = {"id": f"in-{text}-{person}-{number}", "type": "inbound", "channel": "sms", "from": person, "to": to,
             "text": text}  # fmt: skip
    assert await world.fake_report(account, event) == 204


async def out(world: World, to: str = NUMBER) -> list[dict[str, Any]]:
    """What the fake vendor was given for a number, oldest first."""
    found: list[dict[str, Any]] = (await world.vendor("GET", f"/fake/control/messages?to=%2B{to[1:]}"))["data"]
    return found


async def test_a_stop_restricts_before_the_answer_and_is_confirmed_once(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await world.only(account)
    await text_in(world, account, "Please stop!!")
    assert (await world.status(await world.send(NUMBER)))[0] == "suppressed"
    await answered(world)
    [said] = await out(world)
    assert (said["text"], said["from"]) == (
        "acme: You are unsubscribed and get no more messages from us. Reply START to take that back.", OURS,
    )  # fmt: skip
    await text_in(world, account, "STOP")
    await answered(world)
    world.clock.advance(timedelta(days=2))
    await text_in(world, account, "stop", number=1)
    await answered(world)
    assert len(await out(world)) == 1, "who has stopped is not told again"


async def test_start_brings_back_what_stop_ended_and_says_so(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await world.only(account)
    person = await world.person(NUMBER)
    await world.decide(NUMBER, "granted", "sms")
    await text_in(world, account, "STOP")
    assert (await world.status(await world.send(person, purpose="marketing")))[0] == "suppressed"
    world.clock.advance(MINUTE)
    await text_in(world, account, "Start")
    await answered(world)
    assert [one["text"][:30] for one in await out(world)] == [
        "acme: You are unsubscribed and", "acme: Your STOP is taken back.",
    ]  # fmt: skip
    assert (await world.status(await world.sent(person, purpose="marketing")))[0] in ("sent", "delivered")


async def test_help_names_the_brand_and_its_contact_in_the_language_of_the_word(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await world.only(account)
    brand = Brand("schuh", "Schuh & Söhne", contact="hilfe@schuh.example", is_default=True)
    await world.db.run(lambda tx: brands.write(tx, world.side, brand))
    await text_in(world, account, "Hilfe")
    await text_in(world, account, "HILFE", number=1)
    await answered(world)
    [said] = await out(world)
    assert said["text"] == "Schuh & Söhne: hilfe@schuh.example · STOP beendet die Nachrichten."
    world.clock.advance(5 * MINUTE)
    await text_in(world, account, "Hilfe", number=2)
    await answered(world)
    assert len(await out(world)) == 2


async def test_an_answer_comes_from_where_the_person_wrote_to(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await text_in(world, account, "HELP", to=OURS)
    await text_in(world, account, "HELP", person=OTHER_NUMBER, to=OURS_TOO)
    await answered(world)
    assert [one["from"] for one in [*await out(world), *await out(world, OTHER_NUMBER)]] == [OURS, OURS_TOO]


async def test_a_repeated_callback_is_answered_once(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    for _ in range(3):
        await text_in(world, account, "HELP")
    await answered(world)
    await answered(world)
    assert len(await out(world)) == 1


async def test_an_answer_that_comes_too_late_is_not_sent(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await text_in(world, account, "HELP")
    await listen(world)
    world.clock.advance(5 * MINUTE)
    await world.run()
    assert await out(world) == []
    [row] = await world.rows("select status, purpose from messages")
    assert tuple(row) == ("expired", "security.keyword")


async def test_a_named_restriction_of_security_does_not_stop_an_answer(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await world.only(account)
    await world.person(NUMBER)
    await world.decide(NUMBER, "denied", "sms", "security")
    await world.decide(NUMBER, "objected", "*", "*")
    await text_in(world, account, "HELP")
    await answered(world)
    assert len(await out(world)) == 1
    assert (await world.status(await world.send(NUMBER, purpose="security")))[0] == "suppressed"


async def test_a_vendor_that_answers_itself_is_left_to_it(hub_answers: World) -> None:
    world = hub_answers
    await world.sent(NUMBER)
    for word in ("STOP", "HELP"):
        answer = await world.vendor("POST", "/twilio/control/inbound", {"from": NUMBER, "body": word})
        assert answer["callback_status"] == 200
    await answered(world)
    assert len(await world.texts(NUMBER)) == 1, "the first message alone"


async def test_the_hub_answers_for_such_a_vendor_where_it_is_told_to_but_never_over_its_block(
    hub_answers: World,
) -> None:
    world = hub_answers
    assert await world.simulated("twilio")
    await world.execute("update accounts set keyword_replies = 'hub'")
    world.clock.advance(MINUTE)
    await world.sent(NUMBER)
    for word, texts in (("HELP", 2), ("STOP", 2), ("START", 3)):
        world.clock.advance(2 * MINUTE)
        await world.vendor("POST", "/twilio/control/inbound", {"from": NUMBER, "body": word})
        await answered(world)
        assert len(await world.texts(NUMBER)) == texts, word
    reasons = await world.rows("select reason from messages where purpose = 'security.keyword' order by id")
    assert [row["reason"] for row in reasons] == [None, "vendor_block", None]


async def test_nobody_answers_where_replies_are_off(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account(keyword_replies="off")
    await text_in(world, account, "HELP")
    await answered(world)
    assert await out(world) == []


async def test_a_twilio_start_lifts_its_block(hub_answers: World) -> None:
    world = hub_answers
    url = await world.callback_url(await world.simulated("twilio"))
    for number, word in enumerate(("STOP", "START")):
        fields = {"AccountSid": ACCOUNT, "MessageSid": f"SM{number:032x}", "From": NUMBER, "To": OURS, "Body": word,
                  "NumMedia": "0", "SmsStatus": "received", "OptOutType": word}  # fmt: skip
        assert await world.post(signed(ACCOUNT, url, fields)) == 200
        blocked = await world.rows("select sender from vendor_blocks")
        assert [row["sender"] for row in blocked] == [OURS][: 1 - number]
    assert (await world.status(await world.sent(NUMBER)))[0] in ("sent", "delivered")


async def test_a_stop_of_one_sender_leaves_the_others(hub_answers: World) -> None:
    """The gate takes the account whose sender the person did not stop."""
    world = hub_answers
    await world.execute(
        'insert into consent_settings values ($1, \'{"stop_scope": "sender"}\', $2)', world.side, world.clock.now()
    )
    first = await sending_from(world, OURS)
    await world.only(first)
    second = await sending_from(world, OURS_TOO)
    await text_in(world, first, "stop", to=OURS)
    world.clock.advance(2 * timedelta(seconds=1))
    for _ in range(6):
        message = await world.sent(NUMBER)
        assert [one.account_id for one in await world.attempts(message)] == [second]
    await world.disable(second)
    assert (await world.status(await world.sent(NUMBER)))[2] == "stop"


async def sending_from(world: World, sender: str) -> UUID:
    new = NewAccount("fake", {"secret": SECRET, "from": sender})
    return (await world.db.run(lambda tx: world.hub.accounts.create(tx, world.caller(), new))).id


async def test_nobody_sends_for_the_purpose_of_answers_but_the_hub(world: World) -> None:
    [refused] = await world.accept(world.a_send(NUMBER, purpose="security.keyword"))
    assert getattr(refused, "code", None) == "purpose_unknown"


async def test_an_unclear_reply_stops_marketing_and_waits_for_people(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    await world.person(NUMBER)
    await world.decide(NUMBER, "granted", "sms")
    for number, text in enumerate(("Leave me alone", "stop texting me!")):
        await text_in(world, account, text, number=number)
    await answered(world)
    assert await out(world) == [], "people answer that"
    [item] = await world.db.run(lambda tx: world.hub.queue.page(tx, world.side, None, None, None, 10))
    assert (item.kind, item.seen) == ("unclear_reply", 2)
    async with await world.http() as api:
        shown = (await api.get(f"/v1/reviews/{ids.show('rev', item.id)}")).json()
        assert (shown["reply"]["text"], shown["reply"]["address"]) == ("stop texting me!", NUMBER)
        assert "records the reply as a STOP" in shown["accepting"]
        assert (await world.status(await world.send(NUMBER)))[0] == "queued", "service goes on"
        accepted = await api.post(f"/v1/reviews/{ids.show('rev', item.id)}/accept", json={})
        assert accepted.json()["recorded"]["applied"] is True
    assert (await world.status(await world.send(NUMBER)))[0] == "suppressed"


async def test_a_rejected_unclear_reply_does_not_hold_the_next_one(hub_answers: World) -> None:
    world = hub_answers
    account = await world.account()
    for number in range(2):
        await text_in(world, account, "leave me alone", number=number)
        [item] = await world.db.run(lambda tx: world.hub.queue.page(tx, world.side, ReviewState.OPEN, None, None, 10))
        await world.db.run(lambda tx, item=item: world.hub.reviews.reject(tx, world.side, item.id, "key_1", None))
    assert (await world.status(await world.send(NUMBER, purpose="marketing")))[0] == "suppressed"
