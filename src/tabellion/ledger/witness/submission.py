"""The body of tlog-witness's `add-checkpoint`: from which size, how that grew, to which checkpoint. Pure."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_HASHES: Final = 63
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


class BadSubmission(ValueError):
    """Not the body of an `add-checkpoint` call."""


@dataclass(frozen=True, slots=True)
class Submission:
    old: int
    """The size of the checkpoint that the witness cosigned last; 0 where there is none."""
    proof: Sequence[bytes]
    checkpoint: str
    """A signed note."""

    def body(self) -> bytes:
        hashes = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.proof)
        return f"old {self.old}\n{hashes}\n{self.checkpoint}".encode()


def parse(body: bytes) -> Submission:
    """The parts of a body, its checkpoint as it came. Raises `BadSubmission`."""
    try:
        head, gap, checkpoint = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise BadSubmission("the body is not UTF-8") from None
    first, *lines = head.split("\n")
    old = _OLD.fullmatch(first)
    if old is None or not gap:
        raise BadSubmission("the body is an old size line, the proof's lines, an empty line and a checkpoint")
    if len(lines) > MOST_HASHES:
        raise BadSubmission(f"a proof has at most {MOST_HASHES} hashes")
    return Submission(int(old[1]), tuple(_hash(line) for line in lines), checkpoint)


def _hash(line: str) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32 or base64.b64encode(value).decode() != line:
        raise BadSubmission("a line of the proof is a hash in standard base64")
    return value
