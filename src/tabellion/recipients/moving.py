"""Identifiers and profiles that go from one recipient to another with a merge, and back with a split.

A value is sealed under the key of the recipient that has it, so what moves is sealed anew. Whoever calls holds both
rows; an identifier that is there is only ever written under its recipient's lock, which therefore covers it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import history, indexing, rules, sealing, store
from tabellion.recipients.changes import Change, traits_change
from tabellion.recipients.history import Version
from tabellion.recipients.settings import SettingsBook
from tabellion.recipients.store import Record
from tabellion.recipients.types import Identifier, Kind, Recipient

Profile = Mapping[str, Any]
"""`locale`, `time_zone`, `traits` and `owners`; what is not set is left out."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What became part of another recipient."""

    identifiers: Sequence[bytes]
    recipients: Sequence[UUID]
    """Who was part of the one merged, and follows."""


@dataclass(frozen=True, slots=True)
class Moving:
    vault: Vault
    settings: SettingsBook

    async def read(self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Collection[UUID]) -> dict[UUID, Recipient]:
        """Each recipient's own record, whoever it is part of; erased ones are left out."""
        people = sorted(set(recipient_ids))
        records = await store.records(tx, workspace_id, people)
        keys = await self.vault.subjects(tx, workspace_id, [one for one in people if one in records])
        owned: dict[UUID, list[Identifier]] = {one: [] for one in people}
        for row in await store.identifiers(tx, [(workspace_id, one) for one in people]):
            if row.recipient_id in keys:
                owned[row.recipient_id].append(sealing.open_identifier(row, keys[row.recipient_id]))
        return {
            one: _opened(workspace_id, record, owned[one], keys[one])
            for one, record in records.items()
            if one in keys and not record.erased
        }

    async def parts(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> list[UUID]:
        """Who is part of a recipient."""
        return [one for _, one in await store.merged(tx, workspace_id, [recipient_id])]

    async def join(
        self, tx: Tx, workspace_id: WorkspaceId, from_: Recipient, into: Recipient, profile: Profile, actor: str
    ) -> Moved:
        """Make one recipient part of another, which has the profile from then on; what moved.

        Of a kind that a person has one of, as external_id, who is merged keeps theirs where the other has one too: it
        still finds the person, as the id does. Raises `Invalid` where they have too many identifiers together,
        `Conflict` where the traits are too large, before anything is changed.
        """
        limits = self.settings.policy(workspace_id).limits
        full = {one.kind for one in into.identifiers if rules.limit(one.kind, limits) == 1}
        going = [one for one in from_.identifiers if one.kind not in full]
        growing = {one.kind for one in going}
        whole = _counted([*into.identifiers, *going])
        rules.require_room({kind: count for kind, count in whole.items() if kind in growing}, "/from", limits)
        _bounded(profile.get("traits", {}))
        parts = await self.parts(tx, workspace_id, from_.id)
        await self._move(tx, workspace_id, going, from_.id, into.id)
        await store.merge(tx, workspace_id, [(from_.id, into.id)])
        await store.carry_restriction(tx, workspace_id, [(from_.id, into.id)])
        await self._write(tx, workspace_id, from_, {}, [(one, None) for one in going], actor, into.id, source="merge")
        await self._write(tx, workspace_id, into, profile, [(None, one) for one in going], actor, source="merge")
        return Moved([one.hash for one in going], parts)

    async def part(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        from_: Recipient,
        into: Recipient,
        moved: Moved,
        profile: Profile,
        actor: str,
    ) -> list[bytes]:
        """Make a recipient that was merged its own again; the hashes of the identifiers that went back.

        Those are the ones that moved and that the other still has.
        """
        going = [one for one in into.identifiers if one.hash in moved.identifiers]
        await store.part(tx, workspace_id, [from_.id, *moved.recipients], from_.id)
        await self._move(tx, workspace_id, going, into.id, from_.id)
        await self._write(tx, workspace_id, into, profile, [(one, None) for one in going], actor, source="split")
        await self._write(tx, workspace_id, from_, {}, [(None, one) for one in going], actor, from_.id, source="split")
        return [one.hash for one in going]

    async def _move(
        self, tx: Tx, workspace_id: WorkspaceId, going: Sequence[Identifier], from_id: UUID, to_id: UUID
    ) -> None:
        key = (await self.vault.subjects(tx, workspace_id, [to_id]))[to_id]
        sealed = [
            (one.hash, to_id, sealing.seal_value(workspace_id, to_id, key, one.hash, sealing.plain(one)))
            for one in going
        ]
        await store.move(tx, workspace_id, sealed)

    async def _write(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        before: Recipient,
        profile: Profile,
        identifiers: Sequence[tuple[Identifier | None, Identifier | None]],
        actor: str,
        merged_into: UUID | None = None,
        *,
        source: str,
    ) -> None:
        """Store the next version of a recipient; without a profile its own stays."""
        key = (await self.vault.subjects(tx, workspace_id, [before.id]))[before.id]
        wanted = dict(profile or profile_of(before))
        traits = _bounded(wanted.get("traits", {}))
        row = Record(
            id=before.id,
            version=before.version + 1,
            address_only=before.address_only,
            locale=wanted.get("locale"),
            time_zone=wanted.get("time_zone"),
            traits=sealing.seal_traits(workspace_id, before.id, traits, key, wanted.get("owners", {})),
            created_at=before.created_at,
            updated_at=tx.now,
            external_id=None,
            erased=False,
        )
        await store.write(tx, workspace_id, [row])
        change = Change(
            locale=None if before.locale == row.locale else (before.locale, row.locale),
            time_zone=None if before.time_zone == row.time_zone else (before.time_zone, row.time_zone),
            traits=traits_change(before.traits, traits),
            identifiers=tuple(identifiers),
        )
        fields = [*change.fields, *(["merged_into"] if merged_into else [])]
        version = Version(before.id, row.version, fields, key, change, merged_into)
        await history.keep(tx, workspace_id, [version], source=source, actor=actor)
        # Who is merged keeps what it is found by: a search leaves out who is part of another, a split finds it there.
        await indexing.keep(tx, workspace_id, self.settings.of(workspace_id).indexed_traits, {before.id: change})


def profile_of(recipient: Recipient) -> dict[str, Any]:
    """What can be taken from a recipient, and given back."""
    named = {"locale": recipient.locale, "time_zone": recipient.time_zone}
    said = {name: value for name, value in named.items() if value is not None}
    return said | {"traits": dict(recipient.traits), "owners": dict(recipient.owners)}


def _opened(workspace_id: UUID, record: Record, identifiers: Sequence[Identifier], key: Key) -> Recipient:
    traits, owners = sealing.open_traits(workspace_id, record, key)
    return Recipient(
        id=record.id,
        version=record.version,
        address_only=record.address_only,
        locale=record.locale,
        time_zone=record.time_zone,
        traits=traits,
        identifiers=identifiers,
        created_at=record.created_at,
        updated_at=record.updated_at,
        owners=owners,
    )


def _counted(identifiers: Sequence[Identifier]) -> dict[Kind, int]:
    kinds = [one.kind for one in identifiers]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def _bounded(traits: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return rules.traits(traits, "/traits")
    except Invalid as wrong:
        detail = f"together the two have too much: {wrong.detail}; remove some with PATCH first"
        raise Conflict("traits_too_large", detail) from None
