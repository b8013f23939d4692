"""`/v1/recipients/{id}/history` and `?as_of=` as a client sees them."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.core.clock import FakeClock
from tabellion.identity.history_routes import moment

from .conftest import Client

ANN: dict[str, Any] = {
    "external_id": "crm-1",
    "identifiers": [{"kind": "email", "value": "ann@example.org"}],
    "traits": {"plan": "pro"},
}


async def ann(http: httpx.AsyncClient) -> str:
    """The path of a new recipient."""
    return f"/v1/recipients/{(await http.post('/v1/recipients', json=ANN)).json()['id']}"


async def lives(http: httpx.AsyncClient, clock: FakeClock) -> tuple[str, list[Any]]:
    """A recipient with four versions, a minute apart, and how each was read."""
    path = await ann(http)
    read = [(await http.get(path)).json()]
    for change in ({"traits": {"plan": None}}, {"locale": "de"}, {"traits": {"home": {"city": "Wien"}}}):
        clock.advance(timedelta(minutes=1))
        read.append((await http.patch(path, json=change)).json())
    return path, read


async def test_history_says_what_changed_from_what_by_whom(client: Client, clock: FakeClock) -> None:
    http = await client()
    path, _ = await lives(http, clock)
    data = (await http.get(f"{path}/history")).json()["data"]
    assert [one["version"] for one in data] == [4, 3, 2, 1]
    assert data[1] == {
        "version": 3,
        "changed_at": "2026-11-21T09:02:00.000Z",
        "source": "api",
        "actor": data[3]["actor"],
        "changed": ["/locale"],
        "changes": [{"field": "/locale", "from": None, "to": "de"}],
    }
    assert data[3]["actor"].startswith("key_")
    assert data[2]["changes"] == [{"field": "/traits/plan", "from": "pro", "to": None}]
    began = {"/traits/plan": "pro", "/external_id": "crm-1"}
    began |= {"/identifiers": {"kind": "email", "value": "ann@example.org", "verified": False}}
    assert {one["field"]: one["to"] for one in data[3]["changes"]} == began
    assert {one["from"] for one in data[3]["changes"]} == {None}


async def test_history_is_read_in_pages(client: Client, clock: FakeClock) -> None:
    http = await client()
    path, _ = await lives(http, clock)
    found, query = [], "?limit=2"
    while True:
        page = (await http.get(f"{path}/history{query}")).json()
        found += [one["version"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert found == [4, 3, 2, 1]
    assert (await http.get(f"{path}/history?cursor=x")).status_code == 400


async def test_as_of_shows_what_was_read_then(client: Client, clock: FakeClock) -> None:
    http = await client()
    path, read = await lives(http, clock)
    for one in read:
        then = await http.get(path, params={"as_of": one["updated_at"]})
        assert (then.status_code, then.json()) == (200, one)
        assert "etag" not in then.headers
    for end in ("", "/history"):
        early = await http.get(f"{path}{end}", params={"as_of": "2026-11-21T08:59:59.999Z"})
        assert (early.status_code, early.json()["code"]) == (404, "recipient_not_found")
    upto = (await http.get(f"{path}/history", params={"as_of": read[1]["updated_at"]})).json()["data"]
    assert [one["version"] for one in upto] == [2, 1]
    assert (await http.get(path)).headers["etag"] == '"4"'


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21", "2026-11-21T09:00:00", "", "0001-01-01T00:00:00+09:00"])
async def test_a_moment_that_is_none_is_400(client: Client, text: str) -> None:
    http = await client()
    path = await ann(http)
    for end in ("", "/history"):
        answer = await http.get(f"{path}{end}", params={"as_of": text})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_a_moment_has_a_zone_and_its_plus_may_be_unencoded() -> None:
    assert moment("2026-11-21T10:00:00 01:00") == moment("2026-11-21T09:00:00Z")
    assert moment(None) is None


async def test_two_changes_of_one_version_are_one_version_and_one_412(client: Client) -> None:
    http = await client()
    path = await ann(http)
    changes = [http.patch(path, json={"locale": one}, headers={"If-Match": '"1"'}) for one in ("de", "en", "fr")]
    answers = await asyncio.gather(*changes)
    assert sorted(one.status_code for one in answers) == [200, 412, 412]
    [won] = [one.json() for one in answers if one.status_code == 200]
    data = (await http.get(f"{path}/history")).json()["data"]
    assert [one["version"] for one in data] == [2, 1]
    assert data[0]["changes"] == [{"field": "/locale", "from": None, "to": won["locale"]}]


async def test_a_batch_names_its_key(client: Client) -> None:
    http = await client()
    [made] = (await http.post("/v1/recipients/batch", json={"items": [ANN]})).json()["data"]
    [entry] = (await http.get(f"/v1/recipients/{made['id']}/history")).json()["data"]
    assert entry["actor"].startswith("key_")


async def test_history_is_of_its_side_and_for_those_who_may_read(client: Client) -> None:
    http = await client()
    path = await ann(http)
    for theirs in (await client(workspace="rival"), await client(mode="test")):
        assert (await theirs.get(f"{path}/history")).status_code == 404
        assert (await theirs.get(path, params={"as_of": "2026-11-21T09:00:00Z"})).status_code == 404
    assert (await (await client(Role.INGEST)).get(f"{path}/history")).status_code == 403
    assert (await http.get("/v1/recipients/rcp_01h455vb4pex5vsknk084sn02q/history")).status_code == 404


async def test_history_of_a_field_says_who_set_it_and_when(client: Client, clock: FakeClock) -> None:
    http = await client()
    path, read = await lives(http, clock)
    other = await client()
    clock.advance(timedelta(minutes=1))
    await other.patch(path, json={"traits": {"home": {"zip": "1010"}}})

    async def of(field: str, **more: Any) -> list[Any]:
        page = (await http.get(f"{path}/history", params={"field": field, **more})).json()
        return [(one["version"], one["changed"]) for one in page["data"]]

    assert await of("/traits/home/city") == [(4, ["/traits/home"])]
    assert await of("/traits/home") == [(5, ["/traits/home/zip"]), (4, ["/traits/home"])]
    assert await of("/traits/plan") == [(2, ["/traits/plan"]), (1, ["/traits/plan"])]
    assert await of("/traits/plan", limit=1) == [(2, ["/traits/plan"])]
    assert await of("/traits/plan", as_of=read[0]["updated_at"]) == [(1, ["/traits/plan"])]
    assert await of("/traits/pla") == []
    latest = (await http.get(f"{path}/history?limit=2")).json()["data"]
    assert latest[0]["actor"] != latest[1]["actor"]
