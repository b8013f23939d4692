"""Kinds of identifiers in the database: limits, push tokens, subscriptions, mailboxes, health."""

from typing import Any
from uuid import UUID

import pytest

from tabellion.core.db import Tx
from tabellion.core.errors import Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import (
    Device,
    Health,
    Identifier,
    IdentifierRef,
    Kind,
    Named,
    NewRecipient,
    Permission,
    Platform,
    PushProvider,
    RefObject,
    Resolved,
)

from .conftest import Absorptions, Counting, Hub
from .test_forms import APNS, CRM, EVM, FCM, KEYS
from .test_upsert import People, everything, person

ENDPOINT = "https://push.example/w/1"
IOS = Device(Platform.IOS, PushProvider.APNS, "com.example.shop", Permission.GRANTED)
ANDROID = Device(Platform.ANDROID, PushProvider.FCM)


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> People:
    return People(hub, workspace_id, absorbed)


def unit(people: People, *named: Named) -> NewRecipient:
    """What a request with these identifiers comes to."""
    asked = [(one, f"/identifiers/{place}/value") for place, one in enumerate(named)]
    return people.hub.recipients.unit(people.workspace_id, asked, person().profile)


async def upsert(people: People, *named: Named) -> UUID:
    return (await people.one(unit(people, *named))).recipient_id


async def owned(people: People, recipient_id: UUID) -> dict[tuple[str, str], Identifier]:
    return {(one.kind.value, one.value): one for one in (await people.read(recipient_id)).identifiers}


async def run(people: People, work: Any) -> Any:
    return await people.hub.db.run(work)


async def test_every_kind_is_stored_sealed_and_found_again(people: People) -> None:
    named = [
        Named(Kind.WHATSAPP, "436601234567"),
        Named(Kind.DEVICE, APNS, device=IOS),
        Named(Kind.WEBPUSH, ENDPOINT, keys=KEYS),
        Named(Kind.WALLET, EVM.lower()),
        Named(Kind.ANONYMOUS, "visitor-person"),
        Named(CRM, "person-7"),
    ]
    ann = await upsert(people, *named)
    for one in named:
        assert await upsert(people, one) == ann
    known = await owned(people, ann)
    assert set(known) == {
        ("whatsapp", "+436601234567"), ("device", APNS.lower()), ("webpush", ENDPOINT), ("wallet", EVM),
        ("anonymous", "visitor-person"), ("external:crm", "person-7"),
    }  # fmt: skip
    assert known["device", APNS.lower()].device == IOS
    keys = known["webpush", ENDPOINT].keys
    assert keys is not None
    assert keys.p256dh == KEYS.p256dh.rstrip("=")
    assert {one.health for one in known.values()} == {Health.OK}
    stored = await everything(people.hub)
    for needle in ("person", "push.example", keys.p256dh, APNS.lower(), EVM[2:], "436601234567"):
        assert not [place for place, text in stored if needle in text or needle.encode().hex() in text], needle


async def test_an_address_of_whatsapp_may_make_a_recipient_and_a_token_may_not(people: People) -> None:
    recipients = people.hub.recipients
    refs = [
        recipients.ref(people.workspace_id, RefObject(identifier=named), "/to")
        for named in (IdentifierRef(Kind.WHATSAPP, "436601234567"), IdentifierRef(Kind.DEVICE, FCM))
    ]
    made = await run(people, lambda tx: recipients.resolve(tx, people.workspace_id, refs, True))
    assert [isinstance(one, Resolved) for one in made] == [True, False]


# limits


async def test_a_recipient_gets_no_more_of_a_kind_than_it_may_have(people: People) -> None:
    ann = await upsert(people, Named(CRM, "1"), *(Named(Kind.EMAIL, f"a{n}@example.org") for n in range(10)))
    again, eleventh, other_system, other_id = await people.upsert(
        unit(people, Named(Kind.EMAIL, "a3@example.org"), Named(Kind.PHONE, "+436601234567")),
        unit(people, Named(CRM, "1"), Named(Kind.EMAIL, "one@more.org")),
        unit(people, Named(CRM, "1"), Named(Kind("external:erp"), "1")),
        unit(people, Named(Kind.EMAIL, "a3@example.org"), Named(CRM, "2")),
    )
    assert getattr(again, "recipient_id", None) == getattr(other_system, "recipient_id", None) == ann
    for refusal in (eleventh, other_id):
        assert isinstance(refusal, Invalid)
        assert refusal.code == "too_many_identifiers"
    assert len(await owned(people, ann)) == 13
    assert (await people.one(unit(people, Named(Kind.EMAIL, "one@more.org")))).created


async def test_what_is_of_no_use_any_more_counts_for_no_limit(people: People) -> None:
    ann = await upsert(people, *(Named(Kind.EMAIL, f"a{n}@example.org") for n in range(10)))
    await set_health(people, ann, Health.INVALID, "hard_bounce", "a0@example.org")
    assert await upsert(people, Named(Kind.EMAIL, "a1@example.org"), Named(Kind.EMAIL, "one@more.org")) == ann


async def test_an_upsert_that_adds_nothing_counts_nothing(people: People) -> None:
    """Counting is a statement that the many upserts of known people need not pay for."""
    ann = unit(people, Named(CRM, "1"), Named(Kind.EMAIL, "ann@example.org"))
    seen: list[str] = []

    async def work(tx: Tx) -> None:
        counting = Counting(tx)
        await people.upsert_in(counting, ann)  # type: ignore[arg-type]
        await people.upsert_in(counting, ann)  # type: ignore[arg-type]
        seen.extend(counting.statements)

    await run(people, work)
    assert not [one for one in seen if "count(*)" in one or "push_provider" in one]


# push tokens and subscriptions


async def test_a_token_named_again_keeps_what_is_not_said_and_tells_a_change_of_permission(people: People) -> None:
    ann = await upsert(people, Named(CRM, "1"), Named(Kind.DEVICE, APNS, device=IOS))
    await upsert(people, Named(Kind.DEVICE, APNS, device=Device(Platform.IOS, PushProvider.APNS)))
    assert (await owned(people, ann))["device", APNS.lower()].device == IOS
    denied = Device(Platform.IOS, PushProvider.APNS, None, Permission.DENIED)
    await upsert(people, Named(Kind.DEVICE, APNS, device=denied))
    device = (await owned(people, ann))["device", APNS.lower()].device
    assert device == Device(Platform.IOS, PushProvider.APNS, "com.example.shop", Permission.DENIED)
    assert await people.events() == ["recipient.created", "recipient.device_permission_changed"]
    said = "select data from events where type = 'recipient.device_permission_changed'"
    data = await run(people, lambda tx: tx.value(said))
    assert (data["before"], data["after"]) == ("granted", "denied")


async def test_a_token_that_is_replaced_is_of_no_use_any_more(people: People) -> None:
    ann = await upsert(people, Named(CRM, "1"), Named(Kind.DEVICE, FCM, device=ANDROID))
    await upsert(people, Named(CRM, "1"), Named(Kind.DEVICE, FCM + "-2", device=ANDROID, replaces=FCM))
    known = await owned(people, ann)
    assert (known["device", FCM].health, known["device", FCM].health_reason) == (Health.INVALID, "replaced")
    assert known["device", FCM + "-2"].health is Health.OK


async def test_a_subscription_named_again_has_its_new_keys(people: People) -> None:
    ann = await upsert(people, Named(CRM, "1"), Named(Kind.WEBPUSH, ENDPOINT, keys=KEYS))
    other = type(KEYS)(KEYS.p256dh, "B" * 22)
    await upsert(people, Named(Kind.WEBPUSH, ENDPOINT, keys=other))
    keys = (await owned(people, ann))["webpush", ENDPOINT].keys
    assert keys is not None
    assert keys.auth == "BBBBBBBBBBBBBBBBBBBBBA"


# mailboxes


async def test_addresses_of_one_mailbox_match_and_stay_as_they_were_written(people: People) -> None:
    ann = await upsert(people, Named(Kind.EMAIL, "Ann.Lee+news@gmail.com"))
    bob = await upsert(people, Named(Kind.EMAIL, "annlee@googlemail.com"))
    cid = await upsert(people, Named(Kind.EMAIL, "annlee@gmail.com"))
    await upsert(people, Named(Kind.EMAIL, "ann.lee@example.org"))
    assert [one.value for one in (await people.read(ann)).identifiers] == ["Ann.Lee+news@gmail.com"]
    matching = people.hub.recipients.matching
    asked = ["a.nnlee@gmail.com", "ann.lee@example.org", "bob@gmail.com"]
    found = await run(people, lambda tx: matching(tx, people.workspace_id, asked))
    assert [sorted(found[one]) == sorted(want) for one, want in zip(asked, [[ann, bob, cid], [], []], strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert len(found["ann.lee@example.org"]) == 1


# health


async def set_health(people: People, recipient_id: UUID, health: Health, reason: str | None, value: str) -> int:
    known = {one.value: one.hash for one in (await people.read(recipient_id)).identifiers}
    service = people.hub.recipients
    return len(
        await run(people, lambda tx: service.set_health(tx, people.workspace_id, [(known[value], health, reason)]))
    )


async def test_health_is_told_once_and_shown_by_every_way_to_an_identifier(people: People) -> None:
    ann = await upsert(people, Named(Kind.EMAIL, "ann@example.org"))
    assert await set_health(people, ann, Health.HELD, "soft_bounces", "ann@example.org") == 1
    assert await set_health(people, ann, Health.HELD, "soft_bounces", "ann@example.org") == 0
    [one] = (await people.read(ann)).identifiers
    assert (one.health, one.health_reason) == (Health.HELD, "soft_bounces")
    ref = people.hub.recipients.ref(people.workspace_id, RefObject(email="ann@example.org"), "")
    [found] = await run(people, lambda tx: people.hub.recipients.resolve(tx, people.workspace_id, [ref], False))
    assert isinstance(found, Resolved)
    assert found.identifier is not None
    assert (found.identifier.health, found.identifier.health_reason) == (Health.HELD, "soft_bounces")
    assert await set_health(people, ann, Health.OK, None, "ann@example.org") == 1
    assert await people.events() == ["recipient.created", "identifier.held", "identifier.recovered"]


async def test_an_invalid_address_is_well_again_once_it_is_verified(people: People) -> None:
    ann = await upsert(people, Named(Kind.EMAIL, "ann@example.org"))
    await set_health(people, ann, Health.INVALID, "hard_bounce", "ann@example.org")
    await upsert(people, Named(Kind.EMAIL, "ann@example.org"))
    assert [one.health for one in (await people.read(ann)).identifiers] == [Health.INVALID]
    await upsert(people, Named(Kind.EMAIL, "ann@example.org", verified=True))
    [one] = (await people.read(ann)).identifiers
    assert (one.health, one.health_reason) == (Health.OK, None)


async def test_a_stale_token_that_is_named_again_is_not_stale(people: People) -> None:
    ann = await upsert(people, Named(Kind.DEVICE, FCM, device=ANDROID))
    await set_health(people, ann, Health.STALE, "not_seen", FCM)
    await upsert(people, Named(Kind.DEVICE, FCM, device=ANDROID))
    assert [one.health for one in (await people.read(ann)).identifiers] == [Health.OK]
