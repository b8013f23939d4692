"""What a vendor's answer says of its attempt, fit to be stored: bounded, and without the address it went to."""

import re
from typing import Final, assert_never
from uuid import UUID

from tabellion.messages.types import Attempt, Evidence
from tabellion.providers.base import Aborted, Accepted, Deferred, Reason, Rejected, Result, State, Uncertain

LONGEST_ID: Final = 255
LONGEST_CODE: Final = 64
LONGEST_DETAIL: Final = 500
_UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def evidence_of(attempt_id: UUID, result: Result, *, address: str, normaliser: str, given_up: bool = False) -> Evidence:
    """The result as evidence. What is deferred or aborted for the last time has failed."""
    put_off = State.FAILED if given_up else None
    match result:
        case Accepted(provider_id=named, provider_code=code):
            return Evidence(
                attempt_id, State.SUBMITTED, provider_message_id=vendor_id(named), provider_code=vendor_code(code),
                normaliser=normaliser,
            )  # fmt: skip
        case Rejected(reason=reason, detail=detail, provider_code=code, permanent=permanent):
            state = State.REJECTED
        case Deferred(reason=reason, detail=detail, provider_code=code):
            state, permanent = put_off or State.DEFERRED, False
        case Uncertain(reason=reason, detail=detail):
            state, code, permanent = State.UNCERTAIN, None, False
        case Aborted(detail=detail):
            state, reason, code, permanent = put_off or State.ABORTED, Reason.OTHER, None, False
        case _:
            assert_never(result)
    return Evidence(
        attempt_id, state, reason, permanent, provider_code=vendor_code(code), detail=without(detail, address),
        normaliser=normaliser,
    )  # fmt: skip


def unheard(attempt: Attempt) -> Evidence:
    """What is known of a hand-off whose worker ended."""
    detail = "the worker ended before it could record the answer"
    return Evidence(attempt.id, State.UNCERTAIN, Reason.NO_ANSWER, detail=detail)


def vendor_id(text: str) -> str | None:
    """A vendor's message id; None for one that no column or index could hold: nothing can be found by it."""
    return text if 0 < len(text) <= LONGEST_ID and not _UNSTORABLE.search(text) else None


def vendor_code(text: str | None) -> str | None:
    return storable(text, LONGEST_CODE) if text else None


def storable(text: str, longest: int) -> str:
    """The text in one line, cut, without what a text column refuses."""
    return _UNSTORABLE.sub(" ", text[:longest])


def without(text: str, address: str) -> str:
    """A vendor's words without the address they quote: these columns are not sealed."""
    local, at, _ = address.partition("@")
    quoted = rf"{re.escape(local)}@[^\s<>\"']+" if at else rf"\+?{re.escape(address.removeprefix('+'))}"
    return re.sub(quoted, "…", storable(text, 4 * LONGEST_DETAIL), flags=re.IGNORECASE)[:LONGEST_DETAIL]
