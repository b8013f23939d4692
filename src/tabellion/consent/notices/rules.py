"""Pure rules of notices: what a version may say, its hash, and which of its languages somebody reads."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tabellion.consent.notices.types import Version
from tabellion.core.crypto import canonical, sha256
from tabellion.core.errors import FieldError, Invalid

KEY_FORM: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""The id of a notice, and the name of a version."""
LANGUAGE_FORM: Final = "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$"
"""A language tag of BCP 47, as far as form goes."""
_LANGUAGE: Final = re.compile(LANGUAGE_FORM)
_RANGE: Final = re.compile(r"\s*([A-Za-z0-9-]{1,40}|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{1,3})?|1(?:\.0{1,3})?)\s*)?")
LONGEST: Final = 65_536
"""Bytes of one text."""
MOST: Final = 100
"""Languages of one version."""


def tag(language: str) -> str:
    """A language tag as it is kept: the cases that RFC 5646 (2.1.1) recommends, so that one tag is written one way."""
    first, *rest = language.split("-")
    return "-".join([first.lower(), *map(_part, rest)])


def _part(part: str) -> str:
    if len(part) == 2 and part.isalpha():
        return part.upper()
    return part.title() if len(part) == 4 and part.isalpha() else part.lower()


def texts(given: Mapping[str, str], default_language: str) -> dict[str, str]:
    """The texts under their tags. Raises `Invalid` for what is no language, said twice or too long."""
    found: dict[str, str] = {}
    for language, text in given.items():
        pointer = "/texts/" + language[:64].replace("~", "~0").replace("/", "~1")
        if not _LANGUAGE.match(language):
            raise _wrong(pointer, "name the language by its tag (BCP 47), as en or de-AT")
        if tag(language) in found:
            raise _wrong(pointer, "the language is there twice; give one text for each")
        if not text.strip() or len(text.encode("utf-8", "surrogatepass")) > LONGEST:
            raise _wrong(pointer, f"a text has 1 to {LONGEST} bytes")
        if not _is_text(text):
            raise _wrong(pointer, "not valid Unicode")
        found[tag(language)] = text
    if len(found) > MOST:
        raise _wrong("/texts", f"a version has at most {MOST} languages")
    if tag(default_language) not in found:
        raise _wrong("/default_language", f"there is no text in it; there are {', '.join(sorted(found)) or 'none'}")
    return found


def hashed(version: Version, title: str, purposes: Iterable[str]) -> bytes:
    """SHA-256 over the RFC 8785 form of what a version says, of what and for what."""
    said: dict[str, Any] = {
        "v": 1,
        "notice": version.notice,
        "version": version.version,
        "title": title,
        "purposes": sorted(purposes),
        "default_language": version.default_language,
        "texts": dict(version.texts),
    }
    return sha256(canonical(said))


def next_name(names: Iterable[str]) -> str:
    """The name of a version that was given none: the number after the highest."""
    return str(max((int(one) for one in names if one.isascii() and one.isdecimal()), default=0) + 1)


def choose(languages: Iterable[str], default: str, asked: str | None) -> str:
    """The language to answer in: the best for an `Accept-Language`, by the look-up of RFC 4647 (3.4); else the default.

    Of ranges liked alike the first counts. What is no header of that form asks for nothing.
    """
    have = {one.lower(): one for one in languages}
    for wanted in _ranges(asked or ""):
        if wanted == "*":
            return default
        if found := _look_up(have, wanted.lower()):
            return found
    return default


def _ranges(header: str) -> list[str]:
    """The ranges of a header that are wanted at all, the best liked first."""
    found: list[tuple[float, str]] = []
    for part in header.split(",")[:50]:
        match = _RANGE.fullmatch(part)
        if match and float(match[2] or 1) > 0:
            found.append((float(match[2] or 1), match[1]))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def _look_up(have: Mapping[str, str], wanted: str) -> str | None:
    """The longest prefix of a range that is there; a single letter never ends one."""
    parts = wanted.split("-")
    while parts:
        if found := have.get("-".join(parts)):
            return found
        parts.pop()
        if parts and len(parts[-1]) == 1:
            parts.pop()
    return None


def covers(purposes: Iterable[str], line: Iterable[str]) -> bool:
    """Whether a notice for these purposes is about a decision on one; `line` is that purpose and all above it."""
    return not set(purposes).isdisjoint(line)


def require_purposes(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """The purposes, each once. Raises `Invalid` for one that there is not."""
    there = set(known)
    for place, one in enumerate(wanted):
        if one not in there:
            raise _wrong(f"/purposes/{place}", f"no such purpose; there are {', '.join(sorted(there))}")
    return list(dict.fromkeys(wanted))


def reserved(name: str) -> Invalid:
    return _wrong("/version", f"{name} means the version that was published last; choose another name")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid("notice_invalid", detail, FieldError(pointer, detail))
