"""The fake vendor: it does what it is told, the same way each time."""

import hmac
import json
from typing import Any

import httpx
import pytest

from tabellion.core.crypto import Secret
from tabellion.core.simulation import SimulatorAddress
from tabellion.providers.base import Channel, Inbound, InboundMessage, Signal
from tabellion.providers.fake import BEHAVIOURS, Fake, Settings
from tabellion.simulators.server import Simulators

MESSAGE = {"message_id": "msg_1", "attempt_id": "att_1", "channel": "push", "to": "token", "text": "Hello"}
SETTINGS = Settings(secret=Secret("s3cret"))


async def send(browser: httpx.AsyncClient, behaviour: str = "accept", key: str = "", **fields: Any) -> httpx.Response:
    headers = {"Authorization": "Bearer s3cret"} | ({"Idempotency-Key": key} if key else {})
    body = MESSAGE | {"behaviour": behaviour} | fields
    return await browser.post("/sim/fake/messages", json=body, headers=headers)


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        *[(word, 202) for word in ("accept", "silent", "sent", "undelivered", "bounce")],
        *[("reject", 422), ("opted_out", 422), ("defer", 429), ("busy", 503), ("error", 500), ("garbage", 200)],
        ("unheard of", 422),
    ],
)
async def test_a_word_is_an_answer(browser: httpx.AsyncClient, behaviour: str, status: int) -> None:
    assert (await send(browser, behaviour)).status_code == status


async def test_uncertain_is_a_closed_connection(browser: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await send(browser, "uncertain")


async def test_every_word_of_the_adapter_is_known_here(browser: httpx.AsyncClient) -> None:
    for word in BEHAVIOURS - {"uncertain"}:
        assert "unknown behaviour" not in (await send(browser, word, message_id=word)).text


async def test_words_are_met_in_turn_and_the_last_one_stays(browser: httpx.AsyncClient) -> None:
    answers = [await send(browser, "defer,error,accept") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 500, 202, 202]
    other = await send(browser, "defer,error,accept", message_id="msg_2")
    assert (other.status_code, other.headers["retry-after"]) == (429, "1")


async def test_a_repeated_key_gets_its_first_answer(browser: httpx.AsyncClient) -> None:
    first, again, other = [await send(browser, key=key) for key in ("a", "a", "b")]
    assert first.json() == again.json() != other.json()
    listed = (await browser.get("/sim/fake/control/messages", params={"to": "token"})).json()["data"]
    assert len(listed) == 2
    assert "s3cret" not in json.dumps(listed)


async def test_without_a_secret_nothing_is_taken(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/sim/fake/messages", json=MESSAGE)).status_code == 401
    bad = await browser.post("/sim/fake/messages", json={"to": 1}, headers={"Authorization": "Bearer x"})
    assert bad.status_code == 422


@pytest.mark.parametrize(
    ("behaviour", "states"),
    [("accept", ["sent", "delivered"]), ("sent", ["sent"]), ("bounce", ["sent", "bounced"]), ("silent", [])],
)
async def test_it_reports_what_became_of_it(
    browser: httpx.AsyncClient, simulators: Simulators, hook: Any, behaviour: str, states: list[str]
) -> None:
    sent = (await send(browser, behaviour, callback_url=hook.url)).json()["id"]
    await simulators.courier.settle()
    found = []
    for _ in states:
        came = await hook.next()
        (event,) = json.loads(came.body)["events"]
        signed = f"{came.headers['fake-timestamp']}.".encode() + came.body
        assert came.headers["fake-signature"] == hmac.digest(b"s3cret", signed, "sha256").hex()
        Fake().verify(Inbound("POST", came.url, came.headers, came.body), SETTINGS)
        assert event["message_id"] == sent
        found.append(event["state"])
    assert found == states
    assert hook.came.empty()


async def test_a_person_writes_in(browser: httpx.AsyncClient, hook: Any) -> None:
    await send(browser, "silent", callback_url=hook.url)
    order = {"from": "token", "text": "no more", "signal": "stop"}
    answer = await browser.post("/sim/fake/control/inbound", json=order)
    assert answer.json()["callback_status"] == 204
    came = await hook.next()
    (message,) = Fake().parse(Inbound("POST", came.url, came.headers, came.body))
    assert isinstance(message, InboundMessage)
    assert (message.signal, message.channel, message.text) == (Signal.STOP, Channel.PUSH, "no more")
    stranger = await browser.post("/sim/fake/control/inbound", json={"from": "nobody", "text": "x"})
    assert stranger.status_code == 422


async def test_bad_weather_and_reset(browser: httpx.AsyncClient, address: SimulatorAddress) -> None:
    await browser.post("/sim/fake/control/faults", json={"kind": "throttle", "times": 0})
    assert (await send(browser)).status_code == 429
    await browser.delete("/sim/fake/control")
    assert (await send(browser)).status_code == 202
    assert (await browser.get("/sim/fake/elsewhere", headers={"Authorization": "Bearer x"})).status_code == 404
