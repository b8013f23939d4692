"""What pages and their mails say, by language: `texts/*.toml`, read once. The same keys in each, tests see to it."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from tabellion.consent.pages.html import Node, el
from tabellion.consent.types import BUILT_IN, Purpose
from tabellion.providers.base import Channel

FALLBACK: Final = "en"
RIGHT_TO_LEFT: Final = frozenset({"ar"})
_PLACE: Final = re.compile(r"\{([a-z]+)\}")
_RANGE: Final = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*")
MOST_RANGES: Final = 20


@dataclass(frozen=True, slots=True)
class Language:
    """One language's sentences."""

    code: str
    said: Mapping[str, str]

    @property
    def direction(self) -> str:
        return "rtl" if self.code in RIGHT_TO_LEFT else "ltr"

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.said["language"]

    def text(self, key: str, **values: str) -> str:
        """A sentence as plain text, with its places filled."""
        return _PLACE.sub(lambda place: values[place[1]], self.said[key])

    def nodes(self, key: str, **values: str) -> list[Node]:
        """A sentence for a page: what fills its places may be of another direction than what stands around."""
        parts = _PLACE.split(self.said[key])
        return [_filled(part, values) if index % 2 else part for index, part in enumerate(parts) if part]

    def channel(self, channel: Channel) -> str:
        return self.said.get(f"channel_{channel}", channel.value)

    def purpose(self, purpose: Purpose, titles: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> str:
        """What a purpose is called: as `titles` have it in this language, or a built-in one that nobody named."""
        if own_title := titles.get(purpose.key, {}).get(self.code):
            return own_title
        own = BUILT_IN.get(purpose.key)
        if own is None or own.title != purpose.title:
            return purpose.title
        return self.said.get(f"purpose_{purpose.key}", purpose.title)


@dataclass(frozen=True, slots=True)
class Texts:
    languages: Mapping[str, Language]

    def choose(self, *wanted: str | None, accept: str | None = None, otherwise: str | None = None) -> Language:
        """The first of the wanted languages (tags, as `de-AT`) that there is, or what a browser accepts; else ours."""
        tags = [one.replace("_", "-").partition("-")[0].lower() for one in wanted if one]
        meant = (*tags, *_accepted(accept), otherwise or FALLBACK)
        return self.languages[next((one for one in meant if one in self.languages), FALLBACK)]


def load() -> Texts:
    """All languages, from the package."""
    folder = resources.files(__package__) / "texts"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=lambda one: one.name)
    said = {one.name.removesuffix(".toml"): tomllib.loads(one.read_text(encoding="utf-8")) for one in files}
    return Texts({code: Language(code, sentences) for code, sentences in said.items()})


def places(sentence: str) -> frozenset[str]:
    """What a sentence leaves open."""
    return frozenset(_PLACE.findall(sentence))


def _filled(place: str, values: Mapping[str, str]) -> Node:
    """An address is read from left to right in any language."""
    return el("bdi", values[place], dir="ltr" if place == "address" else None)


def _accepted(header: str | None) -> Iterable[str]:
    """The languages of `Accept-Language`, most wanted first (RFC 9110, 12.5.4)."""
    found = [_RANGE.fullmatch(one) for one in (header or "").split(",")[:MOST_RANGES]]
    weighed = [(float(one[2] or 1), one[1].lower()) for one in found if one]
    return [code for weight, code in sorted(weighed, key=lambda pair: -pair[0]) if weight > 0]
