"""What the verifier says: what holds, what does not, and what it could not look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

VERIFIED: Final = 0
REFUTED: Final = 1
UNUSABLE: Final = 2


class Unusable(Exception):
    """Nothing can be said: wrong usage, or a source that does not answer. Exit code 2."""


class Refuted(Exception):
    """What was given does not hold, and nothing behind it is worth a look."""

    def __init__(self, code: str, text: str, **where: Any) -> None:
        super().__init__(text)
        self.finding = Finding(code, text, where)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold."""

    code: str
    text: str
    where: Mapping[str, Any] = field(default_factory=dict)
    """The entry, the tile or the file that it is about, for programs."""


@dataclass(slots=True)
class Report:
    """Grows while it is being verified."""

    facts: dict[str, Any] = field(default_factory=dict)
    holds: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What nothing was given to check it with; no failure."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code."""
        return REFUTED if self.findings else VERIFIED

    def add(self, code: str, text: str, **where: Any) -> None:
        self.findings.append(Finding(code, text, where))

    def text(self) -> str:
        """For people: a line each, the verdict last."""
        lines = [f"{name}: {value}" for name, value in self.facts.items() if not isinstance(value, dict | list)]
        lines += [f"ok    {line}" for line in self.holds]
        lines += [f"?     {line}" for line in self.unchecked]
        lines += [f"WRONG {one.text} [{one.code}]" for one in self.findings]
        return "\n".join([*map(printable, lines), "NOT VERIFIED" if self.findings else "verified"])

    def json(self) -> str:
        """For programs: one line."""
        findings = [{"code": one.code, "text": one.text, **one.where} for one in self.findings]
        said = {"verified": not findings, **self.facts, "holds": self.holds, "unchecked": self.unchecked}
        return json.dumps(said | {"findings": findings}, default=str)


def moment(at: int) -> str:
    """Seconds since 1970 for people, as far as a calendar goes."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"second {at} since 1970"


def printable(line: str) -> str:
    """Without what could move the cursor of whoever reads it: the line may quote what somebody else wrote."""
    return "".join(letter if letter.isprintable() else "�" for letter in line)
