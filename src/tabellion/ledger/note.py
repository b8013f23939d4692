"""Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint, read 2026-11-21), with Ed25519 only.

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
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_ID_SIZE]

    def line(self) -> str:
        """The verifier key: `name+id+key`, what a verifier is configured with."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.public_key)}"

    def accepts(self, text: str, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


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
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {_b64(signature)}\n"

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, ••••)"


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes


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
    """The key a verifier key line states. Raises `BadNote` for another form, another algorithm, a wrong id."""
    parts = line.strip("\n").split("+", 2)
    if len(parts) != 3 or not _is_name(parts[0]):
        raise BadNote("a verifier key has the form name+id+key")
    key = _unb64(parts[2])
    verifier = Verifier(parts[0], key[1:])
    if key[:1] != _ED25519 or len(key) != 33 or verifier.key_id.hex() != parts[1]:
        raise BadNote(f"the verifier key of {parts[0]} is not Ed25519, or its id is not that of its key")
    return verifier


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
