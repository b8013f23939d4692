"""Request bodies: read within bounds, decoded strictly, refused with a pointer to the place that is wrong."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from tabellion.core.errors import FieldError, HubError, Invalid

T = TypeVar("T")
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

REQUIRED: Final = {"x-required": True}
"""`extra_json_schema` of a field that must be there and whose absence its route refuses in words of its own."""
MAX_BODY: Final = 1 << 20
MAX_DEPTH: Final = 32

_JSON: Final = re.compile(
    rb'\s*application/(?:[\w.+-]+\+)?json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?;?\s*', re.IGNORECASE
)
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$(?P<path>.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]|(?P<somewhere>\[\.\.\.\])")
_FIELD: Final = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


def cut_off() -> HubError:
    """The client went away before its request was whole; it will not read this."""
    return HubError("body_incomplete", "the request ended before its body was whole; send it again", 400)


def too_large(most: int = MAX_BODY) -> HubError:
    return HubError("body_too_large", f"a request body has at most {most} bytes; send it in parts", 413)


async def read(receive: Receive, content_length: bytes | None, most: int = MAX_BODY) -> bytes:
    """The whole body. Raises 413 `body_too_large` as soon as that is known."""
    if content_length is not None and content_length.isdigit() and int(content_length) > most:
        raise too_large(most)
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        return _bounded(body, most)
    return await _read_on(receive, message, most)


async def _read_on(receive: Receive, message: MutableMapping[str, Any], most: int) -> bytes:
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        _bounded(parts, most)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise cut_off()


def _bounded(body: "bytes | bytearray", most: int) -> bytes:
    if len(body) > most:
        raise too_large(most)
    return body  # type: ignore[return-value]


def require_json(content_type: bytes | None, encoding: bytes | None = None) -> None:
    """Return if the body is declared as JSON in UTF-8, not compressed; raise 415 otherwise."""
    if encoding is not None and encoding.lower() != b"identity":
        raise HubError("unsupported_media_type", "send the body as it is, without Content-Encoding", 415)
    if content_type != b"application/json" and not _JSON.fullmatch(content_type or b""):
        raise HubError("unsupported_media_type", "send JSON in UTF-8, with Content-Type: application/json", 415)


def decode(decoder: "msgspec.json.Decoder[T]", raw: bytes) -> T:
    """The body as the decoder's type. Raises 400 where it is not JSON we take, 422 where it says something else."""
    try:
        value = decoder.decode(raw)
    except msgspec.ValidationError as error:
        _require_plain(raw)
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HubError("malformed_json", f"the body is not JSON: {_reason(error)}; check it", 400) from None
    except RecursionError:
        raise _too_deep() from None
    _require_plain(raw)
    return value


def invalid(message: str) -> Invalid:
    """A refusal (422) made from what msgspec says, with an RFC 6901 pointer to the place."""
    said = _PLACE.sub("", message)
    return Invalid("invalid_request", f"the request is not valid: {said}", FieldError(pointer(message), said))


def pointer(message: str) -> str:
    """The RFC 6901 pointer to what a msgspec message is about: `… - at `$.a[0].b`` is `/a/0/b`.

    A missing or unknown field is pointed at itself. msgspec does not name the key of a wrong map value (`[...]`): the
    pointer then ends at the map.
    """
    place = _PLACE.search(message)
    steps: list[str] = []
    for step in _STEP.finditer(place["path"] if place else ""):
        if step["somewhere"]:
            return _pointer(steps)
        steps.append(step["name"] or step["index"])
    if field := _FIELD.match(_PLACE.sub("", message)):
        steps.append(field["name"])
    return _pointer(steps)


def _pointer(steps: list[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _require_plain(raw: bytes) -> None:
    """Refuse what is JSON but not for us: too deep, or with the character that no text column can hold."""
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and not _within_depth(raw):
        raise _too_deep()
    if b"\\u0000" in raw and _NUL.search(raw):
        raise HubError("null_character", "the body contains the character U+0000 (\\u0000); remove it", 400)


def _within_depth(raw: bytes) -> bool:
    """Whether well-formed JSON nests at most MAX_DEPTH deep: each round takes the innermost pairs away."""
    brackets = _STRING.sub(b"", raw).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def _too_deep() -> HubError:
    return HubError("too_deep", f"the body nests deeper than {MAX_DEPTH} levels; flatten it", 400)


def _reason(error: Exception) -> str:
    return "invalid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix("JSON is malformed: ")
