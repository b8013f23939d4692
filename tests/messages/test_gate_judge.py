"""The judge of the gate's property: it knows a breach, and gives the benefit of the doubt where times do not tell."""

from uuid import UUID

import pytest

from .gate_judge import ANY, Said, Span, Started, judge

ANN, MAIL = UUID(int=1), b"mail"
ATTEMPT, MESSAGE = UUID(int=2), UUID(int=3)


def span(opened: float, issued: float, answered: float) -> Span:
    return Span(opened, issued, answered, answered)


def restriction(when: Span, *, named: bool = False, purpose: str = "marketing", index: int | None = 5) -> Said:
    in_flight = frozenset({ATTEMPT} if named else ())
    return Said(when, True, "email", purpose, frozenset({ANN}), frozenset({MAIL}), None, True, in_flight, index)


def grant(when: Span, index: int, purpose: str = "marketing") -> Said:
    return Said(when, False, "email", purpose, frozenset({ANN}), frozenset({MAIL}), None, True, index=index)


def started(when: Span, *, ended: Span | None = None, lost: Span | None = None) -> Started:
    return Started(
        ATTEMPT, MESSAGE, ANN, MAIL, "email", "marketing", when, [ended] if ended else [], [lost] if lost else []
    )


def whats(said: list[Said], attempt: Started) -> list[str]:
    return [one.what for one in judge(said, [attempt])]


SAID = span(10, 12, 13)


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (span(1, 2, 3), "had started and is not named"),
        (span(11, 12, 14), "started meanwhile, neither named nor held back"),
        (span(11, 14, 15), "started after the answer"),
    ],
)
def test_what_is_not_named_must_not_start(when: Span, what: str) -> None:
    assert whats([restriction(SAID)], started(when)) == [what]


@pytest.mark.parametrize("purpose", ["transactional", "security"])
def test_another_purpose_is_another_matter(purpose: str) -> None:
    assert whats([restriction(SAID, purpose=purpose)], started(span(14, 15, 16))) == []


def test_everything_covers_all_but_security() -> None:
    assert whats([restriction(SAID, purpose=ANY)], started(span(14, 15, 16))) == ["started after the answer"]


def test_what_did_not_commit_restricts_nothing() -> None:
    assert whats([restriction(SAID, index=None)], started(span(14, 15, 16))) == []


def test_what_is_named_is_well() -> None:
    assert whats([restriction(SAID, named=True)], started(span(1, 2, 3))) == []
    assert whats([restriction(SAID, named=True)], started(span(11, 11.5, 14))) == []


@pytest.mark.parametrize("when", [span(1, 2, 3), span(11, 11.5, 14)])
def test_what_may_have_ended_need_not_be_named(when: Span) -> None:
    assert whats([restriction(SAID)], started(when, ended=span(4, 11.9, 20))) == []
    assert whats([restriction(SAID)], started(when, lost=span(4, 11.9, 20))) == []
    assert whats([restriction(SAID)], started(when, ended=span(4, 12.1, 20))) != []


def test_a_lost_worker_before_the_start_ends_nothing() -> None:
    assert whats([restriction(SAID)], started(span(5, 6, 7), lost=span(1, 2, 3))) == ["had started and is not named"]


def test_a_later_grant_allows_what_starts_after_it() -> None:
    late = started(span(20, 21, 22))
    assert whats([restriction(SAID), grant(span(14, 15, 16), 6)], late) == []
    assert whats([restriction(SAID), grant(span(14, 21.9, 30), 6)], late) == [], "it may have come first"
    assert whats([restriction(SAID), grant(span(21, 22.1, 23), 6)], late) == ["started after the answer"]
    assert whats([restriction(SAID), grant(span(1, 2, 3), 4)], late) == ["started after the answer"]
    assert whats([restriction(SAID), grant(span(14, 15, 16), 6, "security")], late) == ["started after the answer"]


def test_an_answer_names_nothing_else() -> None:
    said = restriction(SAID, named=True)
    assert [one.what for one in judge([said], [])] == ["named and not there"]
    assert whats([said], started(span(1, 2, 3), ended=span(4, 5, 6))) == ["named and not in flight"]
    assert whats([said], started(span(11, 12.5, 14))) == ["named and not in flight"]
    assert whats([restriction(SAID, named=True, purpose="security")], started(span(1, 2, 3))) == [
        "named and not covered"
    ]


def test_a_restriction_follows_its_address_to_the_person_it_turns_out_to_mean() -> None:
    said = restriction(SAID)
    said.people, said.addresses = frozenset(), frozenset()
    said.inherited = [(span(20, 21, 22), ANN)]
    assert whats([said], started(span(20, 21.5, 23))) == []
    assert whats([said], started(span(20, 22.5, 23))) == ["started after it came to cover the person"]
