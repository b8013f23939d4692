"""Receipts: one entry, what was committed to, and the proof that a signed tree holds it (C2SP tlog-proof).

`extra` is canonical JSON: `{"key": k, "leaf": {…}, "record": {…}}`, where k is the unpadded base64url of the entry's
own key. HMAC-SHA256 of the canonical record under it is the commitment `c` of the leaf.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tabellion.ledger import merkle
from tabellion.ledger.verifier import canonical, heads
from tabellion.ledger.verifier.canonical import padded, unpadded
from tabellion.ledger.verifier.heads import Signed, Trust
from tabellion.ledger.verifier.report import Refuted, Report
from tabellion.ledger.verifier.walk import LEAF

FIRST: Final = "c2sp.org/tlog-proof@v1"
MOST_RECEIPT: Final = 1 << 20
MOST_PATH: Final = 64
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


def disclosed(said: bytes, believed: Trust, *, quorum: bool = True) -> Disclosed:
    """What a receipt proves: this record stands at this place of the signed tree. Raises `Refuted` otherwise."""
    proof = parse(said)
    head = heads.signed(proof.checkpoint.encode(), believed, quorum=quorum)
    leaf, record = _committed(proof.extra)
    tree = head.checkpoint
    if not merkle.verify_inclusion(proof.index, tree.size, merkle.leaf_hash(leaf), proof.path, tree.root):
        detail = f"the entry is not at place {proof.index} of the signed tree of {tree.size}"
        raise Refuted("inclusion_wrong", detail, index=proof.index)
    named = record.get("log", tree.origin)
    if named != tree.origin:
        raise Refuted("origin_wrong", f"the record is of log {named}, and the receipt of {tree.origin}")
    return Disclosed(proof.index, leaf, record, head)


def verify(said: bytes, believed: Trust) -> Report:
    """The report on one receipt, with the record it discloses."""
    report = Report()
    try:
        shown = disclosed(said, believed)
    except Refuted as refuted:
        report.findings.append(refuted.finding)
        return report
    tree = shown.head.checkpoint
    report.facts = {"origin": tree.origin, "size": tree.size, "index": shown.index, "record": dict(shown.record)}
    report.holds = [
        f"the checkpoint at {tree.size} is signed by a key given for {tree.origin}",
        f"the record and its key make the commitment of the entry {shown.leaf.decode()}",
        f"the entry is at place {shown.index} of the signed tree",
        *(f"cosigned by {one.witness.name} (as of {one.at} s since 1970)" for one in shown.head.seen),
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


def _committed(extra: bytes) -> tuple[bytes, Mapping[str, Any]]:
    """The leaf and the record, where the one commits to the other."""
    if not extra:
        raise Refuted("nothing_disclosed", "the receipt discloses no record; ask the hub for one that does")
    try:
        said = canonical.read(extra)
        key, leaf, record = unpadded(said["key"]), canonical.write(said["leaf"]), said["record"]
        stated = unpadded(said["leaf"]["c"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refuted("receipt_form", f"what the receipt discloses cannot be read: {error}") from None
    if not LEAF.fullmatch(leaf) or not isinstance(record, dict) or len(key) != 32:
        raise Refuted("receipt_form", "what the receipt discloses is not of the form of an entry")
    if not hmac.compare_digest(hmac.digest(key, canonical.write(record), "sha256"), stated):
        raise Refuted("commitment_wrong", "the record is not the one that was committed to")
    return leaf, record
