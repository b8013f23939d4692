"""Receipts: one entry, what was committed to, and the proof that a signed tree holds it (C2SP tlog-proof).

`extra` is canonical JSON: `{"key": k, "record": {…}}`, where k is the base64 of the entry's own key. HMAC-SHA256 of the
canonical record under it is the commitment `c` of the leaf `{"c": …, "d": day, "type": "consent", "v": 1}`, whose day
is that of the record's `recorded_at` (of what was audited: type `audit`, and its `at`); a `leaf` beside the two says it
outright. Other members are passed over.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tabellion.ledger import merkle
from tabellion.ledger.verifier import canonical, heads
from tabellion.ledger.verifier.canonical import padded, unpadded
from tabellion.ledger.verifier.heads import Signed, Trust
from tabellion.ledger.verifier.report import Refuted, Report, moment
from tabellion.ledger.verifier.source import TILE, Source, tile
from tabellion.ledger.verifier.walk import LEAF, MOST_LEAF, split

FIRST: Final = "c2sp.org/tlog-proof@v1"
MOST_RECEIPT: Final = 1 << 20
MOST_PATH: Final = 64
KEY_SIZE: Final = 32
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """A receipt taken apart. Nothing in it is verified."""

    extra: bytes
    index: int
    path: Sequence[bytes]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What a receipt shows, once it is verified."""

    index: int
    leaf: bytes
    record: Mapping[str, Any]
    """Empty: the receipt proves the entry and shows no record."""
    head: Signed


def parse(said: bytes) -> Proof:
    """The parts of a receipt. Raises `Refuted` where it is none."""
    try:
        top, gap, checkpoint = said.decode().partition("\n\n")
        lines = top.split("\n")
        extra = padded(lines.pop(1)[6:]) if len(lines) > 1 and lines[1].startswith("extra ") else b""
        found = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        if not gap or lines[0] != FIRST or not found or len(lines) > MOST_PATH + 2:
            raise ValueError("it is no " + FIRST)
        return Proof(extra, int(found[1]), [padded(line) for line in lines[2:]], checkpoint)
    except ValueError as error:
        raise Refuted("receipt_form", f"the receipt cannot be read: {error}") from None


def disclosed(said: bytes, believed: Trust, source: Source | None = None, *, quorum: bool = True) -> Disclosed:
    """What a receipt proves: this record stands at this place of the signed tree. Raises `Refuted` otherwise.

    Of one that discloses no record, the entry is looked up in `source`.
    """
    proof = parse(said)
    head = heads.signed(proof.checkpoint.encode(), believed, quorum=quorum)
    leaf, record = _committed(proof.extra) or (_entry(proof, head, source), {})
    tree = head.checkpoint
    if not merkle.verify_inclusion(proof.index, tree.size, merkle.leaf_hash(leaf), proof.path, tree.root):
        detail = f"the entry is not at place {proof.index} of the signed tree of {tree.size}"
        raise Refuted("inclusion_wrong", detail, index=proof.index)
    named = record.get("log", tree.origin)
    if named != tree.origin:
        raise Refuted("origin_wrong", f"the record is of log {named}, and the receipt of {tree.origin}")
    return Disclosed(proof.index, leaf, record, head)


def verify(said: bytes, believed: Trust, source: Source | None = None) -> Report:
    """The report on one receipt, with the record it discloses."""
    report = Report()
    try:
        shown = disclosed(said, believed, source)
    except Refuted as refuted:
        report.findings.append(refuted.finding)
        return report
    tree = shown.head.checkpoint
    report.facts = {"origin": tree.origin, "size": tree.size, "index": shown.index, "record": dict(shown.record)}
    report.holds = [
        f"the checkpoint at {tree.size} is signed by a key given for {tree.origin}",
        f"{'the record and its key make' if shown.record else 'the log holds'} the entry {shown.leaf.decode()}",
        f"the entry is at place {shown.index} of the signed tree",
        *(f"cosigned by {one.witness.name} on {moment(one.at)}" for one in shown.head.seen),
    ]
    return report


def readable(record: Mapping[str, Any], indent: str = "  ") -> list[str]:
    """The record, a line a field, for people."""
    lines = []
    for name, value in record.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *readable(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines


def _committed(extra: bytes) -> tuple[bytes, Mapping[str, Any]] | None:
    """The leaf and the record that is committed to in it; None where no record is disclosed."""
    try:
        said = canonical.read(extra) if extra else {}
        if not isinstance(said, dict):
            raise TypeError("not an object")
        if "record" not in said:
            return None
        key, record = _key(said["key"]), said["record"]
        if not isinstance(record, dict) or not record:
            raise TypeError("a record is an object, and not empty")
        made = hmac.digest(key, canonical.write(record), "sha256")
        leaf = said.get("leaf") or _leaf(made, record)
        stated, written = unpadded(leaf["c"]), canonical.write(leaf)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Refuted("receipt_form", f"what the receipt discloses cannot be read: {error}") from None
    if not LEAF.fullmatch(written):
        raise Refuted("receipt_form", "what the receipt discloses is not of the form of an entry")
    if not hmac.compare_digest(made, stated):
        raise Refuted("commitment_wrong", "the record is not the one that was committed to")
    return written, record


def _leaf(commitment: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a decision, or of something audited: the one tells when it was recorded, the other when it was."""
    kind, at = ("audit", record["at"]) if "action" in record else ("consent", record["recorded_at"])
    return {"v": 1, "type": kind, "c": urlsafe_b64encode(commitment).rstrip(b"=").decode(), "d": at[:10]}


def _key(said: str) -> bytes:
    key = padded(said) if said.endswith("=") else unpadded(said)
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes")
    return key


def _entry(proof: Proof, head: Signed, source: Source | None) -> bytes:
    """The entry that a receipt is about, from the log itself."""
    if source is None:
        detail = "the receipt discloses no record; ask the hub for one that does, or name the log with --from"
        raise Refuted("nothing_disclosed", detail)
    number, width = proof.index // TILE, min(TILE, head.checkpoint.size - proof.index // TILE * TILE)
    bundle = tile(source, "entries", number, width, max(0, width) * (MOST_LEAF + 2)) if width > 0 else None
    entries = list(split(bundle or b""))
    if len(entries) <= proof.index % TILE:
        raise Refuted("bundle_missing", f"{source.name} does not hold entry {proof.index}", index=proof.index)
    return entries[proof.index % TILE]
