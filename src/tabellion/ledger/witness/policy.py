"""Which witnesses must have cosigned a checkpoint: C2SP tlog-policy (text of 2026-06-22, read 2026-11-28;
https://c2sp.org/tlog-policy). Pure; standard library and `note.py` only.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tabellion.ledger import note

NONE: Final = "none"
"""The quorum that asks for nobody."""
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class BadPolicy(ValueError):
    """Not a policy. The text names the line."""


@dataclass(frozen=True, slots=True)
class Member:
    """A witness as the policy names it. `url` is where it takes checkpoints; None: it is only checked, never asked."""

    name: str
    key: note.Witness
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Stands for a cosignature as soon as `needed` of its members do."""

    name: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    logs: tuple[note.Verifier, ...]
    """The logs it is about; empty where that is known otherwise."""
    witnesses: tuple[Member, ...]
    groups: tuple[Group, ...]
    """In an order in which each names only what stands before it."""
    quorum: str

    def satisfied(self, cosigners: Collection[note.Witness]) -> bool:
        """Whether a checkpoint that these cosigned is good enough."""
        met = {one.name for one in self.witnesses if one.key in cosigners}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.needed:
                met.add(group.name)
        return self.quorum == NONE or self.quorum in met

    def accepts(self, signed: str) -> bool:
        """Whether the signed checkpoint carries cosignatures enough. Says nothing about the log's own signature."""
        try:
            found = note.verify_cosignatures(signed, [one.key for one in self.witnesses])
        except note.BadNote:
            return False
        return self.satisfied({one.witness for one in found})

    def digest(self) -> bytes:
        """The same for policies that ask for the same cosignatures, wherever their witnesses are reached."""
        lines = [f"witness {one.name} {one.key.line()}" for one in self.witnesses]
        lines += [f"group {one.name} {one.needed} {' '.join(one.members)}" for one in self.groups]
        return sha256("\n".join([*lines, f"quorum {self.quorum}"]).encode(errors="surrogateescape")).digest()


def parse(content: bytes) -> Policy:
    """The policy of a file. Raises `BadPolicy` for whatever the format does not allow."""
    if _FORBIDDEN.search(content):
        raise BadPolicy("a policy holds no control characters but tab and newline; are its lines ended by CR?")
    draft = _Draft()
    # Names are octets: what is no UTF-8 must come out as it went in.
    for number, line in enumerate(content.decode(errors="surrogateescape").split("\n"), 1):
        words = [word for word in re.split(r"[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            try:
                draft.add(words)
            except ValueError as problem:
                raise BadPolicy(f"line {number}: {problem}") from None
    return draft.finished()


class _Draft:
    """A policy while its lines are read."""

    def __init__(self) -> None:
        self._logs: list[note.Verifier] = []
        self._witnesses: list[Member] = []
        self._groups: list[Group] = []
        self._quorum: str | None = None
        self._names: set[str] = set()
        self._taken: set[str] = set()
        """Names that are members of a group."""

    def add(self, words: Sequence[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                self._add_log(note.parse_verifier(key))
            case ["witness", name, key]:
                self._add_witness(Member(name, note.parse_witness(key), None))
            case ["witness", name, key, url]:
                self._add_witness(Member(name, note.parse_witness(key), url))
            case ["group", name, needed, *members] if members:
                self._add_group(name, needed, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise BadPolicy(
                    "a line is one of: log VKEY [URL], witness NAME VKEY [URL], group NAME all|any|K NAME…, quorum NAME"
                )

    def finished(self) -> Policy:
        if self._quorum is None:
            raise BadPolicy("there is no quorum line; `quorum none` asks for nobody")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _add_log(self, log: note.Verifier) -> None:
        if any(log.public_key == one.public_key for one in self._logs):
            raise BadPolicy(f"the key of {log.name} is another log's too")
        self._logs.append(log)

    def _add_witness(self, member: Member) -> None:
        if any(member.key.public_key == one.key.public_key for one in self._witnesses):
            raise BadPolicy(f"the key of {member.name} is another witness's too")
        self._define(member.name)
        self._witnesses.append(member)

    def _add_group(self, name: str, needed: str, members: Sequence[str]) -> None:
        for member in members:
            if member not in self._names:
                raise BadPolicy(f"'{member}' is defined on no line before")
            if member in self._taken:
                raise BadPolicy(f"'{member}' is a member already, and counts once only")
            self._taken.add(member)
        self._define(name)
        self._groups.append(Group(name, _needed(needed, len(members)), tuple(members)))

    def _set_quorum(self, name: str) -> None:
        if self._quorum is not None:
            raise BadPolicy("there is one quorum line only")
        if name != NONE and name not in self._names:
            raise BadPolicy(f"'{name}' is defined on no line before")
        self._quorum = name

    def _define(self, name: str) -> None:
        if name == NONE or name in self._names:
            raise BadPolicy(f"the name '{name}' is taken")
        self._names.add(name)


def _needed(text: str, members: int) -> int:
    if text in ("all", "any"):
        return members if text == "all" else 1
    if not _NUMBER.fullmatch(text) or int(text) > members:
        raise BadPolicy(f"of {members} members, 'all', 'any' or a number from 1 to {members} are needed, not '{text}'")
    return int(text)
