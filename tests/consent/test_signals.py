"""STOP and its like, through a real database: each sentence of the law about them."""

from datetime import timedelta

import pytest

from tabellion.consent.purposes import store as purposes_store
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.types import ANY, MARKETING, PHONE_MESSAGING, Basis, Decision, PurposeClass, RecipientSignal
from tabellion.core.errors import HubError
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.types import Kind

from .conftest import PROOF, Hub, decision, email, phone

ANN, NUMBER, OTHER_NUMBER, SENDER = "ann@example.org", "+436601234567", "+436607654321", "+15005550006"


async def test_stop_restricts_this_number_for_all_but_security(hub: Hub) -> None:
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER), (Kind.PHONE, OTHER_NUMBER))
    stopped = await hub.stop(NUMBER, blocked_by_vendor=False)
    assert (stopped.applied, stopped.recipient_id) == (True, ann)
    for channel in ("sms", "mms", "rcs"):
        for purpose in ("marketing", "transactional", "confirmation"):
            answer = await hub.verdict(ann, NUMBER, channel, purpose)
            assert (answer.verdict, answer.reason, answer.log_index) == ("denied", "stop", stopped.log_index)
        assert (await hub.verdict(ann, NUMBER, channel, "security")).sendable
    assert (await hub.verdict(ann, NUMBER, "voice", "transactional")).sendable
    assert (await hub.verdict(ann, OTHER_NUMBER, "sms", "transactional")).sendable, "not her other number"
    assert (await hub.verdict(ann, ANN, "email", "transactional")).sendable


async def test_stop_ends_the_grants_of_the_number_and_only_those(hub: Hub) -> None:
    ann = await hub.person((Kind.PHONE, NUMBER), (Kind.PHONE, OTHER_NUMBER))
    for number in (NUMBER, OTHER_NUMBER):
        await hub.recorded(decision(phone(number), "granted", channel="sms"))
    await hub.recorded(decision(phone(NUMBER), "granted", channel="voice"))
    await hub.recorded(decision(phone(NUMBER), "granted", channel="sms", purpose="security"))
    await hub.stop(NUMBER, blocked_by_vendor=False)
    assert (await hub.verdict(ann, NUMBER, "sms", "marketing")).verdict == "denied"
    assert (await hub.verdict(ann, OTHER_NUMBER, "sms", "marketing")).verdict == "allowed"
    assert (await hub.verdict(ann, NUMBER, "voice", "marketing")).verdict == "allowed"
    assert (await hub.verdict(ann, NUMBER, "sms", "security")).verdict == "allowed"


async def test_the_vendors_own_block_refuses_security_too_from_that_sender(hub: Hub) -> None:
    ann = await hub.person((Kind.PHONE, NUMBER))
    await hub.stop(NUMBER)
    for sender, sendable in ((None, False), (SENDER, False), ("+15005550001", True)):
        answer = await hub.verdict(ann, NUMBER, "sms", "security", sender=sender)
        assert (answer.verdict, answer.sendable) == ("unknown", sendable)
        assert answer.reason == ("unknown_allowed" if sendable else "vendor_block")
    assert (await hub.verdict(ann, NUMBER, "voice", "security")).sendable
    assert (await hub.check(phone(NUMBER), "sms", "security")).reason == "vendor_block"


async def test_a_block_of_an_unnamed_sender_counts_for_all(hub: Hub) -> None:
    ann = await hub.person((Kind.PHONE, NUMBER))
    await hub.stop(NUMBER, sender=None)
    assert not (await hub.verdict(ann, NUMBER, "sms", "security", sender=SENDER)).sendable


async def test_stop_from_an_unknown_number_stands_on_the_number_alone(hub: Hub) -> None:
    stopped = await hub.stop(NUMBER)
    found = await hub.db.run(lambda tx: hub.recipients.read(tx, hub.side, [stopped.recipient_id]))
    assert found[stopped.recipient_id].address_only
    assert (await hub.check(phone(NUMBER), "sms", "transactional")).verdict == "denied"
    ann = await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, OTHER_NUMBER))
    assert await hub.person((Kind.EMAIL, ANN), (Kind.PHONE, NUMBER)) == ann
    assert (await hub.verdict(ann, NUMBER, "sms", "transactional")).verdict == "denied"
    assert (await hub.verdict(ann, OTHER_NUMBER, "sms", "transactional")).sendable


async def test_a_re_opt_in_by_api_never_lifts_a_stop(hub: Hub) -> None:
    await hub.stop(NUMBER)
    hub.clock.advance(timedelta(days=1))
    pending = await hub.recorded(decision(phone(NUMBER), "granted", channel="sms", **PROOF))
    assert (pending.decision, pending.applied, pending.reason) == (Decision.PENDING, False, "objection_stands")
    assert (await hub.check(phone(NUMBER), "sms", "marketing")).verdict == "denied"


async def test_a_grant_while_a_vendor_block_stands_is_applied_but_not_deliverable(hub: Hub) -> None:
    await hub.person((Kind.PHONE, NUMBER))
    await hub.stop(NUMBER)
    granted = await hub.recorded(decision(phone(NUMBER), "granted", channel="sms", purpose="security"))
    assert (granted.applied, granted.deliverable) == (True, False)
    by_voice = await hub.recorded(decision(phone(NUMBER), "granted", channel="voice"))
    assert (by_voice.applied, by_voice.deliverable) == (True, None)


async def test_stop_twice_is_two_entries_and_one_standing(hub: Hub) -> None:
    first, second = await hub.stop(NUMBER), await hub.stop(NUMBER)
    assert (first.log_index, second.log_index, second.applied) == (0, 1, True)
    rows = await hub.rows("select log_index, channel, purpose, person_scope from consent_entries where standing")
    assert [tuple(row) for row in rows] == [(1, PHONE_MESSAGING, ANY, False)]
    [block] = await hub.rows("select sender, entry_id from vendor_blocks")
    assert tuple(block) == (SENDER, second.id)


async def test_stop_counts_from_its_receipt(hub: Hub) -> None:
    """A vendor's late callback about an earlier moment must not lose against a grant recorded in between."""
    granted = await hub.recorded(decision(phone(NUMBER), "granted", channel="sms"))
    assert granted.applied
    stopped = await hub.stop(NUMBER, occurred_at=hub.clock.now() - timedelta(hours=3))
    assert stopped.applied
    assert (await hub.check(phone(NUMBER), "sms", "marketing")).verdict == "denied"


async def test_signals_of_one_callback_are_answered_in_order(hub: Hub) -> None:
    def signal(word: Signal, address: str, channel: Channel = Channel.SMS) -> RecipientSignal:
        return RecipientSignal(word, channel, address, "twilio", "acc_1", blocked_by_vendor=False)

    signals = [
        signal(Signal.HELP, NUMBER),
        signal(Signal.STOP, NUMBER),
        signal(Signal.STOP, "not a number"),
        signal(Signal.COMPLAINED, ANN, Channel.EMAIL),
        signal(Signal.START, NUMBER),
    ]
    answers = await hub.db.run(lambda tx: hub.consent.record_signals(tx, hub.side, signals))
    assert [getattr(one, "log_index", None) for one in answers] == [None, 0, None, 1, 2]
    assert isinstance(answers[2], HubError)
    assert (await hub.check(email(ANN), "email", "marketing")).reason == "complaint"
    assert (await hub.check(email(ANN), "email", "transactional")).sendable


@pytest.mark.parametrize("signal", [Signal.UNSUBSCRIBED, Signal.BLOCKED])
async def test_what_a_vendor_answers_about_an_opted_out_number_is_a_stop(hub: Hub, signal: Signal) -> None:
    await hub.stop(NUMBER, signal=signal)
    assert (await hub.check(phone(NUMBER), "sms", "transactional")).reason == "stop"


async def test_unsubscribing_from_mail_is_about_marketing_mail(hub: Hub) -> None:
    await hub.stop(ANN, signal=Signal.UNSUBSCRIBED, channel=Channel.EMAIL)
    assert (await hub.check(email(ANN), "email", "marketing")).reason == "withdrawn"
    assert (await hub.check(email(ANN), "email", "transactional")).sendable


@pytest.mark.parametrize("signal", [Signal.UNSUBSCRIBED, Signal.STOP])
async def test_who_unsubscribes_at_a_vendor_by_mail_leaves_all_marketing(hub: Hub, signal: Signal) -> None:
    """The vendor does not say of which: only `marketing` was left, and the purpose they had left went on."""
    new = PurposeSettings(title="Offers", purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT)
    await hub.db.run(lambda tx: purposes_store.write(tx, hub.side, "offers", new))
    ann = await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted", purpose="offers"))
    assert (await hub.verdict(ann, ANN, "email", "offers")).sendable
    left = await hub.stop(ANN, channel=Channel.EMAIL, signal=signal, source="acme", sender=None)
    assert left.applied
    for purpose in ("offers", "marketing"):
        assert (await hub.verdict(ann, ANN, "email", purpose)).verdict == "denied"
    assert (await hub.verdict(ann, ANN, "email", "transactional")).sendable


async def test_a_restriction_may_name_all_marketing_and_a_grant_may_not(hub: Hub) -> None:
    """A list that was taken out names it: it could not be brought in again."""
    assert (await hub.recorded(decision(email(ANN), "withdrawn", purpose=MARKETING))).applied
    assert (await hub.check(email(ANN), "email", "marketing")).verdict == "denied"
    assert (await hub.refused(decision(email(ANN), "granted", purpose=MARKETING))).code == "purpose_required"
    assert (await hub.refused(decision(email(ANN), "withdrawn", purpose="*@nobody"))).code == "purpose_unknown"
