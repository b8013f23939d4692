"""Contact state: consent to marketing as traits."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.recipients.types import Device, Kind, Named, NewRecipient, Permission, Platform, PushProvider, Upserted

from ..recipients.conftest import Counting  # noqa: TID252 - tests are no package: there is no absolute name
from .conftest import PROOF, Hub, decision, email, person, phone

ANN, NUMBER, OTHER = "ann@example.org", "+12025550111", "+12025550112"


async def states(hub: Hub, *people: UUID) -> dict[UUID, dict[str, Any]]:
    async def work(tx: Tx) -> dict[UUID, dict[str, Any]]:
        read = await hub.recipients.read(tx, hub.side, people)
        return await hub.consent.contact_state(tx, hub.side, list(read.values()))

    return await hub.db.run(work)


async def state(hub: Hub, one: UUID) -> dict[str, Any]:
    return (await states(hub, one))[one]


async def test_a_status_says_what_stands(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
    assert await state(hub, ann) == {
        "email_subscribed_status": "did-not-subscribe",
        "sms_subscribed_status": "did-not-subscribe",
        "sms_opt_in_date": None,
    }
    await hub.recorded(decision(email(ANN), "granted", **PROOF))
    await hub.recorded(decision(phone(NUMBER), "granted", "sms", **PROOF))
    since = hub.clock.now()
    hub.clock.advance(timedelta(days=1))
    assert await state(hub, ann) == {
        "email_subscribed_status": "subscribed",
        "sms_subscribed_status": "subscribed",
        "sms_opt_in_date": since,
    }
    await hub.recorded(decision(person(ann), "withdrawn", "*"))
    assert await state(hub, ann) == {
        "email_subscribed_status": "unsubscribed",
        "sms_subscribed_status": "unsubscribed",
        "sms_opt_in_date": None,
    }


async def test_consent_to_other_purposes_and_channels_says_nothing(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
    await hub.recorded(decision(email(ANN), "withdrawn", purpose="transactional"))
    await hub.recorded(decision(phone(NUMBER), "granted", "voice", **PROOF))
    assert {one for one in (await state(hub, ann)).values() if one} == {"did-not-subscribe"}


async def test_of_two_numbers_the_one_speaks_that_would_be_sent_to(hub: Hub) -> None:
    ann = await hub.person((Kind.PHONE, NUMBER), (Kind.PHONE, OTHER))
    await hub.recorded(decision(phone(OTHER), "granted", "sms", **PROOF))
    await hub.stop(NUMBER)
    assert (await state(hub, ann))["sms_subscribed_status"] == "subscribed"
    await hub.stop(OTHER)
    assert (await state(hub, ann))["sms_subscribed_status"] == "unsubscribed"


async def test_without_an_address_of_a_channel_there_is_no_status(hub: Hub) -> None:
    eve = await hub.person((Kind.EXTERNAL_ID, "crm-1"))
    await hub.recorded(decision(person(eve), "withdrawn", "*"))
    assert await state(hub, eve) == {}


async def test_push_is_enabled_where_consent_and_the_device_have_it(hub: Hub) -> None:
    async def devices(*permissions: Permission | None) -> UUID:
        named = [
            Named(Kind.DEVICE, f"token-of-device-{place}", device=Device(Platform.IOS, PushProvider.FCM, "app", one))
            for place, one in enumerate(permissions)
        ]
        unit = NewRecipient((Named(Kind.EXTERNAL_ID, "crm-1"), *named))
        upsert, absorbed = hub.recipients.upsert, hub.consent.absorbed
        [one] = await hub.db.run(lambda tx: upsert(tx, hub.side, [unit], absorbed=absorbed))
        assert isinstance(one, Upserted)
        return one.recipient_id

    ann = await devices(None)
    assert await state(hub, ann) == {"push_notification_enabled": False}
    await hub.recorded(decision(person(ann), "granted", "push", **PROOF))
    assert await state(hub, ann) == {"push_notification_enabled": True}
    await devices(Permission.DENIED)
    assert await state(hub, ann) == {"push_notification_enabled": False}
    await devices(Permission.GRANTED)
    await hub.recorded(decision(person(ann), "withdrawn", "push"))
    assert await state(hub, ann) == {"push_notification_enabled": False}


async def test_a_page_is_two_statements(hub: Hub) -> None:
    people = [await hub.person((Kind.EMAIL, f"p{n}@example.org"), (Kind.PHONE, f"+1202555012{n}")) for n in range(5)]

    async def work(tx: Tx) -> tuple[Sequence[str], Any]:
        read = await hub.recipients.read(tx, hub.side, people)
        counting = Counting(tx)
        return counting.statements, await hub.consent.contact_state(counting, hub.side, list(read.values()))  # type: ignore[arg-type]

    statements, found = await hub.db.run(work)
    assert (len(statements), len(found)) == (2, 5), "the purposes, and what stands"


async def test_the_other_side_says_nothing(hub: Hub, other: Hub) -> None:
    await hub.person((Kind.EMAIL, ANN))
    theirs = await other.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted", **PROOF))
    assert await state(other, theirs) == {"email_subscribed_status": "did-not-subscribe"}
