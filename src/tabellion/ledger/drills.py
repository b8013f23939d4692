"""The rehearsal of a stolen signing key: on a copy, because it signs what was never so."""

from collections.abc import Sequence
from dataclasses import dataclass

from tabellion.core import ids
from tabellion.core.crypto import sha256
from tabellion.core.db import Database
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import merkle, note
from tabellion.ledger.note import BadNote, Checkpoint, Signer, Verifier
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, VerifierKey


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried, and whether it went as it must."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Copy:
    """What there is to verify with after the rotation, and what the thief has."""

    stolen: Signer
    keys: Sequence[VerifierKey]
    before: Checkpoint
    signed_before: str
    now: Checkpoint
    signed_now: str
    consistency: Sequence[bytes]


async def rehearse(db: Database, ledger: Ledger, workspace_id: WorkspaceId, log: str) -> list[Step]:
    """Steal the key of a copied log, rotate it, and see what a forger can still do and whom it deceives."""
    return _steps(await _rotated(db, ledger, workspace_id, log))


async def _rotated(db: Database, ledger: Ledger, workspace_id: WorkspaceId, log: str) -> _Copy:
    stolen = await db.run(lambda tx: ledger.signer(tx, workspace_id, log))
    signed_before = await db.run(lambda tx: ledger.checkpoint(tx, workspace_id, log))
    keys = await db.run(lambda tx: ledger.rotate_key(tx, workspace_id, log))
    before = _stated(signed_before)

    async def grow() -> None:
        leaf = Leaf(ids.new(), "consent", sha256(b"drill"), db.clock.now().date())
        await db.run(lambda tx: ledger.append(tx, workspace_id, [leaf], log))

    await grow()
    signed_now = await db.run(lambda tx: ledger.checkpoint(tx, workspace_id, log))
    now = _stated(signed_now)
    proof: Sequence[bytes] = ()
    if before.size:
        proof = await db.run(lambda tx: ledger.consistency_proof(tx, workspace_id, before.size, now.size, log))
    return _Copy(stolen, keys, before, signed_before, now, signed_now, proof)


def _steps(copy: _Copy) -> list[Step]:
    old, new, size = copy.keys[-2], copy.keys[-1], copy.before.size
    above = _forged(copy, copy.now.size)
    return [
        Step("rotated", old.to_size == size == new.from_size, f"a new key signs from size {size} on"),
        Step(
            "goes_on", accepted(copy.signed_now, copy.keys) and not accepted(copy.signed_now, copy.keys[:-1]),
            f"the next checkpoint, at {copy.now.size}, counts by the new key and not by the old one",
        ),
        Step(
            "forged_above", not accepted(above, copy.keys),
            f"a checkpoint at {copy.now.size} forged with the stolen key is refused by whoever knows that its sizes"
            f" end at {size}",
        ),
        Step(
            "not_told", accepted(above, [_unbounded(old)]),
            "whoever still trusts the stolen key without its sizes believes the same forgery: tell them",
        ),
        *_below(copy),
        Step(
            "stands", accepted(copy.signed_before, copy.keys),
            "what the old key signed before still counts, and so does every receipt that leads to it",
        ),
    ]  # fmt: skip


def _below(copy: _Copy) -> list[Step]:
    """A forgery within the old key's sizes has its signature on its side, and the log's growth against it."""
    size = copy.before.size
    if not size:
        return []
    forged = _stated(_forged(copy, size))
    return [
        Step(
            "consistent",
            merkle.verify_consistency(size, copy.now.size, copy.before.root, copy.now.root, copy.consistency),
            f"the tree at {copy.now.size} provably begins with the one at {size} that was published before",
        ),
        Step(
            "forged_below",
            not merkle.verify_consistency(size, copy.now.size, forged.root, copy.now.root, copy.consistency),
            f"a forgery at {size} or below leads to no checkpoint of the new key: ask for the consistency proof",
        ),
    ]


def accepted(signed: str, keys: Sequence[VerifierKey]) -> bool:
    """Whether a checkpoint is signed by one of the keys whose sizes cover its own."""
    size = _stated(signed).size
    try:
        note.verify_checkpoint(signed, [Verifier(one.origin, one.public_key) for one in keys if one.covers(size)])
    except BadNote:
        return False
    return True


def _forged(copy: _Copy, size: int) -> str:
    return copy.stolen.sign(Checkpoint(copy.before.origin, size, sha256(b"another history")).text())


def _unbounded(key: VerifierKey) -> VerifierKey:
    return VerifierKey(key.origin, key.public_key, 0, None, key.created_at, None)


def _stated(signed: str) -> Checkpoint:
    return note.parse_checkpoint(note.parse(signed).text)
