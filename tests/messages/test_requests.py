"""`POST /v1/messages` as it is written: what is understood, what is refused, and where the pointer points."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access.bodies import decode
from tabellion.core import ids
from tabellion.core.errors import HubError, Invalid
from tabellion.jobs.types import Lane
from tabellion.messages.requests import SendMessage, duration, send
from tabellion.messages.service import Send
from tabellion.messages.types import Success, Trigger
from tabellion.providers.base import Channel
from tabellion.recipients.types import Ref

DECODER = msgspec.json.Decoder(SendMessage)
PURPOSES = ["marketing", "transactional"]
LEAST = {"to": {"email": "ann@example.org"}, "purpose": "transactional", "content": {"text": "Hello"}}


def understood(body: Any) -> Send:
    return send(decode(DECODER, msgspec.json.encode(body)), Ref(), PURPOSES)


def refused(**changes: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        understood({**LEAST, **changes})
    return caught.value


def with_step(**step: Any) -> dict[str, Any]:
    return {"route": {"steps": [{"channel": "email"}, {"channel": "sms", **step}]}}


def test_the_least_request_takes_the_defaults() -> None:
    meant = understood(LEAST)
    assert (meant.steps, meant.create, meant.lane, meant.guarantee) == ((), True, Lane.NORMAL, None)
    assert (meant.send_at, meant.expires_at, meant.tags, meant.metadata) == (None, None, (), None)


def test_steps_take_the_defaults_of_the_interface() -> None:
    plain, limited, listed = understood(
        {
            **LEAST,
            "route": {
                "steps": [
                    {"channel": "sms"},
                    {"channel": "sms", "within": "PT5M"},
                    {"channel": "email", "on": ["rejected"], "success": "delivered"},
                ]
            },
        }
    ).steps
    assert (plain.success, plain.within, plain.on) == (Success.SUBMITTED, None, frozenset(Trigger) - {Trigger.TIMEOUT})
    assert (limited.within, limited.on) == (timedelta(minutes=5), frozenset(Trigger))
    assert (listed.on, listed.success) == (frozenset({Trigger.REJECTED}), Success.DELIVERED)


@pytest.mark.parametrize(("word", "lane"), [(lane.name.lower(), lane) for lane in Lane])
def test_priorities_are_lanes(word: str, lane: Lane) -> None:
    assert understood({**LEAST, "priority": word}).lane is lane


def test_each_channel_may_say_its_own() -> None:
    body = {**LEAST, "content": {"text": "long", "subject": "S", "by_channel": {"sms": {"text": "short"}}}}
    content = understood(body).content
    assert content.on(Channel.SMS).text == "short"
    assert (content.on(Channel.SMS).subject, content.on(Channel.EMAIL).text) == ("S", "long")


def test_no_purpose_names_those_there_are() -> None:
    with pytest.raises(Invalid) as caught:
        understood({"to": LEAST["to"], "content": LEAST["content"]})
    assert caught.value.code == "purpose_required"
    assert "marketing, transactional" in caught.value.detail
    assert caught.value.errors[0].pointer == "/purpose"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"nonsense": 1}, "/nonsense"),
        ({"content": {}}, "/content/text"),
        ({"content": {"text": ""}}, "/content/text"),
        ({"content": {"text": "a", "by_channel": {"pigeon": {}}}}, "/content/by_channel"),
        ({"content": {"text": "a", "subject": "a\r\nBcc: eve@example.org"}}, "/content/subject"),
        ({"reply_to": "a\nb"}, "/reply_to"),
        ({"headers": {"Bcc": "eve@example.org"}}, "/headers/Bcc"),
        ({"headers": {"X-Fine": "a\r\nBcc: eve@example.org"}}, "/headers/X-Fine"),
        ({"headers": {"X/~Y": "a"}}, "/headers/X~1~0Y"),
        ({"headers": {"X-Long": "a" * 999}}, "/headers/X-Long"),
        ({"headers": {f"X-{n}": "a" for n in range(21)}}, "/headers"),
        ({"priority": "urgent"}, "/priority"),
        ({"guarantee": "exactly_once"}, "/guarantee"),
        ({"send_at": "2026-11-21T09:00:00"}, "/send_at"),
        ({"send_at": "tomorrow"}, "/send_at"),
        ({"expires_at": "0001-01-01T00:00:00Z"}, "/expires_at"),
        ({"send_at": "9999-12-31T23:59:59Z"}, "/send_at"),
        ({"send_at": "2026-11-21T09:00:00Z", "expires_at": "2026-11-21T09:00:00Z"}, "/expires_at"),
        ({"tags": ["a"] * 21}, "/tags"),
        ({"tags": [""]}, "/tags/0"),
        ({"tags": ['a"b']}, "/tags/0"),
        ({"metadata": {str(n): 1 for n in range(51)}}, "/metadata"),
        ({"metadata": {"note": "x" * 9000}}, "/metadata"),
        ({"metadata": {"deep": [{"note": "é" * 5000}]}}, "/metadata"),
        ({"route": {"steps": []}}, "/route/steps"),
        ({"route": {"steps": [{"channel": "sms"}] * 11}}, "/route/steps"),
        (with_step(channel="pigeon"), "/route/steps/1/channel"),
        (with_step(on=["bored"]), "/route/steps/1/on/0"),
        (with_step(success="read by all"), "/route/steps/1/success"),
        (with_step(success="read"), "/route/steps/1/success"),
        (with_step(channel="email", success="read", within="PT5M"), "/route/steps/1/success"),
        (with_step(within="5 minutes"), "/route/steps/1/within"),
        (with_step(within="P"), "/route/steps/1/within"),
        (with_step(within="PT0S"), "/route/steps/1/within"),
        (with_step(within="P31D"), "/route/steps/1/within"),
        (with_step(within="PT99999999999999999999S"), "/route/steps/1/within"),
        (with_step(accounts=["nonsense"]), "/route/steps/1/accounts/0"),
        (with_step(accounts=["msg_" + "0" * 26]), "/route/steps/1/accounts/0"),
    ],
)
def test_what_is_wrong_is_pointed_at(changes: dict[str, Any], pointer: str) -> None:
    assert refused(**changes).errors[0].pointer == pointer


def test_a_step_waits_for_read_only_where_somebody_reports_it() -> None:
    """On SMS it was accepted, and ended by its time limit alone."""
    assert refused(**with_step(success="read")).code == "success_unreachable"
    assert understood({**LEAST, **with_step(channel="whatsapp", success="read")}).steps[1].success is Success.READ


def test_accounts_are_named_by_their_ids() -> None:
    account = ids.new()
    step = with_step(accounts=[ids.show("acc", account)])
    assert understood({**LEAST, **step}).steps[1].accounts == (account,)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("PT1S", timedelta(seconds=1)),
        ("PT90M", timedelta(minutes=90)),
        ("P1DT2H3M4S", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("P30D", timedelta(days=30)),
    ],
)
def test_durations_are_those_of_iso_8601(text: str, length: timedelta) -> None:
    assert duration(text, "/x") == length


@given(st.text(max_size=40))
def test_any_other_duration_is_refused_and_nothing_else(text: str) -> None:
    said = _said(lambda: duration(text, "/x"))
    if isinstance(said, HubError):
        assert [one.pointer for one in said.errors] == ["/x"]
    else:
        assert timedelta(seconds=1) <= said <= timedelta(days=30)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["to", "purpose", "content", "route", "headers", "reply_to", "send_at", "expires_at", "tags", "metadata"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_request_is_answered_with_anything_but_a_refusal(changes: dict[str, Any]) -> None:
    said = _said(lambda: understood({**LEAST, **changes}))
    assert isinstance(said, Send) or said.status in (400, 422)


def _said(ask: Callable[[], Any]) -> Any:
    """What was understood, or the refusal."""
    try:
        return ask()
    except HubError as refusal:
        return refusal
