"""What a version of a notice may say, its hash, and in which language somebody reads it."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.notices import rules
from tabellion.consent.notices.types import Version
from tabellion.core.errors import Invalid

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
TAGS = st.from_regex(rules.LANGUAGE_FORM.replace("$", r"\Z"))


def version(texts: dict[str, str], default: str = "en") -> Version:
    return Version(UUID(int=1), "newsletter", "3", default, texts, NOW, NOW)


@given(st.dictionaries(st.sampled_from(["en", "de", "de-AT", "fr"]), st.text(min_size=1), min_size=1), st.text())
def test_the_hash_is_that_of_the_canonical_form(texts: dict[str, str], title: str) -> None:
    """Anybody can compute it, with any RFC 8785 library."""
    said = {
        "v": 1, "notice": "newsletter", "version": "3", "title": title, "purposes": ["a", "b"],
        "default_language": "en", "texts": texts,
    }  # fmt: skip
    try:
        expected = hashlib.sha256(rfc8785.dumps(said)).digest()
    except (UnicodeEncodeError, rfc8785.CanonicalizationError):
        return
    assert rules.hashed(version(texts), title, ["b", "a"]) == expected


def test_the_hash_changes_with_every_word() -> None:
    one = rules.hashed(version({"en": "Yes"}), "News", ["marketing"])
    others = [
        rules.hashed(version({"en": "Yes."}), "News", ["marketing"]),
        rules.hashed(version({"en": "Yes", "de": "Ja"}), "News", ["marketing"]),
        rules.hashed(version({"en": "Yes"}), "Offers", ["marketing"]),
        rules.hashed(version({"en": "Yes"}), "News", ["research"]),
    ]
    assert len({one, *others}) == 5


@given(TAGS)
def test_a_tag_is_written_one_way(language: str) -> None:
    assert rules.tag(rules.tag(language)) == rules.tag(language) == rules.tag(language.upper())


def test_tags_are_kept_as_people_write_them() -> None:
    assert [rules.tag(one) for one in ("DE-at", "zh-hant-tw", "EN")] == ["de-AT", "zh-Hant-TW", "en"]


@pytest.mark.parametrize(
    ("texts", "default", "pointer"),
    [
        ({"english!": "Yes"}, "en", "/texts/english!"),
        ({"en": " "}, "en", "/texts/en"),
        ({"en": "x" * 65_537}, "en", "/texts/en"),
        ({"en": "\ud800"}, "en", "/texts/en"),
        ({"de": "Ja", "DE": "Jawohl"}, "de", "/texts/DE"),
        ({"de": "Ja"}, "en", "/default_language"),
    ],
)
def test_what_is_no_text_is_refused_at_its_place(texts: dict[str, str], default: str, pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.texts(texts, default)
    assert [one.pointer for one in refused.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        (None, "en"),
        ("de", "de"),
        ("de-AT, en;q=0.5", "de-AT"),
        ("de-CH-1996, en;q=0.5", "de"),
        ("fr, de;q=0.4, en;q=0.6", "en"),
        ("fr;q=0, de;q=0.1", "de"),
        ("de;q=0, *", "en"),
        ("nonsense;;;", "en"),
        ("zh-Hant-x-private", "zh-Hant"),
    ],
)
def test_a_language_is_looked_up_as_rfc_4647_says(asked: str | None, language: str) -> None:
    assert rules.choose(["en", "de", "de-AT", "zh-Hant"], "en", asked) == language


@given(st.one_of(st.none(), st.text(max_size=80)))
def test_whatever_is_asked_for_something_is_there(asked: str | None) -> None:
    assert rules.choose(["en", "de"], "en", asked) in {"en", "de"}


def test_a_version_without_a_name_is_the_next_number() -> None:
    assert rules.next_name([]) == "1"
    assert rules.next_name(["1", "9", "10", "2026-summer"]) == "11"
