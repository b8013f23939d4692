"""UUIDv7 inside, TypeID outside: the published examples, and the laws they stand for."""

import string
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core import ids
from tabellion.core.errors import NotFound

PUBLISHED = {
    # From valid.yml of the TypeID 0.3 specification.
    "prefix_00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
    "prefix_00000000000000000000000001": "00000000-0000-0000-0000-000000000001",
    "prefix_0000000000000000000000000a": "00000000-0000-0000-0000-00000000000a",
    "prefix_0000000000000000000000000g": "00000000-0000-0000-0000-000000000010",
    "prefix_00000000000000000000000010": "00000000-0000-0000-0000-000000000020",
    "prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "prefix_0123456789abcdefghjkmnpqrs": "0110c853-1d09-52d8-d73e-1194e95b5f19",
    "prefix_01h455vb4pex5vsknk084sn02q": "01890a5d-ac96-774b-bcce-b302099a8057",
    "pre_fix_00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
}
UUIDS = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))


@pytest.mark.parametrize(("text", "value"), PUBLISHED.items())
def test_the_published_examples_hold_both_ways(text: str, value: str) -> None:
    prefix = text.rpartition("_")[0]
    assert ids.show(prefix, UUID(value)) == text
    assert ids.parse(prefix, text) == UUID(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg",
        "msg_",
        "01h455vb4pex5vsknk084sn02q",
        "_01h455vb4pex5vsknk084sn02q",
        "rcp_01h455vb4pex5vsknk084sn02q",
        "MSG_01h455vb4pex5vsknk084sn02q",
        "msg_01H455VB4PEX5VSKNK084SN02Q",
        "msg_01h455vb4pex5vsknk084sn02",
        "msg_01h455vb4pex5vsknk084sn02qq",
        "msg_81h455vb4pex5vsknk084sn02q",
        "msg_01h455vb4pex5vsknk084sn02i",
        "msg_01h455vb4pex5vsknk084sn02l",
        "msg_01h455vb4pex5vsknk084sn02o",
        "msg_01h455vb4pex5vsknk084sn02u",
        "msg_01h455vb4pex5vsknk084sn02-",
        "msg_01h455vb4pex5vsknk084sn02\N{FULLWIDTH DIGIT ONE}",
        " msg_01h455vb4pex5vsknk084sn02q",
        "msg_01h455vb4pex5vsknk084sn02q\n",
        "msg__01h455vb4pex5vsknk084sn02q",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_anything_else_does_not_exist(text: str) -> None:
    with pytest.raises(NotFound):
        ids.parse("msg", text)


@given(st.text(alphabet=string.printable, max_size=40))
def test_no_text_makes_parsing_fail_in_another_way(text: str) -> None:
    with suppress(NotFound):
        assert ids.show("msg", ids.parse("msg", text)) == text


@given(UUIDS)
def test_an_id_survives_the_way_out_and_back(value: UUID) -> None:
    assert ids.parse("att", ids.show("att", value)) == value


@given(UUIDS, UUIDS)
def test_shown_ids_sort_as_the_ids_do(one: UUID, other: UUID) -> None:
    assert (ids.show("evt", one) < ids.show("evt", other)) == (one < other)


def test_a_new_id_is_a_uuid_of_version_7_and_names_its_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_795_251_600_123_999_999)
    made = ids.new()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == 1_795_251_600_123


def test_later_ids_sort_after_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for millisecond in range(1_795_251_600_000, 1_795_251_600_050):
        monkeypatch.setattr(ids.time, "time_ns", lambda moment=millisecond: moment * 1_000_000)
        made.append(ids.new())
    assert made == sorted(made)


def test_ids_of_one_millisecond_sort_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries of the audit made in one millisecond were listed the wrong way round."""
    made = []
    for nanoseconds in range(0, 1_000_000, 250):
        monkeypatch.setattr(ids.time, "time_ns", lambda past=nanoseconds: 1_795_251_600_000_000_000 + past)
        made.append(ids.new())
    assert made == sorted(made)
    assert len({one.int >> 80 for one in made}) == 1
    assert {one.version for one in made} == {7}


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_795_251_600_000_000_000)
    made = [ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
