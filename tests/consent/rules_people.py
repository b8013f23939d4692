"""The people, addresses and purposes of the reference model's histories."""

from datetime import UTC, datetime
from uuid import UUID

from tabellion.consent.types import Basis, Purpose, PurposeClass

START = datetime(2026, 1, 1, tzinfo=UTC)
ANN, BOB = UUID(int=1), UUID(int=2)
OWNER = {b"a": ANN, b"b": ANN, b"c": ANN, b"d": BOB}
CHANNELS = {b"a": ["email"], b"b": ["email"], b"c": ["sms", "voice"], b"d": ["sms", "voice"]}
PURPOSES = {
    one.key: one
    for one in (
        Purpose("security", "", PurposeClass.SECURITY, Basis.CONTRACT, True, True),
        Purpose("transactional", "", PurposeClass.SERVICE, Basis.CONTRACT, True, True),
        Purpose("marketing", "", PurposeClass.MARKETING, Basis.CONSENT, False, False),
        Purpose("marketing.news", "", PurposeClass.MARKETING, Basis.CONSENT, False, True, parent="marketing"),
    )
}
