"""HTTP for keys."""

from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Final

from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.service import (
    GRACE,
    LONGEST_GRACE,
    create_key,
    find_key,
    find_workspace,
    list_keys,
    read_key,
    revoke_key,
    rotate_key,
)
from tabellion.access.types import ApiKey, Caller, KeyOptions, Mode, Network, Role
from tabellion.core import ids
from tabellion.core.crypto import Secret
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, Invalid

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Cidr = Annotated[str, Meta(max_length=50, description="An address or CIDR, IPv4 or IPv6.", examples=["203.0.113.0/24"])]
Moment = Annotated[datetime, Meta(tz=True)]


class NewKeyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make, on the side of the key that makes it."""

    role: Role
    name: Text | None = None
    scopes: Annotated[list[Text], Meta(max_length=100)] | None = None
    """Some of the role's scopes; all of them when left out."""
    expires_at: Moment | None = None
    networks: Annotated[list[Cidr], Meta(max_length=100)] = []
    """From where it may be used; from anywhere when empty."""
    rate_limit: (
        Annotated[
            int,
            Meta(ge=1, le=1_000_000, description="Requests a second, counted by each process that serves the API."),
        ]
        | None
    ) = None
    source: Annotated[str, Meta(max_length=64, examples=["shop-web"])] | None = None
    """Of role `public`, which needs it: what its writes are recorded with."""
    origins: Annotated[list[Annotated[str, Meta(max_length=300)]], Meta(max_length=50)] = []
    """Of role `public`: the web origins it may be used from, as `https://shop.example`. None: by no browser."""
    address_limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """Of role `public`: requests a second from one address, and twice that at once; 10 when left out."""


class RotateBody(Struct, frozen=True, forbid_unknown_fields=True):
    grace_seconds: Annotated[int, Meta(ge=0, le=int(LONGEST_GRACE.total_seconds()))] = int(GRACE.total_seconds())
    """How long the old key works on; 0 ends it at once."""


class KeyView(Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    name: str | None
    role: Role
    mode: Mode
    scopes: list[str]
    networks: list[str]
    rate_limit: int | None
    source: str | None
    origins: list[str]
    address_limit: int | None
    active: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    retires_at: datetime | None
    replaced_by: str | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class ShownKey(KeyView, frozen=True, kw_only=True):
    """A new key with its secret, shown this once."""

    key: str


class KeyPage(Struct, frozen=True):
    data: list[KeyView]
    next_cursor: str | None


@get("/v1/keys", scope="keys:read", tags=["Keys"], summary="List keys")
async def get_keys(edge: Edge, caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> KeyPage:
    """The keys of this side of the workspace, newest first, ended ones too."""
    before = read_cursor(cursor)
    async with edge.db.transaction() as tx:
        keys = await list_keys(tx, caller.workspace_id, limit, before)
    return KeyPage([KeyView(**_fields(key, tx.now)) for key in keys], next_cursor([key.id for key in keys], limit))


@get("/v1/keys/{key_id:str}", scope="keys:read", tags=["Keys"], summary="Read a key")
async def get_key(edge: Edge, caller: Caller, key_id: str) -> KeyView:
    """The key without its secret, also when it has ended."""
    wanted = ids.parse("key", key_id)
    async with edge.db.transaction() as tx:
        return KeyView(**_fields(await read_key(tx, wanted, caller.workspace_id), tx.now))


@post(
    "/v1/keys", status_code=201, scope="keys:write", tags=["Keys"], summary="Create a key",
    example={"role": "developer", "name": "shop"},
)  # fmt: skip
async def post_key(edge: Edge, request: Request[Any, Any, Any], caller: Caller, data: NewKeyBody) -> Response[ShownKey]:
    """A new key. Its secret is in this answer and nowhere else: a repeat with the same Idempotency-Key is refused.

    A key of role `public` is for browsers and apps, where everybody can read it: it only writes, hears nothing, and
    speaks for nobody who is known unless a user token comes with the call. See `docs/how-to-public-keys.md`.
    """
    options = KeyOptions(
        scopes=None if data.scopes is None else frozenset(data.scopes),
        name=data.name,
        expires_at=data.expires_at,
        networks=_networks(data.networks),
        rate_limit=data.rate_limit,
        source=data.source,
        origins=tuple(data.origins),
        address_limit=data.address_limit,
    )

    async def work(tx: Tx) -> tuple[int, ShownKey]:
        workspace = await find_workspace(tx, caller.workspace)
        key, secret = await create_key(
            tx, workspace, caller.mode, data.role, options, actor=caller.actor, giver=caller.scopes
        )
        return 201, _shown(key, secret, tx.now)

    return await edge.mutate(request, caller, "keys:write", work, secret=True)


@post(
    "/v1/keys/{key_id:str}/rotate", status_code=201, scope="keys:write", tags=["Keys"], summary="Rotate a key",
    example={"grace_seconds": 3600},
)  # fmt: skip
async def rotate(
    edge: Edge, request: Request[Any, Any, Any], caller: Caller, key_id: str, data: RotateBody
) -> Response[ShownKey]:
    """A new key in place of this one, which works on for the grace period."""
    wanted = ids.parse("key", key_id)

    async def work(tx: Tx) -> tuple[int, ShownKey]:
        old = await find_key(tx, wanted, caller.workspace_id)
        grace = timedelta(seconds=data.grace_seconds)
        key, secret = await rotate_key(tx, old, grace, actor=caller.actor, giver=caller.scopes)
        tx.after_commit(lambda: edge.keys.forget(old.id))
        return 201, _shown(key, secret, tx.now)

    return await edge.mutate(request, caller, "keys:write", work, secret=True)


@delete("/v1/keys/{key_id:str}", status_code=204, scope="keys:write", tags=["Keys"], summary="Revoke a key")
async def revoke(edge: Edge, caller: Caller, key_id: str) -> None:
    """The key is refused everywhere within a second. Revoking it again is no error."""
    wanted = ids.parse("key", key_id)

    async def work(tx: Tx) -> None:
        key = await find_key(tx, wanted, caller.workspace_id)
        await revoke_key(tx, key, actor=caller.actor, giver=caller.scopes)

    await edge.db.run(work)
    edge.keys.forget(wanted)


ROUTES: Final[list[HTTPRouteHandler]] = [get_keys, get_key, post_key, rotate, revoke]


def _networks(texts: list[str]) -> tuple[Network, ...]:
    networks: list[Network] = []
    for index, text in enumerate(texts):
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            wrong = FieldError(f"/networks/{index}", "is not an address or CIDR")
            raise Invalid("invalid_request", "networks are addresses or CIDRs, like 203.0.113.0/24", wrong) from None
    return tuple(networks)


def _shown(key: ApiKey, secret: Secret, now: datetime) -> ShownKey:
    return ShownKey(**_fields(key, now), key=secret.reveal())


def _fields(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "id": key.shown,
        "name": key.name,
        "role": key.role,
        "mode": key.mode,
        "scopes": sorted(key.scopes),
        "networks": [str(network) for network in key.networks],
        "rate_limit": key.rate_limit,
        "source": key.public.source if key.public else None,
        "origins": list(key.public.origins) if key.public else [],
        "address_limit": key.public.address_limit if key.public else None,
        "active": key.active(now),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "retires_at": key.retires_at,
        "replaced_by": ids.show("key", key.replaced_by) if key.replaced_by else None,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
