"""The mail adapter: what it writes is read back by the standard library."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.crypto import Secret
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpResponse
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.smtp import SmtpReply
from tabellion.providers.base import (
    AddressSignal,
    Channel,
    Inbound,
    Outbound,
    Reason,
    Unsendable,
)
from tabellion.providers.smtp import Settings, Smtp

SMTP = Smtp()
SETTINGS = Settings(
    server="mail.example.org",
    username="hub",
    password=Secret("secret"),
    sender="Shop <shop@example.org>",
)
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
MESSAGE = Outbound("att_1", "msg_1", Channel.EMAIL, "ann@example.net", "Hello Ann,\nyour order.", "Your order", at=AT)


def read(message: Outbound, settings: Settings = SETTINGS) -> EmailMessage:
    """What a reader finds in the message as it goes over the wire."""
    content = SMTP.request(message, settings).content
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    parsed = BytesParser(policy=policy.SMTP).parsebytes(content)
    assert not parsed.defects
    return parsed


def body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_the_envelope_and_the_server_come_from_the_settings() -> None:
    request = SMTP.request(MESSAGE, SETTINGS)
    assert (request.host, request.port, request.security) == ("mail.example.org", 587, "starttls")
    assert (request.username, request.password) == ("hub", Secret("secret"))
    assert (request.mail_from, request.rcpt_to) == ("shop@example.org", "ann@example.net")


def test_a_plain_message_has_the_headers_a_message_needs() -> None:
    parsed = read(
        replace(MESSAGE, reply_to="Help <help@example.org>", headers={"List-Unsubscribe": "<https://x.example>"})
    )
    assert parsed["From"] == "Shop <shop@example.org>"
    assert parsed["To"] == "ann@example.net"
    assert parsed["Reply-To"] == "Help <help@example.org>"
    assert parsed["Subject"] == "Your order"
    assert parsed["Date"].datetime == AT
    assert parsed["Message-ID"] == "<att_1@example.org>"
    assert parsed["MIME-Version"] == "1.0"
    assert parsed["List-Unsubscribe"] == "<https://x.example>"
    assert parsed.get_content_type() == "text/plain"
    assert body(parsed, "plain") == "Hello Ann,\nyour order.\n"


def test_html_goes_beside_the_text_with_the_text_first() -> None:
    parsed = read(replace(MESSAGE, html="<p>Hello Ann</p>"))
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert body(parsed, "html") == "<p>Hello Ann</p>\n"


def test_the_id_is_the_same_when_it_is_accepted() -> None:
    parsed = read(MESSAGE)
    assert SMTP.accepted(SmtpReply(250, "queued"), MESSAGE, SETTINGS).provider_id == parsed["Message-ID"]


def test_without_a_moment_there_is_no_date() -> None:
    assert read(replace(MESSAGE, at=None))["Date"] is None


words = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300)
lines = st.text(st.characters(blacklist_categories=["Cs", "Cc"], whitelist_characters="\n\t"), max_size=2000)


@given(words.map(lambda text: " ".join(text.split())), lines, st.none() | lines)
def test_every_subject_and_text_is_read_back(subject: str, text: str, html: str | None) -> None:
    parsed = read(replace(MESSAGE, subject=subject, text=text, html=html))
    assert (parsed["Subject"] or "") == subject
    for kind, wrote in (("plain", text), ("html", html)):
        if wrote is not None:
            assert body(parsed, kind) == wrote + ("" if wrote.endswith("\n") else "\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n",
        ".\n..\n.x",
        "From me\n",
        "a" * 5000,
        "é" * 3000,
        "日本語" * 400,
        "tab\tand trail  \n",
        "=?utf-8?q?x?=",
    ],
)
def test_awkward_texts_are_read_back(text: str) -> None:
    assert body(read(replace(MESSAGE, text=text)), "plain") == text + ("" if text.endswith("\n") else "\n")


def test_a_text_in_another_script_is_not_blown_up() -> None:
    text = "日本語の本文です。" * 200
    assert len(SMTP.request(replace(MESSAGE, text=text), SETTINGS).content) < len(text.encode()) * 1.5


def test_carriage_returns_become_line_ends() -> None:
    assert body(read(replace(MESSAGE, text="a\r\nb\rc\n")), "plain") == "a\nb\nc\n"


@pytest.mark.parametrize("name", ["Zoë's “Shop”", "Shop, Inc.", "a" * 70, "=?x?="])
def test_a_display_name_is_read_back(name: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, sender=f"{name} <shop@example.org>")
    (address,) = read(MESSAGE, settings)["From"].addresses
    assert address.addr_spec == "shop@example.org"
    assert name == "=?x?=" or address.display_name == name


# refused


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Hi\r\nBcc: eve@example.org"},
        {"subject": "Hi\nBcc: eve@example.org"},
        {"subject": "Hi\rBcc: eve@example.org"},
        {"subject": "Hi\u2028there"},
        {"subject": "nul\x00"},
        {"headers": {"X-A": "1\r\nBcc: eve@example.org"}},
        {"headers": {"X-A\r\nBcc": "eve@example.org"}},
        {"headers": {"X-A: 1": "2"}},
        {"headers": {"Bcc": "eve@example.org"}},
        {"headers": {"from": "eve@example.org"}},
        {"headers": {"Content-Type": "text/html"}},
        {"headers": {"DATE": "today"}},
        {"headers": {"": "x"}},
        {"headers": {"X-Long": "x" * 2000}},
        {"reply_to": "help@example.org\r\nBcc: eve@example.org"},
        {"to": "ann@example.org\r\nBcc: eve@example.org"},
        {"to": "ann@example.org, eve@example.org"},
        {"to": "ann@example.org> <eve@example.org"},
        {"to": "ann"},
        {"to": "@example.org"},
        {"to": "ann@"},
        {"to": "ann@exa mple.org"},
        {"to": "ann@-example.org"},
        {"to": "an n@example.org"},
        {"to": "ann@example.org (comment)"},
        {"to": "+14155550100"},
    ],
    ids=str,
)
def test_what_would_break_the_message_is_refused(change: Mapping[str, Any]) -> None:
    with pytest.raises(Unsendable):
        SMTP.request(replace(MESSAGE, **change), SETTINGS)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_no_input_adds_a_header(subject: str, value: str, name: str) -> None:
    try:
        content = SMTP.request(replace(MESSAGE, subject=subject, headers={f"X-{name}": value}), SETTINGS).content
    except (Unsendable, UnicodeEncodeError):
        return
    found = [header.lower() for header in BytesParser(policy=policy.SMTP).parsebytes(content)]
    allowed = {"from", "to", "subject", "date", "message-id", "mime-version", f"x-{name}".lower()}
    assert set(found) - {"content-type", "content-transfer-encoding"} <= allowed
    assert len(found) == len(set(found))


# international addresses


def test_an_international_domain_goes_out_as_a_label() -> None:
    request = SMTP.request(replace(MESSAGE, to="ann@Bücher.example"), SETTINGS)
    assert request.rcpt_to == "ann@xn--bcher-kva.example"
    assert read(replace(MESSAGE, to="ann@Bücher.example"))["To"] == "ann@xn--bcher-kva.example"


def test_an_international_local_part_goes_out_as_it_is() -> None:
    request = SMTP.request(replace(MESSAGE, to="jürgen@bücher.example"), SETTINGS)
    assert request.rcpt_to == "jürgen@xn--bcher-kva.example"
    assert "To: jürgen@xn--bcher-kva.example\r\n".encode() in request.content


# answers


@pytest.mark.parametrize(
    ("code", "text", "reason", "permanent", "signal"),
    [
        (550, "5.1.1 no such user", Reason.INVALID_ADDRESS, True, AddressSignal.HARD_BOUNCE),
        (550, "5.1.10 null MX", Reason.INVALID_ADDRESS, True, AddressSignal.HARD_BOUNCE),
        (552, "5.2.2 mailbox full", Reason.MAILBOX_FULL, False, AddressSignal.SOFT_BOUNCE_COUNTED),
        (552, "message too big", Reason.TOO_LARGE, False, None),
        (554, "5.7.1 refused", Reason.BLOCKED, False, AddressSignal.SOFT_BOUNCE_COUNTED),
        (550, "5.7.26 not authenticated", Reason.SENDER_REFUSED, False, None),
        (535, "5.7.8 authentication failed", Reason.CREDENTIALS, False, None),
        (535, "no", Reason.CREDENTIALS, False, None),
        (553, "5.6.7 no SMTPUTF8", Reason.INVALID_ADDRESS, False, None),
        (550, "no enhanced code", Reason.OTHER, False, None),
        (550, "it is 15.1.1 not ours", Reason.OTHER, False, None),
    ],
)
def test_a_refusal_says_why(
    code: int, text: str, reason: Reason, permanent: bool, signal: AddressSignal | None
) -> None:
    rejected = SMTP.rejected(SmtpReply(code, text), MESSAGE, SETTINGS)
    assert (rejected.reason, rejected.permanent, rejected.address_signal) == (reason, permanent, signal)
    assert rejected.detail == f"{code} {text}"


@given(st.integers(500, 599), st.text(max_size=2000))
def test_a_refusal_with_any_text_is_read(code: int, text: str) -> None:
    rejected = SMTP.rejected(SmtpReply(code, text), MESSAGE, SETTINGS)
    assert len(rejected.detail) <= 500
    assert SMTP.rejected(HttpResponse(400, {}, b""), MESSAGE, SETTINGS).detail


def test_mail_servers_post_no_callbacks() -> None:
    with pytest.raises(Unauthorized):
        SMTP.verify(Inbound("POST", "https://hub.example/in/smtp/acc_1", {}, b""), SETTINGS)


# settings


def test_the_secrets_belong_to_a_server_and_a_way_of_encrypting() -> None:
    hosts = {
        msgspec.structs.replace(SETTINGS, **change).host()
        for change in ({}, {"security": "none"}, {"security": "tls"}, {"port": 25}, {"server": "other.example"})
    }
    assert len(hosts) == 5
    assert SETTINGS.host() == "smtp+starttls://mail.example.org:587"


@pytest.mark.parametrize(
    "wrong",
    [
        {"server": ""},
        {"server": "a b"},
        {"server": "a\r\nb"},
        {"port": 0},
        {"port": 70000},
        {"password": None},
        {"username": None},
        {"sender": "nobody"},
        {"sender": "Shop <shop@example.org>, x@example.org"},
        {"sender": "Shop\r\n <shop@example.org>"},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        msgspec.structs.replace(SETTINGS, **wrong)


@pytest.mark.parametrize(
    ("change", "unfit"),
    [
        ({}, []),
        ({"security": "tls", "port": 465}, []),
        ({"port": 25}, []),
        ({"port": 2525}, []),
        ({"security": "none"}, ["security"]),
        ({"port": 22}, ["port"]),
        ({"security": "none", "port": 6379}, ["port", "security"]),
    ],
    ids=str,
)
def test_clear_text_and_ports_that_are_not_for_mail_are_unfit_for_a_public_server(
    change: dict[str, Any], unfit: list[str]
) -> None:
    assert sorted(msgspec.structs.replace(SETTINGS, **change).unfit_in_public()) == unfit


def test_the_simulator_gets_no_credentials() -> None:
    simulated = SMTP.simulated(SETTINGS, SimulatorAddress("http://127.0.0.1:1", "127.0.0.1", 2525))
    assert (simulated.server, simulated.port, simulated.security) == ("127.0.0.1", 2525, "none")
    assert (simulated.username, simulated.password, simulated.sender) == (None, None, SETTINGS.sender)
