"""Twilio, with bodies in the shape of https://www.twilio.com/docs (read 2026-11-21) and its library's own vectors."""

import hashlib
import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from tabellion.core.crypto import Secret
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpResponse
from tabellion.core.smtp import SmtpReply
from tabellion.providers.base import (
    Accepted,
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
    Unsendable,
)
from tabellion.providers.twilio import ADDRESS, REASON, STATUS, Settings, Twilio

CONTRACTS = Path(__file__).parents[2].parent / "shared" / "contracts"
TWILIO = Twilio()
ACCOUNT = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
SERVICE = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
SETTINGS = Settings(account_sid=ACCOUNT, auth_token=Secret("12345"), sender="+14155552345")
MESSAGE = Outbound("att_1", "msg_1", Channel.SMS, "+15558675310", "Hello! 👍", callback_url="https://hub.example/in/x")
URL = "https://hub.example/in/twilio/acc_1?x=1"


def answer(status: int, body: Any) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(body).encode())


def refusal(code: int, message: str = "no", status: int = 400) -> HttpResponse:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return answer(status, {"code": code, "message": message, "more_info": more, "status": status})


# outbound


def test_a_message_is_a_form_under_basic_authentication() -> None:
    request = TWILIO.request(MESSAGE, SETTINGS)
    assert (request.method, request.url) == (
        "POST",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
    )
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")) == f"{ACCOUNT}:12345".encode()
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {
        "To": ["+15558675310"],
        "Body": ["Hello! 👍"],
        "From": ["+14155552345"],
        "StatusCallback": ["https://hub.example/in/x"],
    }


def test_a_messaging_service_takes_the_place_of_the_number() -> None:
    settings = Settings(account_sid=ACCOUNT, auth_token=Secret("x"), messaging_service_sid=SERVICE)
    fields = parse_qs(TWILIO.request(replace(MESSAGE, callback_url=None), settings).body.decode())
    assert fields.keys() == {"To", "Body", "MessagingServiceSid"}


def test_the_base_url_may_have_a_path_and_a_slash() -> None:
    settings = msgspec.structs.replace(SETTINGS, base_url="http://127.0.0.1:8099/sim/twilio/")
    assert TWILIO.request(MESSAGE, settings).url.startswith("http://127.0.0.1:8099/sim/twilio/2010-04-01/")
    assert settings.host() == "http://127.0.0.1:8099"
    assert SETTINGS.host() == "https://api.twilio.com:443"


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"to": "ann@example.org"}, Reason.INVALID_ADDRESS), ({"text": ""}, Reason.CONTENT_REFUSED)],
)
def test_what_an_sms_cannot_say_is_refused(change: dict[str, str], reason: Reason) -> None:
    with pytest.raises(Unsendable) as caught:
        TWILIO.request(replace(MESSAGE, **change), SETTINGS)
    assert caught.value.reason is reason


@pytest.mark.skipif(not CONTRACTS.exists(), reason="needs ../shared/contracts")
def test_the_vendors_example_answers_are_accepted() -> None:
    examples = json.loads((CONTRACTS / "twilio.examples.json").read_text())["examples"]
    created = [one["value"] for one in examples if one["kind"] == "response 201"]
    assert created
    for body in created:
        assert TWILIO.accepted(answer(201, body), MESSAGE, SETTINGS) == Accepted(body["sid"])


@pytest.mark.parametrize("body", [{}, {"sid": None}, {"sid": "x"}, {"sid": "CA" + "a" * 32}, [], None, "SM", 1])
def test_a_201_that_names_no_message_cannot_be_read(body: Any) -> None:
    with pytest.raises(ValueError):
        TWILIO.accepted(answer(201, body), MESSAGE, SETTINGS)


@pytest.mark.parametrize(
    ("code", "reason", "permanent", "signal"),
    [
        (21211, Reason.INVALID_ADDRESS, True, AddressSignal.HARD_BOUNCE),
        (21614, Reason.INVALID_ADDRESS, True, AddressSignal.HARD_BOUNCE),
        (21612, Reason.UNREACHABLE, False, None),
        (21408, Reason.NOT_PERMITTED, False, None),
        (21606, Reason.SENDER_REFUSED, False, None),
        (21617, Reason.TOO_LARGE, False, None),
        (99999, Reason.OTHER, False, None),
    ],
)
def test_a_refusal_says_why(code: int, reason: Reason, permanent: bool, signal: AddressSignal | None) -> None:
    rejected = TWILIO.rejected(refusal(code, "The text of Twilio"), MESSAGE, SETTINGS)
    assert (rejected.reason, rejected.permanent, rejected.address_signal) == (reason, permanent, signal)
    assert (rejected.provider_code, rejected.detail, rejected.signals) == (str(code), "The text of Twilio", ())


def test_21610_is_the_person_having_opted_out() -> None:
    rejected = TWILIO.rejected(refusal(21610, "Attempt to send to unsubscribed recipient"), MESSAGE, SETTINGS)
    assert rejected.reason is Reason.OPTED_OUT
    assert rejected.signals == (SignalSeen(Signal.STOP, MESSAGE.to),)
    assert rejected.address_signal is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, Reason.CREDENTIALS), (403, Reason.NOT_PERMITTED), (404, Reason.ACCOUNT), (400, Reason.OTHER)],
)
def test_without_a_code_the_status_says_why(status: int, reason: Reason) -> None:
    for body in (b"", b"<html>", b"[]", b"null", b'{"code": null}', b'{"code": {"a": 1}}', b"\xff"):
        assert TWILIO.rejected(HttpResponse(status, {}, body), MESSAGE, SETTINGS).reason is reason


@given(st.binary(max_size=200), st.integers(400, 499))
def test_a_refusal_of_any_body_is_read(body: bytes, status: int) -> None:
    assert TWILIO.rejected(HttpResponse(status, {}, body), MESSAGE, SETTINGS).detail
    assert TWILIO.rejected(SmtpReply(status, "x"), MESSAGE, SETTINGS).detail


# settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_sid": "AC1"},
        {"account_sid": ACCOUNT + "/../x"},
        {"sender": None},
        {"messaging_service_sid": "MG1"},
        {"base_url": "ftp://api.twilio.com"},
        {"base_url": "https://user@api.twilio.com"},
        {"base_url": "https://"},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {"account_sid": ACCOUNT, "auth_token": Secret("x"), "sender": "+14155552345"}
    with pytest.raises(ValueError):
        Settings(**(good | wrong))


# signatures


def form(fields: dict[str, str] | list[tuple[str, str]], signature: str, url: str = URL, **headers: str) -> Inbound:
    kind = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8", "x-twilio-signature": signature}
    return Inbound("POST", url, kind | headers, urlencode(fields).encode())


def signed(fields: dict[str, str], url: str = URL, token: str = "12345", algorithm: str | None = None) -> str:
    """As Twilio's own library computes it."""
    return str(RequestValidator(token).compute_signature(url, fields, algorithm))


STATUS_FIELDS = {
    "AccountSid": ACCOUNT,
    "From": "+15017250604",
    "MessageSid": "SM1342fe1b2c904d1ab04f0fc7a58abca9",
    "MessageStatus": "sent",
    "SmsSid": "SM1342fe1b2c904d1ab04f0fc7a58abca9",
    "SmsStatus": "sent",
}


def twilio_vectors() -> list[dict[str, Any]]:
    file = CONTRACTS / "signature-vectors.json"
    if not file.exists():
        return []
    return next(one["vectors"] for one in json.loads(file.read_text()) if one["provider"] == "twilio")


@pytest.mark.skipif(not CONTRACTS.exists(), reason="needs ../shared/contracts")
def test_the_published_vectors_verify() -> None:
    checked = [vector for vector in twilio_vectors() if "signature" in vector]
    assert len(checked) == 2
    for vector in checked:
        fields = vector.get("params_list") or list(vector["params"].items())
        settings = msgspec.structs.replace(SETTINGS, auth_token=Secret(vector["key"]))
        pairs = [(name, value) for name, value in fields]
        TWILIO.verify(form(pairs, vector["signature"], vector["url"]), settings)
        with pytest.raises(Unauthorized):
            TWILIO.verify(form([*pairs, ("Extra", "1")], vector["signature"], vector["url"]), settings)


@pytest.mark.skipif(not CONTRACTS.exists(), reason="needs ../shared/contracts")
def test_the_published_body_hash_verifies() -> None:
    vector = next(vector for vector in twilio_vectors() if "body_sha256" in vector)
    url = f"{URL}&bodySHA256={vector['body_sha256']}"
    headers = {"content-type": "application/json", "x-twilio-signature": signed({}, url)}
    TWILIO.verify(Inbound("POST", url, headers, vector["body"].encode()), SETTINGS)
    for body in (vector["body"].encode() + b" ", b""):
        with pytest.raises(Unauthorized):
            TWILIO.verify(Inbound("POST", url, headers, body), SETTINGS)


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=12))
def test_whatever_the_vendors_library_signs_verifies(fields: dict[str, str]) -> None:
    TWILIO.verify(form(fields, signed(fields)), SETTINGS)


def test_the_port_may_be_in_the_signed_url_or_not() -> None:
    for seen, signed_for in (
        ("https://hub.example/in", "https://hub.example:443/in"),
        ("https://hub.example:443/in", "https://hub.example/in"),
        ("http://hub.example/in", "http://hub.example:80/in"),
        ("https://hub.example:8443/in", "https://hub.example/in"),
    ):
        TWILIO.verify(form(STATUS_FIELDS, signed(STATUS_FIELDS, signed_for), seen), SETTINGS)


def test_another_url_does_not_verify() -> None:
    for url in ("https://hub.example/in/twilio/acc_2?x=1", URL + "&y=2", "http" + URL.removeprefix("https")):
        with pytest.raises(Unauthorized):
            TWILIO.verify(form(STATUS_FIELDS, signed(STATUS_FIELDS), url), SETTINGS)


def test_old_and_new_tokens_verify_during_rotation() -> None:
    rotating = msgspec.structs.replace(SETTINGS, secondary_auth_token=Secret("67890"))
    for token in ("12345", "67890"):
        TWILIO.verify(form(STATUS_FIELDS, signed(STATUS_FIELDS, token=token)), rotating)
    with pytest.raises(Unauthorized):
        TWILIO.verify(form(STATUS_FIELDS, signed(STATUS_FIELDS, token="67890")), SETTINGS)


def test_a_shared_key_signs_with_sha256_where_the_header_says_so() -> None:
    settings = msgspec.structs.replace(SETTINGS, webhook_key=Secret("shared"))
    signature = signed(STATUS_FIELDS, token="shared", algorithm="HMAC_SHA256")
    named = {"x-twilio-webhooks-signature-settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}
    TWILIO.verify(form(STATUS_FIELDS, signature, URL, **named), settings)
    for headers in ({}, {"x-twilio-webhooks-signature-settings": "algorithm=NONE"}):
        with pytest.raises(Unauthorized):
            TWILIO.verify(form(STATUS_FIELDS, signature, URL, **headers), settings)


def test_a_body_the_signature_does_not_cover_is_refused() -> None:
    """A signature for the bare URL (a GET, say) must not let any body through under another content type."""
    body = json.dumps(STATUS_FIELDS).encode()
    for kind in ("application/json", "", "text/plain", "multipart/form-data"):
        headers = {"content-type": kind, "x-twilio-signature": signed({})}
        TWILIO.verify(Inbound("POST", URL, headers, b""), SETTINGS)
        with pytest.raises(Unauthorized):
            TWILIO.verify(Inbound("POST", URL, headers, body), SETTINGS)


def test_a_body_hash_in_the_url_does_not_excuse_a_form() -> None:
    fields = urlencode(STATUS_FIELDS).encode()
    url = f"{URL}&bodySHA256={hashlib.sha256(fields).hexdigest()}"
    with pytest.raises(Unauthorized):
        TWILIO.verify(form(STATUS_FIELDS, signed({}, url), url), SETTINGS)


@given(
    st.dictionaries(
        st.sampled_from(["content-type", "x-twilio-signature", "x-twilio-webhooks-signature-settings"]), st.text()
    ),
    st.binary(max_size=300),
    st.text(max_size=60),
)
def test_junk_is_unauthorized_and_nothing_else(headers: dict[str, str], body: bytes, url: str) -> None:
    inbound = Inbound("POST", url, headers, body)
    with pytest.raises(Unauthorized):
        TWILIO.verify(inbound, SETTINGS)
    TWILIO.parse(inbound)


def test_a_flood_of_fields_is_unauthorized() -> None:
    inbound = form([(f"f{number}", "x") for number in range(300)], "x")
    with pytest.raises(Unauthorized):
        TWILIO.verify(inbound, SETTINGS)
    assert TWILIO.parse(inbound) == []


# callbacks


@pytest.mark.parametrize(("word", "state"), sorted(STATUS.items()))
def test_a_status_callback_is_a_status(word: str, state: State) -> None:
    fields = STATUS_FIELDS | {"MessageStatus": word, "SmsStatus": word}
    assert TWILIO.parse(form(fields, "")) == [
        StatusEvent(provider_message_id=fields["MessageSid"], state=state, raw=fields)
    ]


def test_the_vendors_statuses_are_all_listed() -> None:
    """`receiving` and `received` belong to messages of people."""
    file = CONTRACTS / "twilio.openapi.json"
    if not file.exists():
        pytest.skip("needs ../shared/contracts")
    words = json.loads(file.read_text())["components"]["schemas"]["message_enum_status"]["enum"]
    assert set(words) - {"receiving", "received"} == STATUS.keys()


@pytest.mark.parametrize(
    ("code", "reason", "permanent", "signal"),
    [
        ("30003", Reason.UNREACHABLE, False, AddressSignal.SOFT_BOUNCE_COUNTED),
        ("30005", Reason.INVALID_ADDRESS, True, AddressSignal.HARD_BOUNCE),
        ("30006", Reason.UNREACHABLE, False, AddressSignal.SOFT_BOUNCE_COUNTED),
        ("30007", Reason.SPAM, False, None),
        ("12345", Reason.OTHER, False, None),
    ],
)
def test_an_undelivered_message_says_why(
    code: str, reason: Reason, permanent: bool, signal: AddressSignal | None
) -> None:
    fields = STATUS_FIELDS | {"MessageStatus": "undelivered", "ErrorCode": code, "RawDlrDoneDate": "2611210915"}
    (event,) = TWILIO.parse(form(fields, ""))
    assert isinstance(event, StatusEvent)
    assert (event.state, event.reason, event.provider_code) == (State.UNDELIVERED, reason, code)
    assert (event.permanent, event.address_signal, event.occurred_at) == (permanent, signal, None)
    assert event.raw["RawDlrDoneDate"] == "2611210915"


def test_an_unknown_status_is_unknown() -> None:
    (event,) = TWILIO.parse(form(STATUS_FIELDS | {"MessageStatus": "teleported"}, ""))
    assert isinstance(event, StatusEvent)
    assert event.state is State.UNKNOWN


def test_what_is_neither_status_nor_message_is_nothing() -> None:
    assert TWILIO.parse(form({"CallSid": "CA1", "CallStatus": "ringing"}, "")) == []
    assert TWILIO.parse(Inbound("POST", URL, {}, b'{"a": 1}')) == []
    assert TWILIO.parse(Inbound("POST", URL, {}, b"")) == []


INBOUND_FIELDS = {
    "ToCountry": "US",
    "ToState": "CA",
    "SmsMessageSid": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "NumMedia": "0",
    "ToCity": "",
    "FromZip": "94107",
    "SmsSid": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "FromState": "CA",
    "SmsStatus": "received",
    "FromCity": "SAN FRANCISCO",
    "Body": "Where is my order?",
    "FromCountry": "US",
    "To": "+14155552345",
    "NumSegments": "1",
    "MessageSid": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "AccountSid": ACCOUNT,
    "From": "+14017122661",
    "ApiVersion": "2010-04-01",
}


def text_in(**changes: str) -> InboundMessage:
    (message,) = TWILIO.parse(form(INBOUND_FIELDS | changes, ""))
    assert isinstance(message, InboundMessage)
    return message


def test_a_text_from_a_person_is_a_message() -> None:
    assert text_in() == InboundMessage(
        provider_message_id="SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        channel=Channel.SMS,
        address="+14017122661",
        recipient_address="+14155552345",
        text="Where is my order?",
        raw=INBOUND_FIELDS,
    )


def test_a_get_carries_the_same_in_its_query() -> None:
    (message,) = TWILIO.parse(Inbound("GET", f"{URL}&{urlencode(INBOUND_FIELDS)}", {}, b""))
    assert isinstance(message, InboundMessage)
    assert message.text == "Where is my order?"


@pytest.mark.parametrize(("word", "signal"), [("STOP", Signal.STOP), ("START", Signal.START), ("HELP", Signal.HELP)])
def test_advanced_opt_out_says_what_a_text_means(word: str, signal: Signal) -> None:
    assert text_in(Body="anything at all", OptOutType=word).signal is signal


@pytest.mark.parametrize(
    ("body", "signal"),
    [
        ("STOP", Signal.STOP),
        (" stop \n", Signal.STOP),
        ("StopAll", Signal.STOP),
        ("opt  out", Signal.STOP),
        ("Unstop", Signal.START),
        ("info", Signal.HELP),
        ("stop please", None),
        ("yes", None),
        ("don't stop", None),
        ("", None),
    ],
)
def test_without_it_a_text_that_is_a_keyword_counts(body: str, signal: Signal | None) -> None:
    assert text_in(Body=body).signal is signal


@pytest.mark.parametrize(
    ("sender", "media", "channel"),
    [
        ("+14017122661", "0", Channel.SMS),
        ("+14017122661", "2", Channel.MMS),
        ("whatsapp:+14017122661", "1", Channel.WHATSAPP),
        ("rcs:+14017122661", "0", Channel.RCS),
    ],
)
def test_the_channel_is_read_from_the_address(sender: str, media: str, channel: Channel) -> None:
    message = text_in(From=sender, NumMedia=media)
    assert (message.channel, message.address) == (channel, "+14017122661")


def test_the_tables_agree() -> None:
    assert ADDRESS.keys() <= REASON.keys()
