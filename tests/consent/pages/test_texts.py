"""The sentences of pages: whole in each language."""

import re

import pytest

from tabellion.consent.pages.html import draw, el
from tabellion.consent.pages.texts import load, places
from tabellion.consent.types import BUILT_IN, Purpose, PurposeClass
from tabellion.providers.base import Channel

TEXTS = load()
ENGLISH = TEXTS.languages["en"].said


def test_the_languages_are_there() -> None:
    assert {"en", "de", "fr", "es", "it", "nl", "pt", "pl", "ar"} <= TEXTS.languages.keys()


@pytest.mark.parametrize("code", sorted(TEXTS.languages))
def test_a_language_says_everything_and_leaves_the_same_open(code: str) -> None:
    said = TEXTS.languages[code].said
    assert said.keys() == ENGLISH.keys()
    assert {key: places(one) for key, one in said.items()} == {key: places(one) for key, one in ENGLISH.items()}
    assert [key for key, one in said.items() if not one.strip() or one != one.strip()] == []


@pytest.mark.parametrize("code", sorted(TEXTS.languages.keys() - {"en"}))
def test_a_language_is_translated(code: str) -> None:
    said = TEXTS.languages[code].said
    same = {key for key, one in said.items() if one == ENGLISH[key]}
    assert same <= {"channel_email", "channel_whatsapp", "channel_sms", "channel_mms", "gpc_button"}


def test_only_arabic_is_in_arabic_and_runs_from_the_right() -> None:
    for code, language in TEXTS.languages.items():
        arabic = {key for key, one in language.said.items() if re.search(r"[\u0600-\u06ff]", one)}
        assert language.direction == ("rtl" if code == "ar" else "ltr")
        assert (len(arabic) > 60) == (code == "ar")


@pytest.mark.parametrize("key", sorted(key for key in ENGLISH if key.endswith("_sms")))
def test_a_text_message_is_short_beside_its_link(key: str) -> None:
    assert [code for code, one in TEXTS.languages.items() if len(one.said[key]) > 70] == []


def test_every_channel_that_reaches_somebody_has_a_name() -> None:
    spoken = {channel for channel in Channel if f"channel_{channel}" in ENGLISH}
    assert spoken >= {Channel.EMAIL, Channel.SMS, Channel.WHATSAPP, Channel.PUSH, Channel.WEBPUSH, Channel.VOICE}


def test_what_fills_a_sentence_keeps_its_direction_and_is_text() -> None:
    nodes = TEXTS.languages["ar"].nodes("code_text", address="+43 <b>")
    assert '<bdi dir="ltr">+43 &lt;b&gt;</bdi>' in draw(el("p", *nodes))


def test_a_built_in_purpose_has_a_name_in_each_language_until_it_has_its_own() -> None:
    german = TEXTS.languages["de"]
    assert german.purpose(BUILT_IN["marketing"]) == "Neuigkeiten und Angebote"
    own = Purpose("marketing", "Wine club", PurposeClass.MARKETING, BUILT_IN["marketing"].basis, False, False)
    assert german.purpose(own) == "Wine club"


@pytest.mark.parametrize(
    ("wanted", "accept", "otherwise", "chosen"),
    [
        (("de-AT",), None, None, "de"),
        ((None, "pt_BR"), "fr", None, "pt"),
        ((None, None), "xx, fr;q=0.3, it;q=0.9", None, "it"),
        ((None, None), "fr;q=0", "nl", "nl"),
        (("", None), "garbage;;q=", None, "en"),
        (("zz",), None, "zz", "en"),
    ],
)
def test_a_language_is_chosen(
    wanted: tuple[str | None, ...], accept: str | None, otherwise: str | None, chosen: str
) -> None:
    assert TEXTS.choose(*wanted, accept=accept, otherwise=otherwise).code == chosen
