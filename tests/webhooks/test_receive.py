"""Receiving: what a person decided, and the raw bytes, are durable before the vendor hears yes."""

import asyncio
import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tabellion.access.service import create_workspace
from tabellion.consent.service import MOST, Consent
from tabellion.core import ids
from tabellion.core.http import HttpRequest
from tabellion.core.simulation import simulated_secret
from tabellion.simulators.twilio import signed
from tabellion.webhooks.sealing import context
from tabellion.webhooks.types import Raw

from .conftest import ACCOUNT, ANN, NUMBER, OTHER_NUMBER, World, fake_callback

OURS = "+15005550006"


async def inbound(world: World, body: str = "STOP", person: str = NUMBER, **more: str) -> HttpRequest:
    """A text to us, as Twilio reports it."""
    fields = {"AccountSid": ACCOUNT, "MessageSid": f"SM{1:032x}", "From": person, "To": OURS, "Body": body,
              "NumMedia": "0", "SmsStatus": "received"}  # fmt: skip
    return signed(ACCOUNT, await world.callback_url(await world.simulated("twilio")), {**fields, **more})


async def count(world: World, table: str) -> int:
    [row] = await world.rows(f"select count(*) from {table}")
    return int(row[0])


def said(number: int, person: str, signal: str | None = "stop", **more: Any) -> dict[str, Any]:
    """An inbound event of the fake vendor's."""
    return {"id": f"e{number}", "type": "inbound", "channel": "sms", "from": person, "to": "us", "text": "stop",
            "signal": signal, **more}  # fmt: skip


# Decisions


async def test_a_stop_is_in_the_signed_tree_when_the_callback_is_answered(world: World) -> None:
    person = await world.person(NUMBER)
    await world.sent(NUMBER)
    answer = await world.vendor("POST", "/twilio/control/inbound", {"from": NUMBER, "body": "STOP"})
    assert answer["callback_status"] == 200
    [entry] = await world.rows("select recipient_id, channel, purpose, decision, method from consent_entries")
    assert tuple(entry) == (person, "phone_messaging", "*", "withdrawn", "keyword")
    checkpoint = await world.db.run(lambda tx: world.hub.ledger.checkpoint(tx, world.side))
    assert checkpoint.splitlines()[1] == "1"
    refused = await world.status(await world.send(NUMBER))
    assert refused[0] == "suppressed"


async def test_a_vendor_that_handles_keywords_blocks_on_its_side_too(world: World) -> None:
    await world.post(await inbound(world))
    [block] = await world.rows("select sender from vendor_blocks")
    assert block["sender"] == OURS
    assert (await world.status(await world.send(NUMBER, purpose="security")))[0] == "suppressed"


async def test_a_stop_from_nobody_we_know_stands_on_the_number(world: World) -> None:
    await world.post(await inbound(world))
    assert await world.db.run(lambda tx: world.hub.recipients.page(tx, world.side, None, 10)) == []
    assert (await world.status(await world.send(NUMBER)))[0] == "suppressed"


async def test_the_entry_names_the_callback_it_rests_on(world: World) -> None:
    await world.post(await inbound(world))
    [event] = await world.rows("select data from events where type = 'consent.withdrawn'")
    assert event["data"]["consent"]["source"] == "twilio"
    assert await count(world, "callbacks") == 1


@pytest.mark.parametrize("words", ["HELP", "YES", "Thanks, stop by any time"])
async def test_other_words_decide_nothing(world: World, words: str) -> None:
    assert await world.post(await inbound(world, words)) == 200
    assert await count(world, "consent_entries") == 0
    await world.run()
    [event] = await world.rows("select data from events where type = 'inbound.received'")
    assert (event["data"]["channel"], event["data"]["provider"]) == ("sms", "twilio")


async def test_a_stop_of_one_tenants_is_not_anothers(world: World) -> None:
    rival = await world.db.run(lambda tx: create_workspace(tx, "rival"))
    await world.accept(world.a_send(NUMBER), side=rival.test)
    await world.post(await inbound(world))
    assert (await world.status(await world.send(NUMBER)))[0] == "suppressed"
    [theirs] = await world.accept(world.a_send(NUMBER), side=rival.test)
    assert theirs.status == "queued"
    rows = await world.rows(
        "select distinct workspace_id from consent_entries union select workspace_id from callbacks"
    )
    assert [row[0] for row in rows] == [world.side]


async def test_several_signals_of_one_body_are_recorded_in_order(world: World) -> None:
    account = await world.account()
    events = [
        said(1, NUMBER),
        said(2, OTHER_NUMBER),
        said(3, ANN, "complained", channel="email"),
        said(4, NUMBER, "help"),
    ]
    assert await world.fake_report(account, *events) == 204
    rows = await world.rows("select log_index, channel, method from consent_entries order by log_index")
    assert [tuple(row) for row in rows] == [
        (0, "phone_messaging", "keyword"), (1, "phone_messaging", "keyword"), (2, "*", "complaint"),
    ]  # fmt: skip


async def test_a_body_with_more_signals_than_the_ledger_takes_at_once_is_taken_whole(world: World) -> None:
    """It was answered 500, and so would every repetition have been."""
    account = await world.account()
    events = [said(number, f"+1202556{number:04d}") for number in range(MOST + 44)]
    assert await world.fake_report(account, *events) == 204
    [row] = await world.rows("select count(*), max(log_index) from consent_entries")
    assert tuple(row) == (MOST + 44, MOST + 43)


async def test_a_signal_that_names_nobody_is_said_and_loses_no_other(world: World) -> None:
    """It was dropped without a word."""
    account = await world.account()
    assert await world.fake_report(account, said(1, "12345"), said(2, NUMBER), said(3, "not a number")) == 204
    assert await count(world, "consent_entries") == 1
    events = await world.rows("select data from events where type = 'signal.refused' order by position")
    assert [(one["data"]["signal"], one["data"]["code"]) for one in events] == [("stop", "invalid_identifier")] * 2
    assert events[0]["data"]["callback"].startswith("cbk_")
    assert "12345" not in str(events[0]["data"])


async def test_words_that_no_column_takes_do_not_keep_a_stop_from_being_recorded(world: World) -> None:
    """A NUL in our own number, of all places, made the callback fail for ever."""
    assert await world.post(await inbound(world, To="+1500\0" + "5" * 3000, OptOutType="STOP\0", Body="STOP")) == 200
    assert await count(world, "consent_entries") == 1


# Once


async def test_a_callback_that_comes_twice_is_stored_and_decides_once(world: World) -> None:
    request = await inbound(world)
    assert [await world.post(request) for _ in range(3)] == [200, 200, 200]
    assert (await count(world, "callbacks"), await count(world, "consent_entries")) == (1, 1)
    await world.run()
    assert [await world.post(request), await count(world, "callbacks")] == [200, 1]


async def test_callbacks_at_once_that_are_one_are_stored_once(world: World) -> None:
    request, other = await inbound(world), await inbound(world, person=OTHER_NUMBER)
    answers = await asyncio.gather(*(world.post(one) for one in (request, other) * 12))
    assert set(answers) == {200}
    assert (await count(world, "callbacks"), await count(world, "consent_entries")) == (2, 2)
    rows = await world.rows("select payload from jobs")
    assert sorted(one for row in rows for one in row["payload"]["callbacks"]) == sorted(
        row["id"].hex for row in await world.rows("select id from callbacks")
    )


async def test_one_callback_signed_with_the_old_and_the_new_secret_is_one(world: World) -> None:
    sid = f"AC{7:032x}"
    settings = {"account_sid": sid, "auth_token": "new token", "secondary_auth_token": "old token", "from": OURS}
    account = await world.account(provider="twilio", settings=settings, side=world.workspace.live)
    url = f"{world.url}/in/twilio/{ids.show('acc', account)}"
    fields = {"AccountSid": sid, "MessageSid": f"SM{1:032x}", "From": NUMBER, "To": OURS, "Body": "STOP"}
    answers = [await world.post(_twilio(url, fields, token)) for token in ("old token", "new token", "another")]
    assert answers == [200, 200, 401]
    assert (await count(world, "callbacks"), await count(world, "consent_entries")) == (1, 1)


# Nothing lost, nothing by halves


async def test_what_cannot_be_recorded_is_not_acknowledged_and_can_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Consent, *args: Any) -> Any:
        raise RuntimeError("the process ends here")

    request = await inbound(world)
    with monkeypatch.context() as patched:
        patched.setattr(Consent, "record_signals", broken)
        assert await world.post(request) == 500
    assert (await count(world, "callbacks"), await count(world, "jobs")) == (0, 0)
    assert await world.post(request) == 200
    assert (await count(world, "callbacks"), await count(world, "consent_entries")) == (1, 1)


async def test_one_callback_that_cannot_be_recorded_does_not_take_its_neighbours_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Consent.record_signals

    async def choosy(self: Consent, tx: Any, workspace_id: Any, signals: Any) -> Any:
        if any(one.address == OTHER_NUMBER for one in signals):
            raise RuntimeError("not this one")
        return await record(self, tx, workspace_id, signals)

    monkeypatch.setattr(Consent, "record_signals", choosy)
    people = [NUMBER, OTHER_NUMBER, "+12025550133", "+12025550144"]
    answers = await asyncio.gather(*[world.post(await inbound(world, person=one)) for one in people])
    assert answers == [200, 500, 200, 200]
    assert (await count(world, "callbacks"), await count(world, "consent_entries")) == (3, 3)


async def test_the_raw_bytes_are_kept_sealed_and_can_be_read_again(world: World) -> None:
    request = await inbound(world, "quick brown STOP")
    await world.post(request)
    [row] = await world.rows("select id, raw, callbacks::text as row from callbacks")
    for words in (NUMBER[1:], "brown"):
        assert words not in row["row"]
        assert words.encode() not in row["raw"]
    key = await world.db.run(lambda tx: world.hub.around.vault.workspace(tx, world.side, "callbacks"))
    raw = msgspec.json.decode(key.open(row["raw"], context(row["id"])), type=Raw)
    assert (raw.body, raw.url, raw.method) == (request.body, request.url, "POST")
    assert raw.headers["x-twilio-signature"] == request.headers["X-Twilio-Signature"]


async def test_a_stop_is_sealed_for_the_person_who_said_it(world: World) -> None:
    person = await world.person(NUMBER)
    request = await inbound(world, "quick brown STOP", OptOutType="STOP")
    await world.post(request)
    [row] = await world.rows("select id, raw, recipient_id from callbacks")
    assert row["recipient_id"] == person
    keys = await world.db.run(lambda tx: world.hub.around.vault.subjects(tx, world.side, [person]))
    raw = msgspec.json.decode(keys[person].open(row["raw"], context(row["id"])), type=Raw)
    assert raw.body == request.body
    await world.run()
    [row] = await world.rows("select state, recipient_id from callbacks")
    assert tuple(row) == ("normalised", person)
    assert len(await world.rows("select id from events where type = 'inbound.received'")) == 1


async def test_a_body_with_two_peoples_decisions_is_sealed_for_neither(world: World) -> None:
    await world.fake_report(await world.account(), said(1, NUMBER), said(2, OTHER_NUMBER))
    [row] = await world.rows("select recipient_id from callbacks")
    assert row["recipient_id"] is None


async def test_nothing_of_a_person_is_in_the_events_or_the_log(world: World) -> None:
    await world.post(await inbound(world, "quick brown fox"))
    await world.post(await inbound(world))
    await world.run()
    rows = [str(dict(row)) for row in await world.rows("select data from events union all select payload from jobs")]
    for words in (NUMBER[1:], "quick brown"):
        assert not [row for row in rows if words in row]
        assert words not in world.lines.getvalue()


# The test side


async def test_a_test_account_is_called_by_the_simulator_whatever_its_own_secret_is(world: World) -> None:
    sid = f"AC{9:032x}"
    settings = {"account_sid": sid, "auth_token": "a real token", "from": OURS}
    account = await world.account(provider="twilio", settings=settings)
    url = await world.callback_url(account)
    fields = {"AccountSid": sid, "MessageSid": f"SM{1:032x}", "From": NUMBER, "To": OURS, "Body": "STOP"}
    assert await world.post(_twilio(url, fields, "a real token")) == 401
    assert await world.post(_twilio(url, fields, simulated_secret("twilio", sid))) == 200


async def test_a_disabled_account_still_hears(world: World) -> None:
    request = await inbound(world)
    await world.disable(await world.simulated("twilio"))
    assert await world.post(request) == 200
    assert await count(world, "consent_entries") == 1


async def test_a_vendors_time_beyond_the_calendar_is_no_time(world: World) -> None:
    """It raised, and the callback was answered 500 for ever."""
    account = await world.account()
    events = [said(1, NUMBER, at="0001-01-01T00:00:00+14:00"), said(2, OTHER_NUMBER, at="9999-12-31T23:59:59-14:00")]
    assert await world.post(fake_callback(await world.callback_url(account), events, world.clock.now())) == 204
    assert await count(world, "consent_entries") == 2


def _twilio(url: str, fields: dict[str, str], token: str) -> HttpRequest:
    """A callback of Twilio's, signed with a token."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    return HttpRequest("POST", url, headers, urlencode(fields).encode())
