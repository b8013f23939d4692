"""Withdrawals by the hash of an address that nobody has, beside whoever gets it at the same moment."""

import asyncio
from typing import Any

from tabellion.consent.purposes import store as purposes_store
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.questions import Question
from tabellion.consent.settings import store as settings_store
from tabellion.consent.types import ANY, Basis, Method, OptOutScope, PurposeClass, Recorded
from tabellion.consent.withdrawing import Withdrawal
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

from .conftest import Hub, decision, email, phone

ANN, BOB, NUMBER = "ann@example.org", "bob@example.org", "+12025550111"
ORDERS = [("email", "transactional")]


async def withdrawal(hub: Hub, places: list[tuple[str, str]], address: Any = None) -> Withdrawal:
    ref = address or email(ANN)
    hash_ = await hub.db.run(lambda tx: hub.recipients.hashed(tx, hub.side, ref))
    assert hash_
    return Withdrawal(hash_, ref.kind, places, Method.ONE_CLICK, "link")


async def withdrawn(hub: Hub, said: Withdrawal) -> list[Recorded | HubError]:
    [became] = await hub.db.run(lambda tx: hub.consent.withdraw(tx, hub.side, [said]))
    return became


async def waiting(hub: Hub, many: int, *tasks: "asyncio.Task[Any]") -> None:
    """Return once so many connections wait for a lock, or one of the tasks is done."""
    count = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while await hub.db.run(lambda tx: tx.value(count)) < many and not any(one.done() for one in tasks):
        pass


async def asked(hub: Hub, tx: Tx) -> bool:
    """What a gate that is at work in this transaction may do."""
    await hub.consent.hold_policies(tx, {hub.side})
    [one] = await hub.recipients.resolve(tx, hub.side, [email(ANN)], create=False)
    assert not isinstance(one, HubError)
    assert one.identifier
    await hub.recipients.lock(tx, [(hub.side, one.recipient_id)], skip_locked=True)
    question = Question(hub.side, one.recipient_id, one.identifier.hash, Kind.EMAIL, Channel.EMAIL, "transactional")
    [verdict] = await hub.consent.verdicts(tx, [question])
    return verdict.sendable


async def test_no_gate_that_asked_before_it_is_still_at_work_when_it_is_answered(hub: Hub) -> None:
    """Somebody gets the address while it is withdrawn from: an attempt began after the withdrawal was answered."""
    said, began, commit = await withdrawal(hub, ORDERS), asyncio.Event(), asyncio.Event()

    async def gate() -> bool:
        async with hub.db.transaction() as tx:
            sendable = await asked(hub, tx)
            began.set()
            await commit.wait()
            return sendable

    async with hub.db.transaction() as tx:
        await hub.consent.record(tx, hub.side, [decision(email(BOB), "withdrawn")])
        leaving = asyncio.create_task(withdrawn(hub, said))
        await waiting(hub, 1, leaving)
        await hub.person((Kind.EMAIL, ANN))
        sending = asyncio.create_task(gate())
        asking = asyncio.create_task(began.wait())
        await waiting(hub, 2, asking)
    if asking.done():
        await asyncio.wait([leaving], timeout=1)
        assert not leaving.done(), "a gate may still write its attempt"
    commit.set()
    assert await leaving == []
    assert not await sending
    assert await asking


async def test_who_got_the_address_meanwhile_is_restricted_as_its_owner(hub: Hub) -> None:
    said = await withdrawal(hub, ORDERS)
    async with hub.db.transaction() as tx:
        await hub.consent.hold_policies(tx, {hub.side})
        leaving = asyncio.create_task(withdrawn(hub, said))
        await waiting(hub, 1, leaving)
        ann = await hub.person((Kind.EMAIL, ANN))
    [one] = await leaving
    assert isinstance(one, Recorded)
    assert (one.recipient_id, one.applied) == (ann, True)
    assert [scope.recipient_ids for scope in hub.started.asked] == [(ann,)]


async def test_what_stands_already_stops_no_gate(hub: Hub) -> None:
    said = await withdrawal(hub, ORDERS)
    await withdrawn(hub, said)
    async with hub.db.transaction() as tx:
        await hub.consent.hold_policies(tx, {hub.side})
        assert await withdrawn(hub, said) == []


async def test_policies_add_to_what_is_withdrawn_by_its_hash_alone(hub: Hub) -> None:
    """An opt-out of scope class or brand reached less where nobody had the address any more."""

    async def setting(tx: Tx) -> None:
        for key, scope in (("shoes", OptOutScope.CLASS), ("hats", OptOutScope.PURPOSE)):
            new = PurposeSettings(
                title=key, purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT, opt_out_scope=scope
            )
            await purposes_store.write(tx, hub.side, key, new)
        await settings_store.write(tx, hub.side, {"cross_channel": {"sms": ["whatsapp", "email"]}})

    await hub.db.run(setting)
    await withdrawn(hub, await withdrawal(hub, [("sms", "shoes")], phone(NUMBER)))
    rows = await hub.rows(
        "select channel, purpose, person_scope from consent_entries where workspace_id = $1 order by log_index",
        hub.side,
    )
    assert [tuple(row) for row in rows] == [
        (channel, key, False) for channel, key in (
            ("sms", "shoes"), ("sms", "hats"), ("sms", "marketing"), ("whatsapp", "shoes"), ("whatsapp", "hats"),
            ("whatsapp", "marketing"),
        )
    ]  # fmt: skip
    for channel in ("sms", "whatsapp"):
        assert (await hub.check(phone(NUMBER), channel, "hats")).verdict == "denied"
    assert (await hub.check(phone(NUMBER), "voice", "hats")).verdict == "unknown"
    await withdrawn(hub, await withdrawal(hub, [("sms", "shoes")], phone(NUMBER)))
    assert len(await hub.rows("select 1 from consent_entries where workspace_id = $1", hub.side)) == len(rows)


async def test_everything_is_withdrawn_once(hub: Hub) -> None:
    await withdrawn(hub, await withdrawal(hub, [(ANY, "marketing"), (ANY, "marketing")]))
    assert len(await hub.rows("select 1 from consent_entries where workspace_id = $1", hub.side)) == 1
