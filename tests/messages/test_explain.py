"""Messages as a client sees them: send, read, list, timeline, explain; and who does not see them."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from tabellion.access.service import create_workspace
from tabellion.core import ids
from tabellion.messages.store import Filter
from tabellion.messages.types import Success, Trigger
from tabellion.providers.base import Reason, Rejected

from .conftest import ANN, HOUR, MINUTE, NUMBER, OTHER_NUMBER, World, mail, sms

NOT_MOBILE = "+15005550009"
BODY = {
    "to": {"email": "Ann@Example.org"},
    "purpose": "transactional",
    "content": {"subject": "A subject of ours", "text": "the quick brown fox"},
    "tags": ["order"],
    "metadata": {"order": 17},
}


async def post(http: httpx.AsyncClient, body: Any = BODY, **headers: str) -> httpx.Response:
    return await http.post("/v1/messages", json=body, headers=headers)


async def get(http: httpx.AsyncClient, message: UUID | str, part: str = "") -> Any:
    shown = ids.show("msg", message) if isinstance(message, UUID) else message
    answer = await http.get(f"/v1/messages/{shown}{part}")
    assert answer.status_code == 200, answer.text
    return answer.json()


# Sending


async def test_the_smallest_call_works(world: World) -> None:
    async with await world.http() as http:
        answer = await post(http)
        accepted = answer.json()
        assert answer.status_code == 202
        assert set(accepted) == {"id", "status", "recipient_id", "plan", "reason"}
        assert (accepted["status"], accepted["plan"][0]["channel"]) == ("queued", "email")
        await world.run()
        shown = await get(http, accepted["id"])
    assert (shown["status"], shown["final"], shown["reason"]) == ("sent", True, None)
    assert (shown["tags"], shown["metadata"]) == (["order"], {"order": 17})
    [step] = shown["steps"]
    [attempt] = step["attempts"]
    assert {"id", "account_id", "provider", "channel", "state", "provider_message_id", "reason", "started_at",
            "ended_at"} <= set(attempt)  # fmt: skip
    assert (attempt["state"], attempt["started_at"]) == ("submitted", "2026-11-21T09:00:00.000Z")
    assert len(await world.mails("Ann@example.org")) == 1


async def test_a_route_in_the_api_is_the_plan(world: World) -> None:
    await world.person(ANN, NUMBER)
    account = ids.show("acc", await world.simulated("twilio"))
    steps = [
        {"channel": "sms", "accounts": [account], "success": "delivered", "within": "PT1H30M", "on": ["timeout"]},
        {"channel": "email"},
    ]
    async with await world.http() as http:
        answer = (await post(http, {**BODY, "to": {"phone": NUMBER}, "route": {"steps": steps}})).json()
    first, second = answer["plan"]
    assert first == {**steps[0], "within": "PT5400S"}
    assert (second["success"], "timeout" in second["on"], len(second["on"])) == ("submitted", False, 8)


async def test_a_person_that_may_not_be_reached_is_no_error(world: World) -> None:
    async with await world.http() as http:
        answer = await post(http, {**BODY, "purpose": "marketing"})
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (202, "suppressed", "no_consent")


async def test_no_purpose_is_refused_with_those_there_are(world: World) -> None:
    async with await world.http() as http:
        answer = await post(http, {key: value for key, value in BODY.items() if key != "purpose"})
        unknown = await post(http, {**BODY, "purpose": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (422, "purpose_required")
    assert "transactional" in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/purpose"
    assert (unknown.status_code, unknown.json()["code"]) == (422, "purpose_unknown")


async def test_a_repeated_request_is_one_message(world: World) -> None:
    async with await world.http() as http:
        first = await post(http, **{"Idempotency-Key": "order 17"})
        again = await post(http, **{"Idempotency-Key": "order 17"})
        other = await post(http, {**BODY, "tags": []}, **{"Idempotency-Key": "order 17"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replay"] == "true"
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    [row] = await world.rows("select count(*) from messages")
    assert row[0] == 1


async def test_requests_at_once_with_one_key_are_one_message(world: World) -> None:
    async with await world.http() as http:
        answers = await asyncio.gather(*(post(http, **{"Idempotency-Key": "k"}) for _ in range(12)), post(http))
    assert {one.status_code for one in answers} == {202}
    assert len({one.json()["id"] for one in answers[:12]}) == 1
    [row] = await world.rows("select count(*) from messages")
    assert row[0] == 2


async def test_a_refusal_for_nobody_is_kept_as_the_answer_and_makes_nobody(world: World) -> None:
    body = {**BODY, "create": False}
    async with await world.http() as http:
        refused = await post(http, body, **{"Idempotency-Key": "k"})
        await world.person("Ann@example.org")
        again = await post(http, body, **{"Idempotency-Key": "k"})
        anew = await post(http, body)
    assert (refused.status_code, again.status_code, anew.status_code) == (404, 404, 202)


# Timeline and explanation


async def test_the_timeline_says_what_happened_in_order_and_how_it_is_known(world: World) -> None:
    message = await world.sent(NUMBER)
    async with await world.http() as http:
        entries = (await get(http, message, "/timeline"))["data"]
    assert [one["type"] for one in entries] == [
        "message.queued", "attempt.submitted", "message.sent", "attempt.sent", "attempt.delivered", "message.delivered",
    ]  # fmt: skip
    answered, reported = entries[1]["data"], entries[4]["data"]
    assert (answered["normaliser"], answered["raw_ref"]) == ("twilio/1", None)
    assert answered["received_at"] == "2026-11-21T09:00:00.000Z"
    [callback, _] = [row["id"] for row in await world.rows("select id from callbacks order by id desc")]
    assert (reported["normaliser"], reported["raw_ref"]) == ("twilio/1", ids.show("cbk", callback))
    assert {"attempt", "recipient", "message", "channel", "reason", "permanent", "provider_code", "occurred_at"} <= set(
        reported
    )
    assert reported["attempt"]["state"] == "delivered"


async def test_a_vendors_clock_that_is_ahead_changes_no_order(world: World) -> None:
    account = await world.account("silent")
    message = await world.sent(NUMBER, sms(accounts=(account,)))
    [attempt] = await world.attempts(message)
    ahead = world.clock.now() + 26 * HOUR
    event = {"type": "status", "message_id": attempt.provider_message_id, "state": "delivered", "at": ahead.isoformat()}
    assert await world.fake_report(account, event) == 204
    await world.run()
    async with await world.http() as http:
        entries = (await get(http, message, "/timeline"))["data"]
    reported = next(one for one in entries if one["type"] == "attempt.delivered")
    assert reported["data"]["occurred_at"] == "2026-11-22T11:00:00.000Z"
    assert reported["data"]["received_at"] == "2026-11-21T09:00:00.000Z"
    assert entries[-1]["type"] == "message.delivered"
    assert (await world.attempts(message))[0].ended_at == world.clock.now()


async def test_the_timeline_tells_of_fallback_and_why(world: World) -> None:
    person = await world.person(ANN, NOT_MOBILE)
    message = await world.sent(person, sms(), mail())
    async with await world.http() as http:
        entries = (await get(http, message, "/timeline"))["data"]
    [fell_back] = [one["data"] for one in entries if one["type"] == "message.fell_back"]
    assert (fell_back["from_step"], fell_back["to_step"], fell_back["on"]) == (0, 1, "rejected")
    assert fell_back["reason"] == "invalid_address"


async def test_the_explanation_is_one_record_of_plan_decisions_and_attempts(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    granted = await world.decide(ANN, "granted", "email", "transactional")
    withdrawn = await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    message = await world.sent(person, sms(), mail())
    async with await world.http() as http:
        why = await get(http, message, "/explain")
    assert (why["rule"], why["status"], why["purpose"]) == ("route", "sent", "transactional")
    assert [(one["channel"], one["verdict"]["verdict"]) for one in why["candidates"]] == [
        ("sms", "denied"), ("email", "allowed"),
    ]  # fmt: skip
    [decision] = why["decisions"]
    assert (decision["step"], decision["log_index"], decision["rule"]) == (0, withdrawn.log_index, decision["rule"])
    assert decision["entry"] == ids.show("cns", withdrawn.id or UUID(int=0))
    [attempted] = why["attempts"]
    assert (attempted["decision"]["verdict"], attempted["decision"]["log_index"]) == ("allowed", granted.log_index)


async def test_the_explanation_of_an_auto_route_names_what_was_not_chosen(world: World) -> None:
    message = await world.sent(await world.person(ANN))
    async with await world.http() as http:
        why = await get(http, message, "/explain")
    passed = {one["channel"]: one["reason"] for one in why["candidates"] if not one["chosen"]}
    assert (why["rule"], passed) == ("auto", {"push": "no_address", "sms": "no_address", "whatsapp": "no_address"})


async def test_the_explanation_tells_of_a_limit_that_passed(world: World) -> None:
    person = await world.person(ANN, "+15005551999")
    step = sms(success=Success.DELIVERED, within=MINUTE, on=frozenset(Trigger))
    message = await world.sent(person, step, mail())
    await world.pass_time(MINUTE)
    async with await world.http() as http:
        why = await get(http, message, "/explain")
    [decision] = why["decisions"]
    assert (decision["stage"], decision["step"], decision["reason"]) == ("time_limit", 0, "timeout")
    assert decision["at"].startswith("2026-11-21T09:01:00")


# Who sees it


async def test_another_tenant_and_the_other_side_see_nothing(world: World) -> None:
    rival = await world.db.run(lambda tx: create_workspace(tx, "rival"))
    message = await world.sent(NUMBER, tags=("order",))
    [attempt] = await world.attempts(message)
    shown = ids.show("msg", message)
    recipient = ids.show("rcp", (await world.message(message)).recipient_id)
    queries = (
        "", "?tag=order", f"?provider_message_id={attempt.provider_message_id}", "?channel=sms", "?status=delivered",
        f"?recipient={recipient}",
    )  # fmt: skip
    async with await world.http() as ours, await world.http(of=rival) as theirs, await world.http("live") as live:
        for http in (theirs, live):
            assert (await post(http, {**BODY, "to": {"phone": NUMBER}, "tags": ["order"]})).status_code == 202
            for part in ("", "/timeline", "/explain"):
                assert (await http.get(f"/v1/messages/{shown}{part}")).status_code == 404
            for query in queries:
                found = (await http.get(f"/v1/messages{query}")).json()["data"]
                assert shown not in [one["id"] for one in found]
            assert (await post(http, {**BODY, "to": recipient})).status_code == 404
        for query in queries:
            assert [one["id"] for one in (await ours.get(f"/v1/messages{query}")).json()["data"]] == [shown], query


async def test_no_address_no_content_and_no_secret_leaves_its_seal(world: World) -> None:
    account = await world.account("reject", name="ours")
    world.wire.script.append(Rejected(Reason.OTHER, f"the number {NUMBER} is not ours"))
    person = await world.person(ANN, NUMBER)
    async with await world.http() as http:
        message = (await post(http, {
            **BODY,
            "to": {"phone": NUMBER},
            "route": {"steps": [{"channel": "sms", "accounts": [ids.show("acc", account)]}, {"channel": "email"}]},
        })).json()["id"]  # fmt: skip
        await world.run()
        said = json.dumps([await get(http, message, part) for part in ("", "/timeline", "/explain")])
    rows = [
        str(dict(row))
        for table in ("messages", "attempts", "events", "jobs", "delayed", "dead_letters", "callbacks")
        for row in await world.rows(f"select to_jsonb(t) - 'content' - 'raw' as row from {table} t")
    ]
    for words in ("quick brown", "subject of ours", "our secret", ANN, NUMBER, NUMBER[1:], "Ann@"):
        assert words not in said
        assert not [row for row in rows if words in row]
        assert words not in world.lines.getvalue()
    assert person


async def test_lists_filter_and_page_newest_first(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    sent = [await world.sent(person, sms() if number % 2 else mail(), tags=(f"t{number}",)) for number in range(5)]
    denied = await world.send(ANN, purpose="marketing")
    shown = [ids.show("msg", one) for one in sent]
    async with await world.http() as http:

        async def listed(query: str) -> list[str]:
            return [one["id"] for one in (await http.get(f"/v1/messages?{query}")).json()["data"]]

        assert await listed("") == [ids.show("msg", denied), *reversed(shown)]
        assert await listed("channel=sms") == [shown[3], shown[1]]
        assert await listed("tag=t2") == [shown[2]]
        assert await listed("purpose=marketing&status=suppressed") == [ids.show("msg", denied)]
        assert await listed(f"recipient={ids.show('rcp', person)}&channel=email") == [shown[4], shown[2], shown[0]]
        [attempt] = await world.attempts(sent[3])
        assert await listed(f"provider_message_id={attempt.provider_message_id}") == [shown[3]]
        assert await listed("provider_message_id=nothing") == []
        first = (await http.get("/v1/messages?limit=4")).json()
        second = (await http.get(f"/v1/messages?limit=4&cursor={first['next_cursor']}")).json()
        assert [one["id"] for one in first["data"] + second["data"]] == await listed("")
        assert second["next_cursor"] is None
        assert (await http.get("/v1/messages?status=nonsense")).status_code in (400, 422)
        assert (await http.get("/v1/messages?status=")).status_code == 400


async def test_lists_take_a_person_as_requests_do_and_an_address(world: World) -> None:
    """Lists took ids only, and a person had to be looked up before."""
    person = await world.person(ANN, NUMBER)
    mailed, texted = [ids.show("msg", await world.sent(person, step)) for step in (mail(), sms())]
    await world.sent(OTHER_NUMBER, sms())
    denied = ids.show("msg", await world.send(ANN, purpose="marketing"))
    async with await world.http() as http:

        async def listed(**query: str) -> list[str]:
            answer = await http.get("/v1/messages", params=query)
            assert answer.status_code == 200, answer.text
            return [one["id"] for one in answer.json()["data"]]

        for whose in (
            ids.show("rcp", person),
            json.dumps({"id": ids.show("rcp", person)}),
            json.dumps({"email": ANN.upper()}),
            json.dumps({"phone": NUMBER}),
            json.dumps({"identifier": {"kind": "phone", "value": NUMBER}}),
        ):
            assert await listed(recipient=whose) == [denied, texted, mailed], whose
        assert await listed(address=ANN) == [denied, mailed], "what was planned for it, sent or not"
        assert await listed(address=NUMBER) == await listed(address=" " + NUMBER[1:]) == [texted]
        assert await listed(address=NUMBER, status="sent", recipient=json.dumps({"email": ANN})) == []
        assert await listed(address=NUMBER, recipient=json.dumps({"email": ANN})) == [texted]
        assert await listed(address=OTHER_NUMBER, recipient=json.dumps({"email": ANN})) == []
        people = await world.rows("select count(*) as number from recipients")
        for nobody in ({"recipient": json.dumps({"email": "nobody@example.org"})}, {"address": "nobody@example.org"},
                       {"recipient": ids.show("rcp", ids.new())}, {"recipient": '{"external_id": "x"}'}):  # fmt: skip
            assert await listed(**nobody) == []
        assert await world.rows("select count(*) as number from recipients") == people, "who asks makes nobody"
        for wrong in ({"recipient": ""}, {"recipient": "rcp_x"}, {"recipient": ANN}, {"recipient": "{}"},
                      {"recipient": '{"mail": 1}'}, {"recipient": "{"}, {"address": "12"}, {"address": ""},
                      {"recipient": '{"email": "a@b.org", "phone": "+43"}'}):  # fmt: skip
            answer = await http.get("/v1/messages", params=wrong)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter"), wrong


async def test_a_person_is_listed_with_what_was_sent_before_a_merge(world: World) -> None:
    """What an address-only recipient was refused keeps its id: the list of the whole person left it out."""
    await world.decide(OTHER_NUMBER, "withdrawn", "sms")
    refused = ids.show("msg", await world.send(OTHER_NUMBER, purpose="marketing"))
    await world.person(ANN)
    person = await world.person(ANN, OTHER_NUMBER)
    async with await world.http() as http:
        for query in ({"recipient": ids.show("rcp", person)}, {"address": OTHER_NUMBER}):
            found = (await http.get("/v1/messages", params=query)).json()["data"]
            assert [one["id"] for one in found] == [refused], query


async def test_what_is_no_message_is_not_found(world: World) -> None:
    async with await world.http() as http:
        for path in ("msg_x", "att_01m7yqjpkze1wac2tcywed9ytc", "msg_" + "z" * 26, "%00"):
            for part in ("", "/timeline", "/explain"):
                assert (await http.get(f"/v1/messages/{path}{part}")).status_code in (400, 404), path


async def test_what_a_list_shows_does_not_cost_what_was_said(world: World) -> None:
    """Lists, reports and time limits read the content of every message, up to a megabyte each."""
    message = await world.send(ANN, send_at=world.clock.now() + timedelta(hours=1))
    assert (await world.message(message)).content == b""
    [(listed, _)] = await world.db.run(
        lambda tx: world.hub.messages.page(tx, world.side, Filter(), before=None, limit=5)
    )
    assert listed.content == b""
    found = await world.db.run(lambda tx: world.hub.messages.progress(tx, [(world.side, message)]))
    assert found[world.side, message].message.content == b""
