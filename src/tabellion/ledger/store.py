"""All SQL of the ledger's tables."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tabellion.core.db import Row, Tx, columns
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.types import Entry, Head, Located, LogId, Publication, SigningKey, Tile, VerifierKey


async def open_head(tx: Tx, workspace_id: WorkspaceId, name: str) -> Head | None:
    """The head of the log in use, as it was when the statement began."""
    row = await tx.row(
        """
        select workspace_id, log, generation, origin, size, frontier, checkpoint, public_key,
               pg_postmaster_start_time() as server_started
          from ledger_heads
         where workspace_id = $1 and log = $2 and closed_at is null
        """,
        workspace_id, name,
    )  # fmt: skip
    return _head(row) if row else None


async def lock_head(tx: Tx, workspace_id: WorkspaceId, name: str) -> Head | None:
    """The newest committed head of the log in use, locked until the transaction ends."""
    row = await tx.row(
        """
        select workspace_id, log, generation, origin, size, frontier, checkpoint, public_key,
               pg_postmaster_start_time() as server_started
          from ledger_heads
         where workspace_id = $1 and log = $2 and closed_at is null
           for no key update
        """,
        workspace_id, name,
    )  # fmt: skip
    return _head(row) if row else None


async def closed_head(tx: Tx, log: LogId) -> Head | None:
    """The last head of a log that has a successor."""
    row = await tx.row(
        """
        select workspace_id, log, generation, origin, size, frontier, checkpoint, public_key,
               pg_postmaster_start_time() as server_started
          from ledger_heads
         where workspace_id = $1 and log = $2 and generation = $3 and closed_at is not null
        """,
        *log,
    )
    return _head(row) if row else None


async def heads(tx: Tx) -> list[Head]:
    """The heads of all logs in use, of all workspaces: for the operator's checks."""
    rows = await tx.rows(
        """
        select workspace_id, log, generation, origin, size, frontier, checkpoint, public_key,
               pg_postmaster_start_time() as server_started
          from ledger_heads
         where closed_at is null
         order by workspace_id, log
        """
    )
    return [_head(row) for row in rows]


async def generations(tx: Tx, workspace_id: WorkspaceId, name: str) -> list[Head]:
    """The heads of a log and of those it succeeds, the first one first."""
    rows = await tx.rows(
        """
        select workspace_id, log, generation, origin, size, frontier, checkpoint, public_key,
               pg_postmaster_start_time() as server_started
          from ledger_heads
         where workspace_id = $1 and log = $2
         order by generation
        """,
        workspace_id, name,
    )  # fmt: skip
    return [_head(row) for row in rows]


async def settled(tx: Tx, since: datetime) -> list[tuple[str, int]]:
    """Origin and size of the logs in use that have not grown since."""
    rows = await tx.rows(
        "select origin, size from ledger_heads where closed_at is null and updated_at < $1 order by origin", since
    )
    return [(row["origin"], row["size"]) for row in rows]


async def known_origins(tx: Tx) -> set[str]:
    """The names of all logs, those with a successor too."""
    return {row["origin"] for row in await tx.rows("select origin from ledger_heads")}


async def insert_head(tx: Tx, log: LogId, origin: str, frontier: Frontier, checkpoint: str, public_key: bytes) -> bool:
    """Whether the log was made now. Waits for another transaction that is making it."""
    made = await tx.value(
        """
        insert into ledger_heads (
            workspace_id, log, generation, origin, size, frontier, checkpoint, public_key, updated_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict do nothing
        returning true
        """,
        *log, origin, frontier.size, frontier.packed(), checkpoint, public_key, tx.now,
    )  # fmt: skip
    return bool(made)


async def update_head(tx: Tx, log: LogId, frontier: Frontier, checkpoint: str) -> None:
    await tx.execute(
        """
        update ledger_heads
           set size = $4, frontier = $5, checkpoint = $6, updated_at = $7
         where workspace_id = $1 and log = $2 and generation = $3
        """,
        *log, frontier.size, frontier.packed(), checkpoint, tx.now,
    )  # fmt: skip


async def close_head(tx: Tx, log: LogId) -> None:
    await tx.execute(
        "update ledger_heads set closed_at = $4 where workspace_id = $1 and log = $2 and generation = $3", *log, tx.now
    )


async def insert_key(tx: Tx, log: LogId, key: SigningKey) -> None:
    await tx.execute(
        """
        insert into ledger_keys (workspace_id, log, generation, from_size, public_key, sealed, created_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        """,
        *log, key.from_size, key.public_key, key.sealed, tx.now,
    )  # fmt: skip


async def sealed_key(tx: Tx, log: LogId, public_key: bytes) -> bytes | None:
    """The sealed private key of the current signing key, if it is this one."""
    sealed: bytes | None = await tx.value(
        """
        select sealed
          from ledger_keys
         where workspace_id = $1 and log = $2 and generation = $3 and public_key = $4 and to_size is null
        """,
        *log, public_key,
    )  # fmt: skip
    return sealed


async def retire_key(tx: Tx, log: LogId, to_size: int) -> None:
    """End the current signing key: it signed up to this tree size, and its private half is gone from here."""
    await tx.execute(
        """
        update ledger_keys
           set to_size = $4, retired_at = $5, sealed = null
         where workspace_id = $1 and log = $2 and generation = $3 and to_size is null
        """,
        *log, to_size, tx.now,
    )  # fmt: skip


async def sign_head(tx: Tx, log: LogId, checkpoint: str, public_key: bytes) -> None:
    """Give the head, as it stands, another key and that key's signature."""
    await tx.execute(
        """
        update ledger_heads
           set checkpoint = $4, public_key = $5, updated_at = $6
         where workspace_id = $1 and log = $2 and generation = $3
        """,
        *log, checkpoint, public_key, tx.now,
    )  # fmt: skip


async def verifier_keys(tx: Tx, workspace_id: WorkspaceId, name: str) -> list[VerifierKey]:
    """Every key the log ever signed with, those of the logs before it too, the current one last."""
    rows = await tx.rows(
        """
        select ledger_heads.origin, ledger_keys.public_key, ledger_keys.from_size, ledger_keys.to_size,
               ledger_keys.created_at, ledger_keys.retired_at
          from ledger_keys
          join ledger_heads using (workspace_id, log, generation)
         where workspace_id = $1 and log = $2
         order by generation, from_size, to_size nulls last, ledger_keys.created_at
        """,
        workspace_id, name,
    )  # fmt: skip
    return [VerifierKey(*row) for row in rows]


async def insert_leaves(tx: Tx, log: LogId, first: int, leaves: Sequence[tuple[UUID, bytes]]) -> None:
    """Store entries at the indexes from first on."""
    entry_ids, entries = columns(leaves, 2)
    await tx.execute(
        """
        insert into ledger_leaves (workspace_id, log, generation, index, entry_id, leaf)
        select $1, $2, $3, $4 + place - 1, entry_id, leaf
          from unnest($5::uuid[], $6::bytea[]) with ordinality as given (entry_id, leaf, place)
        """,
        *log, first, entry_ids, entries,
    )  # fmt: skip


async def locate(tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Located | None:
    """Where the entry with the caller's id stands."""
    row = await tx.row(
        """
        select workspace_id, log, generation, index, leaf
          from ledger_leaves
         where workspace_id = $1 and entry_id = $2
        """,
        workspace_id, entry_id,
    )  # fmt: skip
    if row is None:
        return None
    return Located(LogId(row["workspace_id"], row["log"], row["generation"]), row["index"], row["leaf"])


async def leaves(tx: Tx, log: LogId, indexes: Sequence[int]) -> dict[int, bytes]:
    """The entries at these indexes. A list, not a range: a plan for unknown ranges may read the whole log."""
    rows = await tx.rows(
        """
        select index, leaf
          from ledger_leaves
         where workspace_id = $1 and log = $2 and generation = $3 and index = any($4::bigint[])
        """,
        *log, indexes,
    )  # fmt: skip
    return {row["index"]: row["leaf"] for row in rows}


async def entries(tx: Tx, log: LogId, indexes: Sequence[int]) -> list[Entry]:
    """The entries at these indexes with the ids they were appended with, in order. A list, as for `leaves`."""
    rows = await tx.rows(
        """
        select index, entry_id, leaf
          from ledger_leaves
         where workspace_id = $1 and log = $2 and generation = $3 and index = any($4::bigint[])
         order by index
        """,
        *log, indexes,
    )  # fmt: skip
    return [Entry(**row) for row in rows]


async def leaves_from(tx: Tx, log: LogId, first: int, limit: int) -> list[tuple[UUID, bytes]]:
    """The entries from an index on, each with the caller's id: for copying a log."""
    rows = await tx.rows(
        """
        select entry_id, leaf
          from ledger_leaves
         where workspace_id = $1 and log = $2 and generation = $3 and index >= $4
         order by index
         limit $5
        """,
        *log, first, limit,
    )  # fmt: skip
    return [(row["entry_id"], row["leaf"]) for row in rows]


async def tiles_from(tx: Tx, log: LogId, level: int, index: int, limit: int) -> list[Tile]:
    """The full tiles behind one, by level and index: for copying a log."""
    rows = await tx.rows(
        """
        select level, index, hashes, root
          from ledger_tiles
         where workspace_id = $1 and log = $2 and generation = $3 and (level, index) > ($4, $5)
         order by level, index
         limit $6
        """,
        *log, level, index, limit,
    )  # fmt: skip
    return [Tile(*row) for row in rows]


async def tiles(
    tx: Tx, log: LogId, whole: Sequence[tuple[int, int]], roots: Sequence[tuple[int, int]]
) -> tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]]:
    """The hashes of some full tiles and the roots of others, by level and index. A root is a node one level above."""
    asked = [(level, index, True) for level, index in whole] + [(level, index, False) for level, index in roots]
    rows = await tx.rows(
        """
        select t.level, t.index, wanted.whole, case when wanted.whole then t.hashes else t.root end as hashed
          from unnest($4::smallint[], $5::bigint[], $6::boolean[]) as wanted (level, index, whole)
          join ledger_tiles t
            on t.workspace_id = $1 and t.log = $2 and t.generation = $3
           and t.level = wanted.level and t.index = wanted.index
        """,
        *log, *columns(asked, 3),
    )  # fmt: skip
    hashes = {(row["level"], row["index"]): row["hashed"] for row in rows if row["whole"]}
    return hashes, {(row["level"], row["index"]): row["hashed"] for row in rows if not row["whole"]}


async def insert_tiles(tx: Tx, log: LogId, tiles: Sequence[Tile]) -> None:
    level, index, hashes, root = columns([(one.level, one.index, one.hashes, one.root) for one in tiles], 4)
    await tx.execute(
        """
        insert into ledger_tiles (workspace_id, log, generation, level, index, hashes, root)
        select $1, $2, $3, level, index, hashes, root
          from unnest($4::smallint[], $5::bigint[], $6::bytea[], $7::bytea[]) as made (level, index, hashes, root)
        """,
        *log, level, index, hashes, root,
    )  # fmt: skip


async def tile(tx: Tx, log: LogId, level: int, index: int) -> bytes | None:
    """The hashes of a full tile."""
    hashes: bytes | None = await tx.value(
        """
        select hashes
          from ledger_tiles
         where workspace_id = $1 and log = $2 and generation = $3 and level = $4 and index = $5
        """,
        *log, level, index,
    )  # fmt: skip
    return hashes


# logs that anybody may read


async def publications(tx: Tx, workspace_id: WorkspaceId) -> list[Publication]:
    """The logs of a side that anybody may read."""
    rows = await tx.rows(
        "select workspace_id, log, published_at from published_logs where workspace_id = $1 order by log", workspace_id
    )
    return [Publication(*row) for row in rows]


async def publication(tx: Tx, log_id: bytes) -> Publication | None:
    """Whose log has this id, if anybody may read it."""
    row = await tx.row("select workspace_id, log, published_at from published_logs where log_id = $1", log_id)
    return Publication(*row) if row else None


async def publish(tx: Tx, workspace_id: WorkspaceId, name: str, log_id: bytes) -> None:
    """Open a log to anybody. Doing it again changes nothing."""
    await tx.execute(
        """
        insert into published_logs (log_id, workspace_id, log, published_at)
        values ($1, $2, $3, $4)
        on conflict do nothing
        """,
        log_id, workspace_id, name, tx.now,
    )  # fmt: skip


async def unpublish(tx: Tx, workspace_id: WorkspaceId, name: str) -> None:
    """Close a log to those without a key."""
    await tx.execute("delete from published_logs where workspace_id = $1 and log = $2", workspace_id, name)


def _head(row: Row) -> Head:
    return Head(
        log=LogId(row["workspace_id"], row["log"], row["generation"]),
        origin=row["origin"],
        frontier=Frontier.unpacked(row["size"], row["frontier"]),
        checkpoint=row["checkpoint"],
        public_key=row["public_key"],
        server_started=row["server_started"],
    )
