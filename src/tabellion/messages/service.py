"""Use cases of messages. Every function takes the open transaction first and works on a batch."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.service import Consent
from tabellion.consent.types import Covered, Purpose
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, HubError, Invalid, NotFound
from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.events.service import EventLog, of_message
from tabellion.events.types import Recorded
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.ledger import ordinals
from tabellion.messages import rules, store
from tabellion.messages.happened import event
from tabellion.messages.progress import Progress, open_progress
from tabellion.messages.types import (
    Attempt,
    Content,
    Evidence,
    Guarantee,
    Happening,
    Message,
    Place,
    Plan,
    Status,
    Step,
)
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Health, Identifier, Ref, Resolved

DELIVER = "message.deliver"
STEP_TIMEOUT = "message.step_timeout"


class Send(msgspec.Struct, frozen=True, gc=False):
    """One message wanted. Fields left out take the defaults of their purpose."""

    to: Ref
    purpose: str
    content: Content
    steps: tuple[Step, ...] = ()
    """The stated route; empty: `auto`."""
    create: bool = True
    lane: Lane = Lane.NORMAL
    send_at: datetime | None = None
    expires_at: datetime | None = None
    guarantee: Guarantee | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A message as it would be stored, and the verdicts behind its plan."""

    message: Message
    content: Content
    job: NewJob | None


class Messages:
    def __init__(
        self,
        vault: Vault,
        recipients: Recipients,
        consent: Consent,
        accounts: Accounts,
        events: EventLog,
        bell: Bell | None = None,
    ) -> None:
        self._vault = vault
        self._recipients = recipients
        self._consent = consent
        self._accounts = accounts
        self._events = events
        self._bell = bell

    # Accepting

    async def accept(self, tx: Tx, workspace_id: WorkspaceId, sends: Sequence[Send]) -> list[Message | HubError]:
        """Each send as a stored message with its plan, job and event, or why it was refused. Order kept."""
        purposes = await self._consent.purposes(tx, workspace_id)
        accounts = await self._accounts.usable(tx, workspace_id)
        # What is refused for what it says must leave nothing behind, so nobody is looked up, or made, for it.
        refused = [unknown_purpose(send.purpose, purposes) or unknown_account(send, accounts) for send in sends]
        meant = [send for send, wrong in zip(sends, refused, strict=True) if wrong is None]
        planned = await self._plan(tx, workspace_id, meant, purposes, accounts) if meant else []
        if accepted := [one for one in planned if isinstance(one, Planned)]:
            await self._store(tx, workspace_id, accepted)
        said = iter(one.message if isinstance(one, Planned) else one for one in planned)
        return [next(said) if wrong is None else wrong for wrong in refused]

    async def _plan(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        sends: Sequence[Send],
        purposes: Mapping[str, Purpose],
        accounts: Sequence[Account],
    ) -> list[Planned | HubError]:
        people = await self._resolve(tx, workspace_id, sends)
        with_account = frozenset(channel for account in accounts for channel in account.channels)
        options = await self._options(tx, workspace_id, sends, people, purposes, accounts)
        return [
            person
            if isinstance(person, HubError)
            else _planned(tx, workspace_id, send, person, purposes[send.purpose], options[place], with_account)
            for place, (send, person) in enumerate(zip(sends, people, strict=True))
        ]

    async def _resolve(self, tx: Tx, workspace_id: WorkspaceId, sends: Sequence[Send]) -> list[Resolved | HubError]:
        """The person behind each `to`; those that may be created and those that may not in one go each."""
        people: dict[int, Resolved | HubError] = {}
        for create in (True, False):
            places = [i for i, send in enumerate(sends) if send.create is create]
            if places:
                found = await self._recipients.resolve(tx, workspace_id, [sends[i].to for i in places], create=create)
                people.update(zip(places, found, strict=True))
        return [people[i] for i in range(len(sends))]

    async def _options(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        sends: Sequence[Send],
        people: Sequence[Resolved | HubError],
        purposes: Mapping[str, Purpose],
        accounts: Sequence[Account],
    ) -> list[dict[Channel, rules.Option]]:
        """For each send, the address to use on each channel that its plan may take, with the verdict on it.

        Where what refuses may be about one of our senders, it is the verdict on the sender that may write.
        """
        known = await self._addresses(tx, workspace_id, sends, people)
        senders = {channel: self._accounts.senders(accounts, channel) for channel in Channel}
        asked: list[tuple[int, Channel, Identifier, str | None]] = []
        for place, (send, person) in enumerate(zip(sends, people, strict=True)):
            if isinstance(person, HubError):
                continue
            for identifier in known[place]:
                for channel in _channels(send, identifier, person):
                    asked += [(place, channel, identifier, sender) for sender in senders[channel]]
        verdicts = await self._consent.verdicts(
            tx,
            [
                _question(workspace_id, people[p], identifier, channel, sends[p].purpose, sender)
                for p, channel, identifier, sender in asked
            ],
            {workspace_id: purposes},
        )
        options: list[list[rules.Option]] = [[] for _ in sends]
        for (place, channel, identifier, _), verdict in zip(asked, verdicts, strict=True):
            options[place].append(_option(channel, identifier, verdict))
        return [rules.by_channel(group) for group in options]

    async def _addresses(
        self, tx: Tx, workspace_id: WorkspaceId, sends: Sequence[Send], people: Sequence[Resolved | HubError]
    ) -> list[list[Identifier]]:
        """The addresses each send may use: the one named, or, for a route or a person, all of the person's."""
        named: list[list[Identifier]] = []
        open_places: dict[int, UUID] = {}
        for place, (send, person) in enumerate(zip(sends, people, strict=True)):
            address = person.identifier if isinstance(person, Resolved) else None
            named.append([address] if address and _deliverable(address) else [])
            if isinstance(person, Resolved) and (send.steps or not named[place]):
                open_places[place] = person.recipient_id
        if not open_places:
            return named
        pairs = [(workspace_id, RecipientId(person)) for person in set(open_places.values())]
        found = await self._recipients.identifiers(tx, pairs)
        for place, person_id in open_places.items():
            taken = {address.kind for address in named[place]}
            all_of_them = found.get((workspace_id, RecipientId(person_id)), [])
            named[place] += [one for one in all_of_them if _deliverable(one) and one.kind not in taken]
        return named

    async def answer(self, tx: Tx, workspace_id: WorkspaceId, answers: Sequence[tuple[Message, Content]]) -> None:
        """Store what answers people who wrote to us, with its jobs; nothing to those who were erased meanwhile."""
        keys = await self._vault.subjects(tx, workspace_id, {message.recipient_id for message, _ in answers})
        there = [(message, content) for message, content in answers if message.recipient_id in keys]
        planned = [Planned(message, content, deliver_job(message)) for message, content in there]
        if planned:
            await self._store(tx, workspace_id, planned)

    async def _store(self, tx: Tx, workspace_id: WorkspaceId, planned: Sequence[Planned]) -> None:
        keys = await self._vault.subjects(tx, workspace_id, {one.message.recipient_id for one in planned})
        messages = [one.message for one in planned]
        sealed = [
            keys[one.message.recipient_id].seal(msgspec.json.encode(one.content), _context(one.message.id))
            for one in planned
        ]
        await store.insert_messages(tx, workspace_id, messages, sealed)
        await self._events.append(tx, [event(m, Happening(f"message.{m.status}")) for m in messages])
        if jobs := [one.job for one in planned if one.job]:
            await enqueue(tx, jobs, self._bell)

    # Evidence: answers, callbacks, lost leases

    async def progress(
        self, tx: Tx, pairs: Sequence[store.Pair], *, content: bool = False
    ) -> dict[store.Pair, Progress]:
        """The messages under lock with their attempts, ready to change. Store them with `save`.

        What they say comes along only with `content`: it is large, and only a hand-off needs it.
        """
        messages = await store.lock_messages(tx, pairs, content=content)
        attempts = await store.attempts_of(tx, list(messages)) if messages else {}
        return {pair: open_progress(message, attempts[pair]) for pair, message in messages.items()}

    async def save(self, tx: Tx, changed: Sequence[Progress]) -> None:
        """Store what changed, append what happened, enqueue the next steps."""
        for one in changed:
            one.settle()
        if messages := [one.message for one in changed if one.dirty]:
            await store.update_messages(tx, messages)
        if attempts := [attempt for one in changed for attempt in one.changed.values()]:
            await store.update_attempts(tx, attempts)
        if happened := [event(one.message, what) for one in changed for what in one.happened]:
            await self._events.append(tx, happened)
        if jobs := [deliver_job(one.message) for one in changed if one.moved]:
            await enqueue(tx, jobs, self._bell)

    async def unregister(self, tx: Tx, tokens: Collection[tuple[UUID, bytes]]) -> None:
        """Note of push tokens (workspace, hash) that the vendor says no app has them any more: they are invalid."""
        for workspace_id in sorted({side for side, _ in tokens}):
            gone = [(hash_, Health.INVALID, "unregistered") for side, hash_ in sorted(tokens) if side == workspace_id]
            await self._recipients.set_health(tx, WorkspaceId(workspace_id), gone)

    async def record(self, tx: Tx, evidence: Sequence[tuple[store.Pair, Evidence]]) -> None:
        """Apply evidence to attempts of the messages named, in the order given."""
        found = await self.progress(tx, [pair for pair, _ in evidence])
        for pair, fact in evidence:
            found[pair].record(fact, tx.now)
        await self.save(tx, list(found.values()))

    async def find(self, tx: Tx, pairs: Sequence[store.Pair]) -> dict[store.Pair, Attempt]:
        """The attempts that exist of the (workspace_id, attempt_id) wanted."""
        return await store.attempts_by_id(tx, pairs)

    async def find_by_vendor_id(
        self, tx: Tx, wanted: Sequence[tuple[UUID, UUID, str]]
    ) -> dict[tuple[UUID, str], Place]:
        """Attempts by (account_id, provider_message_id), for the (workspace_id, account_id, vendor id) wanted."""
        return await store.attempts_by_vendor_id(tx, wanted)

    # Reading

    async def page(
        self, tx: Tx, workspace_id: WorkspaceId, wanted: store.Filter, *, before: UUID | None, limit: int
    ) -> list[tuple[Message, list[Attempt]]]:
        """Up to `limit` messages older than `before`, newest first, each with its attempts."""
        messages = await store.list_messages(tx, workspace_id, wanted, before=before, limit=limit)
        attempts = await store.attempts_of(tx, [(workspace_id, one.id) for one in messages]) if messages else {}
        return [(one, attempts[workspace_id, one.id]) for one in messages]

    async def read(self, tx: Tx, workspace_id: WorkspaceId, message_id: UUID) -> tuple[Message, list[Attempt]]:
        """The message and its attempts, oldest first. NotFound when this side has no such message."""
        message = await store.read_message(tx, workspace_id, message_id)
        if message is None:
            raise NotFound("not_found", "there is no message with this id here; check the id and the key's mode")
        attempts = await store.attempts_of(tx, [(workspace_id, message_id)])
        return message, attempts[workspace_id, message_id]

    async def of_people(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], after: UUID | None, limit: int
    ) -> list[tuple[Message, list[Attempt], Content | None]]:
        """Messages to people, oldest first, made after one, with their attempts and what they said.

        None for one that says nothing any more: its retention ended, or the person was erased.
        """
        found = await store.of_people(tx, workspace_id, recipient_ids, after, limit)
        attempts = await store.attempts_of(tx, [(workspace_id, one.id) for one in found]) if found else {}
        keys = await self._vault.subjects(tx, workspace_id, {one.recipient_id for one in found}) if found else {}
        contents = [
            open_content(keys[one.recipient_id], one) if one.content and one.recipient_id in keys else None
            for one in found
        ]
        told = zip(found, contents, strict=True)
        return [(one, attempts[workspace_id, one.id], content) for one, content in told]

    async def named(self, tx: Tx, workspace_id: WorkspaceId, vendor_id: str, most: int) -> list[UUID]:
        """The messages, newest first, of which a vendor calls an attempt so."""
        wanted = store.Filter(provider_message_id=vendor_id)
        return [one.id for one in await store.list_messages(tx, workspace_id, wanted, before=None, limit=most)]

    async def exists(self, tx: Tx, workspace_id: WorkspaceId, message_id: UUID) -> bool:
        return await store.read_message(tx, workspace_id, message_id) is not None

    async def empty(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        after: UUID | None,
        before: UUID,
        most: int,
        spared: Sequence[UUID] = (),
    ) -> tuple[list[tuple[UUID, bool]], int]:
        """Forget what messages said whose ids lie between, but for those not final, and those to people `spared`.

        Up to `most` are looked at, in order: returns their ids, each with whether it was final (and to nobody spared),
        and how many held any.
        """
        page = await store.finals(tx, workspace_id, after, before, spared, most)
        return page, await store.empty(tx, workspace_id, [one for one, final in page if final])

    async def finals(
        self, tx: Tx, workspace_id: WorkspaceId, after: UUID | None, before: UUID, most: int
    ) -> list[tuple[UUID, bool]]:
        """Up to `most` ids of messages between two, in order, each with whether it is final."""
        return await store.finals(tx, workspace_id, after, before, [], most)

    async def unfinished(self, tx: Tx, workspace_id: WorkspaceId, message_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the messages that are not final."""
        return await store.unfinished(tx, workspace_id, message_ids)

    async def written_to(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], since: datetime
    ) -> set[UUID]:
        """Those people to whom a message is not final, or changed since a time."""
        return await store.written_to(tx, workspace_id, recipient_ids, since)

    async def timeline(self, tx: Tx, workspace_id: WorkspaceId, message_id: UUID) -> list[Recorded]:
        """What happened to the message, in order. NotFound when this side has no such message."""
        await self.read(tx, workspace_id, message_id)
        return await of_message(tx, workspace_id, message_id)


async def in_flight(tx: Tx, workspace_id: WorkspaceId, scopes: Sequence[Covered]) -> list[list[UUID]]:
    """For each scope of a restriction, the attempts in it that have started and not ended. The port of consent."""
    people = sorted({person for scope in scopes for person in scope.recipient_ids})
    addresses = sorted({scope.identifier_hash for scope in scopes if scope.identifier_hash})
    started = await store.in_flight(tx, workspace_id, people, addresses)
    return [[attempt.id for attempt in started if _covers(scope, attempt)] for scope in scopes]


def _covers(scope: Covered, attempt: Attempt) -> bool:
    meant = attempt.recipient_id in scope.recipient_ids or attempt.identifier == scope.identifier_hash
    on_channel = not scope.channels or attempt.channel in scope.channels
    return meant and on_channel and attempt.purpose in scope.purposes


def unknown_purpose(given: str, purposes: Mapping[str, Purpose]) -> Invalid | None:
    """The refusal of a purpose that is none, or that nothing is sent for any more."""
    if given in purposes and purposes[given].archived:
        archived = FieldError("/purpose", "archived; choose another one")
        return Invalid("purpose_archived", f"nothing is sent for '{given}' any more: it is archived", archived)
    if given in purposes and not purposes[given].answers:
        return None
    purposes = {key: one for key, one in purposes.items() if not one.answers}
    known = ", ".join(sorted(key for key, one in purposes.items() if not one.archived))
    wrong = FieldError("/purpose", f"use one of: {known}")
    return Invalid("purpose_unknown", f"there is no purpose '{given[:64]}'; use one of: {known}", wrong)


def unknown_account(send: Send, accounts: Sequence[Account]) -> Invalid | None:
    """The refusal of a step that names an account this side does not have, or one that does not serve its channel."""
    channels = {account.id: account.channels for account in accounts}
    for number, step in enumerate(send.steps):
        for place, account_id in enumerate(step.accounts):
            if step.channel not in channels.get(AccountId(account_id), ()):
                wrong = FieldError(f"/route/steps/{number}/accounts/{place}", f"no account of channel {step.channel}")
                return Invalid("account_unknown", "a step names an account that cannot send it", wrong)
    return None


def deliver_job(message: Message, run_at: datetime | None = None) -> NewJob:
    """The job that takes the message's current step through the gate, at once or at `run_at`."""
    return NewJob(
        workspace_id=WorkspaceId(message.workspace_id),
        kind=DELIVER,
        payload={"message": message.id.hex, "recipient": message.recipient_id.hex, "step": message.step},
        lane=message.lane,
        run_at=run_at,
    )


def _planned(
    tx: Tx,
    workspace_id: WorkspaceId,
    send: Send,
    person: Resolved,
    purpose: Purpose,
    options: Mapping[Channel, rules.Option],
    with_account: frozenset[Channel],
) -> Planned:
    send_at = send.send_at or tx.now
    due = send_at <= tx.now
    plan = _choose(send, person, options, with_account, due)
    start = rules.opening(plan, options, due=due)
    message = Message(
        workspace_id=workspace_id,
        id=ids.new(),
        recipient_id=person.recipient_id,
        purpose=purpose.key,
        status=start.ended or Status.QUEUED,
        final=start.ended is not None,
        reason=start.reason,
        step=start.step,
        lane=send.lane,
        guarantee=send.guarantee or rules.guarantee(purpose.purpose_class),
        send_at=send_at,
        expires_at=send.expires_at or rules.expiry(purpose.purpose_class, send_at),
        created_at=tx.now,
        updated_at=tx.now,
        plan=plan,
        decisions=_refused(tx, plan, start, options),
        tags=send.tags,
        metadata=send.metadata,
    )
    job = None if message.final else deliver_job(message, None if due else send_at)
    return Planned(message, send.content, job)


def _choose(
    send: Send,
    person: Resolved,
    options: Mapping[Channel, rules.Option],
    with_account: frozenset[Channel],
    due: bool,
) -> Plan:
    if send.steps:
        return rules.plan_route(send.steps, options)
    if person.identifier and len(options) == 1 and _deliverable(person.identifier):
        return rules.plan_address(next(iter(options.values())))
    return rules.plan_auto(options, with_account, due=due, order=rules.CHANNEL_ORDER)


def _refused(tx: Tx, plan: Plan, start: rules.Opening, options: Mapping[Channel, rules.Option]) -> list[dict[str, Any]]:
    """The acceptance decisions that closed a step, for the explanation."""
    return [
        {"at": tx.now.isoformat(), "step": number, "stage": "acceptance", **options[plan.steps[number].channel].verdict}
        for number in start.passed
    ]


def _channels(send: Send, identifier: Identifier, person: Resolved) -> list[Channel]:
    """The channels this address may serve in this send's plan."""
    if send.steps:
        return [channel for channel in {step.channel for step in send.steps} if reaches(identifier.kind, channel)]
    if person.identifier is identifier:
        return [_FIRST_CHANNEL[identifier.kind]]
    return [channel for channel in rules.CHANNEL_ORDER if reaches(identifier.kind, channel)]


_REACHES: Mapping[str, frozenset[Channel]] = {
    "email": frozenset({Channel.EMAIL}),
    "phone": frozenset({Channel.SMS, Channel.MMS, Channel.RCS, Channel.VOICE, Channel.WHATSAPP}),
    "whatsapp": frozenset({Channel.WHATSAPP}),
    "device": frozenset({Channel.PUSH}),
    "webpush": frozenset({Channel.WEBPUSH}),
}
_FIRST_CHANNEL: Mapping[str, Channel] = {
    "email": Channel.EMAIL,
    "phone": Channel.SMS,
    "whatsapp": Channel.WHATSAPP,
    "device": Channel.PUSH,
    "webpush": Channel.WEBPUSH,
}


def reaches(kind: str, channel: Channel) -> bool:
    """Whether an identifier of this kind is an address on this channel."""
    return channel in _REACHES.get(kind, frozenset())


def _deliverable(identifier: Identifier) -> bool:
    return identifier.kind in _REACHES


def _question(
    workspace_id: WorkspaceId,
    person: Resolved | HubError,
    identifier: Identifier,
    channel: Channel,
    purpose: str,
    sender: str | None,
) -> Question:
    assert isinstance(person, Resolved)
    return Question(
        workspace_id=workspace_id,
        recipient_id=person.recipient_id,
        identifier_hash=identifier.hash,
        kind=identifier.kind,
        channel=channel,
        purpose=purpose,
        sender=sender,
        health=identifier.health,
    )


def _option(channel: Channel, identifier: Identifier, verdict: Verdict) -> rules.Option:
    return rules.Option(
        channel=channel,
        identifier=identifier.hash.hex(),
        sendable=verdict.sendable,
        denied=verdict.verdict == "denied",
        verdict=shown(verdict),
        verified=identifier.verified_at is not None,
        last_seen=identifier.last_seen_at,
    )


def shown(verdict: Verdict) -> dict[str, Any]:
    """The verdict as kept with plans and attempts, and shown in explanations."""
    return {
        "verdict": verdict.verdict,
        "sendable": verdict.sendable,
        "reason": verdict.reason,
        "rule": verdict.rule,
        **ordinals.told(verdict.ordinal),
        "entry": ids.show("cns", verdict.entry_id) if verdict.entry_id else None,
        "inputs": verdict.told,
    }


def _context(message_id: UUID) -> str:
    return f"message:{message_id}"


def open_content(key: Any, message: Message) -> Content:
    """The content of a stored message, opened with its person's key."""
    return msgspec.json.decode(key.open(message.content, _context(message.id)), type=Content)
