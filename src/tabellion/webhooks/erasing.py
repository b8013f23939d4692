"""What of the callbacks about a person ends with an erasure.

Most are sealed for the person, and unreadable with their key. What is about several people, or about nobody known, is
under a key of the workspace side: it is opened and searched for the person's addresses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus
from uuid import UUID

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients.types import Identifier, Kind
from tabellion.webhooks import sealing, store
from tabellion.webhooks.types import Callback

PAGE: Final = 2_000
"""Callbacks of one transaction."""
SHORTEST: Final = 5
"""Characters that an identifier needs to be searched for: a shorter one stands in everything."""


@dataclass(frozen=True, slots=True)
class Erasing:
    vault: Vault

    async def search(
        self, tx: Tx, workspace_id: WorkspaceId, identifiers: Sequence[Identifier], after: UUID | None
    ) -> tuple[UUID | None, int]:
        """Empty those of the next callbacks under the side's own key that name an identifier.

        Where to go on, None at the end; and how many named one.
        """
        page = await store.page(tx, workspace_id, after, PAGE)
        key = await self.vault.workspace(tx, workspace_id, "callbacks") if page else None
        wanted = needles(identifiers)
        found = [one.id for one in page if key and names(one, key, wanted)]
        if found:
            await store.erase(tx, workspace_id, found)
        return (page[-1].id if len(page) == PAGE else None), len(found)

    async def sweep(
        self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID], after: UUID | None
    ) -> tuple[UUID | None, int]:
        """Empty the next callbacks that are about people. Where to go on, None at the end; and how many there were."""
        page = await store.page_of(tx, workspace_id, people, after, PAGE)
        found = await store.erase(tx, workspace_id, page) if page else 0
        return (page[-1] if len(page) == PAGE else None), found


# pure


def needles(identifiers: Iterable[Identifier]) -> frozenset[bytes]:
    """How the person's addresses may stand in a request, in lower case: as they are, and encoded for a form."""
    plain = {one.value.lower() for one in identifiers if len(one.value) >= SHORTEST}
    numbers = {one.value.removeprefix("+") for one in identifiers if one.kind in (Kind.PHONE, Kind.WHATSAPP)}
    encoded = {how(one, safe="").lower() for one in plain for how in (quote, quote_plus)}
    return frozenset(one.encode() for one in plain | numbers | encoded)


def names(callback: Callback, key: Key, wanted: Iterable[bytes]) -> bool:
    """Whether a callback names one of the addresses, in its URL, its headers or its body."""
    raw = sealing.opened(callback, key)
    text = b"\n".join((raw.url.encode(), *(value.encode() for value in raw.headers.values()), raw.body)).lower()
    return any(one in text for one in wanted)
