"""A list of suppressions as text: rows drawn as CSV, and a body of CSV or JSON lines brought in."""

import asyncio
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tabellion.access.answers import show_time
from tabellion.consent.record import unknown_purpose
from tabellion.consent.service import MOST
from tabellion.consent.suppressions.rows import REASONS, Reader, Suppression, choose
from tabellion.consent.suppressions.rules import neutral
from tabellion.consent.suppressions.service import Suppressions
from tabellion.consent.suppressions.types import Became, Row
from tabellion.consent.suppressions.views import ImportReport, Reject
from tabellion.consent.types import ANY, OLDEST
from tabellion.core.db import Database
from tabellion.core.errors import HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.batches import durable, read
from tabellion.core.rows.sources import Csv, InMemory, JsonLines
from tabellion.core.rows.types import Reason, Source
from tabellion.core.rows.types import Row as Line
from tabellion.recipients.service import Recipients

COLUMNS: Final = ("kind", "value", "channel", "purpose", "reason", "occurred_at", "source")
HEAD: Final = (",".join(COLUMNS) + "\r\n").encode()
LARGEST: Final = 8 << 20
"""Bytes of a list that comes over HTTP. The command takes files of any size."""
SHOWN: Final = 1_000
"""Refused rows that a report shows."""
_CSV: Final = frozenset({"text/csv", "application/csv", "text/tab-separated-values"})
_LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)


def drawn(rows: Sequence[Row]) -> bytes:
    """Rows as CSV (RFC 4180), no cell of which a spreadsheet would run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for one in rows:
        known = one.occurred_at is not None and one.occurred_at != OLDEST
        at = show_time(one.occurred_at) if known and one.occurred_at else ""
        cells = (one.kind, one.value, one.channel, one.purpose, one.reason, at, one.source)
        writer.writerow([neutral(cell) for cell in cells])
    return text.getvalue().encode()


@dataclass(frozen=True, slots=True)
class Meant:
    """Where a list goes, and what holds for rows that say nothing else."""

    workspace_id: WorkspaceId
    purpose: str
    reason: str
    source: str
    actor: str
    dry_run: bool


def opened(content_type: bytes | None, body: bytes) -> Source:
    """The rows of a body. Raises 415 for what is neither CSV nor JSON lines, 422 for what cannot be read at all."""
    kind = (content_type or b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind in _CSV:
        return Csv(InMemory(body))
    if kind in _LINES:
        return JsonLines(InMemory(body))
    detail = "send CSV or JSON lines in UTF-8, with Content-Type: text/csv or application/x-ndjson"
    raise HubError("unsupported_media_type", detail, 415)


async def bring(
    db: Database, recipients: Recipients, suppressions: Suppressions, meant: Meant, source: Source
) -> ImportReport:
    """What became of the rows, each durable by then."""
    purposes = await db.run(lambda tx: suppressions.consent.purposes(tx, meant.workspace_id))
    if meant.purpose not in (ANY, *purposes):
        raise unknown_purpose(purposes)
    if meant.reason not in REASONS:
        raise Invalid("reason_unknown", f"no such reason; there are {', '.join(REASONS)}")
    reader = Reader(
        recipients, meant.workspace_id, choose((), source), meant.source, meant.purpose, meant.reason, purposes,
        meant.actor,
    )  # fmt: skip
    lines, came, rejects, count = source.rows(None), dict.fromkeys(Became, 0), list[Reject](), 0
    while some := list(islice(lines, MOST)):
        stated = [(line, read(line, reader.unit)) for line in some]
        sound = [one for _, one in stated if isinstance(one, Suppression)]
        answers = iter(await _stored(db, suppressions, meant, sound))
        became = [(line, next(answers) if isinstance(one, Suppression) else one) for line, one in stated]
        for _, one in became:
            if isinstance(one, Became):
                came[one] += 1
        rejects += _refused(became)
        count += len(some)
        await asyncio.sleep(0)
    return ImportReport(
        count, came[Became.APPLIED], came[Became.ALREADY], came[Became.KEPT], len(rejects), rejects[:SHOWN]
    )


async def _stored(
    db: Database, suppressions: Suppressions, meant: Meant, some: Sequence[Suppression]
) -> Sequence[Became | HubError]:
    if meant.dry_run:
        return [Became.APPLIED] * len(some)
    return await durable(lambda part: suppressions.bring(db, meant.workspace_id, part, meant.source), some)


def _refused(became: Sequence[tuple[Line, Became | HubError | Reason]]) -> Iterator[Reject]:
    for line, one in became:
        if not isinstance(one, Became):
            why = Reason.of(one) if isinstance(one, HubError) else one
            yield Reject(line.line, why.code, why.pointer, why.detail)
