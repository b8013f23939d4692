"""The Twilio simulator, driven by Twilio's own library and measured against Twilio's own OpenAPI document."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import httpx
import jsonschema
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from tabellion.core.crypto import Secret
from tabellion.core.simulation import SimulatorAddress, simulated_secret
from tabellion.providers.base import Inbound, InboundMessage, Signal, State, StatusEvent
from tabellion.providers.twilio import Settings, Twilio
from tabellion.simulators.server import Simulators
from tabellion.simulators.twilio import ANSWER_MAGIC, segments
from tabellion.simulators.twilio_rules import DELIVERY_MAGIC, FROM_MAGIC, NO_RECEIPT, TO_MAGIC, problem

CONTRACT = Path(__file__).parents[2].parent / "shared" / "contracts" / "twilio.openapi.json"
ACCOUNT = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
SERVICE = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
TOKEN = simulated_secret("twilio", ACCOUNT)
PATH = f"/sim/twilio/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
GOOD = {"To": "+14155550100", "From": "+14155552345", "Body": "Hello"}


class Redirected(TwilioHttpClient):
    """The library has no base URL to set: its requests are sent to the simulator instead."""

    def __init__(self, base: str) -> None:
        super().__init__(pool_connections=False)
        self._base = base

    def request(self, method: str, url: str, *args: Any, **named: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._base), *args, **named)


@pytest.fixture
def library(address: SimulatorAddress) -> Client:
    return Client(ACCOUNT, TOKEN, http_client=Redirected(address.base("twilio")))


async def send(library: Client, **fields: Any) -> Any:
    given = {"to": "+14155550100", "from_": "+14155552345", "body": "Hello"} | fields
    return await asyncio.to_thread(lambda: library.messages.create(**given))


async def refused(library: Client, **fields: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        await send(library, **fields)
    return caught.value


async def post(browser: httpx.AsyncClient, fields: Any, token: str = TOKEN, **named: Any) -> httpx.Response:
    return await browser.post(PATH, data=fields, auth=(ACCOUNT, token), **named)


# the vendor's library


async def test_the_library_sends_reads_redacts_and_deletes(library: Client) -> None:
    sent = await send(library, body="Hello 👍")
    assert (sent.status, sent.direction, sent.num_segments, sent.error_code) == ("queued", "outbound-api", "1", None)
    assert sent.sid.startswith("SM")
    fetched = await asyncio.to_thread(library.messages(sent.sid).fetch)
    assert (fetched.sid, fetched.to, fetched.from_, fetched.body) == (
        sent.sid,
        "+14155550100",
        "+14155552345",
        "Hello 👍",
    )
    assert fetched.status == "delivered"
    redacted = await asyncio.to_thread(lambda: library.messages(sent.sid).update(body=""))
    assert redacted.body == ""
    assert await asyncio.to_thread(library.messages(sent.sid).delete)
    with pytest.raises(TwilioRestException) as caught:
        await asyncio.to_thread(library.messages(sent.sid).fetch)
    assert (caught.value.status, caught.value.code) == (404, 20404)


async def test_a_messaging_service_accepts_first(library: Client) -> None:
    sent = await send(library, from_=None, messaging_service_sid=SERVICE)
    assert (sent.status, sent.messaging_service_sid, sent.from_, sent.num_segments) == ("accepted", SERVICE, None, "0")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": ""}, 21604),
        ({"to": "call me"}, 21211),
        ({"from_": None}, 21603),
        ({"from_": "+1"}, 21212),
        ({"from_": None, "messaging_service_sid": "MG1"}, 21705),
        ({"body": None}, 21602),
        ({"body": None, "from_": None, "messaging_service_sid": SERVICE}, 21619),
        ({"body": "x" * 1601}, 21617),
        ({"media_url": ["nonsense"]}, 21620),
        ({"media_url": ["https://example.org/a.png"] * 11}, 21623),
        ({"content_sid": "HX1"}, 21655),
        ({"content_sid": "HX" + "a" * 32, "content_variables": "{"}, 21656),
        ({"status_callback": "localhost"}, 21609),
        ({"status_callback": "https://under_score.example/"}, 21609),
    ],
    ids=str,
)
async def test_the_library_is_refused_with_the_vendors_code(library: Client, fields: dict[str, Any], code: int) -> None:
    error = await refused(library, **fields)
    assert (error.status, error.code) == (400, code)
    assert error.uri


@pytest.mark.parametrize("content", [{"body": "x" * 1600}, {"body": None, "media_url": ["https://example.org/a.png"]}])
async def test_the_longest_text_and_media_alone_are_accepted(library: Client, content: dict[str, Any]) -> None:
    assert (await send(library, **content)).sid


@pytest.mark.parametrize("number", sorted(TO_MAGIC))
async def test_the_vendors_magic_recipients(library: Client, number: str) -> None:
    assert (await refused(library, to=number)).code == TO_MAGIC[number].code


@pytest.mark.parametrize("number", sorted(FROM_MAGIC))
async def test_the_vendors_magic_senders(library: Client, number: str) -> None:
    error = await refused(library, from_=number)
    assert (error.code, error.status) == (FROM_MAGIC[number].code, FROM_MAGIC[number].status)


async def test_a_wrong_token_is_20003(address: SimulatorAddress) -> None:
    stranger = Client(ACCOUNT, "wrong", http_client=Redirected(address.base("twilio")))
    error = await refused(stranger)
    assert (error.status, error.code) == (401, 20003)


async def test_somebody_elses_account_is_closed(address: SimulatorAddress) -> None:
    other = "AC" + "b" * 32
    stranger = Client(
        other, simulated_secret("twilio", other), account_sid=ACCOUNT, http_client=Redirected(address.base("twilio"))
    )
    assert (await refused(stranger)).status == 401


async def test_a_json_request_has_no_recipient(browser: httpx.AsyncClient) -> None:
    """Error 21604 names that cause: the request must be a form."""
    answer = await browser.post(PATH, json=GOOD, auth=(ACCOUNT, TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (400, 21604)
    assert answer.json()["more_info"] == "https://www.twilio.com/docs/errors/21604"


# the vendor's document


def schema() -> dict[str, Any]:
    document = json.loads(CONTRACT.read_text())
    found = document["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"]["post"]["requestBody"]
    made = found["content"]["application/x-www-form-urlencoded"]["schema"]
    return {**made, "components": document["components"]}


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def resolved(field: dict[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").rpartition("/")[2]
    return schema()["components"]["schemas"][name] if name else field


def good_and_bad(name: str, field: dict[str, Any]) -> tuple[str, list[str]]:
    """A value the document allows for a field, and some it forbids."""
    field = resolved(field)
    if "enum" in field:
        return field["enum"][0], ["neither"]
    match field["type"]:
        case "boolean":
            return "true", ["maybe"]
        case "integer":
            return "5", ["five", "1.5"]
        case "number":
            return "0.5", ["much"]
    if "pattern" in field:
        prefix = field["pattern"][1:3]
        return prefix + "0" * 32, [prefix, "XX" + "0" * 32, prefix + "0" * 33, prefix + "g" * 32]
    given = {"To": "+14155550100", "From": "+14155552345", "ContentVariables": "{}", "SendAt": "2026-11-21T10:00:00Z"}
    if name in given:
        return given[name], []
    return ("https://example.org/" if "uri" in str(field) else "text"), []


def typed(fields: dict[str, str]) -> dict[str, Any]:
    """The form as the document sees it: typed."""
    properties = schema()["properties"]

    def read(name: str, value: str) -> Any:
        kind = resolved(properties.get(name, {"type": "string"}))["type"]
        try:
            match kind:
                case "array":
                    return [value]
                case "boolean":
                    return {"true": True, "false": False}[value]
                case "integer" | "number":
                    return int(value) if kind == "integer" else float(value)
        except (KeyError, ValueError):
            return value
        return value

    return {name: read(name, value) for name, value in fields.items()}


def cases() -> list[tuple[str, str, bool]]:
    if not CONTRACT.exists():
        return []
    made = []
    for name, field in schema()["properties"].items():
        good, bad = good_and_bad(name, field)
        made += [(name, good, True), *[(name, value, False) for value in bad]]
    return made


@pytest.mark.skipif(not CONTRACT.exists(), reason="needs ../shared/contracts")
def test_the_document_has_cases() -> None:
    assert len([case for case in cases() if case[2]]) >= 25
    assert len([case for case in cases() if not case[2]]) >= 20


@pytest.mark.parametrize(("name", "value", "allowed"), cases())
async def test_a_field_is_judged_as_the_vendors_document_judges_it(
    browser: httpx.AsyncClient, name: str, value: str, allowed: bool
) -> None:
    fields = GOOD | {name: value}
    assert validator().is_valid(typed(fields)) is allowed
    assert (await post(browser, fields)).status_code == (201 if allowed else 400)


@pytest.mark.skipif(not CONTRACT.exists(), reason="needs ../shared/contracts")
async def test_what_the_document_requires_is_required(browser: httpx.AsyncClient) -> None:
    for name in schema()["required"]:
        fields = {key: value for key, value in GOOD.items() if key != name}
        assert not validator().is_valid(typed(fields))
        assert (await post(browser, fields)).status_code == 400


@pytest.mark.skipif(not CONTRACT.exists(), reason="needs ../shared/contracts")
async def test_the_vendors_example_requests_are_accepted(browser: httpx.AsyncClient) -> None:
    """Two of them lack what the documentation demands, so they are completed with a sender."""
    examples = json.loads((CONTRACT.parent / "twilio.examples.json").read_text())["examples"]
    creates = [
        one["value"]
        for one in examples
        if one["kind"] == "request"
        and one["operation"].endswith("/Messages.json")
        and "+" in one["value"].get("To", "")
    ]
    assert len(creates) >= 6
    for example in creates:
        fields = {"From": "+14155552345"} | example
        fields["To"] = fields["To"].removeprefix("94287277")
        assert (await post(browser, fields)).status_code == 201, example


@pytest.mark.skipif(not CONTRACT.exists(), reason="needs ../shared/contracts")
async def test_the_answers_are_what_the_vendors_document_says(browser: httpx.AsyncClient) -> None:
    document = json.loads(CONTRACT.read_text())
    message = dict(document["components"]["schemas"]["api.v2010.account.message"])
    created = (await post(browser, GOOD)).json()
    assert created.keys() <= message["properties"].keys()
    assert {name for name in message["properties"] if name != "tags"} <= created.keys()
    for name, value in created.items():
        field = message["properties"][name]
        if value is not None and "pattern" in field:
            jsonschema.validate(value, {"type": "string", "pattern": field["pattern"]})


# callbacks


async def test_the_statuses_come_in_order_signed_as_the_library_expects(browser: httpx.AsyncClient, hook: Any) -> None:
    sid = (await post(browser, GOOD | {"StatusCallback": hook.url})).json()["sid"]
    library, adapter = RequestValidator(TOKEN), Twilio()
    settings = Settings(account_sid=ACCOUNT, auth_token=Secret(TOKEN), sender="+14155552345")
    for word, state in (("sent", State.SENT), ("delivered", State.DELIVERED)):
        came = await hook.next()
        fields = dict(parse_qsl(came.body.decode(), keep_blank_values=True))
        assert (fields["MessageStatus"], fields["SmsStatus"], fields["MessageSid"]) == (word, word, sid)
        assert library.validate(came.url, fields, came.headers["x-twilio-signature"])
        assert not library.validate(came.url + "&y=2", fields, came.headers["x-twilio-signature"])
        inbound = Inbound("POST", came.url, came.headers, came.body)
        adapter.verify(inbound, settings)
        assert adapter.parse(inbound) == [StatusEvent(sid, state, fields)]
    assert len(fields["RawDlrDoneDate"]) == 10


async def test_a_service_also_reports_queued(browser: httpx.AsyncClient, hook: Any) -> None:
    fields = {"To": "+14155550100", "MessagingServiceSid": SERVICE, "Body": "Hi", "StatusCallback": hook.url}
    await post(browser, fields)
    came = [parse_qs((await hook.next()).body.decode())["MessageStatus"][0] for _ in range(3)]
    assert came == ["queued", "sent", "delivered"]


@pytest.mark.parametrize("number", sorted(DELIVERY_MAGIC))
async def test_our_magic_numbers_fail_after_being_accepted(browser: httpx.AsyncClient, hook: Any, number: str) -> None:
    await post(browser, GOOD | {"To": number, "StatusCallback": hook.url})
    status, code = DELIVERY_MAGIC[number]
    for word in ("sent", status) if status == "undelivered" else (status,):
        fields = dict(parse_qsl((await hook.next()).body.decode()))
        assert fields["MessageStatus"] == word
    assert fields["ErrorCode"] == code


async def test_a_carrier_may_say_nothing(browser: httpx.AsyncClient, simulators: Simulators, hook: Any) -> None:
    await post(browser, GOOD | {"To": NO_RECEIPT, "StatusCallback": hook.url})
    await simulators.courier.settle()
    assert hook.came.qsize() == 1


async def test_no_callback_url_no_callbacks(browser: httpx.AsyncClient, simulators: Simulators) -> None:
    await post(browser, GOOD)
    await simulators.courier.settle()
    assert (simulators.courier.delivered, simulators.courier.failed) == (0, 0)


async def test_a_failed_callback_is_tried_again(browser: httpx.AsyncClient, simulators: Simulators, hook: Any) -> None:
    simulators.courier._pause = 0.0
    hook.statuses = [503, 500]
    await post(browser, GOOD | {"StatusCallback": hook.url})
    await simulators.courier.settle()
    words = [parse_qs(hook.came.get_nowait().body.decode())["MessageStatus"][0] for _ in range(4)]
    assert words == ["sent", "sent", "sent", "delivered"]
    assert (simulators.courier.delivered, simulators.courier.failed) == (2, 0)


# people


async def text_in(browser: httpx.AsyncClient, **order: Any) -> dict[str, Any]:
    answer = await browser.post("/sim/twilio/control/inbound", json=order)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_person_texts_in_signed(browser: httpx.AsyncClient, hook: Any) -> None:
    order = {"from": "+14155550100", "to": "+14155552345", "account_sid": ACCOUNT, "url": hook.url, "body": "Hé?"}
    done = await text_in(browser, **order)
    came = await hook.next()
    fields = dict(parse_qsl(came.body.decode(), keep_blank_values=True))
    assert RequestValidator(TOKEN).validate(came.url, fields, came.headers["x-twilio-signature"])
    (message,) = Twilio().parse(Inbound("POST", came.url, came.headers, came.body))
    assert isinstance(message, InboundMessage)
    assert (message.text, message.address, message.recipient_address) == ("Hé?", "+14155550100", "+14155552345")
    assert (message.provider_message_id, message.signal) == (done["message_sid"], None)
    assert done["callback_status"] == 204
    assert "OptOutType" not in fields


async def test_stop_blocks_the_person_for_this_sender_until_start(browser: httpx.AsyncClient, hook: Any) -> None:
    await post(browser, GOOD | {"StatusCallback": hook.url})
    for _ in range(2):
        await hook.next()
    assert (await text_in(browser, **{"from": GOOD["To"], "body": "Stop"}))["keyword"] == "STOP"
    came = await hook.next()
    (message,) = Twilio().parse(Inbound("POST", came.url, came.headers, came.body))
    assert isinstance(message, InboundMessage)
    assert message.signal is Signal.STOP
    assert b"OptOutType=STOP" in came.body
    blocked = await post(browser, GOOD)
    assert (blocked.status_code, blocked.json()["code"]) == (400, 21610)
    assert (await post(browser, GOOD | {"From": "+14155559999"})).status_code == 201
    assert (await post(browser, GOOD | {"To": "+14155550101"})).status_code == 201
    await text_in(
        browser, **{"from": GOOD["To"], "body": "start", "account_sid": ACCOUNT, "to": GOOD["From"]}, url=hook.url
    )
    assert (await post(browser, GOOD)).status_code == 201


async def test_without_advanced_opt_out_the_word_comes_alone(browser: httpx.AsyncClient, hook: Any) -> None:
    order = {"from": "+14155550100", "to": "+14155552345", "account_sid": ACCOUNT, "url": hook.url}
    done = await text_in(browser, **order, body="STOPALL", opt_out_type=False)
    assert done["keyword"] == "STOP"
    assert b"OptOutType" not in (await hook.next()).body
    assert (await post(browser, GOOD)).json()["code"] == 21610
    assert (await text_in(browser, **order, body="stop please"))["keyword"] is None


async def test_a_stop_holds_for_the_whole_messaging_service(browser: httpx.AsyncClient, hook: Any) -> None:
    fields = {"To": GOOD["To"], "MessagingServiceSid": SERVICE, "Body": "Hi", "StatusCallback": hook.url}
    await post(browser, fields)
    await text_in(browser, **{"from": GOOD["To"], "body": "STOP"})
    assert (await post(browser, fields)).json()["code"] == 21610


async def test_an_order_that_leads_nowhere_is_refused(browser: httpx.AsyncClient) -> None:
    for order in ({"from": "+1", "body": "x"}, {"body": "x"}, {"from": "+1", "body": "x", "colour": "red"}, []):
        assert (await browser.post("/sim/twilio/control/inbound", json=order)).status_code == 422
    assert (await browser.post("/sim/twilio/control/inbound", content=b"{")).status_code == 422


# bad weather


async def test_throttling_says_when_to_come_again_and_passes(browser: httpx.AsyncClient) -> None:
    fault = {"kind": "throttle", "times": 2, "retry_after": "7"}
    assert (await browser.post("/sim/twilio/control/faults", json=fault)).status_code == 201
    answers = [await post(browser, GOOD) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert (answers[0].headers["retry-after"], answers[0].json()["code"]) == ("7", 20429)


async def test_errors_and_garbage(browser: httpx.AsyncClient) -> None:
    for fault, status in (({"kind": "error", "status": 502}, 502), ({"kind": "garbage"}, 200)):
        await browser.post("/sim/twilio/control/faults", json=fault)
        answer = await post(browser, GOOD)
        assert answer.status_code == status
        with pytest.raises(ValueError):
            answer.json()


@pytest.mark.parametrize("kind", ["hang_up", "half"])
async def test_hanging_up(browser: httpx.AsyncClient, kind: str) -> None:
    await browser.post("/sim/twilio/control/faults", json={"kind": kind})
    with pytest.raises(httpx.RemoteProtocolError):
        await post(browser, GOOD)
    assert (await post(browser, GOOD)).status_code == 201


async def test_latency_delays_only_what_it_matches(browser: httpx.AsyncClient) -> None:
    fault = {"kind": "latency", "seconds": 30, "times": 0, "matching": "14155550199"}
    await browser.post("/sim/twilio/control/faults", json=fault)
    assert (await post(browser, GOOD)).status_code == 201
    with pytest.raises(httpx.ReadTimeout):
        await post(browser, GOOD | {"To": "+14155550199"}, timeout=0.2)
    await browser.delete("/sim/twilio/control/faults")
    assert (await post(browser, GOOD | {"To": "+14155550199"})).status_code == 201


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "hail"},
        {},
        {"kind": "error", "status": 200},
        {"kind": "error", "matching": "("},
        {"kind": "error", "times": -1},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(browser: httpx.AsyncClient, fault: dict[str, Any]) -> None:
    assert (await browser.post("/sim/twilio/control/faults", json=fault)).status_code == 422


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (number, {"garbage": 200, "throttle": 429, "error": 500, "away": 503}.get(what))
        for number, what in ANSWER_MAGIC.items()
    ],
)
async def test_our_magic_answers(browser: httpx.AsyncClient, number: str, status: int | None) -> None:
    if status is None:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(browser, GOOD | {"To": number})
    else:
        assert (await post(browser, GOOD | {"To": number})).status_code == status


# what it shows


async def test_it_shows_what_it_received(browser: httpx.AsyncClient) -> None:
    await post(browser, GOOD)
    await post(browser, GOOD | {"To": "+14155550101"})
    await post(browser, GOOD | {"To": ""})
    listed = (await browser.get("/sim/twilio/control/messages")).json()["data"]
    assert [one["to"] for one in listed] == ["+14155550100", "+14155550101"]
    some = (await browser.get("/sim/twilio/control/messages", params={"to": "+14155550101"})).json()["data"]
    assert [one["to"] for one in some] == ["+14155550101"]
    requests = (await browser.get("/sim/twilio/control/requests")).json()["data"]
    assert [one["status"] for one in requests] == [201, 201, 400]
    assert (await browser.get("/sim/twilio/control/stats")).json()["accepted"] == 2
    assert (await browser.delete("/sim/twilio/control")).status_code == 204
    assert (await browser.get("/sim/twilio/control/messages")).json()["data"] == []


@pytest.mark.parametrize(
    "path", ["/", "/sim", "/sim/", "/sim/pigeon/x", "/sim/twilio", "/sim/twilio/2010-04-01/Accounts/x/Messages.json"]
)
async def test_elsewhere_there_is_nothing(browser: httpx.AsyncClient, path: str) -> None:
    assert (await browser.get(path)).status_code == 404


async def test_memory_is_bounded(browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabellion.simulators.twilio.KEPT", 3)
    for _ in range(5):
        await post(browser, GOOD)
    assert len((await browser.get("/sim/twilio/control/messages")).json()["data"]) == 3


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("é" * 160, 1),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("👍" * 35, 1),
        ("👍" * 36, 2),
    ],
)
def test_segments_are_counted_as_documented(body: str, count: int) -> None:
    assert segments(body) == count


def test_the_rules_look_at_fields_alone() -> None:
    assert problem({name: [value] for name, value in GOOD.items()}) is None
    assert urlencode(GOOD)
