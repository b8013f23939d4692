"""Scope and verdict: who and what a decision covers, each sentence of the law."""

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec import structs

from tabellion.consent import rules
from tabellion.consent.questions import OPEN, Inputs, Looked, Question, Verdict
from tabellion.consent.signals import decision_of
from tabellion.consent.types import (
    ANY,
    BUILT_IN,
    MARKETING,
    PHONE_MESSAGING,
    Basis,
    Decision,
    Method,
    Purpose,
    PurposeClass,
    Rank,
    RecipientSignal,
    Standing,
    Strength,
)
from tabellion.ledger.ordinals import ordinal
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.types import Identifier, Kind, Ref

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SIDE, ANN, BOB = UUID(int=1), UUID(int=2), UUID(int=3)
MAIL, SECOND, NUMBER = b"ann@", b"ann2@", b"+43"
PURPOSES = {
    **BUILT_IN,
    "marketing.newsletter": dataclasses.replace(BUILT_IN["marketing"], key="marketing.newsletter", parent="marketing"),
    "security.keyword": dataclasses.replace(BUILT_IN["security"], key="security.keyword", parent="security"),
    "research": Purpose("research", "", PurposeClass.RESEARCH, Basis.CONSENT, False, True),
}


def ask(
    *standing: Standing,
    identifier: bytes | None = MAIL,
    person: UUID | None = ANN,
    channel: Channel = Channel.EMAIL,
    purpose: str = "marketing",
    now: datetime = NOW,
    inputs: Inputs = OPEN,
    purposes: dict[str, Purpose] = PURPOSES,
) -> Verdict:
    question = Question(SIDE, person, identifier, None, channel, purpose)
    return rules.verdict(question, standing, purposes[purpose], rules.line(purposes, purpose), now, inputs)


def grant(**changes: object) -> Standing:
    base = Standing(
        UUID(int=10), 5, ANN, MAIL, False, "email", "marketing", Decision.GRANTED, Basis.CONSENT, Method.FORM,
        Rank.SECRET_KEY, Strength.NONE, NOW - timedelta(days=1),
    )  # fmt: skip
    return structs.replace(base, **changes)


def restriction(**changes: object) -> Standing:
    base = Standing(
        UUID(int=11), 6, ANN, MAIL, True, "email", "marketing", Decision.WITHDRAWN, None, Method.API, Rank.SECRET_KEY,
        Strength.PLAIN, NOW - timedelta(days=1),
    )  # fmt: skip
    return structs.replace(base, **changes)


# grants


def test_a_grant_covers_one_identifier_one_channel_one_purpose() -> None:
    assert ask(grant()).verdict == "allowed"
    assert ask(grant(), identifier=SECOND).verdict == "unknown"
    assert ask(grant(), channel=Channel.WHATSAPP).verdict == "unknown"
    assert ask(grant(), purpose="research").verdict == "unknown"


def test_grants_do_not_inherit_down_the_tree() -> None:
    assert ask(grant(), purpose="marketing.newsletter").verdict == "unknown"
    assert ask(grant(purpose="marketing.newsletter"), purpose="marketing").verdict == "unknown"


def test_a_grant_does_not_follow_its_identifier_to_another_person() -> None:
    assert ask(grant(), person=BOB).verdict == "unknown"
    assert ask(grant(), person=None).verdict == "unknown"


def test_a_grant_counts_until_it_expires() -> None:
    until = grant(expires_at=NOW + timedelta(seconds=1))
    assert ask(until).verdict == "allowed"
    assert ask(until, now=NOW + timedelta(seconds=1)).verdict == "unknown"


def test_a_purpose_may_limit_how_long_consent_lasts() -> None:
    purposes = {**PURPOSES, "marketing": dataclasses.replace(PURPOSES["marketing"], consent_ttl=timedelta(days=2))}
    assert ask(grant(), purposes=purposes).verdict == "allowed"
    assert ask(grant(), purposes=purposes, now=NOW + timedelta(days=1)).verdict == "unknown"


def test_an_assertion_allows_only_where_the_purpose_accepts_it() -> None:
    asserted = grant(decision=Decision.ASSERTED)
    assert ask(asserted).verdict == "unknown"
    accepted = ask(structs.replace(asserted, purpose="research"), purpose="research")
    assert (accepted.verdict, accepted.rule, accepted.log_index) == ("allowed", "assertion", 5)


# restrictions


def test_a_restriction_covers_the_identifier_and_the_person_on_that_channel() -> None:
    assert ask(restriction()).verdict == "denied"
    assert ask(restriction(), identifier=SECOND).verdict == "denied", "the person, at another address"
    assert ask(restriction(), channel=Channel.SMS, identifier=NUMBER).verdict == "unknown"


def test_a_restriction_follows_the_identifier_to_any_recipient() -> None:
    assert ask(restriction(), person=BOB).verdict == "denied"
    assert ask(restriction(), person=None).verdict == "denied"
    assert ask(restriction(), person=BOB, identifier=SECOND).verdict == "unknown"


def test_a_restriction_may_stand_with_no_recipient() -> None:
    alone = restriction(recipient_id=None, person_scope=False)
    assert ask(alone, person=BOB).verdict == "denied"
    assert ask(alone, person=None, identifier=SECOND).verdict == "unknown"
    nobody = restriction(recipient_id=None, person_scope=True, identifier_hash=None)
    assert ask(nobody, person=None, identifier=None).verdict == "unknown", "no person is not one person"


def test_any_channel_and_any_purpose() -> None:
    everything = restriction(channel=ANY, purpose=ANY)
    for channel in Channel:
        for purpose in ("marketing", "marketing.newsletter", "transactional", "confirmation", "research"):
            assert ask(everything, channel=channel, purpose=purpose).verdict == "denied"


def test_any_purpose_never_covers_class_security() -> None:
    everything = restriction(channel=ANY, purpose=ANY)
    assert ask(everything, purpose="security").verdict == "unknown"
    assert ask(everything, purpose="security.keyword").sendable
    assert ask(restriction(purpose="security"), purpose="security").verdict == "denied"


def test_restrictions_inherit_down_the_tree_only() -> None:
    assert ask(restriction(), purpose="marketing.newsletter").verdict == "denied"
    assert ask(restriction(purpose="marketing.newsletter"), purpose="marketing").verdict == "unknown"
    assert ask(restriction(purpose="security"), purpose="security.keyword").verdict == "denied"


def test_a_tree_that_bites_its_tail_ends() -> None:
    ring = {
        "a": dataclasses.replace(PURPOSES["marketing"], key="a", parent="b"),
        "b": dataclasses.replace(PURPOSES["marketing"], key="b", parent="a"),
    }
    assert rules.line(ring, "a") == {"a", "b", ANY, MARKETING}


def test_the_phone_group_is_sms_mms_and_rcs() -> None:
    stop = restriction(channel=PHONE_MESSAGING, purpose=ANY, identifier_hash=NUMBER, person_scope=False)
    denied = {one for one in Channel if ask(stop, identifier=NUMBER, channel=one).verdict == "denied"}
    assert denied == {Channel.SMS, Channel.MMS, Channel.RCS}
    assert rules.channels_under(PHONE_MESSAGING) == denied


# grants against restrictions


def test_deny_first_unless_the_grant_says_that_it_lifted() -> None:
    assert ask(grant(), restriction()).verdict == "denied"
    assert ask(grant(lifts=frozenset({6})), restriction()).verdict == "allowed"
    assert ask(grant(lifts=frozenset({6})), restriction(), restriction(ordinal=7)).log_index == 7


def test_a_narrower_grant_lifts_a_wider_restriction_for_itself_only() -> None:
    wide = restriction(channel=ANY, purpose=ANY)
    lifting = grant(purpose="marketing.newsletter", lifts=frozenset({6}))
    assert ask(lifting, wide, purpose="marketing.newsletter").verdict == "allowed"
    assert ask(lifting, wide, purpose="marketing").verdict == "denied"
    assert ask(lifting, wide, purpose="marketing.newsletter", identifier=SECOND).verdict == "denied"


def test_a_wider_grant_never_lifts_a_narrower_restriction() -> None:
    narrow = restriction(purpose="marketing.newsletter")
    assert ask(grant(lifts=frozenset({6})), narrow, purpose="marketing.newsletter").verdict == "denied"


def test_when_the_grant_expires_what_it_lifted_is_back() -> None:
    lifting = grant(lifts=frozenset({6}), expires_at=NOW + timedelta(days=1))
    assert ask(lifting, restriction()).verdict == "allowed"
    assert ask(lifting, restriction(), now=NOW + timedelta(days=1)).verdict == "denied"


def test_the_strongest_restriction_answers() -> None:
    objection = restriction(ordinal=3, decision=Decision.OBJECTED, strength=Strength.FIRM)
    answer = ask(restriction(), objection, restriction(ordinal=9))
    assert (answer.reason, answer.log_index) == ("objected", 3)
    assert answer.inputs["restrictions"] == [6, 3, 9]


def test_the_reason_says_how_it_came_about() -> None:
    assert ask(restriction(method=Method.KEYWORD, strength=Strength.FIRM)).reason == "stop"
    assert ask(restriction(method=Method.COMPLAINT, decision=Decision.OBJECTED)).reason == "complaint"
    assert ask(restriction(decision=Decision.DENIED)).reason == "denied"


# nothing stands


@pytest.mark.parametrize(
    ("purpose", "sendable"), [("security", True), ("transactional", True), ("confirmation", True), ("marketing", False)]
)
def test_unknown_is_a_state_of_its_own_and_the_purpose_says_what_it_means(purpose: str, sendable: bool) -> None:
    answer = ask(purpose=purpose)
    assert (answer.verdict, answer.sendable, answer.log_index) == ("unknown", sendable, None)
    assert answer.rule == ("unknown_allowed" if sendable else "unknown_denied")


# the other inputs


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (Inputs(processing_restricted=True), "processing_restricted"),
        (Inputs(hold="hld_1"), "hold"),
        (Inputs(identifier_health="invalid"), "identifier_unhealthy"),
        (Inputs(under_age=True), "under_age"),
        (Inputs(window_closed=True), "legal_window"),
    ],
)
def test_other_inputs_refuse_with_their_own_reason_and_leave_the_verdict(inputs: Inputs, reason: str) -> None:
    answer = ask(grant(), inputs=inputs)
    assert (answer.verdict, answer.sendable, answer.reason) == ("allowed", False, reason)


def test_a_denial_is_not_overshadowed_by_another_input() -> None:
    answer = ask(restriction(), inputs=Inputs(hold="hld_1"))
    assert (answer.verdict, answer.reason, answer.log_index) == ("denied", "withdrawn", 6)


def test_a_vendor_block_refuses_security_too_on_phone_messaging() -> None:
    blocked = Inputs(vendor_block=True)
    on_phone = ask(purpose="security", identifier=NUMBER, channel=Channel.SMS, inputs=blocked)
    assert (on_phone.verdict, on_phone.sendable, on_phone.reason) == ("unknown", False, "vendor_block")
    assert ask(purpose="security", identifier=NUMBER, channel=Channel.VOICE, inputs=blocked).sendable


def test_legal_windows_exempt_security_only() -> None:
    assert ask(purpose="security", inputs=Inputs(window_closed=True)).sendable
    assert not ask(purpose="transactional", inputs=Inputs(window_closed=True)).sendable


def test_a_person_without_an_address_of_the_channel_cannot_be_sent_to() -> None:
    answer = ask(identifier=None, purpose="transactional")
    assert (answer.verdict, answer.sendable, answer.reason) == ("unknown", False, "no_address")
    assert ask(restriction(identifier_hash=None), identifier=None).verdict == "denied"


# which identifier is meant


def identifier(number: int, *, verified: bool = False, seen: int = 0) -> Identifier:
    at = NOW + timedelta(days=seen)
    return Identifier(Kind.EMAIL, f"{number}@", bytes([number]), "api", NOW, at, NOW if verified else None)


def answered(verdict: str, *, sendable: bool, index: int = 0, granted: int | None = None) -> Verdict:
    on = Looked(PURPOSES["marketing"], grant(ordinal=granted) if granted else None, (), Inputs())
    return Verdict(verdict, sendable, "", "", index, looked=on)


def test_the_best_verdict_then_verified_then_latest_grant_then_latest_seen_then_id() -> None:
    allowed, unknown = (
        answered("allowed", sendable=True, index=1, granted=1),
        answered("unknown", sendable=True, index=2),
    )
    denied = answered("denied", sendable=False, index=3)
    assert rules.best([(denied, identifier(1, verified=True)), (unknown, identifier(2))]) is unknown
    assert rules.best([(unknown, identifier(1, verified=True)), (allowed, identifier(2))]) is allowed
    newer = answered("allowed", sendable=True, index=4, granted=9)
    assert rules.best([(allowed, identifier(1, verified=True)), (newer, identifier(2))]) is allowed
    assert rules.best([(allowed, identifier(1)), (newer, identifier(2))]) is newer
    first, second = answered("unknown", sendable=True, index=5), answered("unknown", sendable=True, index=6)
    assert rules.best([(first, identifier(1, seen=1)), (second, identifier(2))]) is first
    assert rules.best([(first, identifier(1)), (second, identifier(2))]) is second
    assert rules.best([(second, identifier(2)), (first, identifier(1))]) is second


# STOP


def stop(**changes: object) -> RecipientSignal:
    base = RecipientSignal(Signal.STOP, Channel.SMS, "+436601234567", "twilio", "acc_1", sender="+15005550006")
    return dataclasses.replace(base, **changes)


PHONE = Ref(kind=Kind.PHONE, value="+436601234567")
EMAIL = Ref(kind=Kind.EMAIL, value="ann@example.org")


def test_stop_is_one_decision_about_this_number_on_phone_messaging_for_all_but_security() -> None:
    new = decision_of(stop(), PHONE)
    assert new is not None
    assert (new.decision, new.method, new.rank) == (Decision.WITHDRAWN, Method.KEYWORD, Rank.PERSON)
    assert (new.channel, new.purpose, new.identifier_only) == (PHONE_MESSAGING, ANY, True)
    assert new.vendor_block == "+15005550006"
    assert rules.strength(new.decision, new.method) is Strength.FIRM


def test_a_vendor_that_leaves_keywords_to_us_blocks_nothing() -> None:
    new = decision_of(stop(blocked_by_vendor=False), PHONE)
    assert new is not None
    assert new.vendor_block is None
    assert decision_of(stop(sender=None), PHONE).vendor_block == ""  # type: ignore[union-attr]


def test_stop_on_whatsapp_is_about_whatsapp() -> None:
    new = decision_of(stop(channel=Channel.WHATSAPP), PHONE)
    assert new is not None
    assert (new.channel, new.purpose) == ("whatsapp", ANY)


def test_a_complaint_is_an_objection_to_marketing_and_service_goes_on() -> None:
    new = decision_of(stop(signal=Signal.COMPLAINED, channel=Channel.EMAIL), EMAIL)
    assert new is not None
    assert (new.decision, new.channel, new.purpose) == (Decision.OBJECTED, ANY, MARKETING)
    assert not new.identifier_only


@pytest.mark.parametrize("signal", [Signal.HELP, Signal.AUTORESPONDED, None])
def test_signals_that_decide_nothing(signal: Signal | None) -> None:
    assert decision_of(stop(signal=signal), PHONE) is None


# a log and its successors


def test_a_restriction_of_a_successor_is_later_than_one_of_the_log_before_it() -> None:
    """Of two as firm and at the same time the later answers, whatever its index."""
    old, new = restriction(ordinal=ordinal(1, 900)), restriction(ordinal=ordinal(2, 1), decision=Decision.DENIED)
    for some in ((old, new), (new, old)):
        answer = ask(*some)
        assert (answer.reason, answer.log_index, answer.log) == ("denied", 1, "consent-2")
    assert rules.strongest([new, old]) is new


def test_a_grant_of_a_successor_is_later_than_one_of_the_log_before_it() -> None:
    old, new = grant(ordinal=ordinal(1, 900)), grant(ordinal=ordinal(2, 1))
    assert ask(new, old).ordinal == new.ordinal


def test_a_grant_lifts_what_it_names_and_not_what_has_the_same_index_in_another_log() -> None:
    lifting = grant(lifts=frozenset({ordinal(2, 6)}))
    assert ask(lifting, restriction(ordinal=ordinal(2, 6))).verdict == "allowed"
    answer = ask(lifting, restriction(ordinal=ordinal(1, 6)))
    assert (answer.verdict, answer.log_index, answer.log) == ("denied", 6, None)


def test_inputs_say_of_a_later_log_which_it_is() -> None:
    first, second = ordinal(1, 6), ordinal(2, 6)
    answer = ask(grant(lifts=frozenset({first, second})), restriction(ordinal=first), restriction(ordinal=second))
    later = {"log_index": 6, "log": "consent-2"}
    assert answer.told["restrictions"] == answer.told["lifts"] == [6, later]
    assert (answer.told["grant"], answer.told["purpose"]) == (5, "marketing")
    assert ask().told["grant"] is None
    assert ask(grant(ordinal=ordinal(3, 0))).told["grant"] == {"log_index": 0, "log": "consent-3"}
