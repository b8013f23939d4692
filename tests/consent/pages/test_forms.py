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


@pytest.mark.parametrize(
    ("media", "body"),
    [
        (None, b"List-Unsubscribe=One-Click"),
        (b"text/plain", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=One-Click&x=1"),
        (URLENCODED, b"list-unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=\xff"),
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


def test_more_fields_than_a_form_has_are_none() -> None:
    assert read(URLENCODED, b"&".join(b"a%d=1" % one for one in range(30))) == {}
