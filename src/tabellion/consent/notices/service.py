"""Use cases of notices: make, change, publish, retire, read. None commits."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from tabellion.access.service import audit
from tabellion.consent.notices import rules, store
from tabellion.consent.notices.types import Notice, Version
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event

KnownPurposes = Callable[[Tx, UUID], Awaitable[Iterable[str]]]
"""The keys of a workspace's purposes."""
LATEST: Final = "latest"
"""The version that was published last."""


@dataclass(frozen=True)
class Notices:
    """The only way to the texts."""

    events: EventLog
    purposes: KnownPurposes

    async def make(
        self, tx: Tx, workspace_id: WorkspaceId, key: str, title: str, purposes: Sequence[str], actor: str
    ) -> Notice:
        """A new notice, without a version. Audited. Raises `Conflict` where the id is taken."""
        wanted = rules.require_purposes(purposes, await self.purposes(tx, workspace_id))
        notice = Notice(ids.new(), key, title, wanted, tx.now, tx.now)
        if not await store.insert(tx, workspace_id, notice):
            raise Conflict("notice_exists", f"there is a notice {key} already; make a new version of it")
        await audit(tx, workspace_id, actor, "notice.created", key, {"purposes": wanted})
        return notice

    async def read(self, tx: Tx, workspace_id: WorkspaceId, key: str) -> Notice:
        """Raises `NotFound`."""
        found = await store.read(tx, workspace_id, key)
        if found is None:
            raise NotFound("notice_not_found", f"there is no notice {key[:64]!r} here; GET /v1/notices lists them")
        return found

    async def page(self, tx: Tx, workspace_id: WorkspaceId, before: UUID | None, limit: int) -> list[Notice]:
        """Newest first."""
        return await store.page(tx, workspace_id, before, limit)

    async def change(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        key: str,
        title: str | None,
        purposes: Sequence[str] | None,
        actor: str,
    ) -> Notice:
        """The notice with another title or other purposes, for the versions that are yet to be published. Audited."""
        notice = await self._held(tx, workspace_id, key)
        if purposes is not None:
            purposes = rules.require_purposes(purposes, await self.purposes(tx, workspace_id))
        wanted = purposes if purposes is not None else notice.purposes
        changed = replace(notice, title=title or notice.title, purposes=wanted, updated_at=tx.now)
        await store.update(tx, workspace_id, changed)
        detail = {"purposes": list(wanted), "title": title is not None}
        await audit(tx, workspace_id, actor, "notice.changed", key, detail)
        return changed

    async def retire(self, tx: Tx, workspace_id: WorkspaceId, key: str, actor: str) -> Notice:
        """End the use of a notice; what rests on it stands. Audited. Again is no error."""
        notice = await self._held(tx, workspace_id, key)
        if notice.retired_at is not None:
            return notice
        retired = replace(notice, retired_at=tx.now, updated_at=tx.now)
        await store.update(tx, workspace_id, retired)
        await audit(tx, workspace_id, actor, "notice.retired", key, {})
        await self.events.append(tx, [_event(workspace_id, "retired", {"id": key})])
        return retired

    async def delete(self, tx: Tx, workspace_id: WorkspaceId, key: str, actor: str) -> None:
        """Take away a notice with nothing but drafts. Audited. Raises `Conflict` once a version was published."""
        notice = await self._held(tx, workspace_id, key)
        if notice.latest is not None:
            raise Conflict("notice_published", "what was published is kept, since consents may rest on it; retire it")
        await store.delete(tx, workspace_id, key)
        await audit(tx, workspace_id, actor, "notice.deleted", key, {})

    # versions

    async def draft(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        key: str,
        name: str | None,
        default_language: str,
        texts: dict[str, str],
        actor: str,
    ) -> Version:
        """A new version that may change until it is published; without a name, the next number. Audited."""
        await self._current(tx, workspace_id, key)
        taken = await store.names(tx, workspace_id, key)
        if name == LATEST:
            raise rules.reserved(LATEST)
        if name in taken:
            raise Conflict("version_exists", f"there is a version {name} already; change it as long as it is a draft")
        version = _draft(key, name or rules.next_name(taken), default_language, texts, tx)
        await store.put_version(tx, workspace_id, version)
        await self._audit_version(tx, workspace_id, actor, "drafted", version)
        return version

    async def redraft(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        key: str,
        name: str,
        default_language: str,
        texts: dict[str, str],
        actor: str,
    ) -> Version:
        """A draft with other words. Audited. Raises `Conflict` where it was published."""
        await self._current(tx, workspace_id, key)
        before = await self._unpublished(tx, workspace_id, key, name)
        new = _draft(key, name, default_language, texts, tx)
        version = replace(new, id=before.id, created_at=before.created_at)
        await store.put_version(tx, workspace_id, version)
        await self._audit_version(tx, workspace_id, actor, "redrafted", version)
        return version

    async def drop(self, tx: Tx, workspace_id: WorkspaceId, key: str, name: str, actor: str) -> None:
        """Take a draft away. Audited. Raises `Conflict` where it was published."""
        await self._held(tx, workspace_id, key)
        version = await self._unpublished(tx, workspace_id, key, name)
        await store.delete_version(tx, workspace_id, key, name)
        await self._audit_version(tx, workspace_id, actor, "dropped", version)

    async def publish(self, tx: Tx, workspace_id: WorkspaceId, key: str, name: str, actor: str) -> Version:
        """Fix a version for good, with its hash. Audited. Raises `Conflict` where it was published before."""
        notice = await self._current(tx, workspace_id, key)
        draft = await self._unpublished(tx, workspace_id, key, name)
        version = replace(
            draft,
            title=notice.title,
            purposes=sorted(notice.purposes),
            published_at=tx.now,
            published_by=actor,
            hash=rules.hashed(draft, notice.title, notice.purposes),
            updated_at=tx.now,
        )
        await store.publish(tx, workspace_id, version)
        await self._audit_version(tx, workspace_id, actor, "published", version)
        shown = {"id": key, "version": name, "hash": (version.hash or b"").hex(), "languages": sorted(version.texts)}
        await self.events.append(tx, [_event(workspace_id, "published", shown)])
        return version

    async def version(self, tx: Tx, workspace_id: WorkspaceId, key: str, name: str) -> Version:
        """A version with its texts; `latest` is the one published last. Raises `NotFound`."""
        if name == LATEST:
            name = (await self.read(tx, workspace_id, key)).latest or name
        found = await store.read_version(tx, workspace_id, key, name)
        if found is None:
            detail = f"there is no version {name[:64]!r} of {key[:64]!r}; GET /v1/notices/{{id}}/versions lists them"
            raise NotFound("version_not_found", detail)
        return found

    async def versions(
        self, tx: Tx, workspace_id: WorkspaceId, key: str, before: UUID | None, limit: int
    ) -> list[Version]:
        """Newest first, with their languages but without their texts. Raises `NotFound` where there is no notice."""
        await self.read(tx, workspace_id, key)
        return await store.page_of_versions(tx, workspace_id, key, before, limit)

    async def _held(self, tx: Tx, workspace_id: WorkspaceId, key: str) -> Notice:
        """The notice as it is under its lock, so that nobody publishes what another changes."""
        await store.lock(tx, workspace_id, key)
        return await self.read(tx, workspace_id, key)

    async def _current(self, tx: Tx, workspace_id: WorkspaceId, key: str) -> Notice:
        """As `_held`, of one that may be shown to people from now on."""
        notice = await self._held(tx, workspace_id, key)
        if notice.retired_at is not None:
            raise Conflict("notice_retired", "this notice is retired; make another one")
        return notice

    async def _unpublished(self, tx: Tx, workspace_id: WorkspaceId, key: str, name: str) -> Version:
        found = await self.version(tx, workspace_id, key, name)
        if found.published_at is not None:
            raise Conflict("version_published", "a published text never changes; make a new version, or retire it")
        return found

    async def _audit_version(self, tx: Tx, workspace_id: WorkspaceId, actor: str, word: str, version: Version) -> None:
        detail: dict[str, object] = {"version": version.version, "languages": sorted(version.texts)}
        if version.hash is not None:
            detail["hash"] = version.hash.hex()
        await audit(tx, workspace_id, actor, f"notice.{word}", version.notice, detail)


def _draft(key: str, name: str, default_language: str, given: dict[str, str], tx: Tx) -> Version:
    texts = rules.texts(given, default_language)
    return Version(ids.new(), key, name, rules.tag(default_language), texts, tx.now, tx.now)


def _event(workspace_id: WorkspaceId, word: str, notice: dict[str, Any]) -> Event:
    return Event(workspace_id, f"notice.{word}", {"notice": notice})
