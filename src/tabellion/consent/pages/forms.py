"""What a form of a page says: read from a body of bounded size, urlencoded or multipart. Pure."""

from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Final
from urllib.parse import parse_qsl

LARGEST: Final = 8_192
"""Bytes of a form. The longest that a page makes has a few hundred."""
MOST_FIELDS: Final = 20
ONE_CLICK: Final = {"List-Unsubscribe": "One-Click"}
"""The whole body of RFC 8058 (https://www.rfc-editor.org/rfc/rfc8058, read 2026-11-28), 3.1."""
_URLENCODED: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"


def read(content_type: bytes | None, body: bytes) -> Mapping[str, str]:
    """The fields of a form; of one that stands twice the last, and nothing where it is no form.

    What is not declared is read as urlencoded, and a line's end behind it is none of its own: a refusal that a machine
    wrote carelessly is one all the same.
    """
    declared = (content_type or b"").decode("latin-1")
    media = declared.partition(";")[0].strip().lower()
    try:
        if media in (_URLENCODED, ""):
            said = body.decode("ascii").rstrip("\r\n")
            return dict(parse_qsl(said, keep_blank_values=True, max_num_fields=MOST_FIELDS))
        if media == _MULTIPART and declared.isprintable():
            return _parts(declared, body)
    except ValueError:
        return {}
    return {}


def is_one_click(fields: Mapping[str, str]) -> bool:
    """Whether a mailbox provider asks for what its user pressed one button for."""
    return fields == ONE_CLICK


def _parts(declared: str, body: bytes) -> dict[str, str]:
    """Read by the policy that takes headers as they stand: the newer ones raise whatever at some that are broken."""
    head = f"Content-Type: {declared}\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=compat32).parsebytes(head + body)
    parts: list[Message] = message.get_payload() if message.is_multipart() else []  # type: ignore[assignment]
    fields: dict[str, str] = {}
    for part in parts[:MOST_FIELDS]:
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            fields[name] = value.decode("utf-8", "replace").strip("\r\n")
    return fields
