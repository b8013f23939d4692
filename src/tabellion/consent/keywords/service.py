"""Hearing keywords: what replies mean by a side's words, and noting those that are to be answered. None commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from tabellion.consent.keywords import store
from tabellion.consent.keywords.rules import recognise
from tabellion.consent.keywords.types import KEYWORDS, RECEIVED, Keyword, LocalWords, Received
from tabellion.consent.types import KINDS, RecipientSignal, Recorded
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Ref, Resolved

_SIGNALS: Final = {Keyword.STOP: Signal.STOP, Keyword.START: Signal.START, Keyword.HELP: Signal.HELP}
WRITTEN: Final = frozenset({Channel.SMS, Channel.MMS, Channel.RCS, Channel.WHATSAPP})
"""Channels on which a number writes back to ours."""


def understood(signal: RecipientSignal, local: LocalWords) -> RecipientSignal:
    """The signal with what the person's words mean where the vendor did not say: only the hub acts on that then."""
    heard = recognise(signal.text, local) if signal.text and signal.channel in WRITTEN else None
    if signal.signal is not None:
        same = heard is not None and not heard.unclear and KEYWORDS.get(signal.signal) is heard.keyword
        return replace(signal, language=heard.language) if same and heard else signal
    if heard is None:
        return signal
    return replace(
        signal,
        signal=_SIGNALS[heard.keyword],
        unclear=heard.unclear,
        language=heard.language,
        blocked_by_vendor=False,
    )


@dataclass(frozen=True, slots=True)
class Hearing:
    """Notes the keywords of a batch of signals, once it is known what became of each."""

    recipients: Recipients
    events: EventLog

    async def askers(self, tx: Tx, workspace_id: WorkspaceId, asked: Sequence[Ref]) -> dict[str, UUID]:
        """Who asks for help, by number: a number that nobody has becomes an address-only recipient."""
        by_phone = {ref.value: ref for ref in asked if ref.kind is Kind.PHONE}
        if not by_phone:
            return {}
        found = await self.recipients.resolve(tx, workspace_id, list(by_phone.values()), create=True, address_only=True)
        pairs = zip(by_phone, found, strict=True)
        return {number: one.recipient_id for number, one in pairs if isinstance(one, Resolved)}

    async def note(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        heard: Sequence[tuple[RecipientSignal, Ref | None, Recorded | HubError | None]],
        askers: Mapping[str, UUID],
    ) -> None:
        """Tell of each keyword, and keep those to be answered: what changed something, and whoever asks for help."""
        said = [(signal, ref, became) for signal, ref, became in heard if ref and _is_keyword(signal, ref, became)]
        people = [one.recipient_id if isinstance(one, Recorded) else askers.get(ref.value) for _, ref, one in said]
        hashes = [await self.recipients.hashed(tx, workspace_id, ref) for _, ref, _ in said]
        wanted: dict[tuple[bytes, str], tuple[int, Received]] = {}
        for place, (signal, _, became) in enumerate(said):
            one = _received(tx, workspace_id, signal, people[place], hashes[place])
            if one and _wants_answer(signal, became):
                wanted[one.identifier_hash, one.keyword] = place, one
        answered = await store.note(tx, workspace_id, [one for _, one in wanted.values()]) if wanted else set()
        ids_ = {place: one.id for place, one in wanted.values() if one.id in answered}
        events = [_event(workspace_id, one, people[place], ids_.get(place)) for place, (one, _, _) in enumerate(said)]
        await self.events.append(tx, events)


def _received(
    tx: Tx, workspace_id: WorkspaceId, signal: RecipientSignal, person: UUID | None, hash_: bytes | None
) -> Received | None:
    """The keyword; None where there is nobody to answer, or no account to answer through."""
    if signal.account_id is None or signal.signal is None or person is None or hash_ is None:
        return None
    return Received(
        workspace_id=workspace_id,
        id=ids.new(),
        keyword=KEYWORDS[signal.signal],
        recipient_id=RecipientId(person),
        identifier_hash=hash_,
        channel=signal.channel,
        account_id=AccountId(signal.account_id),
        sender=signal.sender or None,
        language=signal.language,
        received_at=tx.now,
    )


def _is_keyword(signal: RecipientSignal, ref: Ref, became: Recorded | HubError | None) -> bool:
    on_phone = ref.kind is Kind.PHONE and Kind.PHONE in KINDS.get(signal.channel, ())
    return on_phone and signal.signal in KEYWORDS and not isinstance(became, HubError)


def _wants_answer(signal: RecipientSignal, became: Recorded | HubError | None) -> bool:
    """Whether it is answered: HELP always, STOP and START when they changed something, an unclear one by people."""
    if signal.signal is Signal.HELP:
        return True
    return isinstance(became, Recorded) and became.applied and not became.renews and not signal.unclear


def _event(workspace_id: WorkspaceId, signal: RecipientSignal, person: UUID | None, keyword_id: UUID | None) -> Event:
    """What the log says of a keyword; its id where it is to be answered."""
    keyword = {
        "id": ids.show("kwd", keyword_id) if keyword_id else None,
        "signal": signal.signal,
        "unclear": signal.unclear,
        "heard_by": "vendor" if signal.blocked_by_vendor else "hub",
        "language": signal.language,
        "channel": signal.channel,
        "account_id": signal.actor,
    }
    return Event(
        workspace_id=workspace_id,
        type=RECEIVED,
        data={"recipient": {"id": ids.show("rcp", person)} if person else None, "keyword": keyword},
        recipient_id=person,
        occurred_at=signal.occurred_at,
    )
