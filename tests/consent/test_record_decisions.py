"""Recording decisions: the entry, the state, the ledger and the event commit together."""

import asyncio
import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, timedelta
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tabellion.consent.questions import Question
from tabellion.consent.types import ANY, Decision, Method, NewDecision, Rank, Recorded
from tabellion.core import ids
from tabellion.core.errors import HubError, Invalid
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind, Ref

from .conftest import PROOF, Hub, decision, email, person, phone

ANN, ANN_2, NUMBER = "ann@example.org", "ann@work.example", "+436601234567"


async def test_a_grant_of_an_unknown_address_creates_the_recipient(hub: Hub) -> None:
    granted = await hub.recorded(decision(email(ANN), "granted"))
    assert (granted.applied, granted.decision, granted.log_index, granted.tree_size) == (True, Decision.GRANTED, 0, 1)
    found = await hub.db.run(lambda tx: hub.recipients.read(tx, hub.side, [granted.recipient_id]))
    assert not found[granted.recipient_id].address_only
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log_index, answer.entry_id) == ("allowed", 0, granted.id)


async def test_a_restriction_of_an_unknown_address_stands_alone(hub: Hub) -> None:
    denied = await hub.recorded(decision(email(ANN), "withdrawn"))
    assert denied.applied
    found = await hub.db.run(lambda tx: hub.recipients.read(tx, hub.side, [denied.recipient_id]))
    assert found[denied.recipient_id].address_only
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.reason, answer.log_index) == ("denied", "withdrawn", 0)


async def test_a_restriction_of_an_unknown_address_is_found_when_the_address_is_attached(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "withdrawn"))
    ann = await hub.person((Kind.EMAIL, ANN_2), (Kind.PHONE, NUMBER))
    assert await hub.person((Kind.PHONE, NUMBER), (Kind.EMAIL, ANN)) == ann
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "denied"
    assert (await hub.verdict(ann, ANN_2, "email", "marketing")).verdict == "unknown", "it stood on the address alone"
    grant = await hub.recorded(decision(email(ANN), "granted", **PROOF, occurred_at=hub.clock.now()))
    assert grant.decision is Decision.PENDING, "of the same moment, so the restriction wins"
    hub.clock.advance(timedelta(minutes=1))
    assert (await hub.recorded(decision(email(ANN), "granted", **PROOF))).applied
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "allowed"


async def test_a_person_promoted_from_an_address_keeps_its_restriction(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "withdrawn"))
    ann = await hub.person((Kind.EMAIL, ANN))
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "denied"


async def test_what_was_said_about_another_channel_of_an_unknown_person_comes_with_the_address(hub: Hub) -> None:
    """Known by phone only and wants no mail: that is about the person, who gets a mail address later."""
    await hub.recorded(decision(phone(NUMBER), "withdrawn", channel="email"))
    ann = await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted", occurred_at=hub.clock.now() - timedelta(days=1)))
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "allowed"
    assert await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER)) == ann
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "denied"


async def test_a_grant_makes_a_full_recipient_of_an_address_only_one(hub: Hub) -> None:
    denied = await hub.recorded(decision(email(ANN), "denied"))
    hub.clock.advance(timedelta(minutes=1))
    pending = await hub.recorded(decision(email(ANN), "granted"))
    assert pending.decision is Decision.PENDING
    read = lambda tx: hub.recipients.read(tx, hub.side, [denied.recipient_id])  # noqa: E731
    assert (await hub.db.run(read))[denied.recipient_id].address_only, "what did not apply changes nothing"
    assert (await hub.recorded(decision(email(ANN), "granted", **PROOF))).recipient_id == denied.recipient_id
    assert not (await hub.db.run(read))[denied.recipient_id].address_only


async def test_unknown_ids_are_404(hub: Hub) -> None:
    for word in ("granted", "withdrawn"):
        refusal = await hub.refused(decision(person(ids.new()), word))
        assert (refusal.status, refusal.code) == (404, "recipient_not_found")


# which identifier


async def test_a_grant_without_identifier_means_the_single_one_of_the_channel(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
    assert (await hub.recorded(decision(person(ann), "granted"))).applied
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "allowed"
    assert (await hub.recorded(decision(email(ANN), "granted", channel="sms"))).applied
    assert (await hub.verdict(ann, NUMBER, "sms", "marketing")).verdict == "allowed"


async def test_a_grant_that_might_mean_several_identifiers_is_refused(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.EMAIL, ANN_2))
    for new in (decision(person(ann), "granted"), decision(person(ann), "granted", channel="sms")):
        refusal = await hub.refused(new)
        assert isinstance(refusal, Invalid)
        assert (refusal.code, refusal.errors[0].pointer) == ("identifier_required", "/identifier")
    assert (await hub.recorded(decision(person(ann), "granted", identifier=email(ANN_2)))).applied
    assert (await hub.verdict(ann, ANN_2, "email", "marketing")).verdict == "allowed"
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "unknown"


async def test_a_grant_for_an_identifier_of_somebody_else_is_refused(hub: Hub) -> None:
    ann, bob = await hub.person((Kind.EMAIL, ANN)), await hub.person((Kind.EMAIL, ANN_2))
    for address in (ANN_2, "nobody@example.org"):
        refusal = await hub.refused(decision(person(ann), "granted", identifier=email(address)))
        assert (refusal.status, refusal.code) == (422, "identifier_unknown")
    assert (await hub.verdict(bob, ANN_2, "email", "marketing")).verdict == "unknown"


async def test_a_grant_may_name_the_same_address_twice(hub: Hub) -> None:
    again = Ref(kind=Kind.EMAIL, value=ANN, pointer="/identifier")
    assert (await hub.recorded(decision(email(ANN), "granted", identifier=again))).applied


async def test_a_restriction_of_an_unknown_person_for_another_address_covers_both(hub: Hub) -> None:
    """Known by phone only, and names a mail address: that one, and any that the person turns out to have."""
    await hub.recorded(decision(phone(NUMBER), "withdrawn", identifier=email(ANN)))
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "denied"
    ann = await hub.person((Kind.PHONE, NUMBER), (Kind.EMAIL, ANN_2))
    assert (await hub.verdict(ann, ANN_2, "email", "marketing")).verdict == "denied"


async def test_an_identifier_of_another_channel_is_refused(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
    refusal = await hub.refused(decision(person(ann), "withdrawn", identifier=phone(NUMBER)))
    assert (refusal.status, refusal.code) == (422, "identifier_mismatch")


async def test_a_restriction_covers_the_persons_other_addresses_of_the_channel(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.EMAIL, ANN_2))
    await hub.recorded(decision(email(ANN), "granted"))
    await hub.recorded(decision(email(ANN_2), "granted"))
    await hub.recorded(decision(email(ANN), "withdrawn"))
    assert {(await hub.verdict(ann, one, "email", "marketing")).verdict for one in (ANN, ANN_2)} == {"denied"}


async def test_a_restriction_may_name_an_identifier_of_somebody_else_and_covers_both(hub: Hub) -> None:
    ann, bob = await hub.person((Kind.EMAIL, ANN)), await hub.person((Kind.EMAIL, ANN_2))
    await hub.recorded(decision(person(ann), "withdrawn", identifier=email(ANN_2)))
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "denied"
    assert (await hub.verdict(bob, ANN_2, "email", "marketing")).verdict == "denied"


async def test_a_restriction_of_everything_by_id(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
    await hub.recorded(decision(email(ANN), "granted"))
    await hub.recorded(decision(person(ann), "withdrawn", channel=ANY, purpose=ANY))
    assert (await hub.verdict(ann, ANN, "email", "marketing")).verdict == "denied"
    assert (await hub.verdict(ann, NUMBER, "sms", "transactional")).verdict == "denied"
    assert (await hub.verdict(ann, NUMBER, "sms", "security")).sendable


# withdrawing and granting again


async def test_withdraw_and_grant_again(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "granted"))
    withdrawn = await hub.recorded(decision(email(ANN), "withdrawn"))
    assert (await hub.check(email(ANN), "email", "marketing")).log_index == withdrawn.log_index
    hub.clock.advance(timedelta(minutes=1))
    pending = await hub.recorded(decision(email(ANN), "granted", notice=PROOF["notice"]))
    assert (pending.decision, pending.applied, pending.reason) == (
        Decision.PENDING, False, "notice_or_evidence_incomplete",
    )  # fmt: skip
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "denied"
    again = await hub.recorded(decision(email(ANN), "granted", **PROOF))
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log_index) == ("allowed", again.log_index)
    assert answer.inputs["lifts"] == [withdrawn.log_index]


async def test_a_lifted_restriction_is_back_when_the_grant_expires(hub: Hub) -> None:
    withdrawn = await hub.recorded(decision(email(ANN), "withdrawn"))
    hub.clock.advance(timedelta(minutes=1))
    until = hub.clock.now() + timedelta(days=1)
    assert (await hub.recorded(decision(email(ANN), "granted", **PROOF, expires_at=until))).applied
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "allowed"
    hub.clock.advance(timedelta(days=1))
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.log_index) == ("denied", withdrawn.log_index)


async def test_an_imported_opt_out_older_than_the_grant_is_kept_but_does_not_apply(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "granted"))
    old = hub.clock.now() - timedelta(days=30)
    kept = await hub.recorded(decision(email(ANN), "withdrawn", method=Method.IMPORT, occurred_at=old))
    assert (kept.applied, kept.reason, kept.in_flight) == (False, "newer_grant_stands", ())
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "allowed"
    wide = await hub.recorded(
        decision(email(ANN), "withdrawn", channel=ANY, purpose=ANY, method=Method.IMPORT, occurred_at=old)
    )
    assert wide.applied
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.inputs["lifts"]) == ("allowed", [wide.log_index])
    assert (await hub.check(email(ANN), "email", "transactional")).verdict == "denied"


@pytest.mark.parametrize("named", [None, ANN], ids=["nothing named", "one named"])
async def test_an_imported_opt_out_still_covers_the_addresses_without_a_newer_grant(
    hub: Hub, named: str | None
) -> None:
    """The newer grant is for one address; the person's other one is to be left alone."""
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.EMAIL, ANN_2))
    await hub.recorded(decision(person(ann), "granted", purpose="transactional", identifier=email(ANN)))
    old, identifier = hub.clock.now() - timedelta(days=30), email(named) if named else None
    out = decision(person(ann), "withdrawn", purpose="transactional", method=Method.IMPORT, occurred_at=old)
    await hub.recorded(replace(out, identifier=identifier))
    assert (await hub.verdict(ann, ANN, "email", "transactional")).verdict == "allowed"
    assert not (await hub.verdict(ann, ANN_2, "email", "transactional")).sendable


async def test_an_import_never_lifts(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "withdrawn"))
    hub.clock.advance(timedelta(minutes=1))
    imported = await hub.recorded(decision(email(ANN), "granted", rank=Rank.IMPORT, **PROOF))
    assert (imported.applied, imported.reason) == (False, "restriction_stands")


async def test_a_public_keys_grant_leaves_no_entry_but_an_event(hub: Hub) -> None:
    ignored = await hub.recorded(decision(email(ANN), "granted", rank=Rank.PUBLIC_KEY))
    assert (ignored.id, ignored.applied, ignored.log_index) == (None, False, None)
    assert not await hub.rows("select 1 from consent_entries")
    assert [kind for kind, _ in await hub.events()][-1] == "consent.ignored"


# batches


async def test_decisions_of_one_batch_apply_in_the_order_they_came(hub: Hub) -> None:
    answers = await hub.record(
        decision(email(ANN), "granted"),
        decision(email(ANN_2), "granted"),
        decision(email(ANN), "withdrawn"),
        decision(email(ANN), "granted", **PROOF),
        decision(email(ANN), "granted", channel=ANY),
        decision(phone(NUMBER), "withdrawn", channel="sms"),
    )
    assert [getattr(one, "log_index", None) for one in answers] == [0, 1, 2, 3, None, 4]
    assert [getattr(one, "applied", None) for one in answers] == [True, True, True, False, None, True]
    assert isinstance(answers[4], HubError)
    assert answers[3].reason == "newer_restriction_stands"  # type: ignore[union-attr]
    assert {one.tree_size for one in answers if isinstance(one, Recorded)} == {5}
    assert (await hub.check(email(ANN), "email", "marketing")).log_index == 2
    assert (await hub.check(email(ANN_2), "email", "marketing")).verdict == "allowed"


async def test_within_one_batch_a_grant_lifts_a_restriction_by_its_real_index(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN_2), "granted"))
    yesterday = hub.clock.now() - timedelta(days=1)
    withdrawn, granted = await hub.record(
        decision(email(ANN), "withdrawn", method=Method.IMPORT, occurred_at=yesterday),
        decision(email(ANN), "granted", **PROOF),
    )
    assert isinstance(withdrawn, Recorded)
    assert isinstance(granted, Recorded)
    assert (withdrawn.log_index, granted.applied) == (1, True)
    answer = await hub.check(email(ANN), "email", "marketing")
    assert (answer.verdict, answer.inputs["lifts"]) == ("allowed", [1])


async def test_a_batch_leaves_the_same_state_as_one_by_one(hub: Hub, other: Hub) -> None:
    old = hub.clock.now() - timedelta(days=3)
    said = [
        decision(email(ANN), "granted"),
        decision(email(ANN), "withdrawn", channel=ANY, purpose=ANY, method=Method.IMPORT, occurred_at=old),
        decision(email(ANN), "objected", purpose="transactional"),
        decision(email(ANN), "withdrawn", purpose="transactional"),
        decision(email(ANN), "granted", expires_at=hub.clock.now() + timedelta(days=9)),
        decision(email(ANN_2), "withdrawn"),
        decision(email(ANN_2), "denied"),
    ]
    await hub.record(*said)
    for one in said:
        await other.record(one)
    assert await _state(hub) == await _state(other)


async def _state(hub: Hub) -> list[Any]:
    rows = await hub.rows(
        """
        select log_index, channel, purpose, decision, applied, reason, standing, lifts, strength, rank
          from consent_entries where workspace_id = $1 order by log_index
        """,
        hub.side,
    )
    return [tuple(row) for row in rows]


async def test_a_refused_decision_stops_no_other_and_leaves_nothing(hub: Hub) -> None:
    big = {"evidence": {"url": "x" * 9000}}
    refused, taken = await hub.record(decision(email(ANN), "granted", **big), decision(email(ANN_2), "granted"))
    assert isinstance(refused, HubError)
    assert refused.code == "not_canonical"
    assert isinstance(taken, Recorded)
    assert taken.log_index == 0
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "unknown"


async def test_what_is_rolled_back_was_never_said(hub: Hub) -> None:
    class Stop(Exception):
        pass

    async def fail(tx: Any) -> None:
        await hub.consent.record(tx, hub.side, [decision(email(ANN), "granted")])
        raise Stop

    with pytest.raises(Stop):
        await hub.db.run(fail)
    assert not await hub.rows("select 1 from consent_entries")
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "unknown"
    assert (await hub.recorded(decision(email(ANN), "granted"))).log_index == 0


async def test_nothing_said_is_nothing_done(hub: Hub) -> None:
    assert await hub.record() == []
    assert await hub.db.run(lambda tx: hub.consent.verdicts(tx, [])) == []
    assert await hub.db.run(lambda tx: hub.consent.check(tx, hub.side, [])) == []


# the ledger, the events, the attempts under way


async def test_the_leaf_commits_to_the_sealed_record(hub: Hub) -> None:
    """Recomputed here from the public definitions: RFC 8785 record, HKDF key, HMAC, RFC 9162 leaf."""
    taken = await hub.recorded(decision(email(ANN), "granted", **PROOF))
    [row] = await hub.rows("select sealed, leaf_hash, subject_id from consent_entries")
    keys = await hub.db.run(lambda tx: hub.vault.subjects(tx, hub.side, [row["subject_id"]]))
    key = keys[row["subject_id"]]
    written = key.open(row["sealed"], f"consent:{hub.side}:{taken.id}")
    said = msgspec.json.decode(written)
    assert said["identifier"] == {"kind": "email", "value": ANN}
    assert said["log"] == await hub.db.run(lambda tx: hub.ledger.origin(tx, hub.side))
    assert said["recorded_at"] == hub.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    entry_key = HKDF(SHA256(), 32, None, f"entry:{taken.id}".encode()).derive(key.raw())
    commitment = base64.urlsafe_b64encode(hmac.digest(entry_key, written, "sha256")).decode().rstrip("=")
    leaf = f'{{"c":"{commitment}","d":"2026-11-21","type":"consent","v":1}}'
    assert hashlib.sha256(b"\0" + leaf.encode()).digest() == taken.leaf_hash == row["leaf_hash"]


async def test_the_tables_hold_no_address(hub: Hub) -> None:
    await hub.recorded(decision(email(ANN), "granted", evidence={"url": "https://example.org/?who=ann@example.org"}))
    await hub.stop(NUMBER)
    dump = str(await hub.rows("select to_jsonb(e)::text as row from consent_entries e"))
    dump += str(await hub.rows("select to_jsonb(b)::text as row from vendor_blocks b")) + str(await hub.events())
    assert "ann@" not in dump
    assert NUMBER not in dump.replace("+15005550006", "")


async def test_events_say_what_happened_without_addresses(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted"))
    await hub.recorded(decision(email(ANN), "objected"))
    await hub.recorded(decision(email(ANN), "granted", **PROOF))
    await hub.recorded(decision(email(ANN), "granted", rank=Rank.IMPORT))
    happened = [(kind, data) for kind, data in await hub.events() if kind.startswith("consent.")]
    assert [kind for kind, _ in happened] == [
        "consent.granted", "consent.objected", "consent.pending", "consent.refused",
    ]  # fmt: skip
    data = happened[2][1]
    assert data["recipient"] == {"id": ids.show("rcp", ann)}
    assert data["consent"]["log_index"] == 2
    assert (data["consent"]["applied"], data["consent"]["reason"]) == (False, "objection_stands")
    assert ANN not in str(happened)


async def test_an_applied_restriction_names_the_attempts_it_came_too_late_for(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN))
    hub.started.attempts = [UUID(int=5)]
    granted = await hub.recorded(decision(email(ANN), "granted"))
    assert granted.in_flight == ()
    assert not hub.started.asked
    withdrawn = await hub.recorded(decision(email(ANN), "withdrawn"))
    assert withdrawn.in_flight == [UUID(int=5)]
    [asked] = hub.started.asked
    assert (asked.recipient_ids, asked.channels, asked.purposes) == ((ann,), {"email"}, {"marketing"})
    assert asked.identifier_hash == (await hub.identifiers(ann))[ANN].hash
    await hub.recorded(decision(email(ANN), "withdrawn", channel=ANY, purpose=ANY))
    assert hub.started.asked[-1].channels == frozenset()
    assert hub.started.asked[-1].purposes == {"marketing", "transactional", "confirmation"}


# two tenants


async def test_two_sides_with_equal_data_know_nothing_of_each_other(hub: Hub, other: Hub) -> None:
    for side in (hub, other):
        await side.recorded(decision(email(ANN), "granted"))
        await side.recorded(decision(phone(NUMBER), "granted", channel="sms"))
    assert (await other.recorded(decision(email(ANN), "withdrawn", channel=ANY, purpose=ANY))).log_index == 2
    await other.stop(NUMBER)
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "allowed"
    assert (await hub.check(phone(NUMBER), "sms", "marketing")).verdict == "allowed"
    assert (await other.check(email(ANN), "email", "marketing")).verdict == "denied"
    [mine] = await hub.rows("select recipient_id from consent_entries where workspace_id = $1 limit 1", hub.side)
    assert (await other.refused(decision(person(mine["recipient_id"]), "withdrawn"))).status == 404


async def test_questions_may_span_sides_and_keep_their_order(hub: Hub, other: Hub) -> None:
    granted = await hub.recorded(decision(email(ANN), "granted"))
    denied = await other.recorded(decision(email(ANN), "withdrawn"))
    mine = (await hub.identifiers(granted.recipient_id))[ANN]
    theirs = (await other.identifiers(denied.recipient_id))[ANN]
    assert mine.hash != theirs.hash
    asked = [
        Question(side, who, one.hash, one.kind, Channel.EMAIL, purpose)
        for side, who, one, purpose in (
            (other.side, denied.recipient_id, theirs, "marketing"),
            (hub.side, granted.recipient_id, mine, "marketing"),
            (other.side, denied.recipient_id, theirs, "transactional"),
            (hub.side, granted.recipient_id, mine, "nonsense"),
            (other.side, denied.recipient_id, mine, "marketing"),
        )
    ]
    answers = await hub.db.run(lambda tx: hub.consent.verdicts(tx, asked))
    assert [one.verdict for one in answers] == ["denied", "allowed", "unknown", "unknown", "unknown"]
    assert not answers[3].sendable, "a purpose that does not exist is never sendable"


@pytest.mark.parametrize("seed", range(4))
async def test_batches_of_anything_leave_the_same_state_as_one_by_one(hub: Hub, other: Hub, seed: int) -> None:
    random = Random(seed)
    for side in (hub, other):
        await side.person((Kind.EMAIL, ANN), (Kind.EMAIL, ANN_2), (Kind.PHONE, NUMBER))
    for _ in range(8):
        said = [_anything(random, hub) for _ in range(random.randint(1, 6))]
        together = await hub.record(*said)
        apart = [(await other.record(one))[0] for one in said]
        assert [_outcome(one) for one in together] == [_outcome(one) for one in apart]
        hub.clock.advance(timedelta(hours=random.randint(0, 3)))
    assert await _state(hub) == await _state(other)


def _anything(random: Random, hub: Hub) -> NewDecision:
    recipient = random.choice([email(ANN), email(ANN), email(ANN_2), phone(NUMBER)])
    channel = "sms" if recipient.kind is Kind.PHONE else "email"
    occurred = hub.clock.now() - timedelta(hours=random.randint(0, 6))
    changes: dict[str, Any] = {
        "rank": random.choice([Rank.IMPORT, Rank.SECRET_KEY, Rank.SECRET_KEY, Rank.PERSON]),
        "method": random.choice([Method.FORM, Method.FORM, Method.IMPORT]),
        "occurred_at": random.choice([None, occurred]),
    }
    if random.random() < 0.6:
        changes |= random.choice([{}, PROOF])
        purpose = random.choice(["marketing", "marketing", "transactional"])
        return decision(recipient, "granted", channel, purpose, **changes)
    word = random.choice(["denied", "withdrawn", "objected"])
    return decision(recipient, word, random.choice([channel, ANY]), random.choice(["marketing", ANY]), **changes)


def _outcome(answer: Recorded | HubError) -> tuple[object, ...]:
    assert isinstance(answer, Recorded)
    return answer.decision, answer.applied, answer.reason, answer.log_index


async def test_what_many_record_at_once_is_what_the_ledger_says_in_order(hub: Hub, other: Hub) -> None:
    """Whatever the interleaving, replaying the log one by one gives the same state: the locks order the decisions."""
    random = Random(7)
    for side in (hub, other):
        await side.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER))
        await side.person((Kind.EMAIL, ANN_2))
    said: dict[int, NewDecision] = {}

    async def speak(batches: list[list[NewDecision]]) -> None:
        for batch in batches:
            for one, answer in zip(batch, await hub.record(*batch), strict=True):
                assert isinstance(answer, Recorded)
                assert answer.log_index is not None
                said[answer.log_index] = one

    await asyncio.gather(
        *(speak([[_anything(random, hub) for _ in range(random.randint(1, 4))] for _ in range(12)]) for _ in range(5))
    )
    assert sorted(said) == list(range(len(said)))
    for _, one in sorted(said.items()):
        await other.record(one)
    assert await _state(hub) == await _state(other)
