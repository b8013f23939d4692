"""Decisions on a side whose log was succeeded: the successor begins at index 0 again, and everything goes on."""

from datetime import timedelta
from uuid import UUID

import pytest

from tabellion.consent import store
from tabellion.consent.reading import Reading
from tabellion.consent.suppressions.service import Suppressions
from tabellion.consent.types import ANY, Because, Decision, Method, Recorded
from tabellion.core import ids
from tabellion.core.errors import Unavailable
from tabellion.ledger import ordinals
from tabellion.ledger.ordinals import ordinal
from tabellion.providers.base import Signal
from tabellion.recipients.types import Kind

from .conftest import PROOF, Hub, decision, email, phone

ANN, BOB, NUMBER = "ann@example.org", "bob@example.org", "+436601234567"
OURS = "workspace_id = $1 and log = 'consent'"


async def succeed(hub: Hub) -> None:
    """Lose one more decision, as a restored backup has, and start the log's successor."""
    [head] = await hub.rows(
        f"select generation, size, frontier, checkpoint from ledger_heads where {OURS} and closed_at is null", hub.side
    )
    lost = await hub.recorded(decision(email("lost@example.org"), "withdrawn"))
    await hub.rows("delete from consent_entries where workspace_id = $1 and id = $2", hub.side, lost.id)
    await hub.rows(f"delete from ledger_leaves where {OURS} and entry_id = $2", hub.side, lost.id)
    await hub.rows(
        f"update ledger_heads set size = $3, frontier = $4, checkpoint = $5 where {OURS} and generation = $2",
        hub.side, head["generation"], head["size"], head["frontier"], head["checkpoint"],
    )  # fmt: skip
    await hub.db.run(lambda tx: hub.ledger.succeed(tx, hub.side))


async def at(hub: Hub, recorded: Recorded) -> int:
    [row] = await hub.rows("select log_index from consent_entries where id = $1", recorded.id)
    return int(row["log_index"])


async def test_the_next_decisions_are_recorded_in_the_successor(hub: Hub) -> None:
    """It answered 500: index 1 of the successor is index 1 of the log before it, too."""
    first = [await hub.recorded(decision(email(one), "granted")) for one in (ANN, BOB)]
    await succeed(hub)
    second = [await hub.recorded(decision(email(one), "withdrawn")) for one in (ANN, BOB)]
    await succeed(hub)
    third = await hub.recorded(decision(email(ANN), "withdrawn", purpose="transactional"))
    told = [(one.log, one.log_index) for one in (*first, *second, third)]
    assert told == [(None, 0), (None, 1), ("consent-2", 1), ("consent-2", 2), ("consent-3", 1)]
    assert await at(hub, third) == ordinal(3, 1)
    data = [one["consent"] for word, one in await hub.events() if word == "consent.withdrawn"]
    assert [(one.get("log"), one["log_index"]) for one in data if one["id"] == ids.show("cns", third.id or ids.new())]


async def test_the_later_decision_answers_whatever_its_index(hub: Hub) -> None:
    for one in (BOB, ANN):
        await hub.recorded(decision(email(one), "granted"))
    await succeed(hub)
    withdrawn = await hub.recorded(decision(email(ANN), "withdrawn"))
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log, answer.log_index) == ("denied", "consent-2", withdrawn.log_index)
    assert answer.told["restrictions"] == [{"log_index": 1, "log": "consent-2"}]
    answer = await hub.check(email(BOB), "email", "marketing")
    assert (answer.verdict, answer.log, answer.log_index) == ("allowed", None, 0)


async def test_a_grant_of_the_successor_lifts_what_stood_before_it(hub: Hub) -> None:
    withdrawn = await hub.recorded(decision(email(ANN), "withdrawn"))
    await hub.recorded(decision(email(BOB), "withdrawn", channel=ANY, purpose=ANY))
    await succeed(hub)
    hub.clock.advance(timedelta(minutes=1))
    granted = await hub.recorded(decision(email(ANN), "granted", **PROOF))
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log, answer.log_index) == ("allowed", "consent-2", granted.log_index)
    assert answer.told["lifts"] == [withdrawn.log_index]
    assert (await hub.check(email(BOB), "email", "marketing")).verdict == "denied", "index 1 of the other log"


async def test_a_grant_from_before_lifts_an_older_opt_out_that_comes_after(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "granted"))
    await succeed(hub)
    old = hub.clock.now() - timedelta(days=30)
    wide = {"channel": ANY, "purpose": ANY, "method": Method.IMPORT, "occurred_at": old}
    said = await hub.recorded(decision(email(ANN), "withdrawn", **wide))
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log_index) == ("allowed", 0)
    assert answer.told["lifts"] == [{"log_index": said.log_index, "log": "consent-2"}]
    assert (await hub.check(email(ANN), "email", "transactional")).verdict == "denied"


async def test_start_in_the_successor_takes_back_what_stop_said_before_it(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    granted = await hub.recorded(decision(phone(NUMBER), "granted", channel="sms"))
    await hub.stop(NUMBER)
    await succeed(hub)
    started = await hub.stop(NUMBER, signal=Signal.START)
    assert (started.decision, started.applied, started.log) == (Decision.EXPIRED, True, "consent-2")
    answer = await hub.check(phone(NUMBER), "sms", "marketing")
    assert (answer.verdict, answer.log, answer.log_index) == ("allowed", None, granted.log_index)
    await hub.stop(NUMBER)
    assert (await hub.check(phone(NUMBER), "sms", "marketing")).log == "consent-2"


async def test_a_merge_from_before_is_taken_back_with_what_was_said_since(hub: Hub) -> None:
    """What was said in between is behind the last entry of the two, though its index is smaller."""
    ann, bob = await hub.person((Kind.EMAIL, ANN)), await hub.person((Kind.EMAIL, BOB))
    for one in (ANN, BOB):
        await hub.recorded(decision(email(one), "granted"))
    why = Because(ids.new(), bob, ann, "key_1")
    joined = await hub.db.run(lambda tx: hub.consent.join(tx, hub.side, why))
    await succeed(hub)
    await hub.recorded(decision(email(ANN), "withdrawn"))
    between = await hub.db.run(lambda tx: store.since(tx, hub.side, ann, joined.ordinal))
    assert [ordinals.log(one.ordinal) for one in between] == ["consent-2"]
    await hub.db.run(lambda tx: hub.consent.part(tx, hub.side, why, joined, [], []))
    rows = await hub.rows("select recipient_id, log_index from consent_entries where method = 'split'")
    assert [(row["recipient_id"], ordinals.log(row["log_index"])) for row in rows] == [(bob, "consent-2")]


async def test_entries_are_paged_over_both_logs_in_the_order_of_recording(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN))
    made = [await hub.recorded(decision(email(ANN), "granted")) for _ in range(3)]
    await succeed(hub)
    made += [await hub.recorded(decision(email(ANN), word)) for word in ("withdrawn", "granted")]
    reading = Reading(hub.recipients, hub.consent)

    async def back(before: UUID | None) -> list[UUID]:
        page = await hub.db.run(lambda tx: reading.entries(tx, hub.side, ann, before, 2))
        return [one.id for one in page] + (await back(page[-1].id) if page else [])

    async def forth(behind: int) -> list[UUID]:
        page = await hub.db.run(lambda tx: hub.consent.entries(tx, hub.side, [ann], behind, 2))
        return [one.id for one, _ in page] + (await forth(page[-1][0].ordinal) if page else [])

    assert await forth(-1) == [one.id for one in made]
    assert await back(None) == [one.id for one in reversed(made)]


async def test_all_suppressions_of_both_logs_are_exported_once(hub: Hub) -> None:
    for one in (ANN, BOB):
        await hub.recorded(decision(email(one), "withdrawn"))
    await succeed(hub)
    await hub.recorded(decision(email("carol@example.org"), "withdrawn"))
    suppressions = Suppressions(hub.recipients, hub.consent)
    rows = [row async for some in suppressions.rows(hub.db, hub.side) for row in some]
    assert [row.value for row in rows] == [ANN, BOB, "carol@example.org"]


async def test_what_names_the_log_before_is_not_written_into_its_successor(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was succeeded between the making of a record, which names its log, and the lock of the head."""
    await hub.recorded(decision(email(ANN), "granted"))
    old = await hub.db.run(lambda tx: hub.ledger.origin(tx, hub.side))
    await succeed(hub)

    async def origin(*_: object) -> str:
        return old

    with monkeypatch.context() as patched:
        patched.setattr(hub.ledger, "origin", origin)
        with pytest.raises(Unavailable) as refused:
            await hub.record(decision(email(BOB), "granted"))
    assert refused.value.code == "ledger_succeeded"
    assert (await hub.recorded(decision(email(BOB), "granted"))).log == "consent-2"
