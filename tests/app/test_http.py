"""The HTTP edge: admission, bodies, refusals, limits, headers, log."""

import json
import re
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.access.bodies import MAX_BODY
from tabellion.access.limits import Limits
from tabellion.access.types import KeyOptions, Role
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.errors import Conflict, FieldError, HubError, Invalid, Unavailable

from .problems import BOTH, PROBLEM, problem

# admission


@BOTH
async def test_a_request_is_made_with_a_key(hub, key, path):
    async with hub.client(key) as client:
        response = await client.post(path, json={"name": "x"})
    assert (response.status_code, response.json()) == (201, {"id": "thing_1", "name": "x"})
    assert response.headers["content-type"] == "application/json"


@BOTH
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer x", "Bearer tbl_live_x_y_z"])
async def test_without_a_key_nothing_is_done(hub, deed, path, header):
    async with hub.client() as client:
        headers = {} if header is None else {"Authorization": header}
        response = await client.post(path, content=b"not even JSON", headers=headers)
    assert response.status_code == 401
    assert problem(response)["code"] in ("missing_key", "invalid_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert deed.done == []


@BOTH
async def test_a_key_needs_the_scope(hub, new_secret, deed, path):
    async with hub.client(await new_secret(Role.READONLY)) as client:
        response = await client.post(path, content=b"not even JSON")
    assert response.status_code == 403
    assert problem(response)["code"] == "scope_missing"
    assert "messages:write" in problem(response)["detail"]


async def test_a_key_bound_to_networks_is_refused_from_elsewhere(hub, new_secret):
    bound = await new_secret(Role.READONLY, "live", KeyOptions(networks=(ip_network("203.0.113.0/24"),)))
    for address, status in (("203.0.113.9", 200), ("198.51.100.1", 401)):
        async with hub.client(bound, address) as client:
            assert (await client.get("/v1/hot")).status_code == status
    assert hub.logged()[-1]["address"] == "198.51.100.1"


async def test_the_scheme_of_authorization_is_read_in_any_case(hub, key):
    async with hub.client() as client:
        assert (await client.get("/v1/hot", headers={"Authorization": f"bearer {key}"})).status_code == 200


# parameters


@BOTH
@pytest.mark.parametrize("query", ["dry_run=1", "name=x", "x", "x=%00", "caller=me", "data=x"])
@pytest.mark.parametrize("again", [{}, {"Idempotency-Key": "k"}])
async def test_a_parameter_a_route_does_not_have_is_refused(hub, key, deed, path, query, again):
    """Hot routes took any: `?dry_run=1` sent the message."""
    async with hub.client(key) as client:
        response = await client.post(f"{path}?{query}", json={"name": "x"}, headers=again)
        unknown = await client.post(f"{path}?{query}", json={"name": "x"}, headers={"Authorization": "Bearer x"})
        plain = await client.post(f"{path}?", json={"name": "x"}, headers=again)
    assert response.status_code == 400
    assert problem(response)["code"] in ("invalid_parameter", "null_character")
    assert unknown.status_code in (400, 401)
    assert (plain.status_code, deed.done) == (201, ["x"])


@pytest.mark.parametrize("query", ["sizes=1", "thing_id=x", "caller=me", "request=1", "edge=1", "size=1&size=2"])
async def test_what_a_route_is_given_is_no_parameter_of_it(hub, key, query):
    """`?caller=…` passed as known, because the function has an argument of that name."""
    async with hub.client(key) as client:
        for path in ("/v1/hot", f"/v1/hot/{ids.show('msg', ids.new())}"):
            response = await client.get(f"{path}?{query}")
            assert (response.status_code, problem(response)["status"]) == (400, 400), path
        assert (await client.get("/v1/hot?size=3")).json()["name"] == "3"
        told = problem(await client.get("/v1/hot?sizes=3"))
    assert told["detail"].endswith("it has size")


# addresses


@pytest.mark.parametrize("path", ["/v1/keys/batch", "/v1/hot/cancel", "/v1/hot/cancel/"])
async def test_a_word_where_an_id_would_stand_is_no_address(hub, key, path):
    """What is not built yet answered 405, because it looked like a thing's address; it is 404."""
    async with hub.client(key) as client:
        answer = await client.post(path, json={})
        there = await client.post(f"/v1/hot/{ids.show('msg', ids.new())}", json={})
        known = await client.put("/v1/cold", json={})
    assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert [one.status_code for one in (there, known)] == [405, 405]
    assert "POST" in known.headers["allow"]


@BOTH
async def test_a_compressed_body_is_not_taken(hub, key, deed, path):
    async with hub.client(key) as client:
        answer = await client.post(path, json={"name": "x"}, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, deed.done) == (415, [])
    assert "Content-Encoding" in problem(answer)["detail"]


# bodies


@BOTH
@pytest.mark.parametrize(
    ("content", "status", "code", "place"),
    [
        (b"", 400, "malformed_json", None),
        (b"{", 400, "malformed_json", None),
        (b'{"name": ' + b"[" * 100_000, 400, "too_deep", None),
        (b'{"name": "x", "parts": [' + b"[" * 50 + b"]" * 51 + b"}", 400, "too_deep", None),
        (b'{"name": "\\u0000"}', 400, "null_character", None),
        (b"{}", 422, "invalid_request", "/name"),
        (b"[]", 422, "invalid_request", ""),
        (b'{"name": 1}', 422, "invalid_request", "/name"),
        (b'{"name": "x", "parts": [1, "2"]}', 422, "invalid_request", "/parts/1"),
        (b'{"name": "x", "more": 1}', 422, "invalid_request", "/more"),
        (b'{"name": "' + b"x" * MAX_BODY + b'"}', 413, "body_too_large", None),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
async def test_a_wrong_body_is_refused_alike_on_hot_and_typed_routes(
    hub, key, deed, path, content, status, code, place
):
    async with hub.client(key) as client:
        response = await client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    said = problem(response)
    assert said["code"] == code
    assert [one["pointer"] for one in said.get("errors", [])] == ([] if place is None else [place])
    assert deed.done == []


@BOTH
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
async def test_other_media_types_are_415(hub, key, path, kind):
    async with hub.client(key) as client:
        response = await client.post(path, content=b'{"name":"x"}', headers={"Content-Type": kind})
    assert (response.status_code, problem(response)["code"]) == (415, "unsupported_media_type")


@BOTH
async def test_a_body_in_pieces_is_bounded_too(hub, key, path):
    async def pieces():
        for _ in range(20):
            yield b" " * 100_000

    async with hub.client(key) as client:
        response = await client.post(path, content=pieces(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413


@BOTH
async def test_a_client_that_leaves_is_no_fault(hub, key, deed, path):
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b'{"na', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": headers, "client": ("203.0.113.9", 1), "server": ("x", 1), "scheme": "http", "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await hub.front(scope, receive, send)
    assert sent[0]["status"] == 400
    assert deed.done == []
    assert [line["event"] for line in hub.logged()] == ["request"]


# refusals


@BOTH
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Conflict("taken", "take another"), 409, "taken"),
        (Unavailable("database_away", "try again"), 503, "database_away"),
        (RuntimeError("secret postgresql://u:p@h/d"), 500, "internal"),
        (HubError("unreadable", "a sealed value (x) does not open", 500), 500, "unreadable"),
        (TimeoutError(), 429, "timed_out"),
    ],
)
async def test_what_work_raises_becomes_a_problem(hub, key, deed, path, error, status, code):
    deed.raises = error
    async with hub.client(key) as client:
        response = await client.post(path, json={"name": "x"})
    assert (response.status_code, problem(response)["code"]) == (status, code)
    assert "secret" not in response.text
    assert "sealed" not in response.text


@BOTH
async def test_a_fault_is_logged_with_its_place_and_without_its_words(hub, key, deed, path):
    deed.raises = RuntimeError("ann@example.org")
    async with hub.client(key) as client:
        response = await client.post(path, json={"name": "x"})
    fault, request = hub.logged()
    assert (fault["event"], fault["level"], fault["error"]["type"]) == ("request.failed", "error", "RuntimeError")
    assert fault["error"]["at"][-1].startswith("conftest:")
    assert fault["request_id"] == request["request_id"] == response.headers["request-id"]
    assert "ann@" not in hub.lines.getvalue()


async def test_refused_places_are_shown(hub, key, deed):
    deed.raises = Invalid("invalid_name", "choose another", FieldError("/name", "is taken"))
    async with hub.client(key) as client:
        said = problem(await client.post("/v1/cold", json={"name": "x"}))
    assert said["errors"] == [{"pointer": "/name", "detail": "is taken"}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/hot/nonsense", 404), ("GET", "/v1/hot?size=10", 400),
     ("GET", "/v1/hot?size=x", 400),
     ("GET", "/v1/hot?size=1&size=2", 400), ("GET", "/v1/hot/%00", 400), ("GET", "/v1/hot?size=%00", 400),
     ("GET", "/-/framework/openapi.json", 404), ("GET", "/-/framework/x", 404), ("GET", "/schema", 404)],
)  # fmt: skip
async def test_the_frameworks_refusals_are_problems_too(hub, key, method, path, status):
    async with hub.client(key) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    problem(response)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/v1/hot", {"GET", "POST", "OPTIONS"}), ("GET", "/v1/cold", {"POST", "OPTIONS"}),
     ("POST", "/health/live", {"GET", "OPTIONS"}), ("BREW", "/v1/keys", {"GET", "POST", "OPTIONS"})],
)  # fmt: skip
async def test_a_wrong_method_is_told_the_right_ones(hub, key, method, path, allowed):
    async with hub.client(key) as client:
        response = await client.request(method, path)
        options = await client.options(path)
    assert (response.status_code, problem(response)["code"]) == (405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == allowed
    assert set(options.headers["allow"].split(", ")) == allowed


# limits, versions, headers


async def test_a_key_over_its_rate_is_told_when_to_come_back(hub, new_secret, clock: FakeClock):
    limited = await new_secret(Role.DEVELOPER, "live", KeyOptions(rate_limit=2))
    async with hub.client(limited) as client:
        answers = [await client.get("/v1/hot") for _ in range(3)]
        clock.advance(timedelta(seconds=0.5))
        later = await client.post("/v1/hot", json={"name": "x"})
    assert [one.status_code for one in [*answers, later]] == [200, 200, 429, 201]
    assert problem(answers[2])["code"] == "rate_limited"
    assert answers[2].headers["retry-after"] == "1"
    assert [one.headers["ratelimit-remaining"] for one in answers] == ["1", "0", "0"]
    assert later.headers["ratelimit-limit"] == "2"


async def test_an_installation_may_limit_every_key(new_hub, new_secret, clock: FakeClock):
    hub = new_hub(limits=Limits(clock, default=1))
    async with hub.client(await new_secret(Role.OWNER)) as client:
        assert [(await client.get("/v1/keys")).status_code for _ in range(2)] == [200, 429]


async def test_without_a_limit_there_are_no_limit_headers(hub, key):
    async with hub.client(key) as client:
        assert not [name for name in (await client.get("/v1/hot")).headers if name.startswith("ratelimit")]


@pytest.mark.parametrize("path", ["/v1/hot", "/v1/keys", "/health/live"])
async def test_an_unknown_version_is_refused_and_a_known_one_echoed(hub, new_secret, path):
    async with hub.client(await new_secret(Role.OWNER)) as client:
        unknown = await client.get(path, headers={"Tabellion-Version": "2020-01-01"})
        known = await client.get(path, headers={"Tabellion-Version": "2026-11-01"})
        unsaid = await client.get(path)
    assert (unknown.status_code, problem(unknown)["code"]) == (400, "unknown_version")
    assert known.headers["tabellion-version"] == unsaid.headers["tabellion-version"] == "2026-11-01"


@pytest.mark.parametrize("path", ["/v1/hot", "/nowhere", "/health/live", "/v1/keys"])
async def test_every_answer_is_closed_to_browsers_and_caches(hub, key, path):
    async with hub.client(key) as client:
        headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert re.fullmatch(r"req_[0-9a-f]{24}", headers["request-id"])
    assert "server" not in headers


# log and metrics


async def test_each_request_leaves_one_line_without_what_it_said(hub, key):
    thing = ids.show("msg", ids.new())
    async with hub.client(key) as client:
        await client.post("/v1/cold", json={"name": "ann"}, headers={"Idempotency-Key": "k"})
        await client.get(f"/v1/hot/{thing}")
        await client.get("/v1/hot/not-an-id")
    made, read, missed = hub.logged()
    assert (made["method"], made["route"], made["status"], made["mode"]) == ("POST", "/v1/cold", 201, "live")
    assert made["key"].startswith("key_")
    assert made["thing"] == "ann"  # what the route itself noted
    assert (read["route"], read["thing_id"]) == ("/v1/hot/{thing_id}", thing)
    assert (missed["status"], missed["code"], missed.get("thing_id")) == (404, "not_found", None)
    assert "example.org" not in hub.lines.getvalue()
    assert key not in hub.lines.getvalue()


async def test_requests_are_counted_by_route_not_by_address(hub, key):
    async with hub.client(key) as client:
        for path in ("/v1/hot/a", "/v1/hot/b", "/nowhere", "/nowhere/else"):
            await client.get(path)
        await client.post("/v1/hot", json={"name": "x"})
        await client.request("BREW", "/nowhere")
    text = hub.edge.metrics.render().decode()
    assert 'tabellion_http_requests_total{method="GET",route="/v1/hot/{thing_id}",status="404"} 2.0' in text
    assert 'tabellion_http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in text
    assert 'tabellion_http_requests_total{method="POST",route="/v1/hot",status="201"} 1.0' in text
    assert 'method="OTHER"' in text
    assert "BREW" not in text
    assert 'tabellion_http_refused_total{code="not_found"}' in text


# garbage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "X"]),
    path=st.sampled_from(["/v1/keys", "/v1/hot", "/v1/cold", "/v1/keys/{}", "/v1/keys/{}/rotate", "/v1/audit", "/{}"]),
    part=st.text(max_size=30),
    query=st.dictionaries(st.sampled_from(["limit", "cursor", "x"]), st.text(max_size=30), max_size=3),
    headers=st.dictionaries(
        st.sampled_from([b"content-type", b"idempotency-key", b"tabellion-version", b"host", b"content-length"]),
        st.one_of(st.just(b"application/json"), st.binary(max_size=20).map(lambda one: re.sub(rb"[\r\n\0]", b"", one))),
    ),
    body=st.one_of(
        st.binary(max_size=50),
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
            st.sampled_from(["role", "name", "scopes", "networks", "expires_at", "grace_seconds", "parts"]), inner),
            max_leaves=8).map(lambda one: json.dumps(one).encode()),
    ),
)  # fmt: skip
async def test_garbage_is_refused_and_never_a_fault(hub, new_secret, method, path, part, query, headers, body):
    secret = await new_secret(Role.OWNER)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    address = path.format(part)
    scope = {
        "type": "http", "method": method, "path": address, "raw_path": address.encode("utf-8", "replace"),
        "query_string": str(httpx.QueryParams(query)).encode(), "root_path": "", "scheme": "http",
        "headers": [(b"authorization", f"Bearer {secret}".encode()), *headers.items()],
        "client": ("203.0.113.9", 1), "server": ("x", 1), "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await hub.front(scope, receive, send)
    status = sent[0]["status"]
    assert status < 500, hub.logged()[-2:]
    if status >= 400:
        assert dict(sent[0]["headers"])[b"content-type"] == PROBLEM.encode()
        assert json.loads(b"".join(one.get("body", b"") for one in sent[1:]))["status"] == status
