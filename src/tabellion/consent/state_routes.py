"""`/v1/recipients/{id}/consents`, `/v1/consents/{id}` and `/v1/consent-schemes`: what holds, and what was recorded."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta, Struct

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent import schemes
from tabellion.consent.reading import Held, Reading, State
from tabellion.consent.types import OLDEST, KeptEntry, Standing
from tabellion.core import ids
from tabellion.core.crypto import b64
from tabellion.core.db import Tx
from tabellion.ledger import ordinals
from tabellion.ledger.ordinals import InLog
from tabellion.recipients.types import Identifier

Name = Annotated[str, Parameter(max_length=64)]
Disclose = Annotated[
    bool,
    Parameter(
        description="Show also what the ledger committed to, with addresses and evidence. Needs `recipients:read`, and"
        " each such reading is audited."
    ),
]


class Address(Struct, frozen=True, omit_defaults=True):
    kind: str
    value: Annotated[str | None, Meta(description="For keys that hold `recipients:read`.")] = None


class NoticeName(Struct, frozen=True):
    id: str
    version: str


class Pending(Struct, frozen=True):
    """A grant that waits for the person's confirmation."""

    id: str
    until: datetime


class HeldView(Struct, frozen=True):
    """What a gate would say now of one address, channel and purpose, and why."""

    channel: str
    purpose: str
    identifier: Address
    chosen: Annotated[bool, Meta(description="Of several addresses of the channel the one that a send would choose.")]
    verdict: str
    sendable: bool
    reason: str
    rule: str
    since: datetime | None
    expires_at: datetime | None
    entries: Annotated[list[str], Meta(description="Of `standing`, those that bear on it.")]
    pending: Pending | None


class StandingView(Struct, frozen=True):
    """An entry that is in force."""

    id: str
    log_index: int
    channel: str
    purpose: str
    decision: str
    basis: str | None
    method: str
    rank: Annotated[str, Meta(description="How far it is the person's own: P3 is, P0 is a public key's.")]
    whole_person: Annotated[bool, Meta(description="It covers the person, whatever the address.")]
    since: Annotated[datetime | None, Meta(description="null: an import that did not say when.")]
    expires_at: datetime | None
    notice: NoticeName | None
    log: InLog = None


class Block(Struct, frozen=True):
    """A number that a vendor refuses to send to."""

    identifier: Address
    senders: Annotated[list[str], Meta(description="Which of ours; empty text: the vendor did not say.")]


class StateView(Struct, frozen=True):
    recipient_id: str
    consents: list[HeldView]
    standing: list[StandingView]
    vendor_blocks: list[Block]


class EntryView(Struct, frozen=True, omit_defaults=True):
    """An entry as it was recorded, whether it counts or not."""

    id: str
    log_index: int
    leaf_hash: Annotated[str, Meta(description="Base64.")]
    channel: str
    purpose: str
    decision: str
    method: str
    source: str
    recorded_at: datetime
    applied: bool
    standing: Annotated[bool, Meta(description="Whether it counts today.")]
    log: InLog = None
    recipient_id: str | None = None
    basis: str | None = None
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    notice: NoticeName | None = None
    record: Annotated[
        dict[str, Any] | None, Meta(description="What the ledger committed to; absent where it does not open any more.")
    ] = None


class EntryPage(Struct, frozen=True):
    data: list[EntryView]
    next_cursor: str | None


class SchemeView(Struct, frozen=True):
    id: str
    title: str
    law: str
    source: str
    evidence: Annotated[dict[str, str], Meta(description="The keys that evidence must have, and what each says.")]
    countries: list[str]
    channels: Annotated[list[str], Meta(description="Empty: all.")]
    bases: list[str]


class SchemesView(Struct, frozen=True):
    """What schemes, methods and bases ask somebody to be able to show. No legal advice."""

    version: str
    schemes: list[SchemeView]
    methods: Annotated[dict[str, str], Meta(description="The key that proves a decision of this method.")]
    bases: Annotated[dict[str, dict[str, str]], Meta(description="Bases that can only be asserted, and what for.")]


def routes(edge: Edge, reading: Reading) -> list[HTTPRouteHandler]:
    @get(
        "/v1/recipients/{recipient_id:str}/consents", opt={"scope": "consents:read"}, tags=["Consent"],
        summary="What holds for a person now",
    )  # fmt: skip
    async def read_state(caller: Caller, recipient_id: Name) -> StateView:
        """For each of their addresses, channel and purpose what a gate would say, and the entries that it rests on."""
        wanted = ids.parse("rcp", recipient_id)
        async with edge.db.transaction() as tx:
            state = await reading.state(tx, caller.workspace_id, wanted)
        return _state(state, values="recipients:read" in caller.scopes)

    @get(
        "/v1/recipients/{recipient_id:str}/consents/entries", opt={"scope": "consents:read"}, tags=["Consent"],
        summary="Every decision about a person, newest first",
    )  # fmt: skip
    async def list_entries(
        caller: Caller, recipient_id: Name, limit: Limit = 50, cursor: Cursor = None, disclose: Disclose = False
    ) -> EntryPage:
        """What does not count, or no longer, is among them."""
        wanted, before = ids.parse("rcp", recipient_id), read_cursor(cursor)
        _may(caller, disclose)

        async def work(tx: Tx) -> EntryPage:
            found = await reading.entries(tx, caller.workspace_id, wanted, before, limit)
            opened = await reading.disclosed(tx, caller.workspace_id, found, caller.actor) if disclose else {}
            return EntryPage([_entry(one, opened) for one in found], next_cursor([one.id for one in found], limit))

        return await edge.db.run(work)

    @get(
        "/v1/consents/{consent_id:str}", opt={"scope": "consents:read"}, tags=["Consent"], summary="Read a decision"
    )  # fmt: skip
    async def read_entry(caller: Caller, consent_id: Name, disclose: Disclose = False) -> EntryView:
        """As it was recorded, and whether it counts today."""
        wanted = ids.parse("cns", consent_id)
        _may(caller, disclose)

        async def work(tx: Tx) -> EntryView:
            found = await reading.entry(tx, caller.workspace_id, wanted)
            opened = await reading.disclosed(tx, caller.workspace_id, [found], caller.actor) if disclose else {}
            return _entry(found, opened)

        return await edge.db.run(work)

    @get(
        "/v1/consent-schemes", opt={"scope": "consents:read"}, tags=["Consent"],
        summary="What legal schemes ask for",
    )  # fmt: skip
    async def list_schemes(caller: Caller) -> SchemesView:
        """The evidence that each needs, with the law it follows from. A grant that lacks some lifts no restriction."""
        return SCHEMES

    return [read_state, list_entries, read_entry, list_schemes]


SCHEMES = SchemesView(
    version=schemes.VERSION,
    schemes=[
        SchemeView(
            scheme, rule.title, rule.law, rule.source, dict(rule.evidence), sorted(rule.countries),
            sorted(rule.channels), sorted(rule.bases),
        )
        for scheme, rule in schemes.SCHEMES.items()
    ],
    methods={str(method): key for method, key in schemes.METHOD_EVIDENCE.items()},
    bases={str(basis): dict(keys) for basis, keys in schemes.BASIS_EVIDENCE.items()},
)  # fmt: skip


def _may(caller: Caller, disclose: bool) -> None:
    if disclose:
        caller.require("recipients:read")


def _state(state: State, *, values: bool) -> StateView:
    return StateView(
        recipient_id=ids.show("rcp", state.recipient_id),
        consents=[_held(one, values) for one in state.held],
        standing=[_standing(one, state.notices.get(one.id)) for one in state.standing],
        vendor_blocks=[Block(_address(one, values), sorted(senders)) for one, senders in state.blocks],
    )


def _held(one: Held, values: bool) -> HeldView:
    return HeldView(
        channel=one.channel,
        purpose=one.purpose,
        identifier=_address(one.identifier, values),
        chosen=one.chosen,
        verdict=one.verdict.verdict,
        sendable=one.verdict.sendable,
        reason=one.verdict.reason,
        rule=one.verdict.rule,
        since=_known(one.since),
        expires_at=one.expires_at,
        entries=[ids.show("cns", entry) for entry in one.entries],
        pending=Pending(ids.show("cns", one.pending[0]), one.pending[1]) if one.pending else None,
    )


def _standing(one: Standing, notice: tuple[str, str] | None) -> StandingView:
    return StandingView(
        id=ids.show("cns", one.id),
        log_index=ordinals.index(one.ordinal),
        log=ordinals.log(one.ordinal),
        channel=one.channel,
        purpose=one.purpose,
        decision=one.decision,
        basis=one.basis,
        method=one.method,
        rank=f"P{one.rank.value}",
        whole_person=one.person_scope,
        since=_known(one.effective_at),
        expires_at=one.expires_at,
        notice=NoticeName(*notice) if notice else None,
    )


def _entry(one: KeptEntry, opened: dict[UUID, dict[str, Any]]) -> EntryView:
    return EntryView(
        id=ids.show("cns", one.id),
        log_index=ordinals.index(one.ordinal),
        log=ordinals.log(one.ordinal),
        leaf_hash=b64(one.leaf_hash),
        channel=one.channel,
        purpose=one.purpose,
        decision=one.decision,
        method=one.method,
        source=one.source,
        recorded_at=one.recorded_at,
        applied=one.applied,
        standing=one.standing,
        recipient_id=ids.show("rcp", one.recipient_id) if one.recipient_id else None,
        basis=one.basis,
        effective_at=one.effective_at,
        expires_at=one.expires_at,
        reason=one.reason,
        notice=NoticeName(one.notice, one.notice_version or "") if one.notice else None,
        record=opened.get(one.id),
    )


def _address(one: Identifier, values: bool) -> Address:
    return Address(one.kind, one.value if values else None)


def _known(at: datetime | None) -> datetime | None:
    return None if at == OLDEST else at
