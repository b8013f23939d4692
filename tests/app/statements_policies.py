"""As `statements`, for what a side says about consent: brands, purposes, settings."""

from dataclasses import replace
from typing import Any

from tabellion.consent.brands import store as brands
from tabellion.consent.brands.types import Brand
from tabellion.consent.keywords import store as keywords
from tabellion.consent.keywords.types import Keyword, Received
from tabellion.consent.purposes import store as purposes
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.settings import store as settings
from tabellion.consent.types import Basis, PurposeClass
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.providers.base import Channel

from .statements import Asked, reads, writes

STORES = (brands, keywords, purposes, settings)


async def make(tx: Tx, side: WorkspaceId) -> None:
    """A row in each of their tables, with keys that the twin has too, and words of its own."""
    word = side.hex[:8]
    await brands.write(tx, side, Brand("shoes", word))
    await brands.write(tx, side, Brand("hats", word, is_default=True))
    await purposes.write(tx, side, "news", _news(word))
    await settings.write(tx, side, {"cross_channel": {}})
    await keywords.note(tx, side, [_keyword(side, tx)])


def _keyword(side: WorkspaceId, tx: Tx) -> Received:
    nobody = ids.new()
    return Received(
        side,
        ids.new(),
        Keyword.HELP,
        RecipientId(nobody),
        b"h" * 32,
        Channel.SMS,
        AccountId(nobody),
        None,
        "en",
        tx.now,
    )


@reads(keywords, "read")
async def _(tx: Tx, of: Asked) -> Any:
    return [one.id for one in await keywords.read(tx, of.name, of.all("keywords_received", "id"))]


@writes(keywords, "note")
async def _(tx: Tx, of: Asked) -> None:
    """It forgets what is old of the side that hears something new; only the owner's hears."""
    if of.name == of.owner:
        await keywords.note(tx, of.name, [replace(_keyword(of.name, tx), identifier_hash=b"n" * 32)])


@writes(keywords, "forget")
async def _(tx: Tx, of: Asked) -> None:
    await keywords.forget(tx, of.name, of.all("keywords_received", "identifier_hash"))


def _news(title: str) -> PurposeSettings:
    return PurposeSettings(title=title, purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT, brand="shoes")


@reads(brands, "read")
async def _(tx: Tx, of: Asked) -> Any:
    found = await brands.read(tx, of.name, "shoes")
    return found and found.key


@reads(brands, "read_default")
async def _(tx: Tx, of: Asked) -> Any:
    found = await brands.read_default(tx, of.name, "default")
    return found and found.key


@reads(brands, "of_side")
async def _(tx: Tx, of: Asked) -> Any:
    return [one.key for one in await brands.of_side(tx, of.name)]


writes(brands, "release_default")(lambda tx, of: brands.release_default(tx, of.name, "shoes"))
writes(brands, "delete")(lambda tx, of: brands.delete(tx, of.name, "shoes"))


@reads(settings, "read")
async def _(tx: Tx, of: Asked) -> Any:
    return (await settings.read(tx, of.name))[0]


@reads(purposes, "of_sides")
async def _(tx: Tx, of: Asked) -> Any:
    return [one.key for one in (await purposes.of_sides(tx, [of.name])).get(of.name, [])]


reads(purposes, "of_brand")(lambda tx, of: purposes.of_brand(tx, of.name, "shoes"))
reads(purposes, "branded")(lambda tx, of: purposes.branded(tx, of.name))
writes(purposes, "delete")(lambda tx, of: purposes.delete(tx, of.name, "news"))
writes(purposes, "use")(lambda tx, of: purposes.use(tx, of.name, ["news"]))
