"""User tokens: the keys whose signature vouches for a workspace's users, and whom a token vouches for."""

import os
from collections.abc import Sequence
from uuid import UUID

from tabellion.access import jwt, store
from tabellion.access.rules import base62
from tabellion.access.service import audit
from tabellion.access.types import Algorithm, Caller, UserTokenKey, Vouched
from tabellion.core import ids
from tabellion.core.crypto import Secret
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault

ANYWHERE = "tabellion"
"""An `aud` that stands for whichever workspace a token comes to."""


async def create(
    tx: Tx,
    vault: Vault,
    workspace_id: WorkspaceId,
    name: str | None,
    algorithm: Algorithm,
    public_key: str | None,
    actor: str,
) -> tuple[UserTokenKey, Secret | None]:
    """A new key of one side. HS256 makes its secret, which is shown this once; others bring their public key."""
    if (public_key is None) != (algorithm == "HS256"):
        detail = (
            "HS256 makes its own secret; leave it out" if public_key else f"{algorithm} needs your public key, as PEM"
        )
        raise Invalid("invalid_public_key", detail, FieldError("/public_key", detail))
    pem = jwt.public_pem(public_key, algorithm, "/public_key") if public_key is not None else None
    key = UserTokenKey(ids.new(), name, algorithm, pem, tx.now, actor)
    secret = None if pem else Secret(f"uts_{base62(int.from_bytes(os.urandom(32), 'big'), 43)}")
    await store.insert_user_token_key(tx, workspace_id, key, await _seal(tx, vault, workspace_id, key.id, secret))
    await audit(tx, workspace_id, actor, "user_token_key.created", key.shown, {"algorithm": algorithm})
    return key, secret


async def page(tx: Tx, workspace_id: WorkspaceId, limit: int = 50, before: UUID | None = None) -> list[UserTokenKey]:
    """The keys of a side, newest first, revoked ones too."""
    return await store.list_user_token_keys(tx, workspace_id, limit, before)


async def revoke(tx: Tx, workspace_id: WorkspaceId, key_id: UUID, actor: str) -> None:
    """End the key: no token it signed is accepted any more. Again is no error."""
    if await store.revoke_user_token_key(tx, workspace_id, key_id):
        await audit(tx, workspace_id, actor, "user_token_key.revoked", ids.show("utk", key_id), {})
    elif await store.user_token_key(tx, workspace_id, key_id) is None:
        raise NotFound("user_token_key_not_found", "there is no such key here; list them with GET /v1/user-token-keys")


async def vouch(tx: Tx, vault: Vault, caller: Caller, tokens: Sequence[str]) -> Vouched:
    """Whom the token of a call vouches for. Raises Unauthorized. Its key is read each time: it may just have ended."""
    if len(tokens) > 1:
        raise jwt.invalid("send one")
    [token] = tokens
    key_id = jwt.named_key(token)
    kept = await store.user_token_key(tx, caller.workspace_id, key_id)
    if kept is None or kept[0].revoked_at is not None:
        raise jwt.unsound()
    key, sealed = kept
    material = key.public_key or await _open(tx, vault, caller.workspace_id, key_id, sealed or b"")
    audience = {ids.show("wsp", caller.workspace), ANYWHERE}
    return jwt.verified(token, key_id, key.algorithm, material, audience, tx.now)


async def _seal(tx: Tx, vault: Vault, workspace_id: WorkspaceId, key_id: UUID, secret: Secret | None) -> bytes | None:
    if secret is None:
        return None
    return (await vault.workspace(tx, workspace_id, "secrets")).seal(
        secret.reveal().encode(), _context(workspace_id, key_id)
    )


async def _open(tx: Tx, vault: Vault, workspace_id: WorkspaceId, key_id: UUID, sealed: bytes) -> str:
    key = await vault.workspace(tx, workspace_id, "secrets")
    return key.open(sealed, _context(workspace_id, key_id)).decode()


def _context(workspace_id: WorkspaceId, key_id: UUID) -> str:
    return f"user_token_key:{workspace_id}:{key_id}"
