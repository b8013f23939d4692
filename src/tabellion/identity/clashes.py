"""What of a unit belongs to whom, where it cannot be one person's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.review_types import Candidate
from tabellion.recipients.resolution import is_strong
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Named, NewRecipient, Recipient, Ref, Resolved

Found = tuple[Named, Resolved | HubError]
"""An identifier of a unit, and whose it is."""


@dataclass(frozen=True, slots=True)
class Clash:
    """A unit that names identifiers of several recipients, or gives one a second external_id."""

    unit: NewRecipient
    owners: Mapping[UUID, Sequence[Named]]
    """Whose identifiers it names, and which; those known only by an address as well."""
    known: Mapping[UUID, Recipient]
    newcomer: Named | None
    """Its external_id, where nobody has it yet."""
    hashes: Sequence[bytes]
    """Of all that is somebody's, and of the newcomer."""

    @property
    def people(self) -> list[UUID]:
        return sorted(self.owners)

    @property
    def full(self) -> list[UUID]:
        """Those who are more than an address."""
        return [one for one in self.people if not self.known[one].address_only]

    def candidates(self, source: str) -> list[Candidate]:
        """Who they are, for people."""
        found = [_candidate(self.known[one], self.owners[one]) for one in self.people]
        if self.newcomer is not None:
            kinds = [self.newcomer.kind.value]
            found.append(Candidate(None, self.newcomer.value, kinds, kinds, False, None, [source]))
        return found


async def clashes(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, units: Sequence[NewRecipient]
) -> list[Clash | None]:
    """How each unit clashes as of now, in order; None where it does not (any more)."""
    refs = [Ref(kind=one.kind, value=one.value) for unit in units for one in unit.identifiers]
    answers = iter(await recipients.resolve(tx, workspace_id, refs, create=False))
    found = [[(one, next(answers)) for one in unit.identifiers] for unit in units]
    people = {one.recipient_id for some in found for _, one in some if isinstance(one, Resolved)}
    known = await recipients.read(tx, workspace_id, sorted(people)) if people else {}
    return [
        await _clash(tx, recipients, workspace_id, unit, some, known) for unit, some in zip(units, found, strict=True)
    ]


async def _clash(
    tx: Tx,
    recipients: Recipients,
    workspace_id: WorkspaceId,
    unit: NewRecipient,
    found: Sequence[Found],
    known: Mapping[UUID, Recipient],
) -> Clash | None:
    owners: dict[UUID, list[Named]] = {}
    hashes: list[bytes] = []
    newcomer: Named | None = None
    for named, owner in _telling(found):
        if isinstance(owner, Resolved) and owner.identifier is not None and owner.recipient_id in known:
            owners.setdefault(owner.recipient_id, []).append(named)
            hashes.append(owner.identifier.hash)
        elif named.kind is Kind.EXTERNAL_ID:
            newcomer = named
    clash = Clash(unit, owners, known, newcomer, hashes)
    if newcomer is None or not any(_has_external_id(known[one]) for one in clash.full):
        return Clash(unit, owners, known, None, hashes) if len(clash.full) > 1 else None
    hash_ = await recipients.hashed(tx, workspace_id, Ref(kind=newcomer.kind, value=newcomer.value))
    return Clash(unit, owners, known, newcomer, [*hashes, hash_ or b""])


def _telling(found: Sequence[Found]) -> Sequence[Found]:
    """What says whom a unit means: what is strong, where that is somebody's. Who used a device before is not meant."""
    strong = [(named, owner) for named, owner in found if is_strong(named.kind)]
    return strong if any(isinstance(owner, Resolved) for _, owner in strong) else found


def _has_external_id(recipient: Recipient) -> bool:
    return any(one.kind is Kind.EXTERNAL_ID for one in recipient.identifiers)


def _candidate(recipient: Recipient, claimed: Sequence[Named]) -> Candidate:
    known = recipient.identifiers
    return Candidate(
        id=ids.show("rcp", recipient.id),
        external_id=next((one.value for one in known if one.kind is Kind.EXTERNAL_ID), None),
        identifiers=sorted(one.kind.value for one in known),
        claimed=sorted(one.kind.value for one in claimed),
        address_only=recipient.address_only,
        created_at=recipient.created_at,
        sources=sorted({one.source for one in known}),
    )
