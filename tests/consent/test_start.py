"""START through a real database: it takes back what STOP from the same number said, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from tabellion.consent.brands import store as brands
from tabellion.consent.brands.types import Brand
from tabellion.consent.purposes import store as purposes
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.settings import store as settings
from tabellion.consent.types import MARKETING, PHONE_MESSAGING, Basis, Decision, PurposeClass, RecipientSignal, Recorded
from tabellion.core.db import Tx
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.types import Kind

from .conftest import Hub, decision, phone

NUMBER, OTHER_NUMBER, SENDER, ANOTHER = "+436601234567", "+436607654321", "+15005550006", "+15005550007"


async def start(hub: Hub, number: str = NUMBER, **changes: Any) -> Recorded:
    return await hub.stop(number, **({"signal": Signal.START} | changes))


async def granted(hub: Hub, number: str = NUMBER, channel: str = "sms", **changes: Any) -> Recorded:
    return await hub.recorded(decision(phone(number), "granted", channel=channel, **changes))


async def word(hub: Hub, number: str = NUMBER, channel: str = "sms", purpose: str = "marketing") -> str:
    return (await hub.check(phone(number), channel, purpose)).verdict


async def test_start_brings_back_the_grants_that_stop_ended_as_one_entry(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    first = await granted(hub)
    await hub.stop(NUMBER)
    await hub.stop(NUMBER)
    started = await start(hub)
    assert (started.decision, started.applied, started.log_index) == (Decision.EXPIRED, True, 3)
    answer = await hub.check(phone(NUMBER), "sms", "marketing")
    assert (answer.verdict, answer.sendable, answer.log_index) == ("allowed", True, first.log_index)
    assert await hub.rows("select from vendor_blocks") == []
    assert [one for one, _ in await hub.events()][-2:] == ["consent.expired", "keyword.received"]


async def test_start_that_has_nothing_to_take_back_is_kept_and_changes_nothing(hub: Hub) -> None:
    started = await start(hub)
    assert (started.applied, started.reason) == (False, "nothing_stopped")
    assert await word(hub) == "unknown"


@pytest.mark.parametrize(
    ("said", "channel", "purpose"),
    [("objected", "*", "*"), ("withdrawn", "sms", "marketing"), ("denied", PHONE_MESSAGING, "*")],
)
@pytest.mark.parametrize("first", [True, False])
async def test_start_lifts_nothing_that_was_refused_in_another_way(
    hub: Hub, said: str, channel: str, purpose: str, first: bool
) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    await granted(hub)
    refuse = decision(phone(NUMBER), said, channel=channel, purpose=purpose)
    if first:
        await hub.recorded(refuse)
    await hub.stop(NUMBER)
    if not first:
        await hub.recorded(refuse)
    assert (await start(hub)).applied
    assert await word(hub) == "denied"


async def test_a_complaint_is_not_lifted_by_start(hub: Hub) -> None:
    await hub.stop(NUMBER, signal=Signal.COMPLAINED)
    await hub.stop(NUMBER)
    await start(hub)
    assert (await hub.check(phone(NUMBER), "sms", "marketing")).reason == "complaint"
    assert (await hub.check(phone(NUMBER), "sms", "transactional")).sendable


async def test_start_from_another_number_lifts_nothing(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER), (Kind.PHONE, OTHER_NUMBER))
    await hub.stop(NUMBER)
    assert not (await start(hub, OTHER_NUMBER)).applied
    assert await word(hub) == "denied"


async def test_an_expired_grant_does_not_come_back(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    await granted(hub, expires_at=hub.clock.now() + timedelta(hours=1))
    await hub.stop(NUMBER)
    hub.clock.advance(timedelta(hours=2))
    await start(hub)
    assert await word(hub) == "unknown"


async def test_what_the_number_had_granted_before_it_was_let_go_does_not_come_back(hub: Hub) -> None:
    ann = await hub.person((Kind.PHONE, NUMBER))
    await granted(hub)
    await hub.stop(NUMBER)
    known = (await hub.identifiers(ann))[NUMBER]
    await hub.db.run(lambda tx: hub.consent.released(tx, hub.side, ann, [known.hash], "removed"))
    await start(hub)
    assert await word(hub) == "unknown"


async def test_a_block_of_another_sender_stays(hub: Hub) -> None:
    await hub.stop(NUMBER, sender=SENDER)
    await hub.stop(NUMBER, sender=ANOTHER)
    await start(hub, sender=SENDER)
    assert [row["sender"] for row in await hub.rows("select sender from vendor_blocks")] == [ANOTHER]


async def test_a_start_that_only_the_hub_heard_lifts_no_block(hub: Hub) -> None:
    await hub.stop(NUMBER)
    await start(hub, signal=None, text="Start please!")
    assert len(await hub.rows("select from vendor_blocks")) == 1
    answer = await hub.check(phone(NUMBER), "sms", "transactional")
    assert (answer.sendable, answer.reason) == (False, "vendor_block")


async def test_stop_and_start_of_one_callback_are_taken_in_order(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    await granted(hub)

    async def said(*words: Signal) -> None:
        signals = [RecipientSignal(one, Channel.SMS, NUMBER, "twilio", "acc_1", SENDER) for one in words]
        await hub.db.run(lambda tx: hub.consent.record_signals(tx, hub.side, signals))

    await said(Signal.STOP, Signal.START)
    assert await word(hub) == "allowed"
    await said(Signal.STOP)
    await said(Signal.START, Signal.STOP, Signal.START)
    assert await word(hub) == "allowed"
    await said(Signal.START, Signal.STOP)
    assert await word(hub) == "denied"


async def test_start_takes_back_what_a_policy_had_added_to_a_stop(hub: Hub) -> None:
    await hub.db.run(lambda tx: settings.write(tx, hub.side, {"cross_channel": {"sms": ["whatsapp"]}}))
    await hub.person((Kind.PHONE, NUMBER))
    for channel in ("sms", "whatsapp"):
        await granted(hub, channel=channel)
    await hub.stop(NUMBER, blocked_by_vendor=False)
    assert [await word(hub, channel=one) for one in ("sms", "whatsapp")] == ["denied"] * 2
    await start(hub)
    assert [await word(hub, channel=one) for one in ("sms", "whatsapp")] == ["allowed"] * 2


# scopes


async def arrange(hub: Hub, scope: str) -> None:
    async def work(tx: Tx) -> None:
        await settings.write(tx, hub.side, {"stop_scope": scope})
        await brands.write(tx, hub.side, Brand("hats", "Hats"))
        for key, brand in (("hats", "hats"), ("shoes", None)):
            said = PurposeSettings(title=key, purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT, brand=brand)
            await purposes.write(tx, hub.side, key, said)

    await hub.db.run(work)


async def test_a_stop_of_a_brand_restricts_its_purposes_and_no_others(hub: Hub) -> None:
    await arrange(hub, "brand")
    await hub.person((Kind.PHONE, NUMBER))
    for purpose in ("hats", "shoes"):
        await granted(hub, purpose=purpose)
    stopped = await hub.stop(NUMBER, brand="hats", blocked_by_vendor=False)
    assert [tuple(row) for row in await hub.rows("select purpose from consent_entries where strength > 0")] == [
        ("*@hats",)
    ]
    assert [await word(hub, purpose=one) for one in ("hats", "shoes", "transactional")] == [
        "denied", "allowed", "unknown",
    ]  # fmt: skip
    assert stopped.applied
    await start(hub, brand="hats")
    assert await word(hub, purpose="hats") == "allowed"


@pytest.mark.parametrize("brand", [None, "nobodys"])
async def test_a_stop_of_a_brand_that_nobody_knows_restricts_all(hub: Hub, brand: str | None) -> None:
    await arrange(hub, "brand")
    await hub.stop(NUMBER, brand=brand, blocked_by_vendor=False)
    assert [await word(hub, purpose=one) for one in ("hats", "shoes", "transactional")] == ["denied"] * 3


async def test_a_stop_of_a_sender_restricts_what_comes_from_it(hub: Hub) -> None:
    await arrange(hub, "sender")
    ann = await hub.person((Kind.PHONE, NUMBER))
    await granted(hub)
    await hub.stop(NUMBER, blocked_by_vendor=False)
    for sender, verdict in ((SENDER, "denied"), (ANOTHER, "allowed"), (None, "denied")):
        assert (await hub.verdict(ann, NUMBER, "sms", "marketing", sender=sender)).verdict == verdict
    assert (await start(hub, sender=ANOTHER)).reason == "nothing_stopped"
    await start(hub)
    assert (await hub.verdict(ann, NUMBER, "sms", "marketing", sender=SENDER)).verdict == "allowed"


async def test_a_stop_of_the_person_restricts_their_other_numbers_and_start_brings_them_back(hub: Hub) -> None:
    await arrange(hub, "person")
    await hub.person((Kind.PHONE, NUMBER), (Kind.PHONE, OTHER_NUMBER))
    for number in (NUMBER, OTHER_NUMBER):
        await granted(hub, number)
    await hub.stop(NUMBER, blocked_by_vendor=False)
    assert [await word(hub, number) for number in (NUMBER, OTHER_NUMBER)] == ["denied"] * 2
    assert not (await start(hub, OTHER_NUMBER)).applied
    await start(hub)
    assert [await word(hub, number) for number in (NUMBER, OTHER_NUMBER)] == ["allowed"] * 2


async def test_a_complaint_is_about_the_brand_of_the_account(hub: Hub) -> None:
    await arrange(hub, "all_messaging")
    complained = await hub.stop(NUMBER, signal=Signal.COMPLAINED, brand="hats")
    assert [await word(hub, purpose=one) for one in ("hats", "shoes")] == ["denied", "unknown"]
    assert complained.applied
    await hub.stop(OTHER_NUMBER, signal=Signal.COMPLAINED)
    assert [await word(hub, OTHER_NUMBER, purpose=one) for one in ("hats", "shoes")] == ["denied"] * 2


# replies that are not as clear


async def test_an_unclear_reply_stops_marketing_to_the_number_and_start_takes_it_back(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    await granted(hub)
    unclear = await hub.stop(NUMBER, signal=None, text="leave me alone")
    assert unclear.applied
    [row] = await hub.rows("select channel, purpose, method, rank, strength from consent_entries where log_index = 1")
    assert tuple(row) == (PHONE_MESSAGING, MARKETING, "keyword", 3, 2)
    assert await word(hub) == "denied"
    assert (await hub.check(phone(NUMBER), "sms", "transactional")).sendable
    assert await hub.rows("select from vendor_blocks") == []
    await start(hub)
    assert await word(hub) == "allowed"


async def test_words_of_the_side_are_heard(hub: Hub) -> None:
    local = {"keywords": {"stop": {"de-AT": ["Schleich di"]}}}
    await hub.db.run(lambda tx: settings.write(tx, hub.side, local))
    await hub.stop(NUMBER, signal=None, text="schleich di!")
    assert (await hub.check(phone(NUMBER), "sms", "transactional")).reason == "stop"
    [(_, told)] = [one for one in await hub.events() if one[0] == "keyword.received"]
    assert (told["keyword"]["language"], told["keyword"]["heard_by"]) == ("de-AT", "hub")


async def test_what_is_written_by_mail_or_means_nothing_decides_nothing(hub: Hub) -> None:
    def said(text: str, channel: Channel, address: str) -> RecipientSignal:
        return RecipientSignal(None, channel, address, "twilio", "acc_1", text=text)

    signals = [said("unsubscribe", Channel.EMAIL, "a@example.org"), said("Hello", Channel.SMS, NUMBER)]
    assert await hub.db.run(lambda tx: hub.consent.record_signals(tx, hub.side, signals)) == [None, None]
    assert await hub.events() == []
