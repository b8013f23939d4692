"""The command line of the verifier. Exit codes: 0 verified, 1 not, 2 nothing can be said."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from tabellion.ledger.verifier import heads, log, person, receipt, source
from tabellion.ledger.verifier.heads import MOST_NOTE, Trust
from tabellion.ledger.verifier.report import UNUSABLE, Report, Unusable, printable
from tabellion.ledger.verifier.source import Source

MOST_LIST: Final = 8 << 20
MOST_TOKEN: Final = 4096
TOKEN: Final = "TABELLION_TOKEN"  # noqa: S105 - the name of a variable
_LONG: Final = 50_000
"""Entries from which on a bar is worth it."""
_BAR: Final = 30


@dataclass(frozen=True)
class Believed:
    """What a command line says is to be believed."""

    keys: Sequence[str] = ()
    key_lists: Sequence[Path] = ()
    witnesses: Sequence[str] = ()
    quorum: int | None = None

    def trust(self) -> Trust:
        lists = [read_file(one, MOST_LIST) for one in self.key_lists]
        return heads.trust(self.keys, lists, self.witnesses, self.quorum)


@dataclass(frozen=True)
class Reach:
    """How a URL is asked."""

    token_file: Path | None = None
    insecure_http: bool = False

    def opened(self, place: str) -> Source:
        """The source that a command line names. Raises `Unusable`."""
        said = read_file(self.token_file, MOST_TOKEN) if self.token_file else os.environ.get(TOKEN, "").encode()
        token = said.decode(errors="replace").strip()
        if not (token.isascii() and (token.isprintable())):
            raise Unusable(f"what {self.token_file or TOKEN} holds is no API key: a key is one line of ASCII")
        return source.opened(place, token or None, insecure=self.insecure_http)

    def opened_beside(self, place: str, main: str) -> Source:
        """A second source, which hears of the key for the first only where it is the same server."""
        if source.server(place) == source.server(main):
            return self.opened(place)
        return source.opened(place, insecure=self.insecure_http)


EVERYWHERE: Final = Reach()


@dataclass(frozen=True)
class Asked:
    """A log that a command line names."""

    place: str
    believed: Believed
    since: Path | None = None
    previous: Path | None = None
    compare: str | None = None
    records: Path | None = None
    jwks: Path | None = None
    reach: Reach = EVERYWHERE
    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def verify(self) -> Report:
        """Raises `Unusable`."""
        if self.records is not None and not self.records.is_dir():
            raise Unusable(f"{self.records} is no folder of receipts")
        wanted = log.Wanted(
            source=self.reach.opened(self.place),
            trust=self.believed.trust(),
            since=read_file(self.since, MOST_NOTE) if self.since else None,
            previous=read_file(self.previous, MOST_NOTE) if self.previous else None,
            compare=self.reach.opened_beside(self.compare, self.place) if self.compare else None,
            records=self.records,
            jwks=read_file(self.jwks, MOST_LIST) if self.jwks else None,
            told=(lambda done, size: None) if self.quiet or not self.stream.isatty() else bar(self.stream),
        )
        return log.verify(wanted)


def verify_receipt(file: Path, believed: Believed, place: str | None = None, reach: Reach = EVERYWHERE) -> Report:
    """The report on a receipt in a file, whose log may lie at a place. Raises `Unusable`."""
    log_source = reach.opened(place) if place else None
    return receipt.verify(read_file(file, receipt.MOST_RECEIPT), believed.trust(), log_source)


def verify_person(file: Path, believed: Believed, jwks: Path | None = None) -> Report:
    """The report on evidence about a person, a ZIP. Raises `Unusable`."""
    return person.verify(file, believed.trust(), read_file(jwks, MOST_LIST) if jwks else None)


def shown(report: Report, *, json: bool) -> str:
    """What to print."""
    if json:
        return report.json()
    record = report.facts.get("record")
    lines = map(printable, receipt.readable(record)) if record else ()
    return "\n".join([report.text(), *([""] if record else ()), *lines])


def read_file(file: Path, most: int) -> bytes:
    """A file that was named. Raises `Unusable`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or error}") from None
    if len(content) > most:
        raise Unusable(f"{file} has more than {most} bytes")
    return content


def bar(stream: TextIO) -> Callable[[int, int], None]:
    """Shows how far it is, ten times a second at most."""
    begun = last = time.monotonic()

    def told(done: int, size: int) -> None:
        nonlocal last
        now = time.monotonic()
        if size < _LONG or (now - last < 0.1 and done < size):
            return
        last = now
        rate = done / max(now - begun, 0.001)
        full = "#" * (_BAR * done // size)
        stream.write(f"\r[{full:<{_BAR}}] {done} of {size} entries, {rate:,.0f} a second")
        stream.write("\n" if done == size else "")
        stream.flush()

    return told


def main(words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    asked = _parser().parse_args(words)
    believed = Believed(asked.key, asked.keys, asked.witness, asked.quorum)
    reach = Reach(asked.token_file, asked.insecure_http)
    try:
        if asked.what == "person":
            report = verify_person(asked.file, believed, asked.jwks)
        elif asked.what == "receipt":
            report = verify_receipt(asked.file, believed, asked.source, reach)
        else:
            report = Asked(
                asked.source,
                believed,
                asked.since,
                asked.previous,
                asked.compare,
                asked.records,
                asked.jwks,
                reach,
                asked.quiet,
            ).verify()
    except Unusable as error:
        sys.stderr.write(f"verifier: {error}\n")
        return UNUSABLE
    sys.stdout.write(shown(report, json=asked.json) + "\n")
    return report.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tabellion.ledger.verifier", description="Verify a log of Tabellion, a receipt, or evidence."
    )
    commands = parser.add_subparsers(dest="what", required=True)
    whole = commands.add_parser("log", help="a whole log: signatures, entries, tiles, consistency")
    whole.add_argument("source", help="a folder, or the URL prefix of a log")
    whole.add_argument("--since", type=Path, help="an older signed checkpoint that the log must begin with")
    whole.add_argument("--previous", type=Path, help="the last checkpoint of the log that this one succeeds")
    whole.add_argument("--compare", help="an older copy of the log")
    whole.add_argument("--records", type=Path, help="a folder of receipts (*.tlog-proof)")
    whole.add_argument("--quiet", action="store_true", help="no progress")
    one = commands.add_parser("receipt", help="one receipt, and the record it discloses")
    one.add_argument("file", type=Path)
    one.add_argument("--from", dest="source", help="the log, for a receipt that discloses no record")
    about = commands.add_parser("person", help="evidence about a person, a ZIP")
    about.add_argument("file", type=Path)
    for command in (whole, about):
        command.add_argument("--jwks", type=Path, help="the hub's keys for what it hands out (/.well-known/jwks.json)")
    for command in (whole, one, about):
        command.add_argument("--token-file", type=Path, help=f"a file with an API key for a URL (else {TOKEN})")
        command.add_argument("--insecure-http", action="store_true", help="allow plain http")
        command.add_argument("--key", action="append", default=[], help="a verifier key: origin+id+key")
        command.add_argument("--keys", action="append", type=Path, default=[], help="a file of keys, JSON or lines")
        command.add_argument("--witness", action="append", default=[], help="the verifier key of a witness")
        command.add_argument("--quorum", type=int, help="how many of the witnesses must have cosigned; else all")
        command.add_argument("--json", action="store_true", help="one line of JSON")
    return parser
