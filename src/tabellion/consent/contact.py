"""Contact state: what consent to marketing comes to, as traits that customer-data platforms know.

The words of the statuses are Segment's (`subscribed`, `unsubscribed`, `did-not-subscribe`; read 2026-11-27:
https://segment.com/docs/engage/user-subscriptions/). Like there, a person without an address of a channel has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from tabellion.consent import rules, store
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.types import KINDS, Purposes, Standing
from tabellion.core.db import Tx
from tabellion.providers.base import Channel
from tabellion.recipients.types import Identifier, Permission, Recipient

PURPOSE: Final = "marketing"
STATUS: Final[Mapping[str, str]] = {
    "allowed": "subscribed",
    "denied": "unsubscribed",
    "unknown": "did-not-subscribe",
}
CHANNELS: Final = (Channel.EMAIL, Channel.SMS, Channel.PUSH)


class _Said(NamedTuple):
    """What consent says of one identifier on one channel, and since when."""

    identifier: Identifier
    verdict: Verdict
    since: datetime | None


async def states(
    tx: Tx, workspace_id: UUID, people: Sequence[Recipient], purposes: Purposes
) -> dict[UUID, dict[str, Any]]:
    """The contact state of each person, from what stands now: one statement for all."""
    asked = [
        (one, Question(workspace_id, person.id, one.hash, one.kind, channel, PURPOSE))
        for person in people
        for channel in CHANNELS
        for one in person.identifiers
        if one.kind in KINDS[channel]
    ]
    around = await store.around_questions(tx, [question for _, question in asked]) if asked else []
    purpose, reach = purposes[PURPOSE], rules.line(purposes, PURPOSE)
    said: dict[UUID, dict[Channel, list[_Said]]] = {person.id: {} for person in people}
    for (one, question), standing in zip(asked, around, strict=True):
        verdict = rules.verdict(question, standing, purpose, reach, tx.now)
        of = said[question.recipient_id or workspace_id].setdefault(question.channel, [])
        of.append(_Said(one, verdict, _since(verdict, standing)))
    return {person: _traits(channels) for person, channels in said.items()}


def _since(verdict: Verdict, standing: Iterable[Standing]) -> datetime | None:
    return next((one.effective_at for one in standing if one.id == verdict.entry_id), None)


def _traits(said: Mapping[Channel, Sequence[_Said]]) -> dict[str, Any]:
    """Of several addresses of a channel the one that a send would choose speaks."""
    found: dict[str, Any] = {}
    if emails := said.get(Channel.EMAIL):
        found["email_subscribed_status"] = STATUS[_best(emails).verdict.verdict]
    if numbers := said.get(Channel.SMS):
        best = _best(numbers)
        found["sms_subscribed_status"] = STATUS[best.verdict.verdict]
        found["sms_opt_in_date"] = best.since if best.verdict.verdict == "allowed" else None
    if devices := said.get(Channel.PUSH):
        found["push_notification_enabled"] = any(map(_enabled, devices))
    return found


def _best(said: Sequence[_Said]) -> _Said:
    best = rules.best([(one.verdict, one.identifier) for one in said])
    return next(one for one in said if one.verdict is best)


def _enabled(said: _Said) -> bool:
    """Consent allows it, and the device does not say that it shows none."""
    device = said.identifier.device
    return said.verdict.verdict == "allowed" and (device is None or device.permission is not Permission.DENIED)
