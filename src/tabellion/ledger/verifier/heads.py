"""Whom to believe: keys of a log and where each counts, witnesses and how many of them, and heads they signed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tabellion.ledger import note
from tabellion.ledger.note import BadNote, Checkpoint, Verifier, Witness
from tabellion.ledger.verifier.report import Refuted, Unusable

MOST_NOTE: Final = 1 << 20
MOST_KEYS: Final = 10_000
LARGEST: Final = 1 << 40
"""Entries of a log that is still read. More is no log but an attempt to keep somebody busy."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A key of a log, and the tree sizes that it signed."""

    key: Verifier
    from_size: int = 0
    to_size: int | None = None

    def covers(self, size: int) -> bool:
        return self.from_size <= size and (self.to_size is None or size <= self.to_size)

    @property
    def told(self) -> str:
        last = "now" if self.to_size is None else self.to_size
        return f"{self.key.name}+{self.key.key_id.hex()} (sizes {self.from_size} to {last})"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a head must be signed with to be believed."""

    keys: Sequence[Trusted]
    witnesses: Sequence[Witness] = ()
    quorum: int = 0

    def of(self, origin: str) -> list[Trusted]:
        return [one for one in self.keys if one.key.name == origin]


@dataclass(frozen=True, slots=True)
class Signed:
    """A head that somebody trusted signed."""

    checkpoint: Checkpoint
    text: str
    """The whole note, as it was signed and cosigned."""
    seen: Sequence[note.Cosignature]


def trust(keys: Iterable[str], lists: Iterable[bytes], witnesses: Iterable[str], quorum: int | None) -> Trust:
    """What to believe, from verifier keys, key lists and the keys of witnesses. Raises `Unusable`.

    A key that is named by itself and in a list counts for the sizes that the list says. Without a quorum, every witness
    that is named must have cosigned.
    """
    try:
        trusted = [one for each in lists for one in _listed(each)]
        bounded = {one.key for one in trusted}
        bare = [_key(line) for one in keys for line in one.split("\n") if line.strip()]
        trusted += [Trusted(one) for one in bare if one not in bounded]
        known = list(dict.fromkeys(_witness(one) for one in witnesses))
    except BadNote as error:
        raise Unusable(str(error)) from None
    if len({one.public_key for one in known}) < len(known):
        raise Unusable("two of the witnesses named have one key, so they are one witness")
    needed = len(known) if quorum is None else quorum
    if not trusted:
        raise Unusable(
            "name the key of the log, as whoever runs it made it known, and not as it lies beside what you verify:"
            " --key origin+id+key, or --keys FILE"
        )
    if not 0 <= needed <= len(known):
        raise Unusable(f"{needed} of {len(known)} witnesses cannot have cosigned")
    return Trust(trusted, known, needed)


def signed(said: bytes, believed: Trust, *, quorum: bool = True) -> Signed:
    """The head that a signed note states, if a trusted key signed it and enough witnesses cosigned it.

    Raises `Refuted` and says why otherwise. Only a key with the name of the log's origin can sign for the log.
    """
    try:
        text = said.decode()
        checkpoint = note.parse_checkpoint(note.parse(text).text)
    except (UnicodeDecodeError, BadNote) as error:
        raise Refuted("checkpoint_form", f"the checkpoint is none: {error}") from None
    if checkpoint.size > LARGEST:
        raise Refuted("size_absurd", f"a log of {checkpoint.size} entries is not read", size=checkpoint.size)
    _require_key(text, checkpoint, believed)
    return Signed(checkpoint, text, _cosigned(text, believed, quorum=quorum))


def require_origin(head: Signed, origin: str, what: str) -> None:
    """Return if the head is of this log."""
    if head.checkpoint.origin != origin:
        raise Refuted("origin_wrong", f"{what} is of log {head.checkpoint.origin}, not of {origin}")


def _require_key(text: str, checkpoint: Checkpoint, believed: Trust) -> None:
    own = believed.of(checkpoint.origin)
    if not own:
        names = ", ".join(sorted({one.key.name for one in believed.keys}))
        detail = f"the checkpoint is of log {checkpoint.origin}; the keys given are of {names}"
        raise Refuted("origin_wrong", detail, origin=checkpoint.origin)
    fit = [one.key for one in own if one.covers(checkpoint.size)]
    if _signs(text, fit):
        return
    late = [one for one in own if not one.covers(checkpoint.size) and _signs(text, [one.key])]
    if late:
        detail = f"the checkpoint at {checkpoint.size} is signed by {late[0].told}, which did not sign at that size"
        raise Refuted("key_out_of_range", detail, size=checkpoint.size)
    by = ", ".join(sorted({one.key_id.hex() for one in note.parse(text).signatures if one.name == checkpoint.origin}))
    given = ", ".join(sorted({one.key.key_id.hex() for one in own}))
    detail = (
        f"no key given for {checkpoint.origin} signed the checkpoint: given are {given}, and it says it was signed by"
        f" {by or 'none of that name'}. If the log has changed its key since, ask for the new one as you got this one"
    )
    raise Refuted("signature_missing", detail)


def _signs(text: str, keys: Sequence[Verifier]) -> bool:
    if not any((one.name, one.key_id) in {(s.name, s.key_id) for s in note.parse(text).signatures} for one in keys):
        return False
    try:
        note.verify(text, keys)
    except BadNote as error:
        raise Refuted("signature_wrong", f"the checkpoint is forged: {error}") from None
    return True


def _cosigned(text: str, believed: Trust, *, quorum: bool) -> list[note.Cosignature]:
    try:
        seen = note.verify_cosignatures(text, believed.witnesses)
    except BadNote as error:
        raise Refuted("cosignature_wrong", f"the checkpoint is forged: {error}") from None
    if quorum and len(seen) < believed.quorum:
        detail = f"{len(seen)} of the witnesses named cosigned the checkpoint; {believed.quorum} are asked for"
        raise Refuted("quorum_missing", detail, cosigned=[one.witness.name for one in seen])
    return seen


def _key(line: str) -> Verifier:
    try:
        return note.parse_verifier(line.strip())
    except BadNote as error:
        raise BadNote(f"--key takes the key of a log, origin+id+key (a file of keys: --keys FILE): {error}") from None


def _witness(line: str) -> Witness:
    try:
        return note.parse_witness(line.strip())
    except BadNote as error:
        raise BadNote(f"--witness takes the key of a witness, name+id+key: {error}") from None


def _listed(said: bytes) -> list[Trusted]:
    """The keys of a list: the JSON that a hub serves, or a verifier key a line."""
    try:
        text = said.decode()
        if not text.lstrip().startswith("{"):
            return [Trusted(note.parse_verifier(line)) for line in text.splitlines() if line.strip()]
        keys = json.loads(text)["keys"]
        if len(keys) > MOST_KEYS:
            raise Unusable(f"a list of more than {MOST_KEYS} keys is not read")
        return [
            Trusted(note.parse_verifier(one["vkey"]), _size(one["from_size"]), _size(one["to_size"])) for one in keys
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unusable(
            f"a key list is {{'keys': [{{vkey, from_size, to_size}}]}} or a verifier key a line: {error}"
        ) from None


def _size(value: Any) -> Any:
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError("a size is a number or null")
    return value
