"""Signed notes, checkpoints and cosignatures, with Ed25519 only.

C2SP signed-note v1.0.0 and tlog-checkpoint v1.0.0 (read 2026-11-21), tlog-cosignature v1.1.0-rc.1 (read 2026-11-28;
https://c2sp.org/tlog-cosignature): its `cosignature/v1`, not the ML-DSA-44 form.

Standard library and `cryptography` only: a verifier can be built on this file and `merkle.py` alone.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519: Final = b"\x01"
_COSIGNATURE: Final = b"\x04"
_TIME_SIZE: Final = 8
_LATEST: Final = (1 << 63) - 1
_DASH: Final = "— "
_ID_SIZE: Final = 4
_MOST_SIGNATURES: Final = 100
_MOST_CHARACTERS: Final = 1_000_000
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class BadNote(ValueError):
    """Not a signed note, checkpoint or verifier key, or one whose signature is not that of a key we trust."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with the name it signs under."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, _ED25519, self.public_key)

    def line(self) -> str:
        """The verifier key: `name+id+key`, what a verifier is configured with."""
        return _key_line(self.name, _ED25519, self.public_key)

    def accepts(self, text: str, signature: bytes) -> bool:
        return _accepts(self.public_key, text, signature)


@dataclass(frozen=True, slots=True)
class Witness:
    """The public key of a witness with the name it cosigns under. Never a log's key, even if the bytes are the same."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, _COSIGNATURE, self.public_key)

    def line(self) -> str:
        """The verifier key, as a witness policy names it."""
        return _key_line(self.name, _COSIGNATURE, self.public_key)

    def seen_at(self, text: str, signature: bytes) -> int | None:
        """When this witness says it saw the checkpoint text, in seconds since 1970; None where it did not sign that."""
        at, signed = int.from_bytes(signature[:_TIME_SIZE], "big"), signature[_TIME_SIZE:]
        if 0 < at <= _LATEST and _accepts(self.public_key, _cosigned(text, at), signed):
            return at
        return None


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key with the name it signs under. Prints only its name."""

    name: str
    _key: Ed25519PrivateKey

    @classmethod
    def new(cls, name: str) -> "Signer":
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, name: str, private_key: bytes) -> "Signer":
        return cls(name, Ed25519PrivateKey.from_private_bytes(private_key))

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self._key.public_key().public_bytes_raw())

    def private_key(self) -> bytes:
        return self._key.private_bytes_raw()

    def sign(self, text: str) -> str:
        """The signed note over text, which must end in a newline."""
        _check_text(text)
        return f"{text}\n{Signature(self.name, self.verifier.key_id, self._key.sign(text.encode())).line()}"

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, ••••)"


@dataclass(frozen=True, slots=True)
class Cosigner:
    """The private key of a witness. Prints only its name."""

    name: str
    _key: Ed25519PrivateKey

    @classmethod
    def new(cls, name: str) -> "Cosigner":
        if not _is_name(name):
            raise BadNote("the name of a key is not empty and holds no space and no plus")
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, name: str, private_key: bytes) -> "Cosigner":
        return cls(name, Ed25519PrivateKey.from_private_bytes(private_key))

    @property
    def witness(self) -> Witness:
        return Witness(self.name, self._key.public_key().public_bytes_raw())

    def private_key(self) -> bytes:
        return self._key.private_bytes_raw()

    def cosign(self, text: str, at: int) -> str:
        """The signature line that says: at this time (seconds since 1970) the checkpoint text was the newest seen."""
        _check_text(text)
        signed = at.to_bytes(_TIME_SIZE, "big") + self._key.sign(_cosigned(text, at).encode())
        return Signature(self.name, self.witness.key_id, signed).line()

    def __repr__(self) -> str:
        return f"Cosigner({self.name!r}, ••••)"


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {_b64(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified statement of a witness about a checkpoint."""

    witness: Witness
    at: int
    """Seconds since 1970."""
    signature: Signature


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart. Nothing in it is verified."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"


def parse_verifier(line: str) -> Verifier:
    """The key a log's verifier key states. Raises `BadNote` for another form, another algorithm, a wrong id."""
    return Verifier(*_parse_key(line, _ED25519, "an Ed25519 log key"))


def parse_witness(line: str) -> Witness:
    """The key a witness's verifier key states. Raises `BadNote` for another form, another algorithm, a wrong id."""
    return Witness(*_parse_key(line, _COSIGNATURE, "an Ed25519 witness key (cosignature/v1)"))


def parse(signed: str) -> Note:
    """The parts of a signed note, unverified. Raises `BadNote` when it is none."""
    if len(signed) > _MOST_CHARACTERS or _CONTROL.search(signed):
        raise BadNote("a note is text without control characters")
    text, gap, lines = signed.rpartition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise BadNote("a signed note is text, an empty line and signature lines")
    signatures = lines[:-1].split("\n")
    if len(signatures) > _MOST_SIGNATURES:
        raise BadNote(f"a note with more than {_MOST_SIGNATURES} signatures is not read")
    return Note(text + "\n", tuple(_parse_signature(line) for line in signatures))


def verify(signed: str, trusted: Iterable[Verifier]) -> str:
    """The text of a note that a trusted key signed.

    Raises `BadNote` when no trusted key signed it, or one of them is named and its signature is wrong.
    """
    note, known = parse(signed), {(one.name, one.key_id): one for one in trusted}
    accepted = False
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.accepts(note.text, signature.value):
            raise BadNote(f"the signature of {signature.name} is wrong")
        accepted = True
    if not accepted:
        raise BadNote("no trusted key signed this note")
    return note.text


def parse_checkpoint(text: str) -> Checkpoint:
    """The tree head that a note's text states; extension lines are passed over. Raises `BadNote` otherwise."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise BadNote("a checkpoint has at least three lines, and none is empty")
    if not _SIZE.fullmatch(lines[1]):
        raise BadNote("the second line of a checkpoint is the tree size")
    root = _unb64(lines[2])
    if len(root) != 32:
        raise BadNote("the third line of a checkpoint is a SHA-256 root hash")
    return Checkpoint(lines[0], int(lines[1]), root)


def verify_checkpoint(signed: str, trusted: Sequence[Verifier]) -> Checkpoint:
    """The tree head of a signed checkpoint. Only keys named like its origin can sign it, whatever else is trusted."""
    checkpoint = parse_checkpoint(parse(signed).text)
    verify(signed, [one for one in trusted if one.name == checkpoint.origin])
    return checkpoint


def verify_cosignatures(signed: str, trusted: Iterable[Witness]) -> list[Cosignature]:
    """The trusted witnesses that cosigned this note, one statement each: the latest. Nobody else's lines are looked at.

    Says nothing about the log's own signature, see `verify_checkpoint`. Raises `BadNote` when the note is no
    checkpoint, or a trusted witness is named and its cosignature is wrong.
    """
    note, known = parse(signed), {(one.name, one.key_id): one for one in trusted}
    parse_checkpoint(note.text)
    found: dict[Witness, Cosignature] = {}
    for signature in note.signatures:
        witness = known.get((signature.name, signature.key_id))
        if witness is None:
            continue
        at = witness.seen_at(note.text, signature.value)
        if at is None:
            raise BadNote(f"the cosignature of {signature.name} is wrong")
        if witness not in found or found[witness].at < at:
            found[witness] = Cosignature(witness, at, signature)
    return list(found.values())


def _parse_key(line: str, kind: bytes, meant: str) -> tuple[str, bytes]:
    """Name and public key of a verifier key of this kind."""
    parts = line.strip("\n").split("+", 2)
    if len(parts) != 3 or not _is_name(parts[0]):
        raise BadNote("a verifier key has the form name+id+key")
    key = _unb64(parts[2])
    if key[:1] != kind or len(key) != 33 or _key_id(parts[0], kind, key[1:]).hex() != parts[1]:
        raise BadNote(f"the verifier key of {parts[0]} is not {meant}, or its id is not that of its key")
    return parts[0], key[1:]


def _key_id(name: str, kind: bytes, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + kind + public_key).digest()[:_ID_SIZE]


def _key_line(name: str, kind: bytes, public_key: bytes) -> str:
    return f"{name}+{_key_id(name, kind, public_key).hex()}+{_b64(kind + public_key)}"


def _cosigned(text: str, at: int) -> str:
    """What a witness signs: a header that no log signs, the time, the checkpoint."""
    return f"cosignature/v1\ntime {at}\n{text}"


def _accepts(public_key: bytes, text: str, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _parse_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _is_name(name):
        raise BadNote("a signature line is an em dash, a key name and a signature")
    value = _unb64(encoded)
    if len(value) <= _ID_SIZE:
        raise BadNote("a signature is longer than its key id")
    return Signature(name, value[:_ID_SIZE], value[_ID_SIZE:])


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise BadNote("the text of a note ends in a newline and has no control characters")


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unb64(text: str) -> bytes:
    """Strict standard base64: whatever does not encode back to the same text is refused."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or _b64(value) != text:
        raise BadNote("not standard base64")
    return value
