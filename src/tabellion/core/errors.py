"""The one tree of errors. `code` is stable and documented; the message says what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong place in a request: an RFC 6901 pointer into the body, and what is wrong there."""

    pointer: str
    detail: str


@dataclass(eq=False)
class HubError(Exception):
    """A refusal with a stable code. Drawn as RFC 9457 problem+json at the HTTP edge, as text on the command line."""

    code: str
    detail: str
    status: int = 400
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.detail} [{self.code}]"


class NotFound(HubError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 404)


class Conflict(HubError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 409)


class Invalid(HubError):
    """A well-formed request that says something we cannot accept (422)."""

    def __init__(self, code: str, detail: str, *errors: FieldError) -> None:
        super().__init__(code, detail, 422, errors)


class Unauthorized(HubError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 401, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(HubError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 403)


class Overloaded(HubError):
    """More than we can take just now (429). `retry_after` is in whole seconds."""

    def __init__(self, detail: str, retry_after: int = 1, code: str = "overloaded") -> None:
        super().__init__(code, detail, 429, headers={"Retry-After": str(retry_after)})


class Unavailable(HubError):
    """Something we need is away (503): the database, a key, the spool."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 503, headers={"Retry-After": "1"})


class Misconfigured(HubError):
    """A setting, file or environment is wrong; the operator must act."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, 500)
