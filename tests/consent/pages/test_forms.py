"""What a form says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.pages.forms import is_one_click, read

URLENCODED = b"application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'


def test_one_click_in_both_forms_of_the_standard() -> None:
    assert is_one_click(read(URLENCODED, b"List-Unsubscribe=One-Click"))
    assert is_one_click(read(b"multipart/form-data; boundary=b", PART))
    assert is_one_click(read(b'Multipart/Form-Data; boundary="b"', PART))
    assert is_one_click(read(URLENCODED + b"; charset=UTF-8", b"List-Unsubscribe=One-Click"))
    typed = PART.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
    assert is_one_click(read(b"multipart/form-data; boundary=b", typed))


@pytest.mark.parametrize(
    ("media", "body"),
    [
        (None, b"List-Unsubscribe=One-Click"),
        (b"", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=One-Click\r\n"),
        (URLENCODED, b"List-Unsubscribe=One-Click\n"),
        (URLENCODED, b"List%2DUnsubscribe=One%2DClick"),
    ],
)
def test_a_careless_machine_is_understood(media: bytes | None, body: bytes) -> None:
    """What a mailbox provider sends without a media type, or with a line's end, would be lost: nobody looks there."""
    assert is_one_click(read(media, body))


@pytest.mark.parametrize(
    ("media", "body"),
    [
        (b"text/plain", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=One-Click&x=1"),
        (URLENCODED, b"list-unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=\xff"),
        (URLENCODED, b"List-Unsubscribe=One-Click "),
        (URLENCODED, b"List-Unsubscribe=One-Click&List-Unsubscribe=no"),
        (b"multipart/form-data", PART),
        (b"multipart/form-data; boundary=c", PART),
        (b"multipart/form-data; boundary=b\r\nX: y", PART),
    ],
)
def test_nothing_else_is_one_click(media: bytes | None, body: bytes) -> None:
    assert not is_one_click(read(media, body))


def test_fields_are_read_and_of_two_the_last() -> None:
    assert read(URLENCODED, b"a=1&b=%C3%A4&a=2&c=") == {"a": "2", "b": "ä", "c": ""}


@given(st.binary(max_size=500), st.sampled_from([URLENCODED, b"multipart/form-data; boundary=b", b"text/html"]))
def test_no_body_breaks_it(body: bytes, media: bytes) -> None:
    assert isinstance(read(media, body), dict)


BROKEN = st.lists(
    st.sampled_from(
        ["form-data", "; name=", '"', "a", "*", "*0*", "=", "utf-8''", "%41", "=?utf-8?q?a?=", "é", "(", ";"]
    ),
    max_size=8,
).map("".join)


@given(BROKEN, BROKEN)
def test_no_header_of_a_part_breaks_it(placed: str, typed: str) -> None:
    body = f"--b\r\nContent-Disposition: {placed}\r\nContent-Type: {typed}\r\n\r\nx\r\n--b--\r\n".encode()
    assert isinstance(read(b"multipart/form-data; boundary=b", body), dict)


def test_a_header_that_the_newer_parsers_of_the_library_raise_at() -> None:
    """It was answered with 500: `IndexError` in `email._header_value_parser`."""
    body = PART.replace(b'form-data; name="List-Unsubscribe"', "form-data;é*".encode())
    assert read(b"multipart/form-data; boundary=b", body) == {}
    assert read("multipart/form-data; boundary=b;ÿ*".encode("latin-1"), PART) == {"List-Unsubscribe": "One-Click"}


def test_parts_within_parts_are_none() -> None:
    nested = b"--a\r\nContent-Type:multipart/x;boundary=a\r\n\r\n" * 180
    assert read(b"multipart/form-data; boundary=a", nested) == {}


def test_more_fields_than_a_form_has_are_none() -> None:
    assert read(URLENCODED, b"&".join(b"a%d=1" % one for one in range(30))) == {}
