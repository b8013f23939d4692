"""The laws of plain addresses: where one is answered without the library, the library answers the same."""

from typing import Final

import phonenumbers
import pytest
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata

from tabellion.recipients import plain

MANY = settings(max_examples=2_000, deadline=None)
ATEXT: Final = "abzAZ09_!#$%&'*+/=?^`{|}~-"
CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def by_library(text: str) -> str | None:
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None
    return f"{found.local_part}@{found.ascii_domain}"


def parsed(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


# What people write, what they should not, and what is at the edge of either.
words = st.one_of(
    st.text(ATEXT, min_size=1, max_size=12),
    st.text(ATEXT + '."\\ @()<>,;:[]é', max_size=12),
    st.sampled_from(CASE_INSENSITIVE_MAILBOX_NAMES).flatmap(
        lambda name: st.sampled_from([name, name.upper(), name.title(), f"{name}1", f"{name}.x"])
    ),
    st.sampled_from(['"a b"', "a..b", ".a", "a.", "a" * 64, "a" * 65, "a" * 240, "John.Smith", "ß", "\u200da", "a\n"]),
)
labels = st.one_of(
    st.text("abzAZ09-", min_size=1, max_size=8),
    st.sampled_from(["xn--bcher-kva", "XN--bcher-kva", "xn--a", "xn--", "ab--c", "a--b", "-a", "a-", "a_b", "", "1"]),
    st.sampled_from(["a" * 63, "a" * 64, "bücher", "ａ", "\u00ad", "127", "[127.0.0.1]", "a\n", "İ", "ſ"]),
)
tops = st.one_of(
    st.sampled_from(["com", "org", "COM", "Example", "c", "1", "c1", "1c", "co-m", "xn--p1ai", "рф", "a" * 63, "com."]),
    st.sampled_from(SPECIAL_USE_DOMAIN_NAMES),
    st.sampled_from(["test", "TEST", "Local", "com\n", "K", "\u212a"]),
)
domains = st.lists(labels, max_size=4).flatmap(lambda parts: tops.map(lambda top: ".".join([*parts, top])))
addresses = st.builds("{}@{}".format, words, domains)
lengths = st.builds(
    lambda local, count: f"{'a' * local}@{'b' * 60}.{'c' * 60}.{'d' * count}.org",
    st.integers(60, 130), st.integers(1, 64),
)  # fmt: skip


@MANY
@given(addresses | lengths | st.text(max_size=20) | st.emails())
@example(f"a@{'b' * 63}.de")
@example(f"a@{'b' * 64}.de")
@example(f"{'a' * 250}@a.de")
@example(f"{'a' * 249}@a.de")
@example("a@b.c\n")
@example("Abuse@example.org")
def test_an_address_that_is_answered_is_what_the_library_makes_of_it(text: str) -> None:
    usual = plain.email(text)
    assert usual is None or usual == by_library(text)


@given(st.from_regex(r"[a-z]{1,12}([._+-][a-z0-9]{1,8})?@([a-z][a-z0-9]{0,12}\.){1,2}(com|de|org)", fullmatch=True))
def test_what_nearly_everybody_writes_is_answered(text: str) -> None:
    assert plain.email(text) == text


@pytest.mark.parametrize("text", ["Postmaster@example.org", "a@b.local", "a@xn--bcher-kva.de", '"a"@b.org', "a@b"])
def test_what_the_library_knows_better_is_left_to_it(text: str) -> None:
    assert plain.email(text) is None


digits = st.text("0123456789", min_size=4, max_size=14)
prefixes = st.sampled_from(["", "0", "1", "8", "00", "9", "15", "44", "01", "06"])
numbers = st.builds("+{}{}{}".format, st.sampled_from(CODES) | st.integers(1, 999), prefixes, digits)
regions = st.sampled_from([None, "AT", "US", "IT", "GB", "GG", "MX", "AR", "CN", "BR", "ZZ"])


@MANY
@given(numbers | st.text("+0123456789 ٣x#", max_size=18), regions)
@example("+491512345678\n", None)
def test_a_number_that_is_answered_is_what_the_library_makes_of_it(text: str, region: str | None) -> None:
    usual = plain.phone(text)
    assert usual is None or usual == parsed(text, region)


@pytest.mark.parametrize("code", CODES)
def test_the_law_holds_in_every_country(code: int) -> None:
    """With its own example numbers, one digit more and less, and what may be dialled before."""
    region = phonenumbers.region_code_for_country_code(code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    assert metadata is not None
    sound = phonenumbers.example_number(region) or phonenumbers.example_number_for_non_geo_entity(code)
    national = phonenumbers.national_significant_number(sound) if sound else "12345678"
    for number in (national, national[:-1], national + "1", *(f"{prefix}{national}" for prefix in "0123456789")):
        text = f"+{code}{number}"
        assert plain.phone(text) in (None, parsed(text, None))


@pytest.mark.parametrize("text", ["+4915112345678", "+436601234567", "+12025550100", "+447400123456", "+390612345678"])
def test_a_number_as_it_is_mostly_written_is_answered(text: str) -> None:
    assert plain.phone(text) == text


@pytest.mark.parametrize("text", ["+490151123456", "+11234567890", "+4912", "+999123456789", "0660123"])
def test_a_number_that_must_be_looked_at_is_left_to_the_library(text: str) -> None:
    assert plain.phone(text) is None
