"""The mail simulator, with the standard library's client as an independent one."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tabellion.core.simulation import SimulatorAddress, simulated_secret
from tabellion.simulators.server import Simulators

MAIL = "From: shop@example.org\r\nTo: ann@example.org\r\nSubject: =?utf-8?q?H=C3=A9?=\r\n\r\nHello\r\n.dot\r\n"
Use = Callable[[smtplib.SMTP], Any]


async def talk(address: SimulatorAddress, use: Use) -> Any:
    """Run a conversation of the standard library's client in a thread."""

    def conversation() -> Any:
        with smtplib.SMTP(address.smtp_host, address.smtp_port, timeout=5) as client:
            return use(client)

    return await asyncio.to_thread(conversation)


async def mails(browser: httpx.AsyncClient, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await browser.get("/sim/smtp/control/mails", params=filters)).json()["data"]
    return found


def to(*recipients: str) -> Use:
    return lambda client: client.sendmail("shop@example.org", recipients, MAIL)


async def test_it_keeps_what_it_gets(address: SimulatorAddress, browser: httpx.AsyncClient) -> None:
    assert await talk(address, to("ann@example.org", "bob@example.org")) == {}
    first, second = await mails(browser)
    assert (first["mail_from"], first["to"], second["to"]) == ("shop@example.org", "ann@example.org", "bob@example.org")
    assert (first["headers"]["Subject"], first["text"], first["html"]) == ("Hé", "Hello\n.dot\n", None)
    assert (first["user"], first["encrypted"]) == (None, False)
    raw = await browser.get(f"/sim/smtp/control/mails/{first['number']}")
    assert raw.content.endswith(b"Hello\r\n.dot\r\n")
    assert [mail["to"] for mail in await mails(browser, to="bob@example.org")] == ["bob@example.org"]
    assert (await browser.delete("/sim/smtp/control")).status_code == 204
    assert await mails(browser) == []


@pytest.mark.parametrize(
    ("word", "code"), [("bounce", 550), ("full", 552), ("greylist", 450), ("busy", 421), ("Bounce+tag", 550)]
)
async def test_a_local_part_chooses_a_refusal(
    address: SimulatorAddress, browser: httpx.AsyncClient, word: str, code: int
) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        await talk(address, to(f"{word}@example.org"))
    assert caught.value.recipients[f"{word}@example.org"][0] == code
    assert await mails(browser) == []


async def test_spam_is_refused_after_the_content(address: SimulatorAddress, browser: httpx.AsyncClient) -> None:
    with pytest.raises(smtplib.SMTPDataError) as caught:
        await talk(address, to("spam@example.org"))
    assert caught.value.smtp_code == 554
    assert await mails(browser) == []


async def test_a_dropped_connection_keeps_the_mail(address: SimulatorAddress, browser: httpx.AsyncClient) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        await talk(address, to("drop@example.org"))
    assert len(await mails(browser)) == 1


async def test_starttls_and_login(
    address: SimulatorAddress, simulators: Simulators, browser: httpx.AsyncClient
) -> None:
    trust = ssl.create_default_context(cadata=simulators.certificate.pem.decode())

    def use(client: smtplib.SMTP) -> None:
        client.starttls(context=trust)
        client.login("ann", simulated_secret("smtp", "ann"))
        client.sendmail("shop@example.org", ["ann@example.org"], MAIL)

    await talk(address, use)
    assert [(mail["user"], mail["encrypted"]) for mail in await mails(browser)] == [("ann", True)]


async def test_nobody_trusts_its_certificate_by_default(address: SimulatorAddress) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(address, lambda client: client.starttls(context=ssl.create_default_context()))


async def test_a_wrong_password_is_535(address: SimulatorAddress) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        await talk(address, lambda client: client.login("ann", "wrong"))
    assert caught.value.smtp_code == 535


async def test_an_unreadable_mail_is_kept_too(address: SimulatorAddress, browser: httpx.AsyncClient) -> None:
    junk = b'Content-Type: multipart/mixed; boundary="x"\r\nSubject: \xff\xfe\r\n\r\n--y\r\n\x80\x81\r\n'
    await talk(address, lambda client: client.sendmail("a@example.org", ["b@example.org"], junk, ["BODY=8BITMIME"]))
    (kept,) = await mails(browser)
    assert (await browser.get(f"/sim/smtp/control/mails/{kept['number']}")).content == junk


async def test_memory_is_bounded(
    address: SimulatorAddress, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabellion.simulators.smtp.KEPT", 2)
    for number in range(4):
        await talk(address, to(f"r{number}@example.org"))
    assert [mail["to"] for mail in await mails(browser)] == ["r2@example.org", "r3@example.org"]
    monkeypatch.setattr("tabellion.simulators.smtp.KEPT_BYTES", 10)
    await talk(address, to("r5@example.org"))
    assert await mails(browser) == []
