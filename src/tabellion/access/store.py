"""All SQL of workspaces, API keys, keys of user tokens, audit and idempotency keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tabellion.access.types import ApiKey, AuditEntry, AuditFilter, Mode, Public, Role, UserTokenKey, Workspace
from tabellion.core.crypto import sha256
from tabellion.core.db import Row, Tx, columns
from tabellion.core.ids import WorkspaceId

# workspaces


async def insert_workspace(tx: Tx, workspace: Workspace) -> bool:
    """Whether the workspace was made; not when its name is taken."""
    made = await tx.row(
        """
        insert into workspaces (id, name, created_at)
        values ($1, $2, $3)
        on conflict (name) do nothing
        returning id
        """,
        workspace.id, workspace.name, tx.now,
    )  # fmt: skip
    return made is not None


async def insert_sides(tx: Tx, workspace: Workspace) -> None:
    await tx.execute(
        """
        insert into workspace_sides (workspace_id, workspace, mode)
        values ($1, $3, 'live'), ($2, $3, 'test')
        """,
        workspace.live, workspace.test, workspace.id,
    )  # fmt: skip


async def find_workspace(tx: Tx, workspace_id: UUID | None, name: str | None) -> Workspace | None:
    row = await tx.row(
        """
        select workspaces.id, workspaces.name, live.workspace_id as live, test.workspace_id as test
          from workspaces
          join workspace_sides live on live.workspace = workspaces.id and live.mode = 'live'
          join workspace_sides test on test.workspace = workspaces.id and test.mode = 'test'
         where workspaces.id = $1 or workspaces.name = $2
         order by workspaces.id = $1 desc nulls last
         limit 1
        """,
        workspace_id, name,
    )  # fmt: skip
    return Workspace(**row) if row else None


async def workspaces(tx: Tx) -> list[Workspace]:
    """All of them, oldest first: for the operator's checks."""
    rows = await tx.rows(
        """
        select workspaces.id, workspaces.name, live.workspace_id as live, test.workspace_id as test
          from workspaces
          join workspace_sides live on live.workspace = workspaces.id and live.mode = 'live'
          join workspace_sides test on test.workspace = workspaces.id and test.mode = 'test'
         order by workspaces.id
        """
    )
    return [Workspace(**row) for row in rows]


async def read_mode(tx: Tx, workspace_id: WorkspaceId) -> Mode | None:
    mode: Mode | None = await tx.value("select mode from workspace_sides where workspace_id = $1", workspace_id)
    return mode


async def read_workspace(tx: Tx, workspace_id: WorkspaceId) -> UUID | None:
    workspace: UUID | None = await tx.value(
        "select workspace from workspace_sides where workspace_id = $1", workspace_id
    )
    return workspace


# keys


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key with the hash that tells its secret."""

    key: ApiKey
    hash: bytes


async def insert_key(tx: Tx, key: ApiKey, digest: bytes) -> None:
    public = key.public
    await tx.execute(
        """
        insert into api_keys (workspace_id, id, hash, role, scopes, name, networks, rate_limit, api_version,
                              created_at, created_by, expires_at, source, origins, address_limit)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        """,
        key.workspace_id, key.id, digest, key.role, sorted(key.scopes), key.name, list(key.networks), key.rate_limit,
        key.api_version, key.created_at, key.created_by, key.expires_at, public and public.source,
        list(public.origins) if public else [], public and public.address_limit,
    )  # fmt: skip


async def keys_by_id(tx: Tx, key_ids: Iterable[UUID]) -> dict[UUID, KeptKey]:
    """The keys that exist, of any workspace: authentication is what tells the workspace."""
    rows = await tx.rows(
        """
        select api_keys.workspace_id, id, workspace, mode, role, scopes, name, networks, rate_limit, api_version,
               created_at, created_by, expires_at, retires_at, replaced_by, revoked_at, source, origins,
               address_limit, null::timestamptz as last_used_at, hash
          from api_keys
          join workspace_sides using (workspace_id)
         where id = any($1::uuid[])
        """,
        list(key_ids),
    )  # fmt: skip
    return {row["id"]: KeptKey(_key(row), row["hash"]) for row in rows}


async def list_keys(tx: Tx, workspace_id: WorkspaceId, limit: int, before: UUID | None) -> list[ApiKey]:
    """The keys of a side, newest first, those older than `before`."""
    rows = await tx.rows(
        """
        select api_keys.workspace_id, id, workspace, mode, role, scopes, name, networks, rate_limit, api_version,
               created_at, created_by, expires_at, retires_at, replaced_by, revoked_at, source, origins,
               address_limit,
               (select max(last_used_at) from api_key_usage
                 where api_key_usage.workspace_id = $1 and key_id = id) as last_used_at
          from api_keys
          join workspace_sides using (workspace_id)
         where api_keys.workspace_id = $1 and ($3::uuid is null or id < $3)
         order by id desc
         limit $2
        """,
        workspace_id, limit, before,
    )  # fmt: skip
    return [_key(row) for row in rows]


async def last_use(tx: Tx, workspace_id: WorkspaceId, key_id: UUID) -> datetime | None:
    used: datetime | None = await tx.value(
        "select max(last_used_at) from api_key_usage where workspace_id = $1 and key_id = $2", workspace_id, key_id
    )
    return used


async def lock_key(tx: Tx, workspace_id: WorkspaceId, key_id: UUID) -> bool:
    """Whether the key exists; from here on only this transaction changes it."""
    row = await tx.row(
        "select id from api_keys where workspace_id = $1 and id = $2 for no key update", workspace_id, key_id
    )
    return row is not None


async def retire_key(tx: Tx, workspace_id: WorkspaceId, key_id: UUID, replaced_by: UUID, retires_at: datetime) -> None:
    await tx.execute(
        "update api_keys set replaced_by = $3, retires_at = $4 where workspace_id = $1 and id = $2",
        workspace_id, key_id, replaced_by, retires_at,
    )  # fmt: skip


async def revoke_key(tx: Tx, workspace_id: WorkspaceId, key_id: UUID) -> None:
    await tx.execute(
        "update api_keys set revoked_at = $3 where workspace_id = $1 and id = $2 and revoked_at is null",
        workspace_id, key_id, tx.now,
    )  # fmt: skip


async def add_uses(tx: Tx, uses: Sequence[tuple[WorkspaceId, UUID, datetime, int, datetime]]) -> None:
    """Count uses: rows of (side, key, hour, uses, last use), each (side, key, hour) at most once."""
    await tx.execute(
        """
        insert into api_key_usage (workspace_id, key_id, hour, uses, last_used_at)
        select workspace_id, key_id, hour, uses, last_used_at
          from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::timestamptz[])
               as used (workspace_id, key_id, hour, uses, last_used_at)
         order by workspace_id, key_id, hour
        on conflict (workspace_id, key_id, hour) do update
           set uses = api_key_usage.uses + excluded.uses,
               last_used_at = greatest(api_key_usage.last_used_at, excluded.last_used_at)
        """,
        *columns(uses, 5),
    )  # fmt: skip


def _key(row: Row) -> ApiKey:
    mode: Mode = row["mode"]
    return ApiKey(
        id=row["id"],
        workspace_id=row["workspace_id"],
        workspace=row["workspace"],
        mode=mode,
        role=Role(row["role"]),
        scopes=frozenset(row["scopes"]),
        name=row["name"],
        networks=tuple(row["networks"]),
        rate_limit=row["rate_limit"],
        api_version=row["api_version"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        retires_at=row["retires_at"],
        replaced_by=row["replaced_by"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        public=Public(source, tuple(row["origins"]), row["address_limit"]) if (source := row["source"]) else None,
    )


# keys of user tokens


async def insert_user_token_key(tx: Tx, workspace_id: WorkspaceId, key: UserTokenKey, sealed: bytes | None) -> None:
    await tx.execute(
        """
        insert into user_token_keys (workspace_id, id, name, algorithm, sealed, public_key, created_at, created_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        workspace_id, key.id, key.name, key.algorithm, sealed, key.public_key, key.created_at, key.created_by,
    )  # fmt: skip


async def user_token_key(tx: Tx, workspace_id: WorkspaceId, key_id: UUID) -> tuple[UserTokenKey, bytes | None] | None:
    """The key with its sealed secret, if it has one; also when it is revoked."""
    row = await tx.row(
        """
        select id, name, algorithm, public_key, created_at, created_by, revoked_at, sealed
          from user_token_keys
         where workspace_id = $1 and id = $2
        """,
        workspace_id, key_id,
    )  # fmt: skip
    return (UserTokenKey(*row[:7]), row["sealed"]) if row else None


async def list_user_token_keys(
    tx: Tx, workspace_id: WorkspaceId, limit: int, before: UUID | None
) -> list[UserTokenKey]:
    """The keys of a side, newest first, those older than `before`."""
    rows = await tx.rows(
        """
        select id, name, algorithm, public_key, created_at, created_by, revoked_at
          from user_token_keys
         where workspace_id = $1 and ($3::uuid is null or id < $3)
         order by id desc
         limit $2
        """,
        workspace_id, limit, before,
    )  # fmt: skip
    return [UserTokenKey(**row) for row in rows]


async def revoke_user_token_key(tx: Tx, workspace_id: WorkspaceId, key_id: UUID) -> bool:
    """Whether it was in force until now."""
    row = await tx.row(
        """
        update user_token_keys set revoked_at = $3
         where workspace_id = $1 and id = $2 and revoked_at is null
        returning id
        """,
        workspace_id, key_id, tx.now,
    )  # fmt: skip
    return row is not None


# audit


async def insert_audit(tx: Tx, workspace_id: WorkspaceId, entries: Sequence[AuditEntry]) -> None:
    await tx.execute(
        """
        insert into audit (workspace_id, id, at, actor, action, target, detail, log_generation, log_index)
        select $1, id, at, actor, action, target, detail, log_generation, log_index
          from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::smallint[],
                      $9::bigint[])
               as noted (id, at, actor, action, target, detail, log_generation, log_index)
        """,
        workspace_id,
        *columns(
            [
                (one.id, one.at, one.actor, one.action, one.target, one.detail, one.generation, one.log_index)
                for one in entries
            ],
            8,
        ),
    )  # fmt: skip


async def list_audit(
    tx: Tx, workspace_id: WorkspaceId, wanted: AuditFilter, limit: int, before: UUID | None
) -> list[AuditEntry]:
    """Audit entries of a side, newest first, those older than `before`."""
    rows = await tx.rows(
        """
        select id, at, actor, action, target, detail, log_generation, log_index
          from audit
         where workspace_id = $1
           and ($3::uuid is null or id < $3)
           and ($4::text is null or actor = $4)
           and ($5::text is null or action = $5)
           and ($6::text is null or target = $6)
           and ($7::timestamptz is null or at >= $7)
           and ($8::timestamptz is null or at < $8)
         order by id desc
         limit $2
        """,
        workspace_id, limit, before, wanted.actor, wanted.action, wanted.target, wanted.since, wanted.until,
    )  # fmt: skip
    return [_audited(row) for row in rows]


async def read_audit(tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> AuditEntry | None:
    row = await tx.row(
        """
        select id, at, actor, action, target, detail, log_generation, log_index
          from audit
         where workspace_id = $1 and id = $2
        """,
        workspace_id, entry_id,
    )  # fmt: skip
    return _audited(row) if row else None


async def logged_audit(tx: Tx, workspace_id: WorkspaceId, generation: int, indexes: Sequence[int]) -> list[AuditEntry]:
    """The rows that say they stand at these indexes of a log: one each, as long as nobody took away the constraint."""
    rows = await tx.rows(
        """
        select id, at, actor, action, target, detail, log_generation, log_index
          from audit
         where workspace_id = $1 and log_generation = $2 and log_index = any($3::bigint[]) and log_index is not null
         order by log_index, id
        """,
        workspace_id, generation, indexes,
    )  # fmt: skip
    return [_audited(row) for row in rows]


async def misplaced_audit(
    tx: Tx, workspace_id: WorkspaceId, generation: int, size: int, limit: int
) -> list[AuditEntry]:
    """Rows that say they stand where a log of this size has no entry."""
    rows = await tx.rows(
        """
        select id, at, actor, action, target, detail, log_generation, log_index
          from audit
         where workspace_id = $1 and log_generation = $2 and (log_index < 0 or log_index >= $3)
         order by log_index
         limit $4
        """,
        workspace_id, generation, size, limit,
    )  # fmt: skip
    return [_audited(row) for row in rows]


async def audit_generations(tx: Tx, workspace_id: WorkspaceId) -> list[int]:
    """The logs that rows say they stand in."""
    rows = await tx.rows(
        """
        select distinct log_generation
          from audit
         where workspace_id = $1 and log_index is not null
         order by log_generation
        """,
        workspace_id,
    )
    return [row["log_generation"] for row in rows]


async def unlogged_audit(tx: Tx, workspace_id: WorkspaceId, after: UUID, limit: int) -> list[AuditEntry]:
    """Rows that stand in no log, in the order of their ids, those behind `after`."""
    rows = await tx.rows(
        """
        select id, at, actor, action, target, detail, log_generation, log_index
          from audit
         where workspace_id = $1 and log_index is null and id > $2
         order by id
         limit $3
        """,
        workspace_id, after, limit,
    )  # fmt: skip
    return [_audited(row) for row in rows]


def _audited(row: Row) -> AuditEntry:
    return AuditEntry(*row)


# idempotency keys


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    body: bytes
    status: int | None
    sealed: bytes | None
    expires_at: datetime

    def expired(self, at: datetime) -> bool:
        return self.expires_at <= at


async def lock_scopes(tx: Tx, workspace_id: WorkspaceId, scopes: Iterable[bytes]) -> list[bytes]:
    """The scopes whose lock is ours until the transaction ends; tried in hash order, none waited for."""
    by_number = {_lock_number(workspace_id, scope): scope for scope in scopes}
    rows = await tx.rows(
        """
        select number, pg_try_advisory_xact_lock(number) as ours
          from unnest($1::bigint[]) as wanted (number)
        """,
        sorted(by_number),
    )  # fmt: skip
    return [by_number[row["number"]] for row in rows if row["ours"]]


async def insert_claims(
    tx: Tx, workspace_id: WorkspaceId, claims: Sequence[tuple[bytes, bytes]], expires_at: datetime
) -> list[bytes]:
    """The scopes among claims (scope, body) that had no row and now have one."""
    rows = await tx.rows(
        """
        insert into idempotency (workspace_id, scope, body, expires_at)
        select $1, scope, body, $2
          from unnest($3::bytea[], $4::bytea[]) as claimed (scope, body)
         order by scope
        on conflict (workspace_id, scope) do nothing
        returning scope
        """,
        workspace_id, expires_at, *columns(claims, 2),
    )  # fmt: skip
    return [row["scope"] for row in rows]


async def read_answers(tx: Tx, workspace_id: WorkspaceId, scopes: Sequence[bytes]) -> dict[bytes, KeptAnswer]:
    rows = await tx.rows(
        """
        select scope, body, status, answer, expires_at
          from idempotency
         where workspace_id = $1 and scope = any($2::bytea[])
        """,
        workspace_id, scopes,
    )  # fmt: skip
    return {row["scope"]: KeptAnswer(row["body"], row["status"], row["answer"], row["expires_at"]) for row in rows}


async def renew_claims(
    tx: Tx, workspace_id: WorkspaceId, claims: Sequence[tuple[bytes, bytes]], expires_at: datetime
) -> list[bytes]:
    """The scopes whose expired or unanswered row is now this claim's."""
    rows = await tx.rows(
        """
        update idempotency
           set body = claimed.body, status = null, answer = null, expires_at = $2
          from unnest($3::bytea[], $4::bytea[]) as claimed (scope, body)
         where idempotency.workspace_id = $1 and idempotency.scope = claimed.scope
        returning idempotency.scope
        """,
        workspace_id, expires_at, *columns(claims, 2),
    )  # fmt: skip
    return [row["scope"] for row in rows]


async def store_answers(tx: Tx, workspace_id: WorkspaceId, answers: Sequence[tuple[bytes, int, bytes]]) -> int:
    """The number of claimed rows that took their answer (scope, status, sealed body)."""
    done = await tx.execute(
        """
        update idempotency
           set status = given.status, answer = given.answer
          from unnest($2::bytea[], $3::smallint[], $4::bytea[]) as given (scope, status, answer)
         where idempotency.workspace_id = $1 and idempotency.scope = given.scope
        """,
        workspace_id, *columns(answers, 3),
    )  # fmt: skip
    return int(done.split()[-1])


async def delete_expired_answers(tx: Tx, limit: int) -> int:
    done = await tx.execute(
        """
        delete from idempotency
         where ctid = any(array(
               select ctid from idempotency where expires_at <= $1 order by expires_at limit $2 for update skip locked))
        """,
        tx.now, limit,
    )  # fmt: skip
    return int(done.split()[-1])


def _lock_number(workspace_id: WorkspaceId, scope: bytes) -> int:
    return int.from_bytes(sha256(workspace_id.bytes + scope)[:8], "big", signed=True)
