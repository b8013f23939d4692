"""The OpenAPI document of the whole hub against its decoders and the interface it promises."""

from collections.abc import AsyncIterator
from typing import Any, Final, get_args

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from msgspec.structs import fields

from tabellion.access.bodies import REQUIRED
from tabellion.app.openapi import document
from tabellion.app.routes import build
from tabellion.app.wiring import Surroundings, wire
from tabellion.core.config import Settings

MUST: Final = {
    "POST /v1/messages": {"to", "purpose", "content"},
    "POST /v1/consents": {"recipient", "channel", "purpose", "decision", "method", "source"},
    "POST /v1/consents/check": {"recipient", "channel", "purpose"},
    "POST /v1/recipients": set(),
    "POST /v1/recipients/{recipient_id}/merge": {"from", "reason"},
    "POST /v1/recipients/{recipient_id}/split": {"merge_id"},
    "POST /v1/recipients/batch": {"items"},
    "PATCH /v1/recipients/{recipient_id}": set(),
    "POST /v1/reviews/{review_id}/accept": set(),
    "POST /v1/reviews/{review_id}/reject": set(),
    "POST /v1/accounts": {"provider", "settings"},
    "PATCH /v1/accounts/{account_id}": set(),
    "PUT /v1/retention": set(),
    "POST /v1/regulations": {"type", "recipient", "verified_by"},
    "POST /v1/regulations/{regulation_id}/systems/{system}": {"note"},
    "PUT /v1/privacy-settings": set(),
    "POST /v1/legal-holds": {"recipient", "reason"},
    "POST /v1/proofs/{proof_id}/openings": {"reason"},
    "PUT /v1/brands/{brand_key}": {"name"},
    "PUT /v1/consent-settings": set(),
    "POST /v1/purposes": {"key", "title"},
    "PATCH /v1/purposes/{purpose_key}": set(),
    "PUT /v1/recipient-settings": set(),
    "POST /v1/recipient-settings/preview": set(),
    "POST /v1/keys": {"role"},
    "POST /v1/keys/{key_id}/rotate": set(),
    "POST /v1/user-token-keys": set(),
}
"""What a request must say. `basis` only a grant must, which no schema can tell."""


@pytest.fixture
async def litestar(surroundings: Surroundings) -> AsyncIterator[Litestar]:
    hub = wire(surroundings)
    yield build(hub, Settings()).asgi.app
    await hub.close()


@pytest.fixture
def drawn(litestar: Litestar) -> dict[str, Any]:
    return document(litestar, None)


def bodies(litestar: Litestar) -> dict[str, Any]:
    """The type of each request's body, by method and path."""
    found = {}
    for route in litestar.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                kind = getattr(handler.parsed_data_field, "annotation", None)
                if structs(kind):
                    found[f"{method} {route.path_format}"] = kind
    return found


def structs(kind: Any) -> set[type[msgspec.Struct]]:
    """The structs of a type: itself, and those inside it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {kind}.union(*(structs(one.type) for one in fields(kind)))
    return set[type[msgspec.Struct]]().union(*map(structs, get_args(kind)))


def must(kind: type[msgspec.Struct]) -> set[str]:
    """The fields that a decoder, or the route behind it, does not do without."""
    missing = {one.encode_name for one in fields(kind) if one.required}
    return missing | {one.encode_name for one in fields(kind) if str(REQUIRED) in repr(one.type)}


def test_every_request_schema_requires_what_has_no_default(litestar: Litestar, drawn: dict[str, Any]) -> None:
    """`purpose` stood as optional in the document, and was refused when it was left out."""
    schemas, seen = drawn["components"]["schemas"], set()
    for kind in set().union(*map(structs, bodies(litestar).values())):
        said = schemas[kind.__name__]
        assert set(said.get("required", ())) == must(kind), kind
        assert said["additionalProperties"] is False, kind
        assert "x-required" not in str(said), kind
        seen.add(kind.__name__)
    assert {"SendMessage", "ContentBody", "StepBody", "DecisionBody", "RecipientBody"} <= seen


def test_requests_must_say_what_the_interface_says(litestar: Litestar, drawn: dict[str, Any]) -> None:
    found = {name: set(drawn["components"]["schemas"][kind.__name__].get("required", ()))
             for name, kind in bodies(litestar).items()}  # fmt: skip
    assert found == MUST


def test_what_only_reads_takes_no_idempotency_key(drawn: dict[str, Any]) -> None:
    taking = {
        path
        for path, item in drawn["paths"].items()
        for operation in item.values()
        if {"$ref": "#/components/parameters/Idempotency-Key"} in operation["parameters"]
    }
    assert {"/v1/messages", "/v1/consents", "/v1/recipients"} <= taking
    assert not {"/v1/consents/check", "/v1/events", "/in/{provider}/{account_id}"} & taking


def test_what_takes_public_keys_says_so_and_what_it_answers(drawn: dict[str, Any]) -> None:
    taking = {
        path: item["post"]
        for path, item in drawn["paths"].items()
        for operation in item.values()
        if {"$ref": "#/components/parameters/Tabellion-User-Token"} in operation["parameters"]
    }
    assert set(taking) == {"/v1/recipients", "/v1/consents"}
    for operation in taking.values():
        assert "Takes public keys." in operation["description"]
        assert "202" in operation["responses"]


def test_a_person_is_asked_for_in_one_way(drawn: dict[str, Any]) -> None:
    said = [
        one["description"]
        for path in ("/v1/messages", "/v1/events")
        for one in drawn["paths"][path]["get"]["parameters"]
        if one.get("name") == "recipient"
    ]
    assert len(said) == 2
    assert len(set(said)) == 1
    assert "external_id" in said[0]
