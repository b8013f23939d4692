"""What a decision must say, and the canonical record of it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent import record, schemes
from tabellion.consent.types import (
    BUILT_IN,
    OLDEST,
    Basis,
    Decision,
    Method,
    NewDecision,
    Notice,
    Outcome,
    Placed,
    Rank,
    Scheme,
    Scope,
)
from tabellion.core.errors import Invalid
from tabellion.recipients.types import Identifier, Kind, Ref

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
ANN = UUID(int=2)
MAIL = Identifier(Kind.EMAIL, "ann@example.org", b"h", "api", NOW, NOW)
NOTICE = Notice("newsletter", "3")
WRITTEN = {
    "channel": "email", "purpose": "marketing", "decision": Decision.GRANTED, "basis": Basis.CONSENT,
    "method": Method.FORM, "source": "signup", "rank": Rank.SECRET_KEY, "actor": "key_1",
}  # fmt: skip


def new(**changes: Any) -> NewDecision:
    return NewDecision(recipient=Ref(kind=Kind.EMAIL, value="ann@example.org"), **(WRITTEN | changes))


def refused(**changes: Any) -> tuple[str, list[str]]:
    refusal = record.refusal(new(**changes), BUILT_IN, NOW)
    assert isinstance(refusal, Invalid)
    assert refusal.status == 422
    return refusal.code, [one.pointer for one in refusal.errors]


def taken(**changes: Any) -> bool:
    return record.refusal(new(**changes), BUILT_IN, NOW) is None


# what may be said


@pytest.mark.parametrize("decision", [Decision.PENDING, Decision.EXPIRED])
def test_the_hub_alone_states_pending_and_expired(decision: Decision) -> None:
    with pytest.raises(Invalid) as refusal:
        record.refuse_claims(decision, Method.API)
    assert [one.pointer for one in refusal.value.errors] == ["/decision"]


@pytest.mark.parametrize(
    "method", ["merge", "split", "erasure", "identifier_released", "keyword", "one_click", "complaint"]
)
def test_the_hub_alone_states_some_methods(method: str) -> None:
    with pytest.raises(Invalid) as refusal:
        record.refuse_claims(Decision.WITHDRAWN, Method(method))
    assert [one.pointer for one in refusal.value.errors] == ["/method"]


def test_other_methods_are_open() -> None:
    for method in set(Method) - record.REFUSED_METHODS:
        record.refuse_claims(Decision.WITHDRAWN, method)


def test_a_grant_is_for_one_channel_and_one_purpose() -> None:
    assert refused(channel="*") == ("channel_required", ["/channel"])
    assert refused(purpose="*") == ("purpose_required", ["/purpose"])
    assert taken(channel="*", purpose="*", decision=Decision.WITHDRAWN, basis=None)


def test_an_unknown_purpose_is_refused_and_the_known_ones_are_named() -> None:
    refusal = record.refusal(new(purpose="newsletter", decision=Decision.DENIED), BUILT_IN, NOW)
    assert refusal is not None
    assert (refusal.code, refusal.errors[0].pointer) == ("purpose_unknown", "/purpose")
    assert "marketing" in refusal.detail


def test_a_grant_names_its_basis_and_a_restriction_need_not() -> None:
    assert refused(basis=None) == ("basis_required", ["/basis"])
    assert taken(basis=None, decision=Decision.WITHDRAWN)


@pytest.mark.parametrize("basis", [Basis.LEGITIMATE_INTEREST, Basis.SOFT_OPT_IN])
def test_the_senders_own_claims_can_only_be_asserted_and_need_evidence(basis: Basis) -> None:
    evidence = dict.fromkeys(schemes.BASIS_EVIDENCE[basis], "yes")
    assert refused(basis=basis, evidence=evidence) == ("basis_not_grantable", ["/basis"])
    assert taken(basis=basis, decision=Decision.ASSERTED, evidence=evidence)
    assert refused(basis=basis, decision=Decision.ASSERTED) == ("evidence_required", ["/evidence"])
    for key in evidence:
        assert not taken(basis=basis, decision=Decision.ASSERTED, evidence={**evidence, key: False})


def test_a_trait_never_grants() -> None:
    assert refused(method=Method.TRAIT) == ("method_not_accepted", ["/method"])
    assert taken(method=Method.TRAIT, decision=Decision.WITHDRAWN)


def test_a_grant_from_the_future_is_refused_and_a_restriction_is_not() -> None:
    soon = NOW + timedelta(minutes=5)
    assert taken(occurred_at=soon)
    assert refused(occurred_at=soon + timedelta(seconds=1)) == ("occurred_in_future", ["/occurred_at"])
    assert taken(occurred_at=soon + timedelta(days=1), decision=Decision.WITHDRAWN)


def test_only_a_grant_expires_and_not_in_the_past() -> None:
    assert taken(expires_at=NOW + timedelta(seconds=1))
    assert refused(expires_at=NOW) == ("expired_already", ["/expires_at"])
    assert refused(expires_at=NOW + timedelta(days=1), decision=Decision.WITHDRAWN)[1] == ["/expires_at"]


def test_every_wrong_place_is_named() -> None:
    assert refused(channel="*", basis=None, expires_at=NOW)[1] == ["/channel", "/expires_at", "/basis"]


# complete


@pytest.mark.parametrize(
    ("method", "key"), [(Method.FORM, "url"), (Method.VERBAL, "recording_ref"), (Method.PAPER, "document_ref")]
)
def test_complete_needs_the_notice_and_what_the_method_leaves_behind(method: Method, key: str) -> None:
    assert schemes.complete(new(method=method, notice=NOTICE, evidence={key: "x"}))
    assert not schemes.complete(new(method=method, notice=NOTICE, evidence={key: ""}))
    assert not schemes.complete(new(method=method, notice=NOTICE, evidence={"other": "x"}))
    assert not schemes.complete(new(method=method, notice=NOTICE, evidence=None))


@pytest.mark.parametrize("method", sorted(set(Method) - set(schemes.METHOD_EVIDENCE)))
def test_other_methods_are_never_complete(method: Method) -> None:
    evidence = {"url": "x", "recording_ref": "x", "document_ref": "x"}
    assert not schemes.complete(new(method=method, notice=NOTICE, evidence=evidence))


@pytest.mark.parametrize("scheme", Scheme)
def test_a_scheme_asks_for_its_keys(scheme: Scheme) -> None:
    keys = schemes.SCHEMES[scheme].evidence
    whole = {"url": "x"} | dict.fromkeys(keys, "x")
    assert schemes.complete(new(notice=NOTICE, evidence=whole, scheme=scheme))
    for key in keys:
        lacking = {name: value for name, value in whole.items() if name != key}
        assert not schemes.complete(new(notice=NOTICE, evidence=lacking, scheme=scheme))


# canonical


@pytest.mark.parametrize(
    ("evidence", "pointer"),
    [
        ({"a": 1.5}, "/evidence/a"),
        ({"a": None}, "/evidence/a"),
        ({"a": 2**53}, "/evidence/a"),
        ({"a": [1, -(2**53)]}, "/evidence/a/1"),
        ({"ä": 1}, "/evidence"),
        ({"k" * 65: 1}, "/evidence"),
        ({"a": {"b": {"c": {"d": {}}}}}, "/evidence/a/b/c/d"),
        ({"a": [[[[]]]]}, "/evidence/a/0/0/0"),
        ({"a/b~c": 0.5}, "/evidence/a~1b~0c"),
        ({"a": "\ud800"}, "/evidence/a"),
    ],
)
def test_what_is_not_canonical_is_refused_with_its_place(evidence: dict[str, Any], pointer: str) -> None:
    assert refused(evidence=evidence) == ("not_canonical", [pointer])


def test_the_bounds_themselves_are_canonical() -> None:
    assert taken(evidence={"k" * 64: 2**53 - 1, "b": [True, False, -(2**53) + 1], "c": {"d": {"e": {"f": "ü 🙂"}}}})
    assert refused(source="\ud800") == ("not_canonical", ["/source"])
    assert refused(notice=Notice("\ud800", "1")) == ("not_canonical", ["/notice/id"])


def committed(**changes: Any) -> bytes:
    outcome = changes.pop("outcome", Outcome(Decision.GRANTED, Rank.SECRET_KEY, applied=True))
    identifier = changes.pop("identifier", MAIL)
    effective_at = changes.pop("effective_at", NOW)
    scope = Scope(ANN, identifier.hash if identifier else None, False, "email", "marketing")
    placed = Placed(scope, identifier, address_only=False)
    told = changes.pop("notice", None)
    return record.committed(
        UUID(int=7), "tabellion.log/x/y/1", placed, new(**changes), outcome, effective_at, NOW, told
    )


def test_the_record_says_everything_and_nothing_else() -> None:
    written = committed(
        notice={"id": "newsletter", "version": "3"},
        evidence={"url": "https://example.org"},
        scheme=Scheme.GDPR,
        jurisdiction="AT",
        expires_at=NOW + timedelta(days=1),
        occurred_at=NOW.astimezone(),
        outcome=Outcome(Decision.PENDING, Rank.SECRET_KEY, applied=False, reason="objection_stands"),
    )
    assert msgspec.json.decode(written) == {
        "v": 1,
        "id": "cns_00000000000000000000000007",
        "log": "tabellion.log/x/y/1",
        "recipient": "rcp_00000000000000000000000002",
        "identifier": {"kind": "email", "value": "ann@example.org"},
        "channel": "email",
        "purpose": "marketing",
        "decision": "pending",
        "basis": "consent",
        "method": "form",
        "source": "signup",
        "rank": "P2",
        "actor": "key_1",
        "notice": {"id": "newsletter", "version": "3"},
        "evidence": {"url": "https://example.org"},
        "scheme": "gdpr",
        "jurisdiction": "AT",
        "expires_at": "2026-11-22T09:00:00.000Z",
        "occurred_at": "2026-11-21T09:00:00.000Z",
        "recorded_at": "2026-11-21T09:00:00.000Z",
        "effective_at": "2026-11-21T09:00:00.000Z",
        "applied": False,
        "reason": "objection_stands",
    }


def test_what_is_unknown_is_absent_rather_than_null() -> None:
    written = msgspec.json.decode(committed(identifier=None, basis=None, effective_at=OLDEST))
    assert not {"identifier", "basis", "notice", "evidence", "effective_at", "reason"} & written.keys()
    assert None not in written.values()


def test_a_record_has_at_most_8_kb() -> None:
    with pytest.raises(Invalid) as refusal:
        committed(evidence={"a": "x" * 8192})
    assert refusal.value.code == "not_canonical"
    room = 8192 - len(committed(evidence={"a": ""}))
    assert len(committed(evidence={"a": "x" * room})) == 8192


plain = st.recursive(
    st.text(max_size=20) | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=126), max_size=10), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(st.characters(max_codepoint=126), max_size=10), plain, max_size=3))
def test_what_is_taken_is_written_as_rfc_8785_says(evidence: dict[str, Any]) -> None:
    if taken(evidence=evidence):
        written = committed(evidence=evidence)
        assert written == rfc8785.dumps(msgspec.json.decode(written))
        assert msgspec.json.decode(written)["evidence"] == evidence
