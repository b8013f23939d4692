"""What ending a restriction ends with it: pure."""

from datetime import UTC, datetime
from uuid import UUID

from tabellion.consent.lifting import silent
from tabellion.consent.types import BUILT_IN, Basis, Decision, Method, Rank, Standing, Strength

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
ME, OTHER = UUID(int=1), UUID(int=2)


def entry(index: int, word: str, channel: str = "email", purpose: str = "marketing", **changes: object) -> Standing:
    strength = Strength.NONE if word == "granted" else Strength.PLAIN
    usual: dict[str, object] = {
        "id": UUID(int=100 + index), "ordinal": index, "recipient_id": ME, "identifier_hash": b"h",
        "person_scope": word != "granted", "channel": channel, "purpose": purpose, "decision": Decision(word),
        "basis": Basis.CONSENT, "method": Method.API, "rank": Rank.SECRET_KEY, "strength": strength,
        "effective_at": AT,
    }  # fmt: skip
    return Standing(**(usual | changes))  # type: ignore[arg-type]


def test_grants_that_only_the_restriction_held_back_end_with_it() -> None:
    """After a merge somebody's grant stands beside the other's refusal: it must not come into force by a mistake."""
    refusal = entry(1, "withdrawn", "*", identifier_hash=None)
    held_back = entry(2, "granted")
    lifting = entry(3, "granted", lifts=frozenset({1}))
    elsewhere = [entry(4, "granted", purpose="transactional"), entry(5, "granted", recipient_id=OTHER)]
    assert list(silent(refusal, [refusal, held_back, lifting, *elsewhere], BUILT_IN)) == [held_back]


def test_a_restriction_of_an_address_ends_nothing_of_others() -> None:
    refusal = entry(1, "withdrawn", person_scope=False)
    assert list(silent(refusal, [refusal, entry(2, "granted", identifier_hash=b"i")], BUILT_IN)) == []
