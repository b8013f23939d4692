"""Who there is in a gate test, and what can be said: each decision for the hub, and for the observer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from tabellion.consent.types import (
    GRANTS,
    Basis,
    Decision,
    Method,
    NewDecision,
    Notice,
    Rank,
    RecipientSignal,
    Recorded,
)
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.rules import identifier_hash
from tabellion.recipients.types import Kind, Named, NewRecipient, Ref, Upserted

from .gate_judge import ANY, Said, Span
from .gate_world import Process, World

CHANNEL = {Kind.EMAIL: Channel.EMAIL, Kind.PHONE: Channel.SMS}


@dataclass(eq=False)
class Address:
    kind: Kind
    value: str
    hash: bytes
    owner: "Person | None" = None
    """Known for sure, because the answer that said so came."""
    spoken_of: bool = False
    """Somebody decided about it, so that it has a recipient."""
    stood_for: list[Said] = field(default_factory=list)
    """Decisions about a channel it is no address of: they mean the person, whoever that will turn out to be."""

    @property
    def ref(self) -> Ref:
        return Ref(kind=self.kind, value=self.value)

    @property
    def channel(self) -> Channel:
        return CHANNEL[self.kind]

    @property
    def other(self) -> Channel:
        """The channel it is no address of."""
        return Channel.SMS if self.kind is Kind.EMAIL else Channel.EMAIL


@dataclass(eq=False)
class Person:
    id: UUID
    name: str
    addresses: list[Address] = field(default_factory=list)

    @property
    def ref(self) -> Ref:
        return Ref(id=self.id)

    def gets(self, address: Address, when: Span | None = None) -> None:
        """Know from now on whose the address is; `when` it was attached."""
        address.owner = self
        self.addresses.append(address)
        for said in address.stood_for if when else ():
            said.inherited.append((when, self.id))

    def named(self, *addresses: Address) -> NewRecipient:
        """The person, by name and these addresses, as a unit of an upsert."""
        return NewRecipient((Named(Kind.EXTERNAL_ID, self.name), *(Named(one.kind, one.value) for one in addresses)))


async def populate(world: World, size: int) -> tuple[list[Person], list[Address]]:
    """So many persons with a mail address and a number each, and as many addresses that belong to nobody."""
    process = world.processes[0]
    db, vault = process.hub.around.db, process.hub.around.vault
    lookup = await db.run(lambda tx: vault.workspace(tx, world.side, "lookup"))

    def address(kind: Kind, value: str) -> Address:
        return Address(kind, value, identifier_hash(lookup, kind, value))

    people = [Person(UUID(int=0), f"p{number}") for number in range(size)]
    for number, one in enumerate(people):
        one.gets(address(Kind.EMAIL, f"p{number}@example.org"))
        one.gets(address(Kind.PHONE, f"+43660{number:07}"))
    units = [one.named(*one.addresses) for one in people]
    for one, answer in zip(people, await db.run(lambda tx: attach(tx, world, process, units)), strict=True):
        assert isinstance(answer, Upserted)
        one.id = answer.recipient_id
    mail = [address(Kind.EMAIL, f"l{number}@example.org") for number in range(size // 2)]
    return people, mail + [address(Kind.PHONE, f"+43664{number:07}") for number in range(size // 2)]


async def attach(
    tx: Tx, world: World, process: Process, units: Sequence[NewRecipient]
) -> Sequence[Upserted | HubError]:
    hub = process.hub
    return await hub.recipients.upsert(tx, world.side, units, absorbed=hub.consent.absorbed)


@dataclass(frozen=True)
class Asked:
    """One decision, not yet sent."""

    new: NewDecision | RecipientSignal
    said: Said

    def note(self, answer: Recorded | HubError | None) -> None:
        """Keep the answer for the observer."""
        if isinstance(answer, Recorded):
            said = self.said
            said.entry, said.applied, said.in_flight = answer.id, answer.applied, frozenset(answer.in_flight)
            if isinstance(self.new, NewDecision):
                said.people |= {answer.recipient_id}


How = Literal["person", "address", "both"]
"""How a decision names whom it is about."""


def decide(
    span: Span,
    word: Decision,
    how: How,
    person: Person | None,
    address: Address,
    *,
    channel: str,
    purpose: str,
    rank: Rank = Rank.PERSON,
    occurred_at: datetime | None = None,
) -> Asked:
    """A decision of a person, an address, or a person with an address that may be somebody else's."""
    grants = word in GRANTS
    new = NewDecision(
        recipient=address.ref if how == "address" or person is None else person.ref,
        identifier=address.ref if how == "both" else None,
        channel=channel,
        purpose=purpose,
        decision=word,
        basis=Basis.CONSENT if grants else None,
        method=Method.FORM,
        source="test",
        rank=rank,
        actor="key_1",
        notice=Notice("n", "1"),
        evidence={"url": "https://example.org/form"},
        occurred_at=occurred_at,
    )
    people = frozenset({person.id} if person else ())
    known = {one.hash for one in person.addresses} if person and not grants else set()
    meant = known if how == "person" and not grants else known | {address.hash}
    return Asked(new, Said(span, not grants, channel, purpose, people, frozenset(meant)))


def stop(span: Span, number: Address) -> Asked:
    """STOP by text message: the number, and nothing else of its owner."""
    signal = RecipientSignal(Signal.STOP, Channel.SMS, number.value, "twilio", "acc_1", sender="+15005550006")
    return Asked(signal, Said(span, True, "phone_messaging", ANY, frozenset(), frozenset({number.hash})))


async def record(tx: Tx, world: World, process: Process, asked: Sequence[Asked]) -> None:
    """Send decisions in one transaction and note the answers."""
    consent = process.hub.consent
    plain = [(one, one.new) for one in asked if isinstance(one.new, NewDecision)]
    heard = [(one, one.new) for one in asked if isinstance(one.new, RecipientSignal)]
    for (one, _), answer in zip(plain, await consent.record(tx, world.side, [new for _, new in plain]), strict=True):
        one.note(answer)
    if heard:
        answers = await consent.record_signals(tx, world.side, [new for _, new in heard])
        for (one, _), answer in zip(heard, answers, strict=True):
            one.note(answer)
