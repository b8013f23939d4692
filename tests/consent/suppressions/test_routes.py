"""`/v1/suppressions`: list, add, end."""

from typing import Any

import httpx
import pytest
from tests.consent.conftest import decision, email
from tests.consent.http import World

from tabellion.access.types import Role
from tabellion.consent.types import Method, Rank, Recorded
from tabellion.consent.withdrawing import Withdrawal
from tabellion.core import ids
from tabellion.recipients.types import Kind

ANN, NUMBER = "ann@example.org", "+12025550111"
CHECK: dict[str, Any] = {"recipient": {"email": ANN}, "channel": "email", "purpose": "marketing"}
GRANT: dict[str, Any] = {
    "recipient": {"email": ANN}, "channel": "email", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "notice": {"id": "newsletter", "version": "3"},
    "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip


async def suppress(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await api.post("/v1/suppressions", json={"recipient": {"email": ANN}} | more)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def listed(api: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/v1/suppressions", params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def verdict(api: httpx.AsyncClient, **more: Any) -> str:
    said: str = (await api.post("/v1/consents/check", json=CHECK | more)).json()["verdict"]
    return said


async def test_whom_one_suppresses_is_denied_and_in_the_ledger(api: httpx.AsyncClient) -> None:
    made = await suppress(api)
    assert (made["decision"], made["log_index"], made["applied"]) == ("withdrawn", 0, True)
    assert await verdict(api) == "denied"
    [one] = await listed(api)
    assert (one["id"], one["channel"], one["purpose"], one["reason"]) == (made["id"], "email", "marketing", "withdrawn")
    assert (one["identifier"], one["removable"]) == ({"kind": "email", "value": ANN}, True)
    assert (await api.get(f"/v1/suppressions/{made['id']}")).json() == one


async def test_a_number_is_suppressed_where_stop_would(api: httpx.AsyncClient) -> None:
    await suppress(api, recipient={"phone": NUMBER}, reason="stop")
    phone = {"recipient": {"phone": NUMBER}}
    assert [await verdict(api, **phone, channel=one) for one in ("sms", "rcs", "voice")] == ["denied"] * 2 + ["unknown"]
    [one] = await listed(api)
    assert (one["channel"], one["reason"], one["removable"]) == ("phone_messaging", "objected", False)


async def test_the_list_is_searched(api: httpx.AsyncClient) -> None:
    first = await suppress(api)
    second = await suppress(api, recipient={"phone": NUMBER}, purpose="transactional", reason="manual")
    assert [one["id"] for one in await listed(api)] == [second["id"], first["id"]]
    for query, found in (
        ({"address": ANN}, first),
        ({"address": NUMBER}, second),
        ({"channel": "email"}, first),
        ({"purpose": "transactional"}, second),
        ({"reason": "denied"}, second),
        ({"reason": "withdrawn"}, first),
    ):
        assert [one["id"] for one in await listed(api, **query)] == [found["id"]], query
    assert await listed(api, address="bob@example.org") == []
    assert await listed(api, since="2100-01-01T00:00:00Z") == []
    page = (await api.get("/v1/suppressions?limit=1")).json()
    rest = (await api.get(f"/v1/suppressions?limit=1&cursor={page['next_cursor']}")).json()
    assert [one["id"] for one in page["data"] + rest["data"]] == [second["id"], first["id"]]


async def test_what_covers_the_person_is_found_by_each_of_their_addresses(api: httpx.AsyncClient, world: World) -> None:
    granted = (await api.post("/v1/consents", json=GRANT)).json()
    made = await suppress(api, recipient=granted["recipient_id"])
    [one] = await listed(api, address=ANN)
    assert (one["id"], one["channel"], one["whole_person"]) == (made["id"], "*", True)


async def test_ending_a_plain_one_leaves_nothing_said(api: httpx.AsyncClient, world: World) -> None:
    await api.post("/v1/consents", json=GRANT)
    made = await suppress(api)
    ended = await api.delete(f"/v1/suppressions/{made['id']}", params={"reason": "wrong list"})
    assert (ended.status_code, ended.json()["suppression"]) == (200, made["id"])
    assert await verdict(api) == "unknown", "what it ended does not come back"
    assert await listed(api) == []
    assert not (await api.get(f"/v1/suppressions/{made['id']}")).json()["standing"]
    entry = (await api.get(f"/v1/consents/{ended.json()['id']}?disclose=true")).json()
    assert (entry["decision"], entry["method"], entry["standing"]) == ("expired", "api", False)
    assert entry["record"]["evidence"] == {"entry": made["id"], "reason": "wrong list"}
    assert entry["record"]["identifier"] == {"kind": "email", "value": ANN}
    rows = await world.rows("select target from audit where workspace_id = $1 and action = 'suppression.ended'")
    assert [row["target"] for row in rows] == [made["id"]]
    again = await api.delete(f"/v1/suppressions/{made['id']}", params={"reason": "again"})
    assert (again.status_code, again.json()["code"]) == (409, "suppression_ended")


async def test_a_firm_one_is_ended_by_the_person_alone(api: httpx.AsyncClient) -> None:
    for body in ({"reason": "complaint"}, {"recipient": {"phone": NUMBER}, "reason": "stop"}):
        made = await suppress(api, **body)
        refused = await api.delete(f"/v1/suppressions/{made['id']}", params={"reason": "please"})
        assert (refused.status_code, refused.json()["code"]) == (409, "suppression_firm")
        assert "ask them" in refused.json()["detail"]


async def test_what_the_person_did_is_theirs(api: httpx.AsyncClient, world: World) -> None:
    side_hub = world.hub.beside(world.side)
    stopped = await side_hub.stop(NUMBER)
    assert stopped.id
    refused = await api.delete(f"/v1/suppressions/{ids.show('cns', stopped.id)}", params={"reason": "please"})
    assert (refused.status_code, refused.json()["code"]) == (409, "suppression_firm")
    assert "START" in refused.json()["detail"]
    [one] = await listed(api, address=NUMBER)
    assert (one["reason"], one["rank"], one["vendor_blocks"]) == ("stop", "P3", ["+15005550006"])


async def test_ending_takes_compliance_and_reading_addresses_a_scope(world: World, api: httpx.AsyncClient) -> None:
    made = await suppress(api)
    developer = await world.client(Role.DEVELOPER)
    refused = await developer.delete(f"/v1/suppressions/{made['id']}", params={"reason": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert (await developer.get("/v1/suppressions/export")).status_code == 403
    narrow = await world.client(Role.DEVELOPER, scopes=frozenset({"suppressions:read"}))
    assert (await listed(narrow))[0]["identifier"] == {"kind": "email"}
    compliance = await world.client(Role.COMPLIANCE)
    ended = await compliance.delete(f"/v1/suppressions/{made['id']}", params={"reason": "x"})
    assert ended.status_code == 200


async def test_many_are_suppressed_at_once(api: httpx.AsyncClient) -> None:
    items = [{"recipient": {"email": f"p{number}@example.org"}} for number in range(300)]
    items[7] = {"recipient": {"email": "no address"}}
    items[8] = {"recipient": {"email": "p8@example.org"}, "purpose": "nothing"}
    answer = await api.post("/v1/suppressions/batch", json={"items": items})
    said = answer.json()["data"]
    assert [one["index"] for one in said] == list(range(300))
    assert {one["index"]: one["status"] for one in said if one["status"] != 201} == {7: 422, 8: 422}
    assert said[7]["error"]["errors"][0]["pointer"].startswith("/items/7/recipient")
    assert len(await listed(api, limit=500)) == 298


@pytest.mark.parametrize("body", [{"reason": "hard_bounce"}, {"reason": "whim"}, {"channel": "phone_messaging"}])
async def test_what_is_no_suppression_is_refused(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await api.post("/v1/suppressions", json={"recipient": {"email": ANN}} | body)
    assert answer.status_code == 422


async def test_nothing_is_found_under_the_id_of_a_grant(api: httpx.AsyncClient) -> None:
    granted = (await api.post("/v1/consents", json=GRANT)).json()
    for answer in (
        await api.get(f"/v1/suppressions/{granted['id']}"),
        await api.delete(f"/v1/suppressions/{granted['id']}", params={"reason": "x"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "suppression_not_found")


async def test_what_the_person_refused_stays_theirs_when_a_key_says_it_after_them(
    api: httpx.AsyncClient, world: World
) -> None:
    """Who restricted anew what a person had withdrawn could then end it, and send what they had refused."""
    said = await withdrawn(world)
    made = await suppress(api, purpose="transactional")
    await api.delete(f"/v1/suppressions/{made['id']}", params={"reason": "wrong list"})
    assert await verdict(api, purpose="transactional") == "denied"
    assert [one["id"] for one in await listed(api)] == [said]


@pytest.mark.parametrize("link", [False, True])
async def test_what_a_key_said_before_them_does_not_speak_for_the_person(
    api: httpx.AsyncClient, world: World, link: bool
) -> None:
    """Their own word left no entry where a key's stood: whoever ended that could send what they had refused."""
    made = await suppress(api, purpose="transactional")
    said = await withdrawn(world, link=link)
    await api.delete(f"/v1/suppressions/{made['id']}", params={"reason": "wrong list"})
    assert await verdict(api, purpose="transactional") == "denied"
    assert [one["id"] for one in await listed(api)] == [said]


async def withdrawn(world: World, *, link: bool = False) -> str:
    """The person withdraws at the address that keys restrict, on a page or by a link in mail; the entry."""
    new = decision(email(ANN), "withdrawn", purpose="transactional", rank=Rank.PERSON)
    if link:
        hash_ = await world.hub.db.run(lambda tx: world.hub.recipients.hashed(tx, world.side, email(ANN)))
        assert hash_
        said = Withdrawal(hash_, Kind.EMAIL, [("email", "transactional")], Method.ONE_CLICK, "link")
        [[one]] = await world.hub.db.run(lambda tx: world.hub.consent.withdraw(tx, world.side, [said]))
    else:
        [one] = await world.hub.db.run(lambda tx: world.hub.consent.record(tx, world.side, [new], news_only=True))
    assert isinstance(one, Recorded)
    assert one.id
    return ids.show("cns", one.id)
