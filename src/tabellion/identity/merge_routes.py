"""`/v1/recipients/{id}/merge`, `/split` and `/identity`."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta, Struct, field

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.identity.service import Identity
from tabellion.identity.types import Explained, Known, Merge, Rule, Told
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import RecipientRef, Ref

Name = Annotated[str, Parameter(max_length=512)]


class MergeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Who else this person is, and how you know."""

    from_: RecipientRef = field(name="from")
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class SplitBody(Struct, frozen=True, forbid_unknown_fields=True):
    merge_id: Annotated[str, Meta(min_length=1, max_length=64, description="As the answer to the merge named it.")]


class MergeView(Struct, frozen=True):
    """A merge that was just made: the person goes on as `into`, and `from` finds them too."""

    merge_id: str
    id: str
    """The recipient as it is called from now on: `into`."""
    from_: str = field(name="from")
    into: str
    merged_at: datetime


class SplitView(Struct, frozen=True):
    """A merge that was just taken back: `into` and `from` are two recipients again."""

    merge_id: str
    from_: str = field(name="from")
    into: str
    merged_at: datetime


class KnownView(Struct, frozen=True):
    """One way to recognise the person."""

    kind: str
    value: str
    verified: bool
    verified_at: datetime | None
    source: str
    first_seen_at: datetime
    last_seen_at: datetime
    recipient_id: str
    """Whom it is kept with: another than the person's id for an external_id that a merged recipient kept."""


class MergedView(Struct, frozen=True):
    """Why two recipients are one."""

    merge_id: str
    from_: str = field(name="from")
    into: str
    rule: Rule
    actor: str
    """The key that asked for it; `hub` where nobody had to."""
    merged_at: datetime
    reason: str | None
    evidence: dict[str, Any] | None
    """`winner`: why `into` goes on; `identifiers`: kinds each had; `taken`: fields `into` had not, and their `owners`.

    Null once erased.
    """
    undone: bool
    undone_at: datetime | None
    undone_by: str | None


class IdentityView(Struct, frozen=True):
    id: str
    ids: list[str]
    """All ids that find this person, their own first."""
    identifiers: list[KnownView]
    merges: list[MergedView]
    """Newest first, also those that were taken back."""


def routes(edge: Edge, recipients: Recipients, identity: Identity) -> list[HTTPRouteHandler]:
    """The routes that make two recipients one, take it back, and say why."""

    @post(
        "/v1/recipients/{recipient_id:str}/merge", status_code=200, tags=["Recipients"],
        summary="Merge two recipients",
        opt={"scope": "recipients:write", "example": {"from": {"email": "ann@example.org"}, "reason": "asked support"}},
    )  # fmt: skip
    async def merge_recipients(
        request: Request[Any, Any, Any], caller: Caller, recipient_id: Name, data: MergeBody
    ) -> Response[MergeView]:
        """Make two recipients one person. All their ids and identifiers find that person from then on.

        Which id goes on does not depend on who is named where: the one with most identifiers, then the older one, then
        the smaller id. It keeps its own profile and takes what it lacks; of two external_ids it shows its own, and the
        other one finds it too. The more restrictive consent wins. Take it back with split.
        """
        named = (
            Ref(id=ids.parse("rcp", recipient_id)),
            recipients.ref(caller.workspace_id, data.from_, "/from"),
        )

        async def work(tx: Tx) -> tuple[int, MergeView]:
            return 200, _made(await identity.merge(tx, caller.workspace_id, named, data.reason, caller.actor))

        return await edge.mutate(request, caller, "recipients:write", work)

    @post(
        "/v1/recipients/{recipient_id:str}/split", status_code=200, tags=["Recipients"], summary="Take a merge back",
        opt={"scope": "recipients:write", "example": {"merge_id": "mrg_01h2xcejqtf2nbrexx3vqjhp41"}},
    )  # fmt: skip
    async def split_recipient(
        request: Request[Any, Any, Any], caller: Caller, recipient_id: Name, data: SplitBody
    ) -> Response[SplitView]:
        """Make one person the two recipients again that were merged, each with what it had.

        Of what happened in between, changes and new identifiers stay with `into`; a consent goes with its identifier;
        a restriction of the person holds for both. Later merges of `into` itself are split first.
        """
        wanted, merge_id = ids.parse("rcp", recipient_id), ids.parse("mrg", data.merge_id)

        async def work(tx: Tx) -> tuple[int, SplitView]:
            return 200, _undone(await identity.split(tx, caller.workspace_id, wanted, merge_id, caller.actor))

        return await edge.mutate(request, caller, "recipients:write", work)

    @get(
        "/v1/recipients/{recipient_id:str}/identity", opt={"scope": "recipients:read"}, tags=["Recipients"],
        summary="Explain who a recipient is",
    )  # fmt: skip
    async def read_identity(caller: Caller, recipient_id: Name) -> IdentityView:
        """The identifiers and ids that find this person, and each merge that made it so, with why."""
        wanted = ids.parse("rcp", recipient_id)
        async with edge.db.transaction() as tx:
            return shown(await identity.explain(tx, caller.workspace_id, wanted))

    return [merge_recipients, split_recipient, read_identity]


def _made(merge: Merge) -> MergeView:
    into = ids.show("rcp", merge.into_id)
    return MergeView(ids.show("mrg", merge.id), into, ids.show("rcp", merge.from_id), into, merge.merged_at)


def _undone(merge: Merge) -> SplitView:
    return SplitView(
        ids.show("mrg", merge.id), ids.show("rcp", merge.from_id), ids.show("rcp", merge.into_id), merge.merged_at
    )


def shown(explained: Explained) -> IdentityView:
    return IdentityView(
        id=ids.show("rcp", explained.root),
        ids=[ids.show("rcp", one) for one in explained.ids],
        identifiers=[_known(one) for one in explained.identifiers],
        merges=[_told(one) for one in explained.merges],
    )


def _known(one: Known) -> KnownView:
    known = one.identifier
    return KnownView(
        kind=known.kind,
        value=known.value,
        verified=known.verified_at is not None,
        verified_at=known.verified_at,
        source=known.source,
        first_seen_at=known.first_seen_at,
        last_seen_at=known.last_seen_at,
        recipient_id=ids.show("rcp", one.recipient_id),
    )


def _told(one: Told) -> MergedView:
    merge, evidence = one.merge, one.evidence
    said = {"winner": evidence.winner, "identifiers": evidence.identifiers} if evidence else None
    taken = {"taken": ["/" + "/".join(path) for path in evidence.taken]} if evidence else {}
    return MergedView(
        merge_id=ids.show("mrg", merge.id),
        from_=ids.show("rcp", merge.from_id),
        into=ids.show("rcp", merge.into_id),
        rule=merge.rule,
        actor=merge.actor,
        merged_at=merge.merged_at,
        reason=evidence.reason if evidence else None,
        evidence=None if said is None else said | taken,
        undone=merge.undone_at is not None,
        undone_at=merge.undone_at,
        undone_by=merge.undone_by,
    )
