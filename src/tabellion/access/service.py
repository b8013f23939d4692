"""Use cases: make workspaces and keys, rotate and revoke them, audit and read what was audited."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from tabellion.access import store
from tabellion.access.rules import key_hash, key_text, public_of, require_not_above, scopes_of
from tabellion.access.trail import Trail, plain
from tabellion.access.types import UNBOUNDED, ApiKey, AuditEntry, AuditFilter, KeyOptions, Mode, Role, Workspace
from tabellion.core import ids
from tabellion.core.crypto import Secret
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId

API_VERSION: Final = "2026-11-01"
API_VERSIONS: Final = frozenset({API_VERSION})
GRACE: Final = timedelta(hours=24)
LONGEST_GRACE: Final = timedelta(days=30)
COMMAND_LINE: Final = "command_line"
"""The actor of what an operator does with the `tabellion` command."""

# workspaces


async def create_workspace(tx: Tx, name: str, actor: str = COMMAND_LINE) -> Workspace:
    """A new workspace with its live and its test side. The name must be free."""
    clean = name.strip()
    if not 1 <= len(clean) <= 200 or not clean.isprintable():
        raise Invalid("invalid_name", "a workspace's name has 1 to 200 printable characters")
    workspace = Workspace(ids.new(), clean, WorkspaceId(ids.new()), WorkspaceId(ids.new()))
    if not await store.insert_workspace(tx, workspace):
        raise Conflict("workspace_exists", f"there is a workspace '{clean}' already; choose another name, or use it")
    await store.insert_sides(tx, workspace)
    await audit(tx, workspace.live, actor, "workspace.created", ids.show("wsp", workspace.id), {"name": clean})
    return workspace


async def find_workspace(tx: Tx, wanted: UUID | str) -> Workspace:
    """The workspace of this id (`wsp_…` or the UUID) or name."""
    workspace_id = wanted if isinstance(wanted, UUID) else _workspace_id(wanted)
    found = await store.find_workspace(tx, workspace_id, None if isinstance(wanted, UUID) else wanted)
    if found is None:
        raise NotFound("workspace_not_found", "there is no such workspace; make it with 'tabellion workspace create'")
    return found


async def list_workspaces(tx: Tx) -> list[Workspace]:
    """All workspaces, oldest first. For the command line: no key reaches beyond its own."""
    return await store.workspaces(tx)


async def mode_of(tx: Tx, workspace_id: WorkspaceId) -> Mode:
    """Whether a workspace side is the live or the test one."""
    mode = await store.read_mode(tx, workspace_id)
    if mode is None:
        raise NotFound("workspace_unknown", "there is no such workspace side")
    return mode


async def workspace_of(tx: Tx, workspace_id: WorkspaceId) -> UUID:
    """The workspace that a side is of."""
    workspace = await store.read_workspace(tx, workspace_id)
    if workspace is None:
        raise NotFound("workspace_unknown", "there is no such workspace side")
    return workspace


def _workspace_id(text: str) -> UUID | None:
    try:
        return ids.parse("wsp", text)
    except NotFound:
        return None


# keys


async def create_key(
    tx: Tx,
    workspace: Workspace,
    mode: Mode,
    role: Role,
    options: KeyOptions = UNBOUNDED,
    *,
    actor: str = COMMAND_LINE,
    giver: frozenset[str] | None = None,
) -> tuple[ApiKey, Secret]:
    """A new key of one side, and its text, which exists nowhere else: show it once.

    `giver` are the scopes of the key that asks; a key cannot make one that may do more. None is the operator.
    """
    scopes = scopes_of(role, options.scopes)
    if giver is not None:
        require_not_above(giver, scopes)
    if options.expires_at is not None and options.expires_at <= tx.now:
        raise Invalid(
            "invalid_request", "a key must expire later than now", FieldError("/expires_at", "is in the past")
        )
    key = ApiKey(
        ids.new(), workspace.side(mode), workspace.id, mode, role, scopes, options.name, options.networks,
        options.rate_limit, API_VERSION, tx.now, actor, options.expires_at, public=public_of(role, options),
    )  # fmt: skip
    secret = await _keep(tx, key)
    detail = {"role": str(role), "scopes": sorted(scopes), "networks": [str(one) for one in key.networks]}
    if key.public is not None:
        detail |= {"source": key.public.source, "origins": list(key.public.origins)}
    await _audit_key(tx, actor, "key.created", key, detail)
    return key, secret


async def list_keys(tx: Tx, workspace_id: WorkspaceId, limit: int = 50, before: UUID | None = None) -> list[ApiKey]:
    """The keys of a side, newest first, revoked and expired ones too."""
    return await store.list_keys(tx, workspace_id, limit, before)


async def read_key(tx: Tx, key_id: UUID, workspace_id: WorkspaceId | None = None) -> ApiKey:
    """As `find_key`, with its last use."""
    key = await find_key(tx, key_id, workspace_id)
    return replace(key, last_used_at=await store.last_use(tx, key.workspace_id, key.id))


async def find_key(tx: Tx, key_id: UUID, workspace_id: WorkspaceId | None = None) -> ApiKey:
    """The key of this id; of this side where one is named. The command line names none."""
    kept = (await store.keys_by_id(tx, [key_id])).get(key_id)
    if kept is None or workspace_id not in (None, kept.key.workspace_id):
        raise NotFound("key_not_found", "there is no such key here; list them with GET /v1/keys")
    return kept.key


async def rotate_key(
    tx: Tx,
    key: ApiKey,
    grace: timedelta = GRACE,
    *,
    actor: str = COMMAND_LINE,
    giver: frozenset[str] | None = None,
) -> tuple[ApiKey, Secret]:
    """A key like `key` that replaces it, and its text. The old one works for `grace` more, or ends at once with 0.

    An expiry moves on by the old key's whole life.
    """
    if giver is not None:
        require_not_above(giver, key.scopes)
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise Invalid("invalid_request", f"the grace period is 0 to {LONGEST_GRACE.days} days")
    await store.lock_key(tx, key.workspace_id, key.id)
    current = await find_key(tx, key.id, key.workspace_id)
    if current.replaced_by or not current.active(tx.now):
        raise Conflict("key_not_active", "this key is rotated, revoked or expired already; create a new one")
    expires_at = tx.now + (current.expires_at - current.created_at) if current.expires_at else None
    new = replace(current, id=ids.new(), created_at=tx.now, created_by=actor, expires_at=expires_at)
    secret = await _keep(tx, new)
    await store.retire_key(tx, current.workspace_id, current.id, new.id, tx.now + grace)
    detail = {"replaced_by": new.shown, "grace_seconds": int(grace.total_seconds())}
    await _audit_key(tx, actor, "key.rotated", current, detail)
    return new, secret


async def revoke_key(tx: Tx, key: ApiKey, *, actor: str = COMMAND_LINE, giver: frozenset[str] | None = None) -> None:
    """End the key: refused in every process within a second of the commit. Again is no error."""
    if giver is not None:
        require_not_above(giver, key.scopes)
    if key.revoked_at is None:
        await store.revoke_key(tx, key.workspace_id, key.id)
        await _audit_key(tx, actor, "key.revoked", key, {})


async def _keep(tx: Tx, key: ApiKey) -> Secret:
    text = key_text("pub" if key.public else key.mode, key.id, os.urandom(32))
    await store.insert_key(tx, key, key_hash(text))
    return Secret(text)


# audit


async def audit(
    tx: Tx, workspace_id: WorkspaceId, actor: str, action: str, target: str, detail: Mapping[str, object]
) -> None:
    """Write down who did what to what, in the transaction that does it, and in the side's log `audit`.

    That is done before the commit; a log that refuses undoes what was audited. Detail has ids, counts and the words of
    a setting: no secrets, no addresses, nothing that somebody wrote, because no erasure reaches it.
    """
    entry = AuditEntry(ids.new(), tx.now, actor, action, target, plain(detail))
    tx.before_commit(tx.provided(Trail).append, (workspace_id, entry))


async def list_audit(
    tx: Tx,
    workspace_id: WorkspaceId,
    wanted: AuditFilter = AuditFilter(),  # noqa: B008 - frozen
    limit: int = 50,
    before: UUID | None = None,
) -> list[AuditEntry]:
    """What was audited on this side, newest first."""
    return await store.list_audit(tx, workspace_id, wanted, limit, before)


async def read_audit(tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> AuditEntry:
    """One audit entry. Raises `NotFound`."""
    entry = await store.read_audit(tx, workspace_id, entry_id)
    if entry is None:
        raise NotFound("audit_entry_not_found", "there is no such entry here; list them with GET /v1/audit")
    return entry


async def _audit_key(tx: Tx, actor: str, action: str, key: ApiKey, detail: Mapping[str, object]) -> None:
    await audit(tx, key.workspace_id, actor, action, key.shown, detail)
