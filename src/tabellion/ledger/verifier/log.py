"""A whole log verified: its head, its entries, its tiles, and what others have seen of it before."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

from tabellion.ledger import note
from tabellion.ledger.note import BadNote
from tabellion.ledger.verifier import heads, manifest, receipt
from tabellion.ledger.verifier.heads import MOST_NOTE, Signed, Trust
from tabellion.ledger.verifier.report import Refuted, Report, Unusable, moment
from tabellion.ledger.verifier.source import TILE, Folder, Source, path
from tabellion.ledger.verifier.walk import HEIGHT, Difference, Other, Walk

MOST_RECORDS: Final = 100_000
MOST_HEADS: Final = 10_000
RECEIPTS: Final = "*.tlog-proof"


@dataclass(frozen=True)
class Wanted:
    """What to verify, and with what."""

    source: Source
    trust: Trust
    since: bytes | None = None
    """An older checkpoint that somebody kept."""
    previous: bytes | None = None
    """The last checkpoint of the log that this one succeeds."""
    compare: Source | None = None
    """An older copy of the same log."""
    records: Path | None = None
    """A folder of receipts."""
    jwks: bytes | None = None
    """The keys that the manifest of a copy is signed with."""
    told: Callable[[int, int], None] = lambda done, size: None


@dataclass(frozen=True, slots=True)
class Seen:
    """A signed head of this log from elsewhere."""

    name: str
    head: Signed


@dataclass
class _Verification:
    wanted: Wanted
    report: Report = field(default_factory=Report)
    seen: list[Seen] = field(default_factory=list)
    files: dict[int, str] = field(default_factory=dict)
    """The receipt that discloses the entry at an index."""

    def run(self) -> None:
        head = self._head()
        older = self._since(head)
        disclosed = self._disclosed(head)
        other = self._other(head)
        self._kept(head)
        walk = Walk(
            self.wanted.source,
            head.checkpoint.size,
            marks=[head.checkpoint.size, *(one.head.checkpoint.size for one in self.seen)],
            other=other,
            disclosed=disclosed,
            told=lambda done: self.wanted.told(done, head.checkpoint.size),
        )
        try:
            walk.run()
        except Refuted as refuted:
            self.report.findings.append(refuted.finding)
            return
        good = self._judge_tree(walk, head)
        self._judge_seen(walk, good=good, older=older)
        self._judge_entries(walk)
        self._judge_successor(walk, head)

    def _head(self) -> Signed:
        said = self.wanted.source.read("checkpoint", MOST_NOTE)
        if said is None:
            raise Unusable(f"{self.wanted.source.name} has no checkpoint; name the folder or the prefix of a log")
        head = heads.signed(said, self.wanted.trust)
        tree = head.checkpoint
        root = base64.b64encode(tree.root).decode()
        self.report.facts = {"origin": tree.origin, "size": tree.size, "root": root}
        self.report.holds.append(f"the checkpoint at {tree.size} is signed by a key given for {tree.origin}")
        self.report.holds += [f"cosigned by {one.witness.name} on {moment(one.at)}" for one in head.seen]
        return head

    def _since(self, head: Signed) -> Seen | None:
        """The older checkpoint, of the same log and no larger than this one."""
        if self.wanted.since is None:
            return None
        older = Seen("the older checkpoint", heads.signed(self.wanted.since, self.wanted.trust, quorum=False))
        heads.require_origin(older.head, head.checkpoint.origin, older.name)
        self._note(older, head)
        return older

    def _note(self, one: Seen, head: Signed) -> None:
        """Have a head compared with what the entries lead to at its size; or say that it cannot be."""
        past, now = one.head.checkpoint, head.checkpoint
        if past.size > now.size:
            detail = f"the log was rolled back: it stands at {now.size}, and {one.name} is of {past.size} entries"
            self.report.add("rolled_back", detail, size=now.size, since=past.size)
        elif past.size == now.size and past.root != now.root:
            detail = f"the log was forked: {one.name} is of as many entries, {past.size}, and of another root"
            self.report.add("forked", detail, size=past.size)
        else:
            self.seen.append(one)

    def _disclosed(self, head: Signed) -> dict[int, bytes]:
        """The entries that receipts disclose, each by a proof that holds; their heads are compared as well."""
        if self.wanted.records is None:
            return {}
        found: dict[int, bytes] = {}
        for name, said in _files(Folder(self.wanted.records), RECEIPTS, MOST_RECORDS, receipt.MOST_RECEIPT):
            try:
                shown = receipt.disclosed(said, self.wanted.trust, self.wanted.source, quorum=False)
                heads.require_origin(shown.head, head.checkpoint.origin, name)
            except Refuted as refuted:
                self.report.add(refuted.finding.code, f"{name}: {refuted}", file=name)
                continue
            found[shown.index], self.files[shown.index] = shown.leaf, name
            self._note(Seen(f"the checkpoint in {name}", shown.head), head)
        return found

    def _kept(self, head: Signed) -> None:
        """The heads that were published before, where the copy holds them."""
        if not isinstance(self.wanted.source, Folder):
            return
        for name, said in _files(self.wanted.source, "*", MOST_HEADS, MOST_NOTE, "checkpoints/"):
            try:
                past = heads.signed(said, self.wanted.trust, quorum=False)
                heads.require_origin(past, head.checkpoint.origin, name)
                self._note(Seen(f"checkpoints/{name}", past), head)
            except Refuted as refuted:
                if refuted.finding.code == "signature_missing":  # by a key from before, or by nobody: it proves nothing
                    self.report.unchecked.append(f"checkpoints/{name}: {refuted}")
                else:
                    self.report.add(refuted.finding.code, f"checkpoints/{name}: {refuted}", file=f"checkpoints/{name}")

    def _other(self, head: Signed) -> Other | None:
        if self.wanted.compare is None:
            return None
        said = self.wanted.compare.read("checkpoint", MOST_NOTE)
        if said is None:
            raise Unusable(f"{self.wanted.compare.name} has no checkpoint; name the folder of a log")
        other = heads.signed(said, self.wanted.trust, quorum=False)
        heads.require_origin(other, head.checkpoint.origin, self.wanted.compare.name)
        self._note(Seen(f"the checkpoint of {self.wanted.compare.name}", other), head)
        return Other(self.wanted.compare, other.checkpoint.size)

    # what the walk came to

    def _judge_tree(self, walk: Walk, head: Signed) -> bool:
        """Whether the entries lead to the signed root; otherwise where they or the tiles part from it."""
        good = walk.root() == head.checkpoint.root
        if good:
            self.report.holds.append(f"all {walk.size} entries lead to the signed root")
            for one in walk.differences.values():
                self._blame_tile(one, walk.size)
        else:
            sound = next((at for at in range(walk.levels) if walk.stated_root(at) == head.checkpoint.root), None)
            part = walk.differences.get(sound) if sound is not None else None
            self._blame_entries(walk, part)
        for place in walk.missing:
            self.report.add("tile_missing", f"{place} is not there", file=place)
        if good and not walk.differences and not walk.missing:
            self.report.holds.append("every tile states what the entries lead to")
        return good

    def _blame_tile(self, one: Difference, size: int) -> None:
        number = one.index // TILE
        place = path(one.level, number, min(TILE, (size >> HEIGHT * one.level) - number * TILE))
        detail = f"tile {place} was changed: its hash {one.index % TILE} is not that of the entries below it"
        self.report.add("tile_differs", detail, file=place, hash=one.index % TILE)

    def _blame_entries(self, walk: Walk, part: Difference | None) -> None:
        if part is None and 0 in walk.differences and walk.against_other is None:
            first, past = walk.differences[0].leaves
            detail = "the entries do not lead to the signed root, and neither do the tiles: they part at"
        elif part is None:
            first, past = self._narrowed(walk)
            detail = "the entries do not lead to the signed root, and neither do the tiles: the first that differs is"
        else:
            first, past = part.leaves
            detail = "the tiles lead to the signed root, and the entries do not: the first that differs is"
        where = f"entry {first}" if past == first + 1 else f"one of the entries {first} to {min(past, walk.size) - 1}"
        self.report.add("entry_differs", f"{detail} {where}", first=first, last=min(past, walk.size) - 1)

    def _narrowed(self, walk: Walk) -> tuple[int, int]:
        """Between which heads the entries leave what was signed."""
        first, past = 0, walk.size
        for one in sorted(self.seen, key=lambda one: one.head.checkpoint.size):
            tree = one.head.checkpoint
            if walk.roots[tree.size] != tree.root:
                past = tree.size
                break
            first = tree.size
        if walk.against_other is not None:
            return walk.against_other, walk.against_other + 1
        if walk.against_disclosed is not None:
            past = min(past, walk.against_disclosed + 1)
        return min(first, past - 1), past

    def _judge_seen(self, walk: Walk, *, good: bool, older: Seen | None) -> None:
        """Whether the log begins with each head that was seen of it before."""
        for one in self.seen:
            tree = one.head.checkpoint
            if walk.roots[tree.size] == tree.root:
                continue
            if good:
                detail = f"the log was forked: it does not begin with the {tree.size} entries of {one.name}"
                self.report.add("forked", detail, size=tree.size)
            elif tree.size < walk.size:
                detail = f"the first {tree.size} entries do not lead to the root of {one.name}"
                self.report.add("prefix_differs", detail, size=tree.size)
        if (
            older in self.seen
            and older is not None
            and walk.roots[older.head.checkpoint.size] == older.head.checkpoint.root
        ):
            self.report.holds.append(f"the log begins with the {older.head.checkpoint.size} entries seen before")
        others = len(self.seen) - (older in self.seen)
        if others and good and not any(one.code == "forked" for one in self.report.findings):
            self.report.holds.append(f"the log begins with each of {others} further signed heads")

    def _judge_entries(self, walk: Walk) -> None:
        if walk.odd is not None:
            detail = f"entry {walk.odd} is not a commitment, a day and a type, and nothing else"
            self.report.add("entry_form", detail, index=walk.odd)
        if walk.against_other is not None:
            detail = f"entry {walk.against_other} is the first that is not what the other copy holds"
            self.report.add("copy_differs", detail, index=walk.against_other)
        elif self.wanted.compare is not None:
            self.report.holds.append(f"every entry that {self.wanted.compare.name} holds is the same here")
        if walk.against_disclosed is not None:
            name = self.files[walk.against_disclosed]
            detail = f"entry {walk.against_disclosed} is not the one that {name} proves"
            self.report.add("record_differs", detail, index=walk.against_disclosed, file=name)
        elif self.files:
            self.report.holds.append(f"the log holds the entry of each receipt given: {len(self.files)}")

    def _judge_successor(self, walk: Walk, head: Signed) -> None:
        """Whether a log that goes on for another begins with a commitment to that one's last checkpoint."""
        origin = head.checkpoint.origin
        generation = origin.rpartition("/")[2]
        if generation in ("", "0", "1") or not generation.isdigit() or not walk.size:
            return
        if b'"type":"successor"' not in walk.first:
            self.report.add("successor_missing", f"{origin} does not begin with an entry about the log before it")
            return
        said = self.wanted.previous or self.wanted.source.read("previous", MOST_NOTE)
        if said is None:
            self.report.unchecked.append(f"{origin} succeeds another log: give its last checkpoint (--previous)")
            return
        self._judge_previous(walk.first, said, origin)

    def _judge_previous(self, first: bytes, said: bytes, origin: str) -> None:
        try:
            before = note.parse_checkpoint(note.parse(said.decode()).text)
        except (UnicodeDecodeError, BadNote) as error:
            raise Refuted("checkpoint_form", f"the checkpoint before is none: {error}") from None
        if before.origin.rpartition("/")[0] != origin.rpartition("/")[0]:
            raise Refuted("origin_wrong", f"the checkpoint before is of {before.origin}, not of a log before {origin}")
        commitment = base64.urlsafe_b64encode(sha256(said).digest()).rstrip(b"=")
        if b'"c":"' + commitment + b'"' not in first:
            detail = f"the first entry does not commit to the checkpoint at {before.size} of {before.origin}"
            self.report.add("successor_wrong", detail, size=before.size)
            return
        self.report.holds.append(f"the first entry commits to the checkpoint at {before.size} of {before.origin}")
        if self.wanted.trust.of(before.origin):
            heads.signed(said, self.wanted.trust, quorum=False)
            self.report.holds.append(f"that checkpoint is signed by a key given for {before.origin}")
        else:
            self.report.unchecked.append(f"who signed that checkpoint: give the key of {before.origin}")


def verify(wanted: Wanted) -> Report:
    """The report on a log. Raises `Unusable` where nothing can be said."""
    verification = _Verification(wanted)
    try:
        verification.run()
        if isinstance(wanted.source, Folder):
            manifest.verify(wanted.source, wanted.jwks, verification.report)
    except Refuted as refuted:
        verification.report.findings.append(refuted.finding)
    return verification.report


def _files(folder: Folder, pattern: str, most_files: int, most: int, below: str = "") -> Iterator[tuple[str, bytes]]:
    """The plain files of a folder, or of one below it, by name."""
    found = (one.name for one in (folder.root / below).glob(pattern) if not one.name.startswith("."))
    names = sorted(islice(found, most_files + 1))
    if len(names) > most_files:
        raise Unusable(f"{folder.root / below} holds more than {most_files} files")
    for name in names:
        said = folder.read(below + name, most)
        if said is not None:
            yield name, said
