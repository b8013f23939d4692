"""Request bodies: bounds, strictness, and pointers to what is wrong."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access import bodies
from tabellion.access.bodies import MAX_BODY, MAX_DEPTH, decode, pointer, read, require_json
from tabellion.core.errors import HubError, Invalid


class Item(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1)]
    name: str = ""


class Order(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Item]
    traits: dict[str, int] = {}
    next: "Order | None" = None


ORDER = msgspec.json.Decoder(Order)
ANYTHING = msgspec.json.Decoder(Any)


def places(raw: bytes) -> list[str]:
    with pytest.raises(Invalid) as refused:
        decode(ORDER, raw)
    assert refused.value.code == "invalid_request"
    return [one.pointer for one in refused.value.errors]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "/items"),
        ({"items": [], "nonsense": 1}, "/nonsense"),
        ({"items": {}}, "/items"),
        ({"items": [{"count": 1}, {"count": "1"}]}, "/items/1/count"),
        ({"items": [{"count": 0}]}, "/items/0/count"),
        ({"items": [{"count": 1, "a/b~c": 1}]}, "/items/0/a~1b~0c"),
        ({"items": [], "traits": {"x": "y"}}, "/traits"),
        ({"items": [], "next": {"items": [{}]}}, "/next/items/0/count"),
        ([], ""),
        (7, ""),
    ],
)
def test_a_wrong_place_is_pointed_at(body, place):
    assert places(json.dumps(body).encode()) == [place]


def resolve(document: Any, place: str) -> Any:
    """The value an RFC 6901 pointer names."""
    for step in place.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


@given(st.lists(st.booleans(), max_size=5), st.integers(0, 3), st.integers(0, 3))
def test_a_pointer_resolves_to_the_wrong_value(path, before, after):
    """Wherever the wrong value is put, the pointer leads back to it."""
    wrong = {"wrong": True}
    body: dict[str, Any] = {"items": [{"count": 1}] * before + [{"count": wrong}] + [{"count": 1}] * after}
    for _ in path:
        body = {"items": [], "next": body}
    [place] = places(json.dumps(body).encode())
    assert resolve(body, place) == wrong


@given(st.text())
def test_a_pointer_is_made_of_any_message(text):
    assert pointer(text) == "" or pointer(text).startswith("/")


@given(st.text(min_size=1, max_size=20).filter(lambda one: "\0" not in one and one not in ("items", "traits", "next")))
def test_an_unknown_field_of_any_name_is_refused(name):
    [place] = places(json.dumps({"items": [], name: 1}).encode())
    assert place == "" or place.startswith("/")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"items": [}', b"nonsense", b'{"items": [{"count": 1, "name": "\xff"}]}', b'{"items": NaN}',
     b'{"items": [{"count": 1, "name": "\\ud800"}]}'],
)  # fmt: skip
def test_what_is_not_json_is_malformed(raw):
    with pytest.raises(HubError) as refused:
        decode(ORDER, raw)
    assert (refused.value.status, refused.value.code) == (400, "malformed_json")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(raw):
    for decoder in (ORDER, ANYTHING):
        with suppress(HubError):
            decode(decoder, raw)


def nested(depth: int, turn: Callable[[int], str]) -> bytes:
    kinds = [turn(level) for level in range(depth)]
    opened = "".join('{"a":' if kind == "{" else "[" for kind in kinds)
    closed = "".join("}" if kind == "{" else "]" for kind in reversed(kinds))
    return (opened + "1" + closed).encode()


@pytest.mark.parametrize("turn", [lambda level: "[", lambda level: "{", lambda level: "[{"[level % 2]])
def test_depth_is_bounded_exactly(turn):
    decode(ANYTHING, nested(MAX_DEPTH, turn))
    for depth in (MAX_DEPTH + 1, 2 * MAX_DEPTH, 100_000):
        with pytest.raises(HubError) as refused:
            decode(ANYTHING, nested(depth, turn))
        assert (refused.value.status, refused.value.code) == (400, "too_deep")


def test_brackets_in_text_do_not_count_as_depth():
    decode(ANYTHING, json.dumps({"a": "[" * 100 + '\\"{' * 50, 'b\\"[[': ["]"] * 100}).encode())


def test_width_is_not_depth():
    decode(ANYTHING, json.dumps([[{"a": []}]] * 1000).encode())


@pytest.mark.parametrize(("raw", "fine"), [(rb'"a\u0000b"', False), (rb'"a\\u0000b"', True), (rb'"\\\u0000"', False)])
def test_the_null_character_is_refused_and_nothing_like_it(raw, fine):
    if fine:
        assert decode(ANYTHING, raw) == "a\\u0000b"
        return
    with pytest.raises(HubError) as refused:
        decode(ANYTHING, raw)
    assert refused.value.code == "null_character"


@pytest.mark.parametrize(
    "said",
    [
        b"application/json",
        b"Application/JSON; charset=UTF-8",
        b'application/json;charset="utf-8"',
        b"application/x+json",
    ],
)
def test_json_is_taken(said):
    require_json(said)


@pytest.mark.parametrize(
    "said",
    [None, b"", b"text/plain", b"application/x-www-form-urlencoded", b"application/json; charset=latin-1", b"json"],
)
def test_other_media_types_are_415(said):
    with pytest.raises(HubError) as refused:
        require_json(said)
    assert refused.value.status == 415


@pytest.mark.parametrize(("encoding", "taken"), [(b"identity", True), (b"gzip", False), (b"", False)])
def test_a_compressed_body_is_415_and_not_broken_json(encoding, taken):
    """Who compressed heard that the body is not JSON, and looked for the fault in it."""
    if taken:
        require_json(b"application/json", encoding)
    else:
        with pytest.raises(HubError, match="Content-Encoding") as refused:
            require_json(b"application/json", encoding)
        assert refused.value.status == 415


def receiving(*parts: bytes, ends: bool = True) -> Any:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        messages[-1]["more_body"] = False
    messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        return messages.pop(0)

    return receive


async def test_a_body_is_put_together_from_its_parts():
    assert await read(receiving(b"one", b"", b"two"), None) == b"onetwo"
    assert await read(receiving(b"x" * MAX_BODY), None) == b"x" * MAX_BODY


async def test_a_body_announced_too_large_is_not_read():
    async def receive() -> Any:
        raise AssertionError("read")

    with pytest.raises(HubError) as refused:
        await read(receive, b"%d" % (MAX_BODY + 1))
    assert refused.value.status == 413


@pytest.mark.parametrize("parts", [[b"x" * (MAX_BODY + 1)], [b"x" * MAX_BODY, b"x"]])
async def test_a_body_that_turns_out_too_large_is_413(parts):
    with pytest.raises(HubError) as refused:
        await read(receiving(*parts), None)
    assert refused.value.status == 413


async def test_a_body_that_breaks_off_is_no_body():
    with pytest.raises(HubError) as refused:
        await read(receiving(b"half", ends=False), None)
    assert refused.value.code == "body_incomplete"


def test_numbers_out_of_range_are_refused():
    with pytest.raises(HubError):
        decode(ANYTHING, b"1e999")


def test_a_wrong_map_value_is_pointed_at_as_far_as_is_known():
    assert bodies.pointer("Expected `int`, got `str` - at `$.traits[...].x`") == "/traits"
    assert bodies.pointer("Expected `int`, got `str` - at `key` in `$.traits`") == "/traits"
