"""People of a wired hub, and short ways to merge, split and ask about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tabellion.app.wiring import Hub
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.types import Basis, Decision, Method, NewDecision, Notice, Rank, Recorded
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.types import Explained, Merge
from tabellion.providers.base import Channel
from tabellion.recipients.history import History
from tabellion.recipients.types import (
    Device,
    Identifier,
    Kind,
    Named,
    NewRecipient,
    Permission,
    Platform,
    Profile,
    PushProvider,
    Recipient,
    Ref,
    Upserted,
)

ACTOR = "key_1"
CHANNELS = {
    Kind.EMAIL: (Channel.EMAIL,),
    Kind.PHONE: (Channel.SMS, Channel.VOICE),
    Kind.DEVICE: (Channel.PUSH,),
}
PURPOSES = ("marketing", "transactional", "security")


@dataclass
class People:
    hub: Hub
    side: WorkspaceId

    @property
    def clock(self) -> FakeClock:
        clock = self.hub.around.clock
        assert isinstance(clock, FakeClock)
        return clock

    async def run(self, work: Any) -> Any:
        return await self.hub.around.db.run(work)

    async def person(self, *values: str, **profile: Any) -> UUID:
        unit = NewRecipient(tuple(named(value) for value in values), Profile(**profile))
        absorbed = self.hub.identity.absorbed
        [one] = await self.run(lambda tx: self.hub.recipients.upsert(tx, self.side, [unit], absorbed=absorbed))
        assert not isinstance(one, HubError), one
        return one.recipient_id  # type: ignore[no-any-return]

    async def upsert(self, *units: Sequence[Named]) -> list[Upserted | HubError]:
        """What each unit of one batch comes to."""
        made = [NewRecipient(tuple(unit)) for unit in units]
        absorbed, upsert = self.hub.identity.absorbed, self.hub.recipients.upsert
        answers: list[Upserted | HubError] = await self.run(
            lambda tx: upsert(tx, self.side, made, absorbed=absorbed, actor=ACTOR)
        )
        return answers

    async def one(self, *unit: Named) -> UUID:
        [made] = await self.upsert(unit)
        assert isinstance(made, Upserted), made
        return made.recipient_id

    async def person_of(self, *unit: Named, **profile: Any) -> UUID:
        """The one recipient of a unit with a profile."""
        new = NewRecipient(unit, Profile(**profile))
        absorbed, upsert = self.hub.identity.absorbed, self.hub.recipients.upsert
        [made] = await self.run(lambda tx: upsert(tx, self.side, [new], absorbed=absorbed))
        assert isinstance(made, Upserted), made
        return made.recipient_id

    async def patch(self, person: UUID, **profile: Any) -> None:
        await self.run(lambda tx: self.hub.recipients.patch(tx, self.side, person, Profile(**profile)))

    async def as_of(self, person: UUID, at: datetime) -> Recipient:
        """The person as it was at a moment."""
        found: Recipient = await self.run(lambda tx: History(self.hub.around.vault).as_of(tx, self.side, person, at))
        return found

    async def owns(self, person: UUID) -> dict[str, Identifier]:
        """The identifiers of a person, by value."""
        return {one.value: one for one in (await self.read(person)).identifiers}

    async def events(self, *types: str) -> list[Any]:
        """What happened of some types, in order: type, whom it is about, and what it says."""
        rows = await self.rows("select type, recipient_id, data from events order by position")
        return [(row["type"], row["recipient_id"], row["data"]) for row in rows if not types or row["type"] in types]

    async def merge(self, into: UUID | Ref, from_: UUID | Ref, reason: str = "same person") -> Merge:
        pair = ref(into), ref(from_)
        made: Merge = await self.run(lambda tx: self.hub.identity.merge(tx, self.side, pair, reason, ACTOR))
        return made

    async def alias(self, previous: Named, now: Named) -> UUID:
        pair = (Ref(kind=one.kind, value=one.value) for one in (previous, now))
        made: UUID = await self.run(lambda tx: self.hub.identity.alias(tx, self.side, *pair, ACTOR))
        return made

    async def split(self, person: UUID, merge_id: UUID) -> Merge:
        made: Merge = await self.run(lambda tx: self.hub.identity.split(tx, self.side, person, merge_id, ACTOR))
        return made

    async def explain(self, person: UUID) -> Explained:
        told: Explained = await self.run(lambda tx: self.hub.identity.explain(tx, self.side, person))
        return told

    async def read(self, person: UUID) -> Recipient:
        found = await self.run(lambda tx: self.hub.recipients.read(tx, self.side, [person]))
        return found[person]  # type: ignore[no-any-return]

    async def say(
        self, decision: str, to: UUID | Ref, channel: str = "email", purpose: str = "marketing", **more: Any
    ) -> Recorded:
        new = NewDecision(
            **{
                "recipient": ref(to),
                "channel": channel,
                "purpose": purpose,
                "decision": Decision(decision),
                "basis": Basis.CONSENT if decision == "granted" else None,
                "method": Method.FORM,
                "source": "test",
                "rank": Rank.PERSON,
                "actor": ACTOR,
                "evidence": {"url": "https://example.org"},
                "notice": Notice("n", "1"),
            }
            | more
        )
        self.clock.advance(timedelta(seconds=1))
        [one] = await self.run(lambda tx: self.hub.consent.record(tx, self.side, [new]))
        assert isinstance(one, Recorded), one
        return one

    async def verdicts(self, person: UUID, *kinds: Kind) -> dict[tuple[str, str, str], tuple[str, bool]]:
        """What a gate would say of each address of a person, on each channel, for each purpose."""
        root, wanted = (await self.read(person)).id, kinds or (Kind.EMAIL, Kind.PHONE)
        addresses = [one for one in (await self.read(person)).identifiers if one.kind in wanted]
        asked = [
            (one.value, channel, purpose, Question(self.side, root, one.hash, one.kind, channel, purpose))
            for one in addresses
            for channel in CHANNELS[one.kind]
            for purpose in PURPOSES
        ]
        found: list[Verdict] = await self.run(lambda tx: self.hub.consent.verdicts(tx, [one[3] for one in asked]))
        return {one[:3]: (said.verdict, said.sendable) for one, said in zip(asked, found, strict=True)}  # type: ignore[misc]

    async def verdict(self, person: UUID, address: str, channel: str = "email", purpose: str = "marketing") -> str:
        return (await self.verdicts(person))[address, channel, purpose][0]

    async def state(self, person: UUID) -> Any:
        """All that a split must bring back, but for version and time of the change."""
        one = await self.read(person)
        known = [(i.kind, i.value, i.source, i.verified_at, i.first_seen_at) for i in one.identifiers]
        profile = (one.address_only, one.locale, one.time_zone, json.dumps(one.traits, sort_keys=True), one.created_at)
        return one.id, sorted(known, key=str), profile, await self.verdicts(person)

    async def rows(self, sql: str, *args: object) -> list[Any]:
        async def work(tx: Tx) -> list[Any]:
            return await tx.rows(sql, *args)

        return await self.run(work)  # type: ignore[no-any-return]

    async def entries(self, method: str) -> list[tuple[UUID, str, str, bool]]:
        """The entries of a method: whom they are about, what they say, and whether it stands."""
        rows = await self.rows(
            "select subject_id, decision, purpose, standing from consent_entries"
            " where workspace_id = $1 and method = $2 order by log_index",
            self.side, method,
        )  # fmt: skip
        return [tuple(row) for row in rows]


def ref(to: UUID | Ref) -> Ref:
    return to if isinstance(to, Ref) else Ref(id=to)


def email(value: str) -> Ref:
    return Ref(kind=Kind.EMAIL, value=value)


def named(value: str) -> Named:
    if "@" in value:
        return Named(Kind.EMAIL, value)
    return Named(Kind.PHONE if value.startswith("+") else Kind.EXTERNAL_ID, value)


def fresh() -> str:
    return ids.new().hex


APP = Device(Platform.ANDROID, PushProvider.FCM, "com.example.shop")


def crm(value: str) -> Named:
    return Named(Kind.EXTERNAL_ID, value)


def mail(value: str) -> Named:
    return Named(Kind.EMAIL, value)


def browser(value: str) -> Named:
    return Named(Kind.ANONYMOUS, value)


def token(value: str, *, replaces: str | None = None, app: Device = APP, permission: Permission | None = None) -> Named:
    device = Device(app.platform, app.provider, app.app, permission)
    return Named(Kind.DEVICE, value, device=device, replaces=replaces)


def push(value: str) -> Ref:
    return Ref(kind=Kind.DEVICE, value=value)
