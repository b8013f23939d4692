"""Evidence about one person: their export, a receipt of each decision, and who had it in hands (chain of custody).

Each receipt shows a record and proves with the log's key alone that it was recorded; what is handed out is listed by
hash and signed, so that whoever gets it can tell that nothing was added or taken away.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from tabellion import __version__
from tabellion.access.answers import encode
from tabellion.access.service import audit, list_audit
from tabellion.access.types import AuditEntry, AuditFilter
from tabellion.consent.notices.service import Notices
from tabellion.consent.receipts.service import disclosed
from tabellion.core import ids
from tabellion.core.crypto import canonical
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import note
from tabellion.ledger.paths import LogName
from tabellion.ledger.reading import Reading
from tabellion.ledger.types import NotYetPublished
from tabellion.privacy import exported, notice_files
from tabellion.privacy import regulation_store as store
from tabellion.privacy.archive import zipped
from tabellion.privacy.certificates import Certificates
from tabellion.privacy.export import Export, counted, once
from tabellion.privacy.exported import Page, Part, Person, Written
from tabellion.privacy.orders import Regulation, State

FORMAT: Final = "tabellion-evidence/1"
KIND: Final = "tabellion-custody"
"""The type of the signed statement."""
LOG: Final = "consent"
AT_ONCE: Final = 50
"""Receipts of one transaction."""
MOST_ORDERS: Final = 500


@dataclass
class _Handed:
    """What was handed out so far."""

    written: list[Written]
    receipts: int = 0
    withheld: int = 0
    """Decisions whose record names what is somebody else's now, or does not open any more: no receipt."""
    notices: set[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Evidence:
    """Reads; and audits that it was read."""

    export: Export
    reading: Reading
    notices: Notices
    certificates: Certificates

    def zipped(self, db: Database, order: Regulation, by: str) -> AsyncIterator[bytes]:
        """The evidence as a ZIP, in pieces. Audited once more when it is whole."""
        return zipped(self.parts(db, order, by))

    async def parts(self, db: Database, order: Regulation, by: str) -> AsyncIterator[Part]:
        """The files, custody last. Raises as `Export.parts` does."""
        side = WorkspaceId(order.workspace_id)
        person = await db.run(lambda tx: self.export.person(tx, side, order.recipient_id))
        handed = _Handed([], notices=set())
        async for part in self.export.parts(db, side, order.recipient_id):
            yield Part(part.name, part.at, counted(part.name, part.pages, handed.written))
        async for name, content, rows in self._contents(db, person, handed):
            yield Part(name, person.at, counted(name, _whole(content, rows), handed.written))
        claims = await db.run(lambda tx: self._custody(tx, person, order, by, handed))
        signed = await db.run(lambda tx: self.certificates.sign(tx, claims, KIND))
        await db.run(lambda tx: self._made(tx, side, by, order, claims))
        yield Part("custody.json", person.at, once(claims))
        yield Part("custody.jws", person.at, _whole(signed.encode() + b"\n", 1))
        known = {"keys": await db.run(self.certificates.published)}
        yield Part("jwks.json", person.at, once(known))

    async def _contents(self, db: Database, person: Person, handed: _Handed) -> AsyncIterator[tuple[str, bytes, int]]:
        async for name, receipt in self._receipts(db, person, handed):
            yield name, receipt, 1
        for name, content in await db.run(lambda tx: self._notices(tx, person, handed)):
            yield name, content, 1
        rows = await db.run(lambda tx: self._audited(tx, person))
        yield "audit.jsonl", b"".join(encode(_row(one)) + b"\n" for one in rows), len(rows)
        keys, checkpoint = await db.run(lambda tx: self._log(tx, person))
        yield "keys.json", encode({"keys": keys}) + b"\n", len(keys)
        yield "checkpoint", checkpoint.encode(), 1

    async def _receipts(self, db: Database, person: Person, handed: _Handed) -> AsyncIterator[tuple[str, bytes]]:
        after: int | None = -1
        while after is not None:

            async def read(tx: Tx, behind: int = after) -> tuple[list[tuple[str, bytes]], int | None]:
                return await self._page(tx, person, behind, handed)

            page, after = await db.run(read)
            for one in page:
                handed.receipts += 1
                yield one

    async def _page(
        self, tx: Tx, person: Person, behind: int, handed: _Handed
    ) -> tuple[list[tuple[str, bytes]], int | None]:
        await self.export.same(tx, person)
        side = person.workspace_id
        found = await self.export.consent.entries(tx, side, person.ids, behind, AT_ONCE)
        named = [pair for _, record in found for pair in exported.named_in_record(record)]
        others = await self.export.others(tx, person, named)
        own = [(entry, one) for entry, one in found if one and others.isdisjoint(exported.named_in_record(one))]
        proofs = await self.export.consent.proofs(tx, side, [entry.id for entry, _ in own])
        receipts = []
        for proof in proofs:
            located = await self.reading.find(tx, side, proof.entry_id)
            if located is not None:
                said = await self.reading.receipt(tx, located.log, located.index, disclosed(proof), unwitnessed=True)
                receipts.append((f"receipts/{ids.show('cns', proof.entry_id)}.tlog-proof", said.encode()))
        handed.withheld += len(found) - len(receipts)
        handed.notices = (handed.notices or set()) | {pair for _, one in own if (pair := _notice(one))}
        return receipts, found[-1][0].ordinal if len(found) == AT_ONCE else None

    async def _notices(self, tx: Tx, person: Person, handed: _Handed) -> list[tuple[str, bytes]]:
        return await notice_files.named(tx, self.notices, person.workspace_id, handed.notices or ())

    async def _audited(self, tx: Tx, person: Person) -> list[AuditEntry]:
        """What was audited about the person and the orders on their data, in order."""
        orders = await store.page(
            tx, person.workspace_id, recipients=person.ids, type=None, state=None, before=None, limit=MOST_ORDERS
        )
        targets = [*(ids.show("rcp", one) for one in person.ids), *(one.shown for one in orders)]
        found: list[AuditEntry] = []
        for target in targets:
            before = None
            while page := await list_audit(tx, person.workspace_id, AuditFilter(target=target), 500, before):
                found += page
                before = page[-1].id
        return sorted(found, key=lambda one: one.id)

    async def _log(self, tx: Tx, person: Person) -> tuple[list[dict[str, Any]], str]:
        keys = await self.reading.keys(tx, person.workspace_id, LOG)
        try:
            checkpoint = (await self.reading.open(tx, person.workspace_id, LogName(LOG, None))).checkpoint
        except NotYetPublished:  # its witnesses have not cosigned anything yet
            checkpoint = await self.reading.ledger.checkpoint(tx, person.workspace_id, LOG)
        return [
            {
                "vkey": note.Verifier(one.origin, one.public_key).line(),
                "from_size": one.from_size,
                "to_size": one.to_size,
            }
            for one in keys
        ], checkpoint

    async def _custody(self, tx: Tx, person: Person, order: Regulation, by: str, handed: _Handed) -> dict[str, Any]:
        """Who asked, why, who agreed, who took it, when; and the hash of each file and of the whole."""
        approvals = [_step("approved", order.approved_by, order.approved_at)] if order.approved_by else []
        said = {
            "format": FORMAT,
            "hub_version": __version__,
            "workspace": ids.show("wsp", person.workspace),
            "mode": person.mode,
            "recipient": ids.show("rcp", person.root),
            "recipients": [ids.show("rcp", one) for one in person.ids],
            "regulation": order.shown,
            "reason": order.options.reason,
            "verified_by": order.verified_by,
            "second_approver": order.approved_by,
            "steps": [
                _step("ordered", order.requested_by, order.created_at),
                *approvals,
                _step("begun", by, person.at),
                _step("made", by, tx.now),
            ],
            "receipts": handed.receipts,
            "withheld": handed.withheld,
            "files": handed.written,
            "whole": whole(handed.written),
        }
        claims: dict[str, Any] = msgspec.json.decode(encode(said))
        return claims

    async def _made(self, tx: Tx, side: WorkspaceId, by: str, order: Regulation, claims: Mapping[str, Any]) -> None:
        detail = {"sha256": claims["whole"], "files": len(claims["files"]), "receipts": claims["receipts"]}
        await audit(tx, side, by, "regulation.evidence_made", order.shown, detail)


def whole(files: Sequence[Written]) -> str:
    """One hash over all: SHA-256 of the canonical JSON of `[[name, sha256], …]`, in the order of the files."""
    return sha256(canonical([[one.name, one.sha256] for one in files])).hexdigest()


def waits(order: Regulation) -> bool:
    """Whether a second key has to agree first."""
    return order.state is State.AWAITING_APPROVAL


def _step(what: str, by: str | None, at: datetime | None) -> dict[str, Any]:
    return {"step": what, "by": by, "at": at}


def _notice(record: Mapping[str, Any] | None) -> tuple[str, str] | None:
    said = (record or {}).get("notice")
    return (str(said["id"]), str(said["version"])) if said else None


def _row(one: AuditEntry) -> dict[str, Any]:
    return {
        "id": ids.show("aud", one.id),
        "at": one.at,
        "actor": one.actor,
        "action": one.action,
        "target": one.target,
        "detail": one.detail,
        "log_index": one.log_index,
        **({"log": one.log} if one.log else {}),
    }


async def _whole(content: bytes, rows: int) -> AsyncIterator[Page]:
    yield Page(rows, content)
