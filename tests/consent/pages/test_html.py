"""HTML as values: text stays text."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.pages.html import document, draw, el


class Read(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.values: list[str | None] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_whatever_is_said_becomes_text_and_no_element(text: str) -> None:
    read = Read(draw(el("p", text, id=text)))
    assert read.tags == ["p"]
    assert read.text == text
    assert read.values == [text]


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    drawn = draw(el("p", '<script>alert("x")</script>', aria_label='"><b'))
    assert drawn == '<p aria-label="&quot;&gt;&lt;b">&lt;script&gt;alert("x")&lt;/script&gt;</p>'


@pytest.mark.parametrize("tag", ["script", "style", "iframe", "object", "svg", "img"])
def test_what_runs_or_loads_cannot_be_written(tag: str) -> None:
    with pytest.raises(AssertionError):
        el(tag)


@pytest.mark.parametrize("name", ["onclick", "style", "src", "formaction", "srcdoc"])
def test_attributes_that_run_or_load_cannot_be_written(name: str) -> None:
    with pytest.raises(AssertionError):
        el("p", **{name: "x"})


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "/r/p/x", ""])
def test_an_address_leads_nowhere_else(address: str) -> None:
    with pytest.raises(AssertionError):
        el("a", "x", href=address)


def test_what_is_left_out_is_not_there_and_what_is_true_is_empty() -> None:
    assert draw(el("input", type="checkbox", checked=True, required=False, id=None)) == (
        '<input type="checkbox" checked="">'
    )
    assert document(el("html", el("body", None, "x"))) == b"<!doctype html>\n<html><body>x</body></html>"
