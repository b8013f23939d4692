"""Evidence about one person, as a ZIP: that it is what was handed out, and that its receipts prove what it says."""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

from tabellion.ledger.verifier import canonical, receipt, signed
from tabellion.ledger.verifier.heads import Trust
from tabellion.ledger.verifier.report import Refuted, Report, Unusable

KIND: Final = "tabellion-custody"
MOST_FILES: Final = 1_000_000
MOST_BYTES: Final = 64 << 30
"""Of all files unpacked; nothing is ever unpacked onto a disk, nor more than a piece of it at once."""
MOST_CUSTODY: Final = 256 << 20
MOST_LINE: Final = 64 << 20
_PIECE: Final = 1 << 16
BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
"""What the standard library says of a ZIP that is none, or not whole."""
SAID: Final = ("id", "channel", "purpose", "decision", "basis", "method", "source", "applied")
"""What a row says of a decision in the words of its record."""
_PACKED: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others may ask for as much memory as they like."""
_OUTSIDE: Final = frozenset({"custody.json", "custody.jws", "jwks.json"})


@dataclass
class _Bundle:
    archive: zipfile.ZipFile
    believed: Trust
    report: Report
    left: int = field(default_factory=lambda: MOST_BYTES)
    records: dict[tuple[str | None, int, bytes], str] = field(default_factory=dict)
    """What receipts prove: the log, the place and the hash of a record, and which of them does."""

    def read(self, name: str, most: int) -> bytes:
        """A file as a whole. Raises `Refuted` where it is not there or larger."""
        try:
            with self.archive.open(name) as stream:
                content = stream.read(most + 1)
        except (KeyError, *BROKEN) as error:
            raise Refuted("file_missing", f"{name} cannot be read: {error}", file=name) from None
        if len(content) > most:
            raise Refuted("file_too_large", f"{name} has more than {most} bytes", file=name)
        return content

    def pieces(self, stream: IO[bytes]) -> Iterator[bytes]:
        while piece := stream.read(_PIECE):
            yield self._counted(piece)

    def lines(self, stream: IO[bytes]) -> Iterator[bytes]:
        while line := stream.readline(MOST_LINE):
            yield self._counted(line)

    def _counted(self, piece: bytes) -> bytes:
        self.left -= len(piece)
        if self.left < 0:
            raise Refuted("file_too_large", f"the files have more than {MOST_BYTES} bytes unpacked")
        return piece


def verify(file: Path, believed: Trust, jwks: bytes | None) -> Report:
    """The report on a ZIP of evidence. Raises `Unusable` where it is no ZIP."""
    report = Report()
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN as error:
        raise Unusable(f"{file}: {error}") from None
    with archive:
        try:
            _verify(_Bundle(archive, believed, report), jwks)
        except Refuted as refuted:
            report.findings.append(refuted.finding)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            report.add("custody_form", f"custody.json cannot be read: {error}")
    return report


def _verify(bundle: _Bundle, jwks: bytes | None) -> None:
    names = [one.filename for one in bundle.archive.infolist()]
    if len(names) > MOST_FILES or len(set(names)) != len(names):
        raise Refuted("zip_form", "the ZIP has too many files, or two of one name")
    if any(one.compress_type not in _PACKED for one in bundle.archive.infolist()):
        raise Refuted("zip_form", "the ZIP is packed in a way that evidence never is")
    claims = _custody(bundle, jwks)
    listed = {str(one["name"]): (one["sha256"], one["bytes"]) for one in claims["files"]}
    whole = sha256(canonical.write([[one["name"], one["sha256"]] for one in claims["files"]])).hexdigest()
    bundle.report.facts = {name: claims[name] for name in ("recipient", "regulation", "reason", "whole", "steps")}
    bundle.report.facts |= {str(one["step"]): f"{one['by']}, {one['at']}" for one in claims["steps"]}
    if whole != claims["whole"]:
        bundle.report.add("custody_differs", "the hash of the whole is not that of its files")
    _files(bundle, names, listed)
    _receipts(bundle, names, claims)
    _consents(bundle)


def _custody(bundle: _Bundle, jwks: bytes | None) -> Mapping[str, Any]:
    """What was signed about who had it in hands, if it is what stands in the file."""
    try:
        claims = json.loads(bundle.read("custody.json", MOST_CUSTODY))
    except (ValueError, RecursionError) as error:
        raise Refuted("custody_form", f"custody.json cannot be read: {error}") from None
    keys = signed.key_set(jwks) if jwks else signed.enclosed(bundle.read("jwks.json", signed.MOST_STATEMENT))
    told = signed.statement(bundle.read("custody.jws", MOST_CUSTODY), keys)
    if told.claims != claims or told.kind != KIND:
        raise Refuted("custody_differs", "custody.json is not what was signed", file="custody.json")
    if jwks is None:
        key = signed.fingerprint(keys[told.kid])
        bundle.report.unchecked.append(f"who signed the custody: a key that lies in the ZIP, {key} (--jwks)")
    else:
        bundle.report.holds.append(f"the custody is signed by key {told.kid}")
    return told.claims


def _files(bundle: _Bundle, names: list[str], listed: Mapping[str, tuple[str, int]]) -> None:
    """Whether each file is the one that was handed out, and none was added or taken away."""
    for name in sorted(set(listed) - set(names)):
        bundle.report.add("file_missing", f"{name} was handed out and is not there", file=name)
    for name in sorted(set(names) - set(listed) - _OUTSIDE):
        bundle.report.add("file_unlisted", f"{name} was not handed out", file=name)
    wrong = [name for name in names if name in listed and _digest(bundle, name) != listed[name]]
    for name in wrong:
        bundle.report.add("file_differs", f"{name} is not the file that was handed out", file=name)
    if not wrong:
        bundle.report.holds.append(f"all {len(listed)} files are those that were handed out")


def _digest(bundle: _Bundle, name: str) -> tuple[str, int]:
    digest, size = sha256(), 0
    try:
        with bundle.archive.open(name) as stream:
            for piece in bundle.pieces(stream):
                digest.update(piece)
                size += len(piece)
    except BROKEN:
        return "", -1
    return digest.hexdigest(), size


def _receipts(bundle: _Bundle, names: list[str], claims: Mapping[str, Any]) -> None:
    """Whether each receipt proves its record, in one log."""
    found = [name for name in names if name.startswith("receipts/")]
    good = 0
    for name in found:
        try:
            shown = receipt.disclosed(bundle.read(name, receipt.MOST_RECEIPT), bundle.believed)
        except Refuted as refuted:
            bundle.report.add(refuted.finding.code, f"{name}: {refuted}", file=name)
            continue
        bundle.records[_log(shown.record), shown.index, _hashed(shown.record)] = name
        good += 1
    if len(found) != claims.get("receipts"):
        bundle.report.add(
            "receipt_missing", f"{len(found)} receipts are there, {claims.get('receipts')} were handed out"
        )
    elif good == len(found):
        bundle.report.holds.append(f"{good} receipts prove that their records are in the log")


def _consents(bundle: _Bundle) -> None:
    """Whether what the export says of decisions is what the receipts prove."""
    proven = 0
    for row in _rows(bundle, "consents.jsonl"):
        record = row.get("record")
        if not isinstance(record, dict) or (record.get("identifier") or {}).get("withheld"):
            continue
        try:
            known = bundle.records.get((row.get("log"), row["log_index"], _hashed(record)))
        except (KeyError, ValueError, TypeError):
            known = None
        if known is None:
            told = f"the decision {row.get('id')} in consents.jsonl is proved by no receipt"
            bundle.report.add("decision_unproved", told, id=row.get("id"))
        elif other := [name for name in SAID if row.get(name) != record.get(name)]:
            told = (
                f"consents.jsonl says {', '.join(other)} of the decision {row.get('id')} otherwise than it was recorded"
            )
            bundle.report.add("decision_differs", told, id=row.get("id"), fields=other)
        else:
            proven += 1
    bundle.report.holds.append(f"{proven} decisions stand in the log as consents.jsonl has them")


def _rows(bundle: _Bundle, name: str) -> Iterator[dict[str, Any]]:
    try:
        with bundle.archive.open(name) as stream:
            for line in bundle.lines(stream):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row
    except (KeyError, *BROKEN) as error:
        bundle.report.add("file_form", f"{name} cannot be read: {error}", file=name)


def _log(record: Mapping[str, Any]) -> str | None:
    """What a row calls the log that its record names: nothing where it is the first, as receipts show it is."""
    generation = str(record.get("log", "")).rpartition("/")[2]
    return f"consent-{generation}" if generation not in ("", "1") else None


def _hashed(record: Mapping[str, Any]) -> bytes:
    return sha256(canonical.write(record)).digest()
