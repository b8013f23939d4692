"""The fake vendor's adapter. What it does end to end is in the contract suite."""

import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.crypto import Secret
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpResponse
from tabellion.core.simulation import SimulatorAddress
from tabellion.providers.base import (
    AddressSignal,
    Channel,
    Inbound,
    InboundMessage,
    Outbound,
    Reason,
    Signal,
    SignalSeen,
    State,
    StatusEvent,
)
from tabellion.providers.fake import BEHAVIOURS, Fake, Settings

FAKE = Fake()
SETTINGS = Settings(secret=Secret("s3cret"), behaviour="defer,accept")
MESSAGE = Outbound("att_1", "msg_1", Channel.PUSH, "token", "Hello", callback_url="https://hub.example/in/fake/acc_1")
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def callback(body: Any, at: datetime = NOW, key: str = "s3cret") -> Inbound:
    raw = json.dumps(body).encode()
    stamp = str(int(at.timestamp()))
    signature = hmac.digest(key.encode(), f"{stamp}.".encode() + raw, "sha256").hex()
    headers = {"fake-timestamp": stamp, "fake-signature": signature}
    return Inbound("POST", "https://hub.example/in/fake/acc_1", headers, raw, NOW)


def test_the_hand_off_carries_the_attempt_as_idempotency_key() -> None:
    request = FAKE.request(MESSAGE, SETTINGS)
    assert request.url == "http://127.0.0.1:8099/sim/fake/messages"
    assert request.headers["Idempotency-Key"] == "att_1"
    assert request.headers["Authorization"] == "Bearer s3cret"
    body = json.loads(request.body)
    assert (body["to"], body["text"], body["behaviour"]) == ("token", "Hello", "defer,accept")


def test_its_callbacks_are_signed_and_timely() -> None:
    FAKE.verify(callback({"events": []}), SETTINGS)
    FAKE.verify(callback({"events": []}, NOW - timedelta(minutes=5)), SETTINGS)
    for bad in (
        callback({}, key="other"),
        callback({}, NOW - timedelta(minutes=6)),
        callback({}, NOW + timedelta(hours=1)),
    ):
        with pytest.raises(Unauthorized):
            FAKE.verify(bad, SETTINGS)


@pytest.mark.parametrize("drop", ["fake-timestamp", "fake-signature"])
def test_half_a_signature_is_none(drop: str) -> None:
    good = callback({})
    headers = {name: value for name, value in good.headers.items() if name != drop}
    with pytest.raises(Unauthorized):
        FAKE.verify(Inbound(good.method, good.url, headers, good.body, NOW), SETTINGS)


def test_events_are_read_one_by_one() -> None:
    events = [
        {"message_id": "fake_1", "state": "delivered", "at": "2026-11-21T10:00:00+01:00"},
        {"message_id": "fake_2", "state": "bounced", "reason": "invalid_address"},
        {"message_id": "fake_3", "state": "teleported"},
        {"state": "delivered"},
        "junk",
        {"type": "inbound", "id": "x", "channel": "sms", "from": "+1", "to": "+2", "text": "Stop", "signal": "stop"},
        {"type": "inbound", "id": "x", "channel": "pigeon", "from": "+1", "to": "+2", "text": "coo"},
    ]
    first, second, third, fourth = FAKE.parse(callback({"events": events}))
    assert first == StatusEvent("fake_1", State.DELIVERED, events[0], occurred_at=NOW)  # type: ignore[arg-type]
    assert isinstance(second, StatusEvent)
    assert (second.reason, second.permanent) == (Reason.INVALID_ADDRESS, True)
    assert second.address_signal is AddressSignal.HARD_BOUNCE
    assert isinstance(third, StatusEvent)
    assert third.state is State.UNKNOWN
    assert isinstance(fourth, InboundMessage)
    assert (fourth.signal, fourth.channel, fourth.address) == (Signal.STOP, Channel.SMS, "+1")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda more: (
            st.lists(more)
            | st.dictionaries(st.sampled_from(["events", "type", "state", "at", "message_id", "id"]), more)
        ),
    )
)
def test_any_json_is_parsed(body: Any) -> None:
    FAKE.parse(callback(body))
    FAKE.parse(callback({"events": body}))
    FAKE.parse(callback({"events": [body]}))


def test_an_opt_out_comes_with_its_signal() -> None:
    rejected = FAKE.rejected(HttpResponse(422, {}, b'{"error": "opted_out"}'), MESSAGE, SETTINGS)
    assert rejected.signals == (SignalSeen(Signal.STOP, "token"),)
    assert FAKE.rejected(HttpResponse(400, {}, b"\xff"), MESSAGE, SETTINGS).reason is Reason.OTHER


@pytest.mark.parametrize("behaviour", ["", "explode", "accept,", "accept,explode"])
def test_unknown_behaviours_are_refused(behaviour: str) -> None:
    with pytest.raises(ValueError):
        Settings(secret=Secret("x"), behaviour=behaviour)
    for known in BEHAVIOURS:
        Settings(secret=Secret("x"), behaviour=known)


def test_its_simulated_settings_keep_behaviour_and_secret() -> None:
    simulator = SimulatorAddress("http://127.0.0.1:1", "127.0.0.1", 2)
    assert FAKE.simulated(SETTINGS, simulator) == msgspec.structs.replace(
        SETTINGS, base_url="http://127.0.0.1:1/sim/fake"
    )
    assert FAKE.simulated(None, simulator).behaviour == "accept"
