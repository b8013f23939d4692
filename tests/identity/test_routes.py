"""`/v1/recipients` as a client sees it."""

from typing import Any

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.identity.routes import versions

from .conftest import Client

ANN = {
    "external_id": "crm-1",
    "identifiers": [
        {"kind": "email", "value": "Ann@Example.org", "verified": True},
        {"kind": "phone", "value": "+43 1 234567"},
    ],
    "traits": {"plan": "pro"},
    "locale": "de-at",
    "time_zone": "Europe/Vienna",
}


def email(value: str, **more: Any) -> dict[str, Any]:
    return {"identifiers": [{"kind": "email", "value": value}], **more}


async def post(http: httpx.AsyncClient, body: Any, path: str = "/v1/recipients", **headers: str) -> httpx.Response:
    return await http.post(path, json=body, headers=headers)


async def test_a_recipient_is_made_found_and_read(client: Client) -> None:
    http = await client()
    made = await post(http, ANN)
    again = await post(http, email("ann@example.org"))
    assert (made.status_code, made.json()["created"]) == (201, True)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["id"] == made.json()["id"]
    read = await http.get(f"/v1/recipients/{made.json()['id']}")
    body = read.json()
    assert read.headers["etag"] == '"1"'
    assert body["external_id"] == "crm-1"
    assert (body["locale"], body["time_zone"], body["traits"]) == ("de-AT", "Europe/Vienna", {"plan": "pro"})
    assert {(one["kind"], one["value"], one["verified"]) for one in body["identifiers"]} == {
        ("email", "Ann@example.org", True), ("phone", "+431234567", False),
    }  # fmt: skip
    assert body["created_at"] == "2026-11-21T09:00:00.000Z"


async def test_two_recipients_matched_is_409(client: Client) -> None:
    http = await client()
    await post(http, email("ann@example.org"))
    await post(http, email("bob@example.org"))
    both = {"identifiers": [{"kind": "email", "value": f"{name}@example.org"} for name in ("ann", "bob")]}
    answer = await post(http, both)
    assert (answer.status_code, answer.json()["code"]) == (409, "identity_conflict")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        (email("ann"), "/identifiers/0/value"),
        ({"identifiers": [{"kind": "pigeon", "value": "x"}]}, "/identifiers/0/kind"),
        (email("ann@example.org", locale="no language"), "/locale"),
        (email("ann@example.org", time_zone="Mars/Olympus"), "/time_zone"),
        (email("ann@example.org", colour="red"), "/colour"),
        ({"external_id": "a", "identifiers": [{"kind": "external_id", "value": "b"}]}, ""),
        (email("ann@example.org", traits={"a": "x" * 40_000}), "/traits"),
    ],
)
async def test_a_wrong_body_is_422_at_its_place(client: Client, body: dict[str, Any], pointer: str) -> None:
    answer = await post(await client(), body)
    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_a_list_is_newest_first_in_pages_and_finds_by_identifier(client: Client) -> None:
    http = await client()
    made = [(await post(http, email(f"ann{n}@example.org", external_id=f"crm-{n}"))).json()["id"] for n in range(5)]
    first = (await http.get("/v1/recipients?limit=3")).json()
    second = (await http.get(f"/v1/recipients?limit=3&cursor={first['next_cursor']}")).json()
    assert [one["id"] for one in [*first["data"], *second["data"]]] == made[::-1]
    assert second["next_cursor"] is None
    for query in ("email=ANN2@example.org", "external_id=crm-2"):
        found = (await http.get(f"/v1/recipients?{query}")).json()
        assert [one["id"] for one in found["data"]] == [made[2]]
    assert (await http.get("/v1/recipients?email=nobody@example.org")).json() == {"data": [], "next_cursor": None}
    for wrong in ("email=ann", "email=a@example.org&external_id=1", "cursor=x", "limit=0"):
        assert (await http.get(f"/v1/recipients?{wrong}")).status_code == 400, wrong


async def test_a_phone_number_is_found_with_an_unencoded_plus(client: Client) -> None:
    http = await client()
    made = await post(http, ANN)
    for query in ("phone=+431234567", "phone=%2B431234567"):
        found = (await http.get(f"/v1/recipients?{query}")).json()["data"]
        assert [one["id"] for one in found] == [made.json()["id"]]


async def test_a_patch_holds_to_the_version_it_names(client: Client) -> None:
    http = await client()
    path = f"/v1/recipients/{(await post(http, ANN)).json()['id']}"
    done = await http.patch(
        path, json={"traits": {"plan": None, "age": 7}, "locale": None}, headers={"If-Match": '"1"'}
    )
    assert (done.status_code, done.headers["etag"], done.json()["version"]) == (200, '"2"', 2)
    assert (done.json()["traits"], done.json()["locale"]) == ({"age": 7}, None)
    late = await http.patch(path, json={"locale": "en"}, headers={"If-Match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
    free = await http.patch(path, json={"locale": "en"}, headers={"If-Match": "*"})
    assert free.json()["version"] == 3


@pytest.mark.parametrize(
    ("header", "accepted"),
    [(None, None), ("*", None), ('"3"', {3}), ('W/"3", "4"', {3, 4}), ("3", set()), ('"x"', set()), ("", set())],
)
def test_if_match_names_versions(header: str | None, accepted: set[int] | None) -> None:
    assert versions(header) == accepted


async def test_a_batch_answers_each_item_in_order(client: Client) -> None:
    http = await client()
    await post(http, email("ann@example.org", external_id="crm-1"))
    items = [
        email("bob@example.org"),
        email("broken"),
        email("ann@example.org", external_id="crm-2"),
        email("BOB@example.org", traits={"n": 1}),
    ]
    answer = await post(http, {"items": items}, "/v1/recipients/batch")
    data = answer.json()["data"]
    assert answer.status_code == 200
    assert [(one["index"], one["status"]) for one in data] == [(0, 201), (1, 422), (2, 409), (3, 200)]
    assert data[0]["id"] == data[3]["id"]
    assert data[1]["error"]["errors"][0]["pointer"] == "/items/1/identifiers/0/value"
    assert data[2]["error"]["code"] == "identity_conflict"


async def test_an_item_of_a_batch_is_done_once_for_its_key(client: Client) -> None:
    http = await client()
    item = email("ann@example.org", idempotency_key="one")
    first = (await post(http, {"items": [item, item]}, "/v1/recipients/batch")).json()["data"]
    assert [one["status"] for one in first] == [201, 201]
    other = email("bob@example.org", idempotency_key="one")
    second = (await post(http, {"items": [item, other]}, "/v1/recipients/batch")).json()["data"]
    assert [one["status"] for one in second] == [201, 409]
    assert second[0]["id"] == first[0]["id"]
    assert second[1]["error"]["code"] == "idempotency_key_reused"


async def test_a_malformed_item_may_come_again_corrected_with_its_key(client: Client) -> None:
    http = await client()
    for value, status in (("ann", 422), ("ann@example.org", 201)):
        item = email(value, idempotency_key="one")
        [one] = (await post(http, {"items": [item]}, "/v1/recipients/batch")).json()["data"]
        assert one["status"] == status


async def test_a_batch_has_1_to_1000_items(client: Client) -> None:
    http = await client()
    for items in ([], [email("ann@example.org")] * 1001):
        assert (await post(http, {"items": items}, "/v1/recipients/batch")).status_code == 422


async def test_an_idempotency_key_makes_an_upsert_once(client: Client) -> None:
    http = await client()
    first = await post(http, ANN, **{"Idempotency-Key": "k"})
    again = await post(http, ANN, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotent-replay"] == "true"


async def test_another_workspace_or_mode_never_sees_a_recipient(client: Client) -> None:
    mine = await client()
    path = f"/v1/recipients/{(await post(mine, ANN)).json()['id']}"
    for theirs in (await client(workspace="rival"), await client(mode="test")):
        assert (await post(theirs, ANN)).status_code == 201
        assert (await theirs.get(path)).status_code == 404
        assert (await theirs.patch(path, json={"locale": "en"})).status_code == 404
        listed = (await theirs.get("/v1/recipients")).json()["data"]
        found = (await theirs.get("/v1/recipients?external_id=crm-1")).json()["data"]
        assert path.rpartition("/")[2] not in [one["id"] for one in [*listed, *found]]
        assert len(listed) == len(found) == 1


async def test_an_id_that_is_none_is_404(client: Client) -> None:
    http = await client()
    for wrong in ("x", "msg_01h455vb4pex5vsknk084sn02q", "rcp_01h455vb4pex5vsknk084sn02q"):
        assert (await http.get(f"/v1/recipients/{wrong}")).status_code == 404
        assert (await http.patch(f"/v1/recipients/{wrong}", json={})).status_code == 404


async def test_a_key_that_only_brings_data_in_reads_nothing(client: Client) -> None:
    ingest = await client(Role.INGEST)
    made = await post(ingest, ANN)
    assert made.json().keys() == {"id", "created", "version"}
    path = f"/v1/recipients/{made.json()['id']}"
    assert (await ingest.get(path)).status_code == 403
    assert (await ingest.patch(path, json={"locale": "en"})).status_code == 403
    assert (await (await client(Role.READONLY)).patch(path, json={"locale": "en"})).status_code == 403
