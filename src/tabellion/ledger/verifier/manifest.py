"""The manifest of a copy: that its files are those that were handed out, and who says so."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from tabellion.ledger.verifier import signed
from tabellion.ledger.verifier.report import Refuted, Report
from tabellion.ledger.verifier.source import Folder

KIND: Final = "tabellion-ledger-export"
SUMS: Final = "SHA256SUMS"
MOST_FILE: Final = 64 << 20
MOST_MANIFEST: Final = 1 << 20
MOST_LINE: Final = 1024
_LINE: Final = re.compile(rb"([0-9a-f]{64})  ([A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*)\n")
_OUTSIDE: Final = frozenset({SUMS, "manifest.json", "manifest.jws", "jwks.json"})


def verify(folder: Folder, jwks: bytes | None, report: Report) -> None:
    """Add to a report what the manifest of a folder is worth, where it has one."""
    said = folder.read("manifest.json", MOST_MANIFEST)
    if said is None:
        return
    try:
        claims = json.loads(said)
        digest, files, since = claims["sha256sums"], claims["files"], claims["since"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Refuted("manifest_form", f"the manifest cannot be read: {error}") from None
    _signed(folder, jwks, claims, report)
    listed, sound = _files(folder, digest, report)
    if listed != files:
        report.add("manifest_differs", f"the manifest counts {files} files, and {SUMS} lists {listed}")
    elif not since and (present := sum(1 for _ in _present(folder.root))) != listed:
        report.add("file_unlisted", f"the folder holds {present} files, and {SUMS} lists {listed}")
    elif sound:
        report.holds.append(f"all {listed} files are those of the manifest of {claims.get('generated_at')}")


def _signed(folder: Folder, jwks: bytes | None, claims: object, report: Report) -> None:
    """Whether the manifest is what was signed, by a key that is trusted or by one that lies beside it."""
    statement = folder.read("manifest.jws", signed.MOST_STATEMENT)
    beside = folder.read("jwks.json", MOST_MANIFEST) or b""
    if statement is None or not (jwks or beside):
        report.add("manifest_unsigned", "the manifest is not signed")
        return
    keys = signed.key_set(jwks) if jwks else signed.enclosed(beside)
    told = signed.statement(statement, keys)
    if told.claims != claims or told.kind != KIND:
        report.add("manifest_differs", "the manifest is not the one that was signed")
    elif jwks is None:
        key = signed.fingerprint(keys[told.kid])
        report.unchecked.append(f"who signed the manifest: a key that lies beside it, {key} (--jwks)")
    else:
        report.holds.append(f"the manifest is signed by key {told.kid}")


def _files(folder: Folder, digest: str, report: Report) -> tuple[int, bool]:
    """How many files the list names, and whether all are those; the first that differs is reported."""
    found, whole, sound = 0, sha256(), True
    for line in _lines(folder):
        whole.update(line)
        parts = _LINE.fullmatch(line)
        if parts is None or b".." in parts[2].split(b"/"):
            raise Refuted("manifest_form", f"line {found + 1} of {SUMS} names no file")
        found += 1
        name = parts[2].decode()
        content = folder.read(name, MOST_FILE)
        if sound and (content is None or sha256(content).hexdigest() != parts[1].decode()):
            report.add("file_differs", f"{name} is not the file that the manifest is about", file=name)
            sound = False
    if whole.hexdigest() != digest:
        report.add("manifest_differs", f"{SUMS} is not the list that the manifest is about", file=SUMS)
        sound = False
    return found, sound


def _lines(folder: Folder) -> Iterator[bytes]:
    with folder.opened(SUMS) as stream:
        if stream is None:
            raise Refuted("manifest_form", f"the manifest has no {SUMS}", file=SUMS)
        while line := stream.readline(MOST_LINE):
            yield line


def _present(root: Path) -> Iterator[Path]:
    return (one for one in root.rglob("*") if one.is_file() and str(one.relative_to(root)) not in _OUTSIDE)
