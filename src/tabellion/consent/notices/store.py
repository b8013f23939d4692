"""All SQL for `notices` and `notice_versions`."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from tabellion.consent.notices.types import Notice, Published, Version
from tabellion.core.db import Row, Tx, columns


async def insert(tx: Tx, workspace_id: UUID, notice: Notice) -> bool:
    """Whether there was none of this key."""
    done = await tx.execute(
        """
        insert into notices (workspace_id, key, id, title, purposes, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $6)
        on conflict (workspace_id, key) do nothing
        """,
        workspace_id, notice.key, notice.id, notice.title, list(notice.purposes), notice.created_at,
    )  # fmt: skip
    return done.endswith(" 1")


async def read(tx: Tx, workspace_id: UUID, key: str) -> Notice | None:
    row = await tx.row(
        """
        select n.id, n.key, n.title, n.purposes, n.created_at, n.updated_at, n.retired_at, latest.version as latest
          from notices n
          left join lateral (
               select version
                 from notice_versions v
                where v.workspace_id = $1 and v.notice = n.key and v.published_at is not null
                order by v.published_at desc, v.id desc
                limit 1) latest on true
         where n.workspace_id = $1 and n.key = $2
        """,
        workspace_id, key,
    )  # fmt: skip
    return _notice(row) if row else None


async def lock(tx: Tx, workspace_id: UUID, key: str) -> None:
    """Hold a notice until the transaction ends. What you decide on must be read in a statement after this one."""
    await tx.execute("select from notices where workspace_id = $1 and key = $2 for no key update", workspace_id, key)


async def page(tx: Tx, workspace_id: UUID, before: UUID | None, limit: int) -> list[Notice]:
    rows = await tx.rows(
        """
        select n.id, n.key, n.title, n.purposes, n.created_at, n.updated_at, n.retired_at, latest.version as latest
          from notices n
          left join lateral (
               select version
                 from notice_versions v
                where v.workspace_id = $1 and v.notice = n.key and v.published_at is not null
                order by v.published_at desc, v.id desc
                limit 1) latest on true
         where n.workspace_id = $1 and ($2::uuid is null or n.id < $2)
         order by n.id desc
         limit $3
        """,
        workspace_id, before, limit,
    )  # fmt: skip
    return [_notice(row) for row in rows]


async def update(tx: Tx, workspace_id: UUID, notice: Notice) -> None:
    await tx.execute(
        """
        update notices
           set title = $3, purposes = $4, updated_at = $5, retired_at = $6
         where workspace_id = $1 and key = $2
        """,
        workspace_id, notice.key, notice.title, list(notice.purposes), notice.updated_at, notice.retired_at,
    )  # fmt: skip


async def delete(tx: Tx, workspace_id: UUID, key: str) -> None:
    """Take a notice away that nothing of was published, and its drafts."""
    await tx.execute("delete from notice_versions where workspace_id = $1 and notice = $2", workspace_id, key)
    await tx.execute("delete from notices where workspace_id = $1 and key = $2", workspace_id, key)


async def put_version(tx: Tx, workspace_id: UUID, version: Version) -> None:
    """Write a draft, new or anew."""
    await tx.execute(
        """
        insert into notice_versions
            (workspace_id, notice, version, id, default_language, texts, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workspace_id, notice, version) do update
           set default_language = excluded.default_language, texts = excluded.texts, updated_at = excluded.updated_at
        """,
        workspace_id, version.notice, version.version, version.id, version.default_language, dict(version.texts),
        version.created_at, version.updated_at,
    )  # fmt: skip


async def publish(tx: Tx, workspace_id: UUID, version: Version) -> None:
    """Fix a draft for good: the database itself refuses every later change."""
    await tx.execute(
        """
        update notice_versions
           set title = $4, purposes = $5, published_at = $6, published_by = $7, hash = $8, updated_at = $6
         where workspace_id = $1 and notice = $2 and version = $3
        """,
        workspace_id, version.notice, version.version, version.title, list(version.purposes or ()),
        version.published_at, version.published_by, version.hash,
    )  # fmt: skip


async def delete_version(tx: Tx, workspace_id: UUID, notice: str, version: str) -> None:
    await tx.execute(
        "delete from notice_versions where workspace_id = $1 and notice = $2 and version = $3",
        workspace_id, notice, version,
    )  # fmt: skip


async def read_version(tx: Tx, workspace_id: UUID, notice: str, version: str) -> Version | None:
    row = await tx.row(
        """
        select id, notice, version, default_language, texts, created_at, updated_at, title, purposes, published_at,
               published_by, hash
          from notice_versions
         where workspace_id = $1 and notice = $2 and version = $3
        """,
        workspace_id, notice, version,
    )  # fmt: skip
    return _version(row) if row else None


async def names(tx: Tx, workspace_id: UUID, notice: str) -> list[str]:
    """What the versions of a notice are called."""
    rows = await tx.rows(
        "select version from notice_versions where workspace_id = $1 and notice = $2", workspace_id, notice
    )
    return [row["version"] for row in rows]


async def page_of_versions(tx: Tx, workspace_id: UUID, notice: str, before: UUID | None, limit: int) -> list[Version]:
    """The versions of a notice, newest first, without their texts."""
    rows = await tx.rows(
        """
        select id, notice, version, default_language, created_at, updated_at, title, purposes, published_at,
               published_by, hash, array(select jsonb_object_keys(texts)) as languages
          from notice_versions
         where workspace_id = $1 and notice = $2 and ($3::uuid is null or id < $3)
         order by id desc
         limit $4
        """,
        workspace_id, notice, before, limit,
    )  # fmt: skip
    return [_version({**row, "texts": dict.fromkeys(row["languages"], "")}) for row in rows]


async def published(tx: Tx, workspace_id: UUID, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Published]:
    """Of notices and versions, what decisions need to know of those that were published."""
    rows = await tx.rows(
        """
        select v.notice, v.version, v.hash, v.purposes, v.default_language, v.published_at,
               n.retired_at is not null as retired,
               array(select jsonb_object_keys(v.texts)) as languages
          from unnest($2::text[], $3::text[]) as wanted (notice, version)
          join notice_versions v
            on v.workspace_id = $1 and v.notice = wanted.notice and v.version = wanted.version
          join notices n on n.workspace_id = $1 and n.key = v.notice
         where v.published_at is not null
        """,
        workspace_id, *columns(sorted(set(wanted)), 2),
    )  # fmt: skip
    return {
        (row["notice"], row["version"]): Published(
            row["hash"],
            frozenset(row["purposes"]),
            row["default_language"],
            frozenset(row["languages"]),
            row["retired"],
            row["published_at"],
        )
        for row in rows
    }


def _notice(row: Row) -> Notice:
    return Notice(
        id=row["id"],
        key=row["key"],
        title=row["title"],
        purposes=row["purposes"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        retired_at=row["retired_at"],
        latest=row["latest"],
    )


def _version(row: Row | Mapping[str, object]) -> Version:
    fields = {name: row[name] for name in Version.__dataclass_fields__}
    return Version(**fields)  # type: ignore[arg-type]
