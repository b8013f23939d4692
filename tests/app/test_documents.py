"""Health, metrics, the OpenAPI document and its page."""

import json
import re
from collections.abc import Sequence
from typing import Any

import httpx
import jsonschema
import pytest

from tabellion.access.routes import ROUTES
from tabellion.access.types import Role
from tabellion.app.http import create_app

PROBLEM = "application/problem+json"


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem a response is, checked for its form."""
    assert response.headers["content-type"] == PROBLEM
    said: dict[str, Any] = response.json()
    assert said["status"] == response.status_code
    assert said["type"] == "urn:tabellion:problem:" + said["code"]
    assert set(said) <= {"type", "title", "status", "code", "detail", "errors"}
    assert "Traceback" not in response.text
    return said


# health, metrics, documents


async def test_live_and_ready(new_hub):
    reasons: list[str] = []

    async def ready() -> Sequence[str]:
        return reasons

    hub = new_hub(ready=ready)
    async with hub.client() as client:
        assert (await client.get("/health/live")).json() == {"status": "live"}
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        reasons.append("the spool is not drained")
        response = await client.get("/health/ready")
        assert (await client.get("/health/live")).status_code == 200
    assert (response.status_code, problem(response)["code"]) == (503, "not_ready")
    assert "the spool" in problem(response)["detail"]


@pytest.mark.parametrize("path", ["/metrics", "/docs"])
@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {"Host": "[::1]:8080"}, 200),
        ("127.0.0.1", {"Host": "localhost"}, 200),
        ("203.0.113.9", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 401),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}, 401),
        ("127.0.0.1", {"Host": "rebound.example"}, 401),
    ],
)
async def test_metrics_and_docs_need_a_key_from_elsewhere(hub, new_secret, path, address, headers, status):
    headers = {"Host": "127.0.0.1:8080"} | headers
    async with hub.client(address=address) as client:
        assert (await client.get(path, headers=headers)).status_code == status
    async with hub.client(await new_secret(Role.READONLY), address) as client:
        assert (await client.get(path, headers=headers)).status_code == 200


async def test_metrics_from_elsewhere_need_the_scope(hub, new_secret):
    async with hub.client(await new_secret(Role.INGEST)) as client:
        assert (await client.get("/metrics")).status_code == 403


async def test_the_page_of_documents_loads_nothing(hub, key):
    async with hub.client(key) as client:
        response = await client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.findall(r"<script|<link|<img|src=|@import|url\(|https?://", response.text)
    assert "/v1/hot" in response.text


@pytest.fixture
async def document(hub) -> dict[str, Any]:
    async with hub.client() as client:
        return (await client.get("/openapi.json")).json()


async def test_the_document_describes_hot_and_typed_routes_alike(document):
    made = {path: document["paths"][path]["post"] for path in ("/v1/hot", "/v1/cold")}
    for operation in made.values():
        body = operation["requestBody"]["content"]["application/json"]
        assert body == {"schema": {"$ref": "#/components/schemas/Thing"}, "example": {"name": "x"}}
        answer = operation["responses"]["201"]["content"]["application/json"]["schema"]
        assert answer == {"$ref": "#/components/schemas/Made"}
        assert {"400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503"} <= set(
            operation["responses"]
        )
        names = {one["$ref"].rpartition("/")[2] for one in operation["parameters"]}
        assert names == {"Idempotency-Key", "Tabellion-Version"}
        assert operation["x-scope"] == "messages:write"
    thing = document["components"]["schemas"]["Thing"]
    assert thing["additionalProperties"] is False
    assert thing["required"] == ["name"]
    assert "get" in document["paths"]["/v1/hot"]


async def test_the_document_says_who_may_call_and_where(document, hub):
    assert document["openapi"] == "3.1.0"
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert "security" not in document["paths"]["/v1/hot"]["get"]
    assert document["servers"] == [{"url": "/"}]
    public = create_app(hub.edge, ROUTES, public_url="https://hub.example")
    transport = httpx.ASGITransport(app=public)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "https://hub.example"}]


async def test_every_reference_of_the_document_leads_somewhere(document):
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place: Any = document
        for step in reference.split("/"):
            place = place[step]
        assert place


async def test_every_example_is_what_its_schema_says(document):
    checked = 0
    for item in document["paths"].values():
        for operation in item.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schema = {**content["schema"], "components": document["components"]}
                jsonschema.validate(content["example"], schema)
                checked += 1
    for response in document["components"]["responses"].values():
        content = response["content"][PROBLEM]
        jsonschema.validate(content["example"], {**content["schema"], "components": document["components"]})
    assert checked >= 4


async def test_the_document_names_every_way_to_be_refused(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            expected = {"400", "429", "500", "503"}
            if not path.startswith("/health"):
                expected |= {"401", "403"}
            if len(operation["parameters"]) > 1 or "{" in path:
                expected.add("404")
            if method in ("post", "delete"):
                expected |= {"409", "413"}
            if "requestBody" in operation:
                expected |= {"404", "415", "422"}
            assert expected <= operation["responses"].keys(), (method, path)
