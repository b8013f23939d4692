"""E-mail addresses and phone numbers as nearly everybody writes them, without the libraries that know all the others.

Where one of these answers, the library answers the same; None is to ask the library. Its rules are in the tests as
laws, its tables are read from it.
"""

import re
from functools import cache
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

_EMAIL_LENGTH: Final = 254
_ATOM: Final = r"[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+([A-Za-z]{{2,63}}))")
_SPECIAL: Final = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}")


def email(text: str) -> str | None:
    """The normal form of an ASCII address at a domain without A-labels."""
    found = _EMAIL.fullmatch(text)
    if found is None or len(text) > _EMAIL_LENGTH:
        return None
    local, domain, top = found[1], found[2].lower(), found[3].lower()
    # `Postmaster` and its like are one mailbox in whatever case; the library knows which they are.
    named_in_capitals = local.isalpha() and not local.islower()
    return None if "--" in domain or top in _SPECIAL or named_in_capitals else f"{local}@{domain}"


def phone(text: str) -> str | None:
    """The text, where it is a number in E.164 of a length its country has, and begins with nothing to be left out."""
    if _PHONE.fullmatch(text) is None:
        return None
    for digits in (2, 3, 4):  # no calling code begins with another one
        if (country := _country(text[1:digits])) is not None:
            lengths, prefix = country
            number = text[digits:]
            plain = len(number) in lengths and not (prefix and prefix.match(number))
            return text if plain else None
    return None


@cache
def _country(code: str) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """How long the numbers of a calling code are, and what its people dial before them; None where there is none."""
    regions = COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0]) if regions else None
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None
