"""`/in/{provider}/{account_id}`: who is let in, and what everybody else is told."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.accounts import store
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import AccountPatch
from tabellion.core import ids
from tabellion.core.http import HttpRequest
from tabellion.providers import ALL
from tabellion.simulators.twilio import signed

from .conftest import ACCOUNT, NUMBER, SECOND, SECRET, World, fake_callback

FIELDS = {"AccountSid": ACCOUNT, "MessageSid": f"SM{1:032x}", "From": NUMBER, "To": "+15005550006", "Body": "STOP"}


async def answered(world: World, request: HttpRequest, method: str = "POST") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(method, request.url, content=request.body, headers=dict(request.headers))


async def stored(world: World) -> int:
    [row] = await world.rows(
        """
        select (select count(*) from callbacks) + (select count(*) from jobs) + (select count(*) from consent_entries)
               + (select count(*) from recipients) + (select count(*) from events where type <> 'recipient.created')
        """
    )
    return int(row[0])


async def test_a_good_callback_is_answered_in_the_vendors_shape(world: World) -> None:
    url = await world.callback_url(await world.simulated("twilio"))
    answer = await answered(world, signed(ACCOUNT, url, FIELDS))
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/xml")
    assert answer.text.endswith("<Response></Response>")
    fake = await world.callback_url(await world.account())
    answer = await answered(world, fake_callback(fake, [], world.clock.now()))
    assert (answer.status_code, answer.content) == (204, b"")


FORGERIES: list[dict[str, Any]] = [
    {"headers": {"X-Twilio-Signature": "AAAA"}},
    {"headers": {"X-Twilio-Signature": ""}},
    {"drop": "X-Twilio-Signature"},
    {"body": b"AccountSid=AC1&Body=START"},
    {"query": "?attempt=att_x"},
    {"headers": {"Content-Type": "application/json"}},
    {"headers": {"Content-Type": "text/plain"}},
]


async def test_a_forged_callback_is_refused_counted_and_stored_nowhere(world: World) -> None:
    url = await world.callback_url(await world.simulated("twilio"))
    good = signed(ACCOUNT, url, FIELDS)
    before = await stored(world)
    for change in FORGERIES:
        headers = {**good.headers, **change.get("headers", {})}
        headers.pop(change.get("drop", ""), None)
        forged = HttpRequest("POST", good.url + change.get("query", ""), headers, change.get("body", good.body))
        answer = await answered(world, forged)
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature"), change
        assert answer.headers["content-type"] == "application/problem+json"
    assert await stored(world) == before
    counted = f'tabellion_callbacks_total{{outcome="forged",provider="twilio"}} {len(FORGERIES)}.0'
    assert counted in world.hub.around.metrics.render().decode()


async def test_a_callback_signed_for_one_account_is_refused_by_another(world: World) -> None:
    url = await world.callback_url(await world.simulated("twilio"))
    settings = {"account_sid": f"AC{9:032x}", "auth_token": "x", "from": "+15005550006"}
    other = await world.callback_url(await world.account(provider="twilio", settings=settings))
    good = signed(ACCOUNT, url, FIELDS)
    assert (await answered(world, HttpRequest("POST", other, good.headers, good.body))).status_code == 401
    assert (await answered(world, signed(ACCOUNT, other, FIELDS))).status_code == 401


async def test_a_signature_that_is_too_old_or_from_the_future_is_refused(world: World) -> None:
    """Nobody told the adapter when a callback arrived, so that one recorded years ago was let in."""
    url = await world.callback_url(await world.account())
    for seconds in (-86_400, -301, 301, 86_400):
        at = world.clock.now() + timedelta(seconds=seconds)
        answer = await answered(world, fake_callback(url, [{"type": "status", "message_id": "x"}], at))
        assert (answer.status_code, answer.json()["code"]) == (401, "stale_signature"), seconds
    assert (await answered(world, fake_callback(url, [], world.clock.now()))).status_code == 204
    assert len(await world.rows("select id from callbacks")) == 1


async def test_an_address_that_is_no_accounts_is_not_found(world: World) -> None:
    account = ids.show("acc", await world.simulated("twilio"))
    for place in ("twilio/acc_x", "smtp/{}", "fake/{}", "nonsense/{}", "twilio/msg_{}", "twilio/%00"):
        answer = await answered(world, signed(ACCOUNT, f"{world.url}/in/{place.format(account)}", FIELDS))
        assert answer.status_code in (400, 404), place
    assert await world.rows("select id from callbacks") == []


async def test_a_vendor_without_callbacks_is_refused(world: World) -> None:
    url = await world.callback_url(await world.simulated("smtp"))
    answer = await answered(world, HttpRequest("POST", url, {}, b"x"))
    assert (answer.status_code, answer.json()["code"]) == (401, "no_callbacks")


async def test_what_is_too_large_or_not_posted_is_refused(world: World) -> None:
    url = await world.callback_url(await world.simulated("twilio"))
    huge = HttpRequest("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, b"a=" + b"x" * (1 << 20))
    assert (await answered(world, huge)).status_code == 413
    assert (await answered(world, signed(ACCOUNT, url, FIELDS), "PUT")).status_code == 405
    assert await world.rows("select id from callbacks") == []


async def test_a_signed_body_that_says_nothing_is_stored_and_never_fails(world: World) -> None:
    """A body of nothing but brackets was answered 500."""
    url = await world.callback_url(await world.account())
    bodies = (b"", b"&&&===", b"\xff\xfe\x00", b"a=1&" * 300, b"[" * 100_000, b'{"events": [{"type": []}, 1, null]}')
    for body in bodies:
        empty = fake_callback(url, [], world.clock.now())
        stamp = empty.headers["Fake-Timestamp"]
        signature = hmac.digest(SECRET.encode(), f"{stamp}.".encode() + body, "sha256").hex()
        headers = {**empty.headers, "Fake-Signature": signature}
        assert (await answered(world, HttpRequest("POST", url, headers, body))).status_code == 204, body[:20]
    await world.run()
    assert [row["state"] for row in await world.rows("select state from callbacks")] == ["normalised"] * len(bodies)


async def test_the_public_address_is_what_is_signed_whoever_the_host_header_says(world: World) -> None:
    url = await world.callback_url(await world.simulated("twilio"))
    good = signed(ACCOUNT, url, FIELDS)
    behind = HttpRequest("POST", good.url, {**good.headers, "Host": "internal:1234"}, good.body)
    assert (await answered(world, behind)).status_code == 200


# Whose account, without asking each time


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[UUID]]:
    """What is asked of the accounts' table from here on."""
    asked: list[Sequence[UUID]] = []
    real = store.by_ids

    async def by_ids(tx: Any, wanted: Sequence[UUID]) -> Any:
        asked.append(list(wanted))
        return await real(tx, wanted)

    monkeypatch.setattr(store, "by_ids", by_ids)
    return asked


async def test_a_storm_of_callbacks_asks_for_its_account_once_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each opened a transaction before it was looked at, a stranger's too."""
    url = await world.callback_url(await world.account())
    nobodys = f"{world.url}/in/fake/{ids.show('acc', ids.new())}"
    asked = counting(monkeypatch)
    for turn in range(2):
        for number in range(5):
            request = fake_callback(url, [{"number": (turn, number)}], world.clock.now())
            forged = HttpRequest("POST", url, {}, b"x")
            strangers = fake_callback(nobodys, [], world.clock.now())
            assert [await world.post(one) for one in (request, forged, strangers)] == [204, 401, 404]
        assert len(asked) == 2 * (turn + 1)
        world.clock.advance(SECOND)


async def test_callbacks_at_once_ask_for_their_accounts_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await world.callback_url(await world.account())
    asked = counting(monkeypatch)
    requests = [fake_callback(url, [{"number": number}], world.clock.now()) for number in range(24)]
    assert set(await asyncio.gather(*map(world.post, requests))) == {204}
    assert all(len(one) == 1 for one in asked)
    assert len(asked) < len(requests) // 2


async def test_a_secret_changed_elsewhere_counts_within_a_second(world: World) -> None:
    account = await world.account()
    url = await world.callback_url(account)

    async def posted(secret: str, number: int) -> int:
        return await world.post(fake_callback(url, [{"number": number}], world.clock.now(), secret))

    assert await posted(SECRET, 1) == 204
    around = world.hub.around
    elsewhere = Accounts(around.vault, ALL, around.simulator, world.clock, world.hub.sides.mode_of)
    patch = AccountPatch(settings={"secret": "new"})
    await world.db.run(lambda tx: elsewhere.change(tx, world.caller(), account, patch))
    world.clock.advance(SECOND)
    assert (await posted(SECRET, 2), await posted("new", 3)) == (401, 204)


async def test_the_log_line_names_the_account_and_nobody(world: World) -> None:
    account = await world.simulated("twilio")
    await answered(world, signed(ACCOUNT, await world.callback_url(account), FIELDS))
    [line] = [json.loads(one) for one in world.lines.getvalue().splitlines() if "/in/" in one]
    assert (line["route"], line["status"], line["account_id"]) == (
        "/in/{provider}/{account_id}", 200, ids.show("acc", account),
    )  # fmt: skip
    assert (line["provider"], line["events"]) == ("twilio", 1)
    assert line["bytes_in"] > 100
