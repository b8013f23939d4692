"""What a reply means. Pure: a text and words in, a keyword or nothing out.

A reply is a keyword when it says the word and nothing beside it but courtesies; a word inside a sentence is none. A
reply that refuses in other words is an unclear STOP.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

from tabellion.consent.keywords import words
from tabellion.consent.keywords.types import Heard, Keyword, LocalWords

LONGEST: Final = 1000
"""Characters of a reply that are looked at: a keyword is short, and a refusal comes first."""
MOST_WORDS: Final = 12
"""A text of more words is no keyword, whatever it repeats."""
_APOSTROPHES: Final = re.compile(r"['’‘`´ʼ]")
_BUILT_IN: Final[Mapping[Keyword, Mapping[str, tuple[str, ...]]]] = {
    Keyword.STOP: words.STOP,
    Keyword.START: words.START,
    Keyword.HELP: words.HELP,
}

Phrase = tuple[str, ...]
"""The words of a keyword, normalised."""
Known = Mapping[Phrase, tuple[Keyword, str]]


def normalised(text: str) -> str:
    """A text as words are compared: lower case, without accents, punctuation and emoji, single spaces between words.

    Letters spelled out one by one ("S.T.O.P") become the word. A dotless i is an i: in capitals nobody can tell.
    """
    plain = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text[:LONGEST])).casefold().replace("ı", "i")
    kept = "".join(_kept(letter) for letter in unicodedata.normalize("NFKD", plain))
    parts = unicodedata.normalize("NFC", kept).split()
    spelled = len(parts) > 2 and all(len(part) == 1 for part in parts)
    return "".join(parts) if spelled else " ".join(parts)


def _kept(letter: str) -> str:
    """A letter or digit as it is, nothing of an accent, and a space for everything else."""
    kind = unicodedata.category(letter)
    if kind[0] in "LN":
        return letter
    return "" if kind[0] == "M" or kind == "Cf" else " "


def recognise(text: str, local: LocalWords = MappingProxyType({})) -> Heard | None:
    """What a reply means; None for anything else than a keyword or a refusal.

    No word that a workspace gives to START or HELP takes a refusal away.
    """
    plain = normalised(text)
    if not plain:
        return None
    said = _said(plain.split(), _known(local))
    if said is None:
        return _refusal(plain)
    keywords = {keyword for keyword, _ in said}
    if len(keywords) > 1:
        return Heard(Keyword.STOP, _language(said), unclear=True) if Keyword.STOP in keywords else None
    keyword = keywords.pop()
    refused = _refusal(plain) if keyword is not Keyword.STOP else None
    return refused or Heard(keyword, _language(said))


def _said(parts: list[str], known: Known) -> list[tuple[Keyword, str]] | None:
    """The keywords that a text consists of, but for courtesies; None where it says anything else, or none."""
    if len(parts) > MOST_WORDS:
        return None
    said: list[tuple[Keyword, str]] = []
    place = 0
    while place < len(parts):
        length, meant = _longest(parts, place, known)
        if not length:
            return None
        said += [meant] if meant else []
        place += length
    return said or None


def _longest(parts: list[str], place: int, known: Known) -> tuple[int, tuple[Keyword, str] | None]:
    """The longest keyword or courtesy that begins here: how many words, and which keyword. Length 0: there is none."""
    for length in range(min(LONGEST_PHRASE, len(parts) - place), 0, -1):
        phrase = tuple(parts[place : place + length])
        if phrase in known:
            return length, known[phrase]
        if phrase in _AROUND:
            return length, None
    return 0, None


def _language(said: Iterable[tuple[Keyword, str]]) -> str:
    """The first language that is not English; every language borrows from that."""
    return next((one for _, one in said if one != words.ENGLISH), words.ENGLISH)


def _refusal(plain: str) -> Heard | None:
    return Heard(Keyword.STOP, words.ENGLISH, unclear=True) if _REFUSES.search(plain) else None


def phrase(word: str) -> Phrase:
    """A keyword as it is looked for; empty where it says nothing that could be."""
    return tuple(normalised(word).split())


def _known(local: LocalWords) -> Known:
    """All keywords. Where a workspace gives a built-in word another meaning, STOP stays STOP."""
    own = _phrases(local)
    return {**own, **_OURS} if own else _OURS


def _phrases(by_keyword: Mapping[Keyword, Mapping[str, Iterable[str]]]) -> dict[Phrase, tuple[Keyword, str]]:
    """By phrase what it means. Of several languages that share a word the first counts; STOP comes before the rest."""
    found: dict[Phrase, tuple[Keyword, str]] = {}
    for keyword in Keyword:
        for language, some in by_keyword.get(keyword, {}).items():
            for word in some:
                if key := phrase(word):
                    found.setdefault(key, (keyword, language))
    return found


def _pattern(patterns: Iterable[str]) -> "re.Pattern[str]":
    """One pattern of all, each as normalised text has it."""
    return re.compile("|".join(rf"\b(?:{_unaccented(one).casefold()})(?=\s|$)" for one in patterns))


def _unaccented(pattern: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", pattern) if not unicodedata.combining(one))


_OURS: Final = MappingProxyType(_phrases(_BUILT_IN))
_AROUND: Final = frozenset(phrase(one) for one in words.AROUND)
LONGEST_PHRASE: Final = max(map(len, chain(_OURS, _AROUND)))
_REFUSES: Final = _pattern(words.REFUSES)
