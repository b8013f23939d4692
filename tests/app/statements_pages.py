"""As `statements`, for links and pages."""

from datetime import timedelta
from typing import Any

from tabellion.consent.links import store as links
from tabellion.consent.links.store import Code, Confirmation
from tabellion.consent.pages import settings
from tabellion.consent.pages.settings import PageSettings
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId

from .statements import LONG_AGO, Asked, reads, writes

STORES = (links, settings)
HASH = bytes([7]) * 32
"""Of an address that both have."""
PERSON, ENTRY = ids.FIRST, ids.LAST


async def make(tx: Tx, side: WorkspaceId) -> None:
    """A row in each of their tables, with keys that the twin has too."""
    await links.add_key(tx, side, "2026-01", side.bytes[:8][::-1], side.bytes)
    later = tx.now + timedelta(days=1)
    one = Confirmation(side, ENTRY, PERSON, HASH, "email", "marketing", tx.now, later)
    assert await links.add_confirmation(tx, side, one)
    await links.set_code(tx, side, Code(PERSON, HASH, "email", side.bytes, tx.now, later, 0, tx.now, 1))
    await settings.write(tx, side, PageSettings(language="de"))


def a_code(of: Asked) -> Code:
    return Code(PERSON, HASH, "email", bytes(16), LONG_AGO, LONG_AGO, 0, LONG_AGO, 1)


@reads(links, "key_of")
async def _(tx: Tx, of: Asked) -> Any:
    return await links.key_of(tx, of.name, "2026-01")


@reads(links, "asked_since")
async def _(tx: Tx, of: Asked) -> Any:
    await links.set_message(tx, of.name, ENTRY, ids.FIRST)
    return await links.asked_since(tx, of.name, HASH, LONG_AGO)


@reads(links, "confirmation")
async def _(tx: Tx, of: Asked) -> Any:
    found = await links.confirmation(tx, of.name, ENTRY)
    return found and found.workspace_id


@reads(links, "waiting")
async def _(tx: Tx, of: Asked) -> Any:
    return [one.workspace_id for one in await links.waiting(tx, of.name, [HASH])]


reads(links, "code")(lambda tx, of: links.code(tx, of.name, PERSON, HASH, "email"))
reads(links, "unsent")(lambda tx, of: links.unsent(tx, of.name, PERSON))
reads(links, "sent_since")(lambda tx, of: links.sent_since(tx, of.name, HASH, LONG_AGO))
writes(links, "set_message")(lambda tx, of: links.set_message(tx, of.name, ENTRY, ids.LAST))
writes(links, "confirm")(lambda tx, of: links.confirm(tx, of.name, ENTRY))
writes(links, "set_carrier")(lambda tx, of: links.set_carrier(tx, of.name, a_code(of), ids.LAST))
writes(links, "count_try")(lambda tx, of: links.count_try(tx, of.name, a_code(of)))
writes(links, "use_code")(lambda tx, of: links.use_code(tx, of.name, a_code(of)))
writes(links, "forget_confirmations")(lambda tx, of: links.forget_confirmations(tx, of.name, [PERSON], [HASH]))
writes(links, "forget_codes")(lambda tx, of: links.forget_codes(tx, of.name, [PERSON], [HASH]))


@reads(settings, "read")
async def _(tx: Tx, of: Asked) -> Any:
    found, at = await settings.read(tx, of.name)
    return at and found
