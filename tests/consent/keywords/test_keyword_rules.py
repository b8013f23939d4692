"""What a reply means: by tables, and by the laws that hold for whatever is written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.keywords import words
from tabellion.consent.keywords.rules import normalised, phrase, recognise
from tabellion.consent.keywords.types import Heard, Keyword

BY_KEYWORD = {Keyword.STOP: words.STOP, Keyword.START: words.START, Keyword.HELP: words.HELP}
EVERY = [
    (keyword, language, word) for keyword, some in BY_KEYWORD.items() for language in some for word in some[language]
]
ORDINARY = (
    "Thanks, stop by any time",
    "I'm stopping at the shop, back by 5",
    "The nonstop flight leaves at 9",
    "That's unstoppable",
    "Let's spend the weekend at the lake",
    "We depend on friends in Ostend",
    "Please send the friend request",
    "My cancellation was refunded, thank you",
    "Subscribe me to the blue plan",
    "The bus stop is around the corner",
    "It was quite a quittance",
    "Where is my parcel?",
    "Yes, Tuesday works",
    "Restart the router and try again",
    "He started it and I helped",
    "That was really helpful, thanks a lot",
    "We are informed about the new information",
    "I can't stop the car right here",
    "The end of the film was great",
    "At the end of the day it's fine",
    "Ich habe mich angemeldet, wann ist der Termin?",
    "Stoppelfeld und Endstation, wir kommen um acht",
    "Kann ich den Termin verschieben?",
    "Bajamos a las cinco",
    "Trabajamos mañana",
    "Nous arrêtons-nous à Lyon ?",
    "Restaurant réservé pour demain",
    "Basta-mi saber a hora",
    "Durante la cena",
    "Remover's van is here",
    "",
    "👍",
    "1",
)
UNCLEAR = (
    "leave me alone",
    "Leave me ALONE!!!",
    "don't text me again",
    "Dont text me any more please",
    "stop sending me this crap",
    "Stop texting me.",
    "no more messages",
    "please take me off your list",
    "remove me from this list",
    "i want to unsubscribe from this",
    "how do I stop this",
    "wrong number",
    "lose my number",
    "I don't want these messages",
    "yes stop",
    "STOP START",
    "Bitte keine SMS mehr",
    "Lasst mich in Ruhe",
    "Schreiben Sie mir nicht mehr",
    "Laissez-moi tranquille",
    "N'envoyez plus de SMS",
    "Ne m'envoyez plus rien",
    "arrêtez de m'écrire",
    "No me escriban más",
    "déjenme en paz",
    "Não quero receber isso",
    "lasciatemi stare",
    "laat me met rust",
    "не пишите мне",
)


@pytest.mark.parametrize(
    "text",
    ["stop", "STOP", "Stop!!", "  stop  ", "please stop", "Stop, please.", "STOP 🛑🛑", "🙏 stop 🙏", "S.T.O.P.",
     "s t o p",
     "ＳＴＯＰ", "𝐒𝐓𝐎𝐏", "stop stop STOP", "Stop\nnow", "stop all", "StopAll", "opt-out", "Opt Out", "OPTOUT", "quit",
     "End.",
     "revoke", "CANCEL", "unsubscribe", "Ok, stop. Thanks"],
)  # fmt: skip
def test_stop_is_heard_however_it_is_written(text: str) -> None:
    assert recognise(text) == Heard(Keyword.STOP, "en")


@pytest.mark.parametrize(
    ("text", "keyword", "language"),
    [
        ("Stopp!", "stop", "de"),
        ("Bitte abmelden", "stop", "de"),
        ("kundigen", "stop", "de"),
        ("ARRET", "stop", "fr"),
        ("arrêt svp", "stop", "fr"),
        ("Stop, s'il vous plaît", "stop", "en"),
        ("BAJA", "stop", "es"),
        ("Sair", "stop", "pt"),
        ("стоп", "stop", "ru"),
        ("停止", "stop", "ja"),
        ("退订", "stop", "zh"),
        ("start", "start", "en"),
        ("UNSTOP", "start", "en"),
        ("Alta", "start", "es"),
        ("help", "help", "en"),
        ("HILFE!", "help", "de"),
        ("aide", "help", "fr"),
        ("Hjälp", "help", "sv"),
    ],
)
def test_words_of_many_languages_are_heard_in_theirs(text: str, keyword: str, language: str) -> None:
    assert recognise(text) == Heard(Keyword(keyword), language)


@pytest.mark.parametrize("text", UNCLEAR)
def test_other_words_of_refusal_are_an_unclear_stop(text: str) -> None:
    heard = recognise(text)
    assert heard is not None
    assert (heard.keyword, heard.unclear) == (Keyword.STOP, True)


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_reply_means_nothing(text: str) -> None:
    assert recognise(text) is None


def test_yes_is_an_answer_to_some_question() -> None:
    """Vendors unblock on it; for us it lifts nothing."""
    assert recognise("YES") is None


def test_words_of_the_workspace_count_beside_the_built_in_ones() -> None:
    local = {Keyword.STOP: {"de-AT": ["Schleich di!", "hör auf damit"]}, Keyword.HELP: {"de": ["Wie bitte"]}}
    assert recognise("schleich di", local) == Heard(Keyword.STOP, "de-AT")
    assert recognise("Bitte hor auf damit", local) == Heard(Keyword.STOP, "de-AT")
    assert recognise("WIE BITTE??", local) == Heard(Keyword.HELP, "de")
    assert recognise("stop", local) == Heard(Keyword.STOP, "en")


def test_no_workspace_takes_stop_away() -> None:
    assert recognise("stop", {Keyword.START: {"en": ["stop"]}}) == Heard(Keyword.STOP, "en")


def test_a_word_that_says_nothing_is_never_heard() -> None:
    assert recognise("!!!", {Keyword.STOP: {"en": ["!!!", "👋"]}}) is None


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one[0]}-{one[1]}-{one[2]}")
def test_every_built_in_word_means_what_it_is_listed_for(one: tuple[Keyword, str, str]) -> None:
    heard = recognise(one[2])
    assert heard is not None
    assert (heard.keyword, heard.unclear) == (one[0], False)


# laws

spaces = st.text(alphabet=" \t\n\r\u00a0\u2003", max_size=4)
marks = st.text(alphabet='!.?,;:-…*_#"()🛑🙏👍😡\ufe0f\u200d', max_size=5)


@given(st.sampled_from(EVERY), spaces, spaces, marks, marks)
def test_space_and_punctuation_around_a_word_never_matter(
    one: tuple[Keyword, str, str], before: str, after: str, left: str, right: str
) -> None:
    assert recognise(before + left + one[2] + right + after) == recognise(one[2])


@given(st.sampled_from(EVERY), st.randoms(use_true_random=False))
def test_case_and_accents_never_matter(one: tuple[Keyword, str, str], chance: object) -> None:
    bare = "".join(c for c in unicodedata.normalize("NFD", one[2]) if not unicodedata.combining(c))
    for form in (one[2].upper(), one[2].title(), one[2].swapcase(), bare, unicodedata.normalize("NFD", one[2])):
        assert recognise(form) == recognise(one[2])


@given(st.sampled_from(EVERY), st.lists(st.sampled_from(words.AROUND), max_size=3), st.integers(1, 3))
def test_courtesies_and_repetition_never_matter(one: tuple[Keyword, str, str], around: list[str], times: int) -> None:
    text = " ".join([*around, *[one[2]] * times, *around])
    if len(normalised(text).split()) <= 12:
        heard = recognise(text)
        assert heard is not None
        assert (heard.keyword, heard.unclear) == (one[0], False)


@given(
    st.sampled_from([one for one in EVERY if one[2].isascii() and " " not in one[2]]),
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz", max_size=4),
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz", max_size=4),
    st.sampled_from([one for one in ORDINARY if len(one.split()) > 2]),
)
def test_a_word_that_is_part_of_another_word_is_no_keyword(
    one: tuple[Keyword, str, str], head: str, tail: str, sentence: str
) -> None:
    """In no ordinary sentence: neither grown into it, nor as a word of its own."""
    for inside in (head + one[2] + tail, one[2]):
        text = f"{sentence} {inside}"
        heard = recognise(text)
        assert heard is None or heard.unclear


@given(st.text(max_size=60))
def test_any_text_has_an_answer_and_normalising_twice_changes_nothing(text: str) -> None:
    recognise(text)
    assert normalised(normalised(text)) == normalised(text)
    assert phrase(text) == tuple(normalised(text).split())


@pytest.mark.parametrize("keyword", [Keyword.START, Keyword.HELP])
def test_no_word_of_a_workspace_takes_a_refusal_away(keyword: Keyword) -> None:
    """It was HELP, or START, where a workspace said so: the person was answered, and written to on."""
    for text in ("leave me alone", "dont text me", "wrong number"):
        assert recognise(text, {keyword: {"en": (text,)}}) == Heard(Keyword.STOP, "en", unclear=True)


def test_no_built_in_word_is_a_refusal_in_other_words() -> None:
    for keyword, some in ((Keyword.START, words.START), (Keyword.HELP, words.HELP)):
        for word in (word for of_language in some.values() for word in of_language):
            heard = recognise(word)
            assert heard
            assert (heard.keyword, heard.unclear) == (keyword, False)
