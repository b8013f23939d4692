"""Use cases of purposes: what there is, and changing it. None commits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import msgspec

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent import policy_lock
from tabellion.consent.brands.service import brand
from tabellion.consent.purposes import rules, store
from tabellion.consent.purposes.types import MOST, PurposeSettings, Row, read_settings, settings_of
from tabellion.consent.types import BUILT_IN, OptOutScope, Purposes
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event


async def purposes_of(tx: Tx, workspace_ids: Collection[UUID]) -> dict[UUID, Purposes]:
    """The purposes of each side as they are now, archived ones too: one statement for all."""
    rows = await store.of_sides(tx, workspace_ids)
    branded = [side for side, some in rows.items() if any(row.settings.brand for row in some)]
    default = {side: (await brand(tx, WorkspaceId(side), None)).key for side in branded}
    return {
        side: _branded(_over(rows[side]), default.get(side)) if side in rows else BUILT_IN for side in workspace_ids
    }


async def note_used(tx: Tx, purposes: Mapping[UUID, Purposes], used: Collection[tuple[UUID, str]]) -> None:
    """Note what is used for the first time: from then on it is archived, not deleted."""
    fresh: dict[UUID, set[str]] = {}
    for side, key in used:
        if key in purposes[side] and purposes[side][key].unused:
            fresh.setdefault(side, set()).add(key)
    for side, keys in sorted(fresh.items()):
        await store.use(tx, side, keys)


def _branded(purposes: Purposes, default: str | None) -> Purposes:
    """Each with the brand it is of, where some are of another than the default."""
    if default is None:
        return purposes
    return {key: replace(one, brand=one.brand or default) for key, one in purposes.items()}


def _over(rows: Collection[Row]) -> Purposes:
    """The built-in purposes with rows laid over them."""
    return {**BUILT_IN, **{row.key: row.purpose for row in rows}}


@dataclass(frozen=True)
class Catalogue:
    """The purposes of a side, for whoever changes them."""

    events: EventLog

    async def rows(self, tx: Tx, workspace_id: WorkspaceId) -> dict[str, Row]:
        """All, by key; built-in ones as they are, where nobody changed them."""
        built_in = {key: Row(key, settings_of(one), None, None, None, None) for key, one in BUILT_IN.items()}
        made = (await store.of_sides(tx, [workspace_id])).get(workspace_id, [])
        return dict(sorted((built_in | {row.key: row for row in made}).items()))

    async def read(self, tx: Tx, workspace_id: WorkspaceId, key: str) -> Row:
        """One purpose. Raises `NotFound`."""
        found = (await self.rows(tx, workspace_id)).get(key)
        if found is None:
            raise NotFound("purpose_not_found", "there is no such purpose; list them with GET /v1/purposes")
        return found

    async def create(self, tx: Tx, caller: Caller, key: str, new: PurposeSettings) -> Row:
        """Make a purpose. Raises `Forbidden` where it asks for less than its parent and the key may not loosen."""
        side = caller.workspace_id
        await policy_lock.change(tx, side)
        rows = await self.rows(tx, side)
        if key in rows:
            raise Conflict("purpose_exists", _taken(rows[key]))
        if len(rows) - len(BUILT_IN) >= MOST:
            raise Conflict("too_many_purposes", f"a side has at most {MOST} purposes; delete one that you do not use")
        after = {**_over(rows.values()), key: new.purpose(key)}
        await self._require_sound(tx, side, after, key)
        loose = rules.measured(after, after[key])
        if loose:
            caller.require_compliance(
                f"a purpose that asks for less than {new.parent or 'marketing'} does ({_list(loose)})"
            )
        return await self._write(tx, caller, key, None, new, loose, archived=False)

    async def change(
        self, tx: Tx, caller: Caller, key: str, patch: Mapping[str, Any], *, archived: bool | None = None
    ) -> Row:
        """Change the fields of the patch. Raises `Forbidden` where that loosens and the key may not."""
        side = caller.workspace_id
        await policy_lock.change(tx, side)
        rows = await self.rows(tx, side)
        row = await self.read(tx, side, key)
        new = _patched(row.settings, patch)
        gone = row.archived_at is not None if archived is None else archived
        _require_built_in_kept(row, new, gone)
        before = _over(rows.values())
        after = {**before, key: new.purpose(key, archived=gone)}
        await self._require_sound(tx, side, after, key)
        loose = rules.loosened(before, after, key)
        if loose:
            caller.require_compliance(f"loosening {_list(loose)}")
        return await self._write(tx, caller, key, row.settings, new, loose, archived=gone)

    async def remove(self, tx: Tx, caller: Caller, key: str) -> None:
        """Delete a purpose that was never used and that nothing relies on; archive any other.

        By its scope opt-outs reach others, and by its brand the words for the default one are those of its purposes.
        """
        side = caller.workspace_id
        await policy_lock.change(tx, side)
        row = await self.read(tx, side, key)
        if key in BUILT_IN:
            raise Conflict("purpose_built_in", "a built-in purpose stays; change it with PATCH")
        below = [one.key for one in (await self.rows(tx, side)).values() if one.settings.parent == key]
        said = row.settings.brand is None and row.settings.opt_out_scope is OptOutScope.PURPOSE
        if row.used_at is not None or not said or not await self._gone(tx, side, key, below):
            await self._write(tx, caller, key, row.settings, row.settings, [], archived=True)
            return
        await audit(tx, side, caller.actor, "purpose.deleted", key, {"before": msgspec.to_builtins(row.settings)})
        await self._tell(tx, side, key, "deleted", [])

    async def _gone(self, tx: Tx, side: WorkspaceId, key: str, below: Sequence[str]) -> bool:
        """Whether it could be deleted: nobody used it meanwhile. Raises `Conflict` where purposes stand below it."""
        if below:
            raise Conflict("purpose_has_children", f"purposes stand below it ({_list(below[:5])}); remove them first")
        return await store.delete(tx, side, key)

    async def _require_sound(self, tx: Tx, side: WorkspaceId, after: Purposes, key: str) -> None:
        """Raise `Invalid` for a purpose that cannot stand among these."""
        found = list(rules.wrong(after, key))
        named = after[key].brand
        if named is not None:
            try:
                await brand(tx, side, named)
            except NotFound:
                found.append(("brand_unknown", "brand", "no such brand; make it first"))
        if found:
            raise Invalid(found[0][0], found[0][2], *(FieldError(f"/{field}", detail) for _, field, detail in found))

    async def _write(
        self,
        tx: Tx,
        caller: Caller,
        key: str,
        before: PurposeSettings | None,
        after: PurposeSettings,
        loose: Collection[str],
        *,
        archived: bool,
    ) -> Row:
        side = caller.workspace_id
        await store.write(tx, side, key, after, archived=archived)
        row = await self.read(tx, side, key)
        word = _word(before, after, loose, archived)
        detail = {"after": msgspec.to_builtins(after), "archived": archived, "loosened": list(loose)}
        if before is not None:
            detail["before"] = msgspec.to_builtins(before)
        await audit(tx, side, caller.actor, f"purpose.{word}", key, detail)
        await self._tell(tx, side, key, word, loose)
        return row

    async def _tell(self, tx: Tx, side: WorkspaceId, key: str, change: str, loose: Collection[str]) -> None:
        data = {"purpose": key, "change": change, "loosened": list(loose)}
        await self.events.append(tx, [Event(workspace_id=side, type="purpose.changed", data=data)])


def _word(before: PurposeSettings | None, after: PurposeSettings, loose: Collection[str], archived: bool) -> str:
    """What a change was."""
    if before is None:
        return "created"
    if loose:
        return "loosened"
    return "archived" if archived and before == after else "changed"


def _patched(settings: PurposeSettings, patch: Mapping[str, Any]) -> PurposeSettings:
    """The settings with the fields of a merge patch; null is the default. Raises `Invalid`."""
    said = {name: value for name, value in {**msgspec.to_builtins(settings), **patch}.items() if value is not None}
    try:
        return read_settings(said)
    except msgspec.ValidationError as error:
        raise Invalid("invalid_purpose", f"that is no purpose: {error}") from None


def _require_built_in_kept(row: Row, new: PurposeSettings, archived: bool) -> None:
    """What a built-in purpose is stays: much relies on it."""
    if row.key not in BUILT_IN:
        return
    fixed = replace(BUILT_IN[row.key], purpose_class=new.purpose_class, parent=new.parent)
    if archived or fixed != BUILT_IN[row.key]:
        detail = "a built-in purpose keeps its class, stands at the top, and is never archived"
        raise Invalid("purpose_built_in", detail, FieldError("/class", detail))


def _taken(row: Row) -> str:
    if row.archived_at is None:
        return "there is a purpose of this key already; change it with PATCH"
    return "there was a purpose of this key, and it is archived; take it up with PATCH and archived: false"


def _list(names: Collection[str]) -> str:
    return ", ".join(names)
