"""Consent over a real database, and short ways to say and ask things."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from tabellion.access.rules import SCOPES
from tabellion.access.types import Caller, Role
from tabellion.app.wiring import Surroundings
from tabellion.consent.notices import store as notices
from tabellion.consent.notices.types import Notice as KeptNotice
from tabellion.consent.notices.types import Version
from tabellion.consent.questions import Ask, Question, Verdict
from tabellion.consent.service import Consent
from tabellion.consent.types import (
    Basis,
    Covered,
    Decision,
    Method,
    NewDecision,
    Notice,
    Rank,
    RecipientSignal,
    Recorded,
)
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import open_log
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Kind, Named, NewRecipient, Ref

from .serving import Served, serve

INSTALL = UUID("0192f1c0-0000-7000-8000-00000000abcd")
PROOF = {"notice": Notice("newsletter", "3"), "evidence": {"url": "https://example.org/signup"}}
"""What makes a grant by form complete, once `publish` made its notice known."""


async def publish(db: Database, side: WorkspaceId, key: str = "newsletter", version: str = "3", *purposes: str) -> None:
    """Publish a version of a notice, about marketing where nothing else is said; in no log and no audit."""
    about = list(purposes) or ["marketing"]

    async def work(tx: Tx) -> None:
        await notices.insert(tx, side, KeptNotice(ids.new(), key, "Newsletter", about, tx.now, tx.now))
        draft = Version(ids.new(), key, version, "en", {"en": "Yes", "de": "Ja"}, tx.now, tx.now)
        await notices.put_version(tx, side, draft)
        fixed = replace(draft, title="Newsletter", purposes=about, published_at=tx.now, published_by="key_1", hash=b"h")
        await notices.publish(tx, side, fixed)

    await db.run(work)


@dataclass
class Started:
    """The port to messages: gives the attempts it was told of, and notes what it was asked."""

    attempts: list[UUID] = field(default_factory=list)
    asked: list[Covered] = field(default_factory=list)

    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, scopes: Sequence[Covered]) -> list[list[UUID]]:
        self.asked += scopes
        return [list(self.attempts) for _ in scopes]


@dataclass
class Hub:
    """One side of a workspace, with everything consent stands on."""

    db: Database
    clock: FakeClock
    vault: Vault
    recipients: Recipients
    ledger: Ledger
    consent: Consent
    started: Started
    side: WorkspaceId

    def beside(self, side: WorkspaceId) -> "Hub":
        """The same hub, for another side."""
        return Hub(self.db, self.clock, self.vault, self.recipients, self.ledger, self.consent, self.started, side)

    async def record(self, *decisions: NewDecision) -> list[Recorded | HubError]:
        return await self.db.run(lambda tx: self.consent.record(tx, self.side, decisions))

    async def recorded(self, new: NewDecision) -> Recorded:
        [one] = await self.record(new)
        assert isinstance(one, Recorded), one
        return one

    async def refused(self, new: NewDecision) -> HubError:
        [one] = await self.record(new)
        assert isinstance(one, HubError), one
        return one

    async def stop(self, phone: str, **changes: Any) -> Recorded:
        signal = RecipientSignal(
            **{
                "signal": Signal.STOP,
                "channel": Channel.SMS,
                "address": phone,
                "source": "twilio",
                "actor": "acc_1",
                "sender": "+15005550006",
            }
            | changes
        )
        [one] = await self.db.run(lambda tx: self.consent.record_signals(tx, self.side, [signal]))
        assert isinstance(one, Recorded), one
        return one

    async def person(self, *identifiers: tuple[Kind, str]) -> UUID:
        """A recipient with these identifiers; what was recorded about their addresses comes with them."""
        unit = NewRecipient(tuple(Named(kind, value) for kind, value in identifiers))
        [one] = await self.db.run(
            lambda tx: self.recipients.upsert(tx, self.side, [unit], absorbed=self.consent.absorbed)
        )
        assert not isinstance(one, HubError), one
        return one.recipient_id

    async def identifiers(self, person: UUID) -> dict[str, Identifier]:
        found = await self.db.run(lambda tx: self.recipients.identifiers(tx, [(self.side, person)]))
        return {one.value: one for one in found[self.side, person]}

    async def check(self, recipient: Ref, channel: str, purpose: str, identifier: Ref | None = None) -> Verdict:
        ask = Ask(recipient, Channel(channel), purpose, identifier)
        [one] = await self.db.run(lambda tx: self.consent.check(tx, self.side, [ask]))
        assert isinstance(one, Verdict), one
        return one

    async def verdict(self, person: UUID, address: str, channel: str, purpose: str, **more: Any) -> Verdict:
        """As a gate asks it."""
        known = (await self.identifiers(person))[address]
        question = Question(self.side, person, known.hash, known.kind, Channel(channel), purpose, **more)
        [one] = await self.db.run(lambda tx: self.consent.verdicts(tx, [question]))
        return one

    async def rows(self, sql: str, *args: object) -> list[Any]:
        return await self.db.run(lambda tx: tx.rows(sql, *args))

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.rows("select type, data from events where workspace_id = $1 order by position", self.side)
        return [(row["type"], row["data"]) for row in rows]


@pytest.fixture
async def hub(db: Database, clock: FakeClock, vault: Vault, workspace_id: WorkspaceId, checkpoints: Checkpoints) -> Hub:
    events = await open_log(db)
    recipients = Recipients(vault, events)
    ledger = Ledger(vault, checkpoints, INSTALL)
    started = Started()
    consent = Consent(vault, recipients, ledger, events, started)
    await publish(db, workspace_id)
    return Hub(db, clock, vault, recipients, ledger, consent, started, workspace_id)


@pytest.fixture
async def other(hub: Hub) -> Hub:
    """The same hub, another side."""
    made = hub.beside(WorkspaceId(ids.new()))
    await publish(hub.db, made.side)
    return made


def email(value: str) -> Ref:
    return Ref(kind=Kind.EMAIL, value=value, pointer="/recipient")


def phone(value: str) -> Ref:
    return Ref(kind=Kind.PHONE, value=value, pointer="/recipient")


def person(recipient_id: UUID) -> Ref:
    return Ref(id=recipient_id, pointer="/recipient")


def decision(
    recipient: Ref, word: str, channel: str = "email", purpose: str = "marketing", **changes: Any
) -> NewDecision:
    """A decision as a secret key states it, by form."""
    usual = {
        "decision": Decision(word),
        "basis": Basis.CONSENT if word == "granted" else None,
        "method": Method.FORM,
        "source": "signup",
        "rank": Rank.SECRET_KEY,
        "actor": "key_1",
    }
    return NewDecision(recipient=recipient, channel=channel, purpose=purpose, **(usual | changes))


@pytest.fixture
async def served(surroundings: Surroundings) -> AsyncIterator[Served]:
    """A workspace over HTTP, with every domain."""
    async for one in serve(surroundings):
        yield one


@pytest.fixture
def caller() -> Callable[[WorkspaceId], Caller]:
    """Gives who asks a service about a side: an owner's key."""
    return lambda side: Caller(side, ids.new(), ids.new(), Role.OWNER, "live", SCOPES[Role.OWNER])
