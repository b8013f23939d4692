"""HTTP for the keys that sign user tokens."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from tabellion.access import user_tokens
from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.rules import SCOPES, require_not_above
from tabellion.access.types import Algorithm, Caller, Role, UserTokenKey
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.vault import Vault

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class NewUserTokenKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key whose signature vouches for your users."""

    algorithm: Algorithm = "HS256"
    """HS256 makes a secret and shows it once; for ES256 (P-256) and EdDSA (Ed25519) bring your public key."""
    name: Text | None = None
    public_key: (
        Annotated[str, Meta(max_length=2000, description="PEM, as `openssl pkey -pubout` writes it.")] | None
    ) = None


class UserTokenKeyView(Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: Annotated[str, Meta(description="What a token names as its `kid`.")]
    name: str | None
    algorithm: Algorithm
    public_key: str | None
    active: bool
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


class ShownUserTokenKey(UserTokenKeyView, frozen=True, kw_only=True):
    """A new key; with its secret, where it has one, shown this once."""

    secret: Annotated[str | None, Meta(description="The bytes of this text, as it is, are the key of HMAC-SHA256.")]


class UserTokenKeyPage(Struct, frozen=True):
    data: list[UserTokenKeyView]
    next_cursor: str | None


def routes(edge: Edge, vault: Vault) -> list[HTTPRouteHandler]:
    """The routes of the keys that sign user tokens."""

    @post(
        "/v1/user-token-keys", status_code=201, scope="keys:write", tags=["Keys"],
        summary="Create or register a key that signs user tokens", example={"algorithm": "HS256", "name": "shop"},
    )  # fmt: skip
    async def post_user_token_key(
        request: Request[Any, Any, Any], caller: Caller, data: NewUserTokenKey
    ) -> Response[ShownUserTokenKey]:
        """A key of this side of the workspace. Whoever signs with it speaks for your users: keep it in your backend.

        A user token is a JWT with `kid` (the id of this key) and its `alg` in the header, and in the payload `sub` (the
        user's external_id), `aud` (the workspace's id or `tabellion`), `iat`, `exp` at most 15 minutes later, and where
        you vouch for them `email` and `phone`. It goes with a call with a public key, as `Tabellion-User-Token`.
        """

        require_not_above(caller.scopes, SCOPES[Role.PUBLIC])  # what its tokens can say with a public key

        async def work(tx: Tx) -> tuple[int, ShownUserTokenKey]:
            key, secret = await user_tokens.create(
                tx, vault, caller.workspace_id, data.name, data.algorithm, data.public_key, caller.actor
            )
            return 201, ShownUserTokenKey(**_fields(key), secret=secret.reveal() if secret else None)

        return await edge.mutate(request, caller, "keys:write", work, secret=data.algorithm == "HS256")

    @get("/v1/user-token-keys", scope="keys:read", tags=["Keys"], summary="List keys that sign user tokens")
    async def get_user_token_keys(caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> UserTokenKeyPage:
        """The keys of this side of the workspace, newest first, revoked ones too."""
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            keys = await user_tokens.page(tx, caller.workspace_id, limit, before)
        return UserTokenKeyPage(
            [UserTokenKeyView(**_fields(key)) for key in keys], next_cursor([key.id for key in keys], limit)
        )

    @delete(
        "/v1/user-token-keys/{token_key_id:str}", status_code=204, scope="keys:write", tags=["Keys"],
        summary="Revoke a key that signs user tokens",
    )  # fmt: skip
    async def delete_user_token_key(caller: Caller, token_key_id: str) -> None:
        """No token it signed is accepted any more, from now on. Revoking it again is no error."""
        wanted = ids.parse("utk", token_key_id)
        await edge.db.run(lambda tx: user_tokens.revoke(tx, caller.workspace_id, wanted, caller.actor))

    return [post_user_token_key, get_user_token_keys, delete_user_token_key]


def _fields(key: UserTokenKey) -> dict[str, Any]:
    return {
        "id": key.shown,
        "name": key.name,
        "algorithm": key.algorithm,
        "public_key": key.public_key,
        "active": key.revoked_at is None,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "revoked_at": key.revoked_at,
    }
