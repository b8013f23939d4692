"""A witness: it cosigns a checkpoint that goes on from the last one it cosigned, and answers as tlog-witness says."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from tabellion.core.clock import Clock
from tabellion.ledger import merkle, note
from tabellion.ledger.note import Checkpoint
from tabellion.ledger.witness import submission
from tabellion.ledger.witness.folder import Folder, hash_of
from tabellion.ledger.witness.submission import BadSubmission, Submission

SIZE_TYPE: Final = "text/x.tlog.size"
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


class Watch:
    def __init__(self, folder: Folder, cosigner: note.Cosigner, clock: Clock) -> None:
        self._folder = folder
        self._cosigner = cosigner
        self._clock = clock

    async def add_checkpoint(self, body: bytes) -> Answer:
        """200 with the cosignature, which is given once the checkpoint is on disk, or the refusal."""
        return await asyncio.to_thread(self._add, body)

    async def checkpoint(self, origin_hash: str) -> Answer:
        """The last checkpoint cosigned of the log whose origin hashes to this, or 404."""
        if not _HASH.fullmatch(origin_hash):
            return _unknown()
        last = await asyncio.to_thread(self._folder.last, origin_hash)
        return _unknown() if last is None else Answer(200, last)

    def _add(self, body: bytes) -> Answer:
        try:
            submitted = submission.parse(body)
            signed = note.parse(submitted.checkpoint)
            stated = note.parse_checkpoint(signed.text)
        except (BadSubmission, note.BadNote) as error:
            return Answer(400, f"{error}\n")
        trusted = self._folder.trusted(stated.origin)
        if not trusted:
            return Answer(404, "this witness does not watch this log\n")
        try:
            note.verify(submitted.checkpoint, trusted)
        except note.BadNote as error:
            return Answer(403, f"{error}\n")
        if submitted.old > stated.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        with self._folder.alone(stated.origin):
            return self._follow(submitted, stated, trusted)

    def _follow(self, submitted: Submission, stated: Checkpoint, trusted: list[note.Verifier]) -> Answer:
        """Compare with the last one and take its place. Only one at a time for a log: see tlog-witness on the race."""
        last = self._last(stated.origin)
        size = last.size if last else 0
        if submitted.old != size:
            return Answer(409, f"{size}\n", SIZE_TYPE)
        if not _follows(last, stated, submitted):
            return Answer(422, "the proof does not lead from the last checkpoint to this one\n")
        cosigned = self._cosigned(submitted.checkpoint, trusted)
        self._folder.keep(stated.origin, "".join(cosigned))
        return Answer(200, cosigned[-1])

    def _last(self, origin: str) -> Checkpoint | None:
        last = self._folder.last(hash_of(origin))
        return note.parse_checkpoint(note.parse(last).text) if last else None

    def _cosigned(self, checkpoint: str, trusted: list[note.Verifier]) -> tuple[str, str, str]:
        """The text, the signatures of the log (nobody else's: they were not looked at), and our own."""
        signed = note.parse(checkpoint)
        known = {(one.name, one.key_id) for one in trusted}
        lines = [one.line() for one in signed.signatures if (one.name, one.key_id) in known]
        at = int(self._clock.now().timestamp())
        return f"{signed.text}\n", "".join(lines), self._cosigner.cosign(signed.text, at)


def _follows(last: Checkpoint | None, stated: Checkpoint, submitted: Submission) -> bool:
    """Whether the stated tree begins with the last one."""
    if stated.size == 0 and stated.root != merkle.EMPTY:
        return False
    if submitted.old == 0 or last is None:
        return not submitted.proof
    return merkle.verify_consistency(last.size, stated.size, last.root, stated.root, submitted.proof)


def _unknown() -> Answer:
    return Answer(404, "this witness has cosigned no such log\n")
