"""Telling what happens: steps with timings, and checks that end the story when they do not hold."""

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


class Untrue(Exception):
    """Something the demo claims did not hold."""


class Story:
    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._began = time.monotonic()
        self._checks = 0
        self._scenes = 0

    def scene(self, title: str) -> None:
        self._scenes += 1
        self._say(f"\n{self._elapsed():7.2f} s  {self._scenes}. {title}")

    def tell(self, text: str) -> None:
        self._say(f"           {text}")

    def check(self, claim: str, holds: object, seen: object = "") -> None:
        """Say claim; end the story where it does not hold."""
        if not holds:
            self._say(f"           ✗ {claim}")
            raise Untrue(f"{claim} (seen: {seen!r})")
        self._checks += 1
        self._say(f"           ✓ {claim}")

    def wait(self, claim: str, look: Callable[[], Any], within: float = 20.0) -> Any:
        """What look returns once it is true; ends the story when it does not become true in time."""
        began, seen = time.monotonic(), None
        while time.monotonic() - began < within:
            seen = look()
            if seen:
                self.check(f"{claim} ({(time.monotonic() - began) * 1000:.0f} ms)", True)
                return seen
            time.sleep(0.02)
        self.check(claim, False, seen)
        return None

    def end(self) -> None:
        self._say(f"\n{self._elapsed():7.2f} s  All {self._checks} claims held.")

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
