"""Bad weather on order: latency, throttling, errors, hang-ups, garbage. Set by `POST …/control/faults`."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tabellion.simulators.asgi import Answer, HangUp, Request

KINDS: Final = ("latency", "throttle", "error", "hang_up", "half", "garbage")


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the next `times` requests (all, where it is 0) whose body matches `matching`."""

    kind: str
    times: int = 1
    seconds: float = 1.0
    """Of latency."""
    status: int = 500
    """Of an error."""
    retry_after: str | None = "1"
    matching: str = ""
    """A regular expression, searched in the raw body."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        if not (0 <= self.times <= 1_000_000 and 0 <= self.seconds <= 300 and 400 <= self.status <= 599):
            raise ValueError("times, seconds or status is out of range")
        try:
            re.compile(self.matching)
        except re.error as error:
            raise ValueError(f"matching is no regular expression: {error}") from None


@dataclass
class Weather:
    """The faults in force, first set first met."""

    _faults: list[tuple[Fault, int]] = field(default_factory=list)

    def add(self, values: Any) -> Fault:
        """Put a fault in force. Raises `ValueError` when it is malformed."""
        fault = msgspec.convert(values, Fault)
        self._faults.append((fault, fault.times))
        del self._faults[:-100]
        return fault

    def clear(self) -> None:
        self._faults.clear()

    async def strike(self, request: Request, throttled: Answer) -> Answer | None:
        """What the weather answers instead of the vendor, or None. `throttled` is the vendor's own 429."""
        fault = self._next(request) if self._faults else None
        match fault:
            case None:
                return None
            case Fault(kind="latency"):
                await asyncio.sleep(fault.seconds)
                return None
            case Fault(kind="throttle"):
                return _throttled(throttled, fault.retry_after)
            case Fault(kind="error"):
                return Answer(fault.status, b"<html><body>upstream error</body></html>", content_type="text/html")
            case Fault(kind="garbage"):
                return Answer(200, b"\x00\xff not what you expect", content_type="text/plain")
        raise HangUp(half=fault.kind == "half")

    def _next(self, request: Request) -> Fault | None:
        for place, (fault, left) in enumerate(self._faults):
            if fault.matching and not re.search(fault.matching.encode(), request.body):
                continue
            if left == 1:
                del self._faults[place]
            elif left:
                self._faults[place] = (fault, left - 1)
            return fault
        return None


def _throttled(answer: Answer, retry_after: str | None) -> Answer:
    headers = dict(answer.headers) | ({"Retry-After": retry_after} if retry_after else {})
    return Answer(429, answer.body, headers, answer.content_type)
