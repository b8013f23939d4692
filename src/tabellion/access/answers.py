"""Answers: JSON with times in milliseconds, problems where the status says so, pages of lists."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from litestar import Response
from litestar.enums import MediaType
from litestar.params import Parameter

from tabellion.access.idempotency import Replay
from tabellion.access.problems import PROBLEM_JSON, draw
from tabellion.core.errors import HubError

T = TypeVar("T")
JSON: Final = "application/json"
_JSON_TYPE: Final = (b"content-type", JSON.encode())
_PROBLEM_TYPE: Final = (b"content-type", PROBLEM_JSON.encode())
_CURSOR: Final = re.compile("[A-Za-z0-9_-]{22}")
_TIME: Final = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?(?:Z|[+-]\d\d:\d\d)"')

Limit: TypeAlias = Annotated[int, Parameter(ge=1, le=500, description="How many to return at most.")]
Cursor: TypeAlias = Annotated[
    str | None,
    Parameter(
        description="`next_cursor` of the page before; none for the first page.",
        schema_extra={"pattern": "^[A-Za-z0-9_-]{22}$"},  # said, not checked by the framework: `read_cursor` does
    ),
]
Person: TypeAlias = Annotated[
    str | None,
    Parameter(
        max_length=1024,
        description='An id, or a RecipientRef as JSON with one of its fields: `rcp_…`, `{"external_id": "crm-1042"}`,'
        ' `{"email": "ann@example.org"}`. Of somebody unknown there is nothing.',
    ),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. The body is JSON; a problem where the status says so."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        return PROBLEM_JSON if self.status >= 400 else JSON

    @property
    def replayed(self) -> bool:
        return "Idempotent-Replay" in self.headers

    @classmethod
    def json(cls, status: int, said: object, headers: Mapping[str, str] | None = None) -> "Answer":
        return cls(status, b"" if said is None else encode(said), headers or {})

    @classmethod
    def refusal(cls, error: HubError) -> "Answer":
        return cls(error.status, draw(error), error.headers)

    @classmethod
    def replay(cls, kept: Replay) -> "Answer":
        """The stored answer of an earlier request with the same Idempotency-Key."""
        return cls(kept.status, kept.body, {"Idempotent-Replay": "true"})

    def response(self) -> "Response[Any]":
        return Response(self.body, status_code=self.status, headers=dict(self.headers), media_type=self.media_type)

    async def send(self, send: Callable[[Any], Awaitable[None]]) -> None:
        """Send it over bare ASGI."""
        headers = [_PROBLEM_TYPE if self.status >= 400 else _JSON_TYPE, (b"content-length", b"%d" % len(self.body))]
        for name, value in self.headers.items():
            headers.append((name.lower().encode(), value.encode("latin-1")))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class HubResponse(Response[T]):
    """What a typed handler returns, encoded as everywhere."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        if media_type == MediaType.JSON and not isinstance(content, bytes | str | None):
            return encode(content)
        return super().render(content, media_type, enc_hook) if enc_hook else super().render(content, media_type)


def encode(said: object) -> bytes:
    """JSON of structs, with every time as RFC 3339 in UTC with milliseconds."""
    body = msgspec.json.encode(said)
    if not _TIME.search(body):
        return body
    return msgspec.json.encode(_times(msgspec.to_builtins(said, builtin_types=(datetime,))))


def show_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-21T09:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_cursor(cursor: str | None) -> UUID | None:
    """The id after which a page begins. Raises 400 `invalid_cursor` for what is not one of ours."""
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise HubError("invalid_cursor", "pass next_cursor of the page before as it is, or leave it out", 400)
    return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))


def next_cursor(ids: Sequence[UUID], limit: int) -> str | None:
    """The cursor of the page after this one; None where this one is not full."""
    return base64.urlsafe_b64encode(ids[-1].bytes).decode().rstrip("=") if len(ids) == limit else None


def _times(value: Any) -> Any:
    match value:
        case dict():
            return {key: _times(one) for key, one in value.items()}
        case list() | tuple():
            return [_times(one) for one in value]
        case datetime():
            return show_time(value)
        case _:
            return value
