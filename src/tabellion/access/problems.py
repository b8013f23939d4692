"""Refusals as RFC 9457 problem+json. Every error, the framework's too, leaves the hub in this one form."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from litestar.exceptions import HTTPException, ValidationException

from tabellion.core.errors import Conflict, FieldError, HubError, Overloaded

PROBLEM_JSON: Final = "application/problem+json"
TYPE: Final = "urn:tabellion:problem:"

FRAMEWORK: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "the request is not well formed; check its address and headers"),
    404: ("not_found", "there is nothing at this address; check the path, see /openapi.json"),
    405: ("method_not_allowed", "this address does not take this method; see Allow"),
    413: ("body_too_large", "the request body is too large; send it in parts"),
    415: ("unsupported_media_type", "send JSON in UTF-8, with Content-Type: application/json"),
}


class Place(msgspec.Struct, frozen=True):
    """One wrong place in the request body, as an RFC 6901 pointer, and what is wrong there."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was refused. `code` is stable; `detail` says what to do; `errors` name places in the body."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[Place] = []


def problem(error: HubError) -> Problem:
    places = [Place(one.pointer, one.detail) for one in error.errors]
    return Problem(TYPE + error.code, HTTPStatus(error.status).phrase, error.status, error.code, _detail(error), places)


def draw(error: HubError) -> bytes:
    """The body that says error."""
    return msgspec.json.encode(problem(error))


def translate(error: Exception) -> HubError | None:
    """What a client may know of error; None where it is a fault of ours, of which it may know only that."""
    match error:
        case HubError():
            return error
        case ValidationException():
            return _parameters(error)
        case HTTPException(status_code=status) if status in FRAMEWORK:
            code, detail = FRAMEWORK[status]
            return HubError(code, detail, status, headers=dict(error.headers or {}))
        case TimeoutError():
            return Overloaded("the hub is busy, and nothing was done; slow down and repeat", code="timed_out")
        case _:
            return None


def internal() -> HubError:
    return HubError("internal", "something went wrong here, not in your request; the log has it under Request-Id", 500)


def reused() -> Conflict:
    return Conflict("idempotency_key_reused", "this Idempotency-Key was used with another body; use a new key")


def in_progress() -> Conflict:
    error = Conflict("idempotency_in_progress", "a request with this Idempotency-Key is being done; repeat in a while")
    error.headers = {"Retry-After": "1"}
    return error


def already_shown() -> Conflict:
    return Conflict(
        "secret_already_shown", "this was done, and its secret was shown once; rotate the key to get another"
    )


def _detail(error: HubError) -> str:
    """What to do. Of our own faults the client hears nothing more."""
    return internal().detail if error.status == HTTPStatus.INTERNAL_SERVER_ERROR else error.detail


def _parameters(error: ValidationException) -> HubError:
    """Wrong path or query parameters, as the framework found them. They have no pointer: that is for bodies."""
    found = error.extra if isinstance(error.extra, list) else []
    if any(isinstance(one, dict) and one.get("key") == "data" for one in found):
        return HubError("malformed_json", "the body is empty; send JSON, with Content-Type: application/json", 400)
    said = [
        f"{one.get('key', 'a parameter')}: {one.get('message', 'is wrong')}" for one in found if isinstance(one, dict)
    ]
    return HubError(
        "invalid_parameter", f"check the parameters of the request ({'; '.join(said) or error.detail})", 400
    )


__all__ = [
    "PROBLEM_JSON", "FieldError", "Place", "Problem", "already_shown", "draw", "in_progress", "internal", "problem",
    "reused", "translate",
]  # fmt: skip
