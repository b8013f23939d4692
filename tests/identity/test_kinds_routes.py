"""Kinds of identifiers as a client sees them."""

from typing import Any

import pytest

from .conftest import Client

POINT = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
TOKEN = "dQw4w9WgXcQ:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
ENDPOINT = "https://push.example/w/1"
DEVICE = {"platform": "android", "provider": "fcm", "app": "com.example.shop", "permission": "granted"}
KEYS = {"p256dh": POINT, "auth": "A" * 22}


def one(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "value": value, **more}


ALL = [
    one("phone", "+43 660 1234567"),
    one("whatsapp", "436601234567"),
    one("device", TOKEN, device=DEVICE),
    one("webpush", ENDPOINT, keys=KEYS),
    one("wallet", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"),
    one("anonymous", "visitor-1"),
    one("external:crm", "C-1042"),
]


async def test_every_kind_goes_in_and_is_shown(client: Client) -> None:
    http = await client()
    made = (await http.post("/v1/recipients", json={"identifiers": ALL})).json()
    shown = (await http.get(f"/v1/recipients/{made['id']}")).json()["identifiers"]
    by_kind = {item["kind"]: item for item in shown}
    assert set(by_kind) == {item["kind"] for item in ALL}
    assert (by_kind["phone"]["line"], by_kind["whatsapp"]["value"]) == ("mobile", "+436601234567")
    assert by_kind["device"]["device"] == DEVICE
    assert (by_kind["webpush"]["value"], "keys" in by_kind["webpush"]) == (ENDPOINT, False)
    assert by_kind["wallet"]["value"] == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    assert {(item["health"], item["health_reason"]) for item in shown} == {("ok", None)}
    assert "line" not in by_kind["anonymous"]


async def test_a_recipient_is_found_by_any_kind(client: Client) -> None:
    http = await client()
    made = (await http.post("/v1/recipients", json={"identifiers": ALL})).json()["id"]
    for item in ALL:
        asked = {"kind": item["kind"], "value": item["value"]}
        found = (await http.get("/v1/recipients", params=asked)).json()["data"]
        assert [person["id"] for person in found] == [made], item
    assert (await http.get("/v1/recipients?kind=external:erp&value=C-1042")).json()["data"] == []
    for wrong in ("kind=device", "value=x", "kind=fax&value=1", "kind=anonymous&value=1&external_id=1"):
        assert (await http.get(f"/v1/recipients?{wrong}")).status_code == 400, wrong


@pytest.mark.parametrize(
    ("item", "code", "pointer"),
    [
        (one("email", "test@test.com"), "identifier_blocked", "/identifiers/0/value"),
        (one("external:crm", "null"), "identifier_blocked", "/identifiers/0/value"),
        (one("wallet", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), "invalid_identifier", "/identifiers/0/value"),
        (one("device", TOKEN), "invalid_identifier", "/identifiers/0/device"),
        (one("email", "ann@example.org", keys=KEYS), "invalid_identifier", "/identifiers/0/keys"),
        (one("webpush", ENDPOINT, keys={**KEYS, "auth": "AAAA"}), "invalid_identifier", "/identifiers/0/keys"),
        (one("external:CRM", "1"), None, "/identifiers/0/kind"),
        (one("device", TOKEN, device={**DEVICE, "platform": "tv"}), None, "/identifiers/0/device/platform"),
    ],
)
async def test_what_is_wrong_is_said_at_its_place(
    client: Client, item: dict[str, Any], code: str | None, pointer: str
) -> None:
    answer = await (await client()).post("/v1/recipients", json={"identifiers": [item]})
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert code in (None, answer.json()["code"])


async def test_too_many_of_a_kind_are_refused(client: Client) -> None:
    http = await client()
    some = [one("external:crm", "1"), *(one("email", f"ann{number}@example.org") for number in range(10))]
    assert (await http.post("/v1/recipients", json={"identifiers": some})).status_code == 201
    for further in (one("email", "eleven@example.org"), one("external:crm", "2")):
        body = {"identifiers": [one("email", "ann1@example.org"), further]}
        answer = await http.post("/v1/recipients", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "too_many_identifiers")
    body = {"items": [{"identifiers": [one("email", "ann1@example.org"), one("email", "eleven@example.org")]}]}
    [entry] = (await http.post("/v1/recipients/batch", json=body)).json()["data"]
    assert (entry["status"], entry["error"]["code"]) == (422, "too_many_identifiers")
