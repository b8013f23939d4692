"""Making links and opening tokens."""

import os
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from tabellion.consent.links import rules, store
from tabellion.consent.links.types import Base, Confirm, LinkUnknown, Named, Opened, Page, Preferences, Unsubscribe
from tabellion.core.batching import Batcher
from tabellion.core.crypto import Key
from tabellion.core.db import Database, Tx
from tabellion.core.epochs import month
from tabellion.core.errors import Conflict
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault

MOST_KEYS: Final = 10_000
MOST_WAITING: Final = 65_536
"""Tokens whose keys are looked for at once: an opt-out is not shed. This bounds the memory of a process and no more."""

Held = tuple[WorkspaceId, bytes, Key]
"""Whose a key is, its id, and itself."""


class Links:
    """Links to the pages of recipients, and what their tokens name.

    A side has a new key each month, and keeps all it ever had: they are sealed by the outer key itself, so that
    neither the end of an epoch nor an erasure ends a link in mail that was sent long ago. Keys never change, so they
    are kept in memory.
    """

    def __init__(self, db: Database, vault: Vault, base: Base) -> None:
        self._db = db
        self._vault = vault
        self._base = base
        self._by_id: OrderedDict[bytes, Held] = OrderedDict()
        self._current: OrderedDict[UUID, tuple[str, Held]] = OrderedDict()
        # However many tokens come with keys nobody has, one reading at a time looks for all of them.
        self._looking: Batcher[bytes, Held | None] = Batcher(
            self._look, fold=lambda key_id: key_id, most_waiting=MOST_WAITING
        )

    # making

    async def unsubscribe_url(self, tx: Tx, workspace_id: WorkspaceId, named: Unsubscribe) -> str | None:
        """The address under which a person ends what this names: by a POST of mailbox providers, or by a page.

        For `List-Unsubscribe` (RFC 2369) with `List-Unsubscribe-Post: List-Unsubscribe=One-Click` (RFC 8058). It
        never ends. None where nobody could reach it: a live side without a public URL. No statement after the first
        of a side and month.
        """
        return await self._url(tx, workspace_id, named)

    async def preferences_url(self, tx: Tx, workspace_id: WorkspaceId, named: Preferences) -> str | None:
        """The address of a person's preference page; None where nobody could reach it."""
        return await self._url(tx, workspace_id, named)

    async def confirm_url(self, tx: Tx, workspace_id: WorkspaceId, named: Confirm) -> str | None:
        """The address under which a pending grant is confirmed; None where nobody could reach it."""
        return await self._url(tx, workspace_id, named)

    async def path(self, tx: Tx, workspace_id: WorkspaceId, named: Named) -> str:
        """The same without scheme and host: for links between pages."""
        _, key_id, key = await self._key(tx, workspace_id)
        return f"/r/{rules.page_of(named)}/{rules.write(key_id, key, named)}"

    async def _url(self, tx: Tx, workspace_id: WorkspaceId, named: Named) -> str | None:
        base = await self._base(tx, workspace_id)
        return base.rstrip("/") + await self.path(tx, workspace_id, named) if base else None

    # opening

    async def open(self, page: Page, token: str) -> Opened:
        """What a token of this page names. Raises `LinkUnknown`, whatever is wrong with it."""
        workspace_id, _, key = await self._held(rules.key_id(page, token))
        return Opened(workspace_id, rules.read(page, token, key))

    async def nonce(self, page: Page, token: str, now: datetime) -> str:
        """What the forms of the page of this token carry."""
        return rules.nonce((await self._held(rules.key_id(page, token)))[2], token, now)

    async def fresh(self, page: Page, token: str, nonce: str, now: datetime) -> bool:
        """Whether a form of the page of this token was read within the last hour."""
        return rules.fresh((await self._held(rules.key_id(page, token)))[2], token, nonce, now)

    async def _held(self, key_id: bytes) -> Held:
        held = self._by_id.get(key_id) or await self._looking.submit("keys", key_id)
        if held is None:
            raise LinkUnknown
        return held

    async def _look(self, _: Hashable, key_ids: list[bytes]) -> Sequence[Held | None]:
        found = await self._db.run(lambda tx: store.keys(tx, key_ids))
        for one in found:
            self._keep(await self._open(one))
        return [self._by_id.get(one) for one in key_ids]

    # keys

    async def _key(self, tx: Tx, workspace_id: WorkspaceId) -> Held:
        """The key that a side's tokens are made with this month, made by whoever needs it first."""
        now = month(tx.now)
        kept = self._current.get(workspace_id)
        if kept and kept[0] == now:
            return kept[1]
        found = await store.key_of(tx, workspace_id, now) or await self._make(tx, workspace_id, now)
        held = await self._open(found)

        def keep() -> None:
            self._keep(held)
            self._current[workspace_id] = (now, held)
            if len(self._current) > MOST_KEYS:
                self._current.popitem(last=False)

        tx.after_commit(keep)
        return held

    async def _make(self, tx: Tx, workspace_id: WorkspaceId, now: str) -> store.LinkKey:
        key_id = os.urandom(rules.KEY_ID)
        wrapped = await self._vault.outer.wrap(Key.new().raw(), _context(workspace_id, key_id))
        await store.add_key(tx, workspace_id, now, key_id, wrapped)
        found = await store.key_of(tx, workspace_id, now)
        if found is None:
            raise Conflict("changed_meanwhile", "the key of links was made by another request; repeat this one")
        return found

    async def _open(self, kept: store.LinkKey) -> Held:
        raw = await self._vault.outer.unwrap(kept.wrapped, _context(kept.workspace_id, kept.id))
        return WorkspaceId(kept.workspace_id), kept.id, Key(raw)

    def _keep(self, held: Held) -> None:
        self._by_id[held[1]] = held
        if len(self._by_id) > MOST_KEYS:
            self._by_id.popitem(last=False)


def _context(workspace_id: UUID, key_id: bytes) -> str:
    """What a wrapped key of links is bound to."""
    return f"links:{workspace_id}:{key_id.hex()}"
