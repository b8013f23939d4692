"""What a decision that names a notice rests on: looked up for a whole batch, and what the record says of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from tabellion.consent.notices import rules, served_store, store
from tabellion.consent.notices.types import Named, Published, Served
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.vault import Vault

USE: Final = "served"
"""The side's key that seals what was shown to nobody known."""


class Asked(msgspec.Struct, frozen=True):
    """A notice as a decision names it, and the purposes that a notice may be about to be about it."""

    id: str
    version: str | int
    served: UUID | None
    line: frozenset[str]
    people: frozenset[UUID]
    """Who decides, under all their ids."""
    occurred_at: datetime | None


async def named(tx: Tx, workspace_id: UUID, asked: Mapping[int, Asked]) -> dict[int, Named]:
    """What each notice that is named turned out to be; one statement for all, two where showings are named."""
    if not asked:
        return {}
    found = await store.published(tx, workspace_id, {(one.id, str(one.version)) for one in asked.values()})
    shown = {one.served for one in asked.values() if one.served}
    served = await served_store.read(tx, workspace_id, shown) if shown else {}
    return {
        place: _named(one, found.get((one.id, str(one.version))), served.get(one.served) if one.served else None)
        for place, one in asked.items()
    }


def _named(asked: Asked, version: Published | None, served: Served | None) -> Named:
    committed: dict[str, object] = {"id": asked.id, "version": asked.version}
    if asked.served:
        committed["served"] = ids.show("srv", asked.served)
    if version is None:
        return Named(committed, known=False, warnings=("notice_unknown",))
    committed["hash"] = version.hash.hex()
    warnings = [] if rules.covers(version.purposes, asked.line) else ["notice_of_other_purposes"]
    if version.retired:
        warnings.append("notice_retired")
    if asked.occurred_at is not None and asked.occurred_at < version.published_at:
        warnings.append("notice_published_later")
    fits = served is not None and _fits(asked, served)
    if asked.served and not fits:
        warnings.append("served_unknown")
    if served is None or not fits:
        return Named(committed, known=True, warnings=tuple(warnings))
    committed["language"] = served.language
    adopts = served.id if served.recipient_id is None else None
    return Named(committed, known=True, warnings=tuple(warnings), adopts=adopts)


def _fits(asked: Asked, served: Served) -> bool:
    """Whether a showing is of this text, and to nobody else than who decides."""
    theirs = served.recipient_id is None or served.recipient_id in asked.people
    return theirs and (served.notice, served.version) == (asked.id, str(asked.version))


async def adopt(
    tx: Tx, vault: Vault, workspace_id: UUID, adopted: Mapping[UUID, UUID], keys: Mapping[UUID, Key]
) -> None:
    """Let showings to nobody known be to those who decided on them (showing to recipient), sealed with their keys."""
    side = await vault.workspace(tx, workspace_id, USE)
    found = await served_store.read(tx, workspace_id, adopted)
    await served_store.adopt(
        tx,
        workspace_id,
        [
            (one.id, person, keys[person].seal(side.open(one.sealed, where), where))
            for one in found.values()
            if one.recipient_id is None
            for person in (adopted[one.id],)
            for where in (context(workspace_id, one.id),)
        ],
    )


async def forget(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes]) -> None:
    """Delete what was shown to people who are erased, and under identifiers of theirs."""
    await served_store.forget(tx, workspace_id, recipient_ids, hashes)


def context(workspace_id: UUID, served_id: UUID) -> str:
    """What the evidence of a showing is sealed with."""
    return f"served:{workspace_id}:{served_id}"
