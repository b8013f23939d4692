"""Use cases of brands: which one is meant, and changing them. None commits."""

from collections.abc import Mapping
from dataclasses import replace

from tabellion.access import service as access
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent import policy_lock
from tabellion.consent.brands import store
from tabellion.consent.brands.types import MOST, OWN, Brand
from tabellion.consent.purposes import store as purposes_store
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, NotFound
from tabellion.core.ids import WorkspaceId


async def brand(tx: Tx, workspace_id: WorkspaceId, key: str | None) -> Brand:
    """The brand of this key; None is the default one of the side, which there always is. Raises `NotFound`."""
    if key is None:
        return await store.read_default(tx, workspace_id, OWN) or await _own(tx, workspace_id)
    found = await store.read(tx, workspace_id, key)
    if found is None and key != OWN:
        raise unknown()
    return found or await _own(tx, workspace_id)


async def brands(tx: Tx, workspace_id: WorkspaceId) -> list[Brand]:
    """All brands of a side, by key; the one that it has without a row among them, while no row is the default."""
    found = await store.of_side(tx, workspace_id)
    if not any(one.is_default or one.key == OWN for one in found):
        found = sorted([*found, await _own(tx, workspace_id)], key=lambda one: one.key)
    default = (await brand(tx, workspace_id, None)).key
    return [replace(one, is_default=one.key == default) for one in found]


async def set_brand(tx: Tx, caller: Caller, new: Brand) -> Brand:
    """Make the brand of this key what `new` says. The one that is the default ceases to be it where `new` is.

    Raises `Forbidden` where purposes cease to be of the brand they were of, and the key is none of compliance.
    """
    workspace_id = caller.workspace_id
    await policy_lock.change(tx, workspace_id)
    before = await brand(tx, workspace_id, None)
    known = await store.of_side(tx, workspace_id)
    if len(known) >= MOST and all(one.key != new.key for one in known):
        raise Conflict("too_many_brands", f"a side has at most {MOST} brands; delete one that you do not use")
    if new.is_default:
        await store.release_default(tx, workspace_id, new.key)
    await store.write(tx, workspace_id, new)
    await _require_together(tx, caller, before)
    await audit(tx, workspace_id, caller.actor, "brand.set", new.key, _told(new))
    return await brand(tx, workspace_id, new.key)


async def delete_brand(tx: Tx, caller: Caller, key: str) -> None:
    """Forget a brand that no purpose names. Raises `NotFound` where there is no row of it."""
    workspace_id = caller.workspace_id
    await policy_lock.change(tx, workspace_id)
    before = await brand(tx, workspace_id, None)
    if not await store.delete(tx, workspace_id, key):
        raise unknown()
    if purposes := await purposes_store.of_brand(tx, workspace_id, key):
        raise Conflict("brand_in_use", f"purposes name this brand ({', '.join(purposes[:5])}); change them first")
    await _require_together(tx, caller, before)
    await audit(tx, workspace_id, caller.actor, "brand.deleted", key, {})


async def _require_together(tx: Tx, caller: Caller, before: Brand) -> None:
    """Purposes that name no brand leave those that name the default one of before, and the opt-outs from that brand.

    There are such opt-outs as soon as any purpose names a brand: until then they are from all brands.
    """
    after = await brand(tx, caller.workspace_id, None)
    if after.key != before.key and await purposes_store.branded(tx, caller.workspace_id):
        caller.require_compliance("another default brand, while purposes name brands,")


def unknown() -> NotFound:
    return NotFound("brand_not_found", "there is no such brand; list them with GET /v1/brands")


async def _own(tx: Tx, workspace_id: WorkspaceId) -> Brand:
    workspace = await access.find_workspace(tx, await access.workspace_of(tx, workspace_id))
    return Brand(OWN, workspace.name, is_default=True)


def _told(new: Brand) -> Mapping[str, object]:
    return {
        "name": new.name,
        "contact": new.contact,
        "url": new.url,
        "postal_address": new.postal_address,
        "default": new.is_default,
    }
