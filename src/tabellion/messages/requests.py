"""`POST /v1/messages` as it is written: the request, checked and turned into a `Send`."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tabellion.access.bodies import REQUIRED
from tabellion.core import ids
from tabellion.core.errors import FieldError, Invalid, NotFound
from tabellion.messages.service import Send
from tabellion.messages.types import PRIORITIES, Content, Guarantee, Step, Success, Trigger
from tabellion.providers.base import Channel
from tabellion.recipients.types import RecipientRef, Ref

Text = Annotated[str, Meta(min_length=1, max_length=100_000)]
Line = Annotated[str, Meta(min_length=1, max_length=998)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\"\\{}]+$")]
Duration = Annotated[
    str, Meta(pattern=r"^P(?=[\dT])(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?$", max_length=32, examples=["PT5M"])
]


class ChannelContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to say on one channel instead of the common content."""

    text: Text | None = None
    subject: Line | None = None
    html: Text | None = None


class ContentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to say."""

    text: Text
    subject: Line | None = None
    html: Text | None = None
    by_channel: dict[Channel, ChannelContent] = {}


class StepBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One ordered way to deliver the message."""

    channel: Channel
    accounts: Annotated[list[str], Meta(max_length=20)] = []
    """Accounts to choose from; empty: any account of the channel."""
    success: Success = Success.SUBMITTED
    within: Duration | None = None
    on: list[Trigger] | None = None


class RouteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    steps: Annotated[list[StepBody], Meta(min_length=1, max_length=10)]


class SendMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message to one recipient."""

    to: RecipientRef
    content: ContentBody
    purpose: (
        Annotated[str, Meta(min_length=1, max_length=64, examples=["transactional"], extra_json_schema=REQUIRED)]
        | UnsetType
    ) = UNSET
    create: bool = True
    """Make a recipient of an address nobody has yet."""
    route: RouteBody | None = None
    reply_to: Line | None = None
    headers: Annotated[dict[str, str], Meta(max_length=20)] = {}
    priority: Literal["critical", "high", "normal", "bulk"] = "normal"
    send_at: datetime | None = None
    expires_at: datetime | None = None
    guarantee: Guarantee | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    metadata: Annotated[dict[str, Any], Meta(max_length=50)] | None = None


NEVER_READ = frozenset({Channel.EMAIL, Channel.SMS, Channel.MMS, Channel.VOICE})
"""No vendor says of these that the person read it: a step that waits for it could only run out of time."""
_HEADER = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
_OURS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "reply-to", "return-path", "mime-version",
     "content-type", "content-transfer-encoding", "dkim-signature", "received"}
)  # fmt: skip
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_LONGEST = timedelta(days=30)
_MOST_METADATA = 8192


def send(body: SendMessage, to: Ref, purposes: Sequence[str]) -> Send:
    """The request as a `Send` to whom it names. Raises Invalid with the pointer of what is wrong."""
    if body.purpose is UNSET:
        known = ", ".join(purposes)
        missing = FieldError("/purpose", f"missing; use one of: {known}")
        raise Invalid("purpose_required", f"say why you write: purpose is one of {known}", missing)
    _check_headers(body)
    _check_times(body)
    _check_metadata(body)
    return Send(
        to=to,
        purpose=body.purpose,
        content=_content(body),
        steps=tuple(_step(place, step) for place, step in enumerate(body.route.steps)) if body.route else (),
        create=body.create,
        lane=PRIORITIES[body.priority],
        send_at=body.send_at,
        expires_at=body.expires_at,
        guarantee=body.guarantee,
        tags=tuple(body.tags),
        metadata=body.metadata,
    )


def _content(body: SendMessage) -> Content:
    return Content(
        text=body.content.text,
        subject=body.content.subject,
        html=body.content.html,
        reply_to=body.reply_to,
        headers=body.headers,
        by_channel={
            channel.value: {
                name: value for name in ("text", "subject", "html") if (value := getattr(own, name)) is not None
            }
            for channel, own in body.content.by_channel.items()
        },
    )


def _step(place: int, body: StepBody) -> Step:
    if body.success is Success.READ and body.channel in NEVER_READ:
        wrong = FieldError(f"/route/steps/{place}/success", f"nobody reports that {body.channel} was read")
        raise Invalid("success_unreachable", "a step waits for what its channel never reports; use delivered", wrong)
    within = duration(body.within, f"/route/steps/{place}/within") if body.within else None
    given = frozenset(body.on) if body.on is not None else None
    return Step(
        channel=body.channel,
        accounts=tuple(_account(place, number, text) for number, text in enumerate(body.accounts)),
        success=body.success,
        within=within,
        on=given if given is not None else frozenset(Trigger) - (set() if within else {Trigger.TIMEOUT}),
    )


def _account(place: int, number: int, text: str) -> Any:
    try:
        return ids.parse("acc", text)
    except NotFound as error:
        pointer = f"/route/steps/{place}/accounts/{number}"
        raise Invalid("invalid", error.detail, FieldError(pointer, "not an account id (acc_…)")) from None


def duration(text: str, pointer: str) -> timedelta:
    """An ISO 8601 duration of days, hours, minutes and seconds, between a second and 30 days."""
    found = _DURATION.fullmatch(text)
    parts = [int(part or 0) for part in found.groups()] if found and len(text) < 33 else [0]
    length = timedelta(0)
    if len(parts) == 4 and max(parts) <= 10_000_000:
        length = timedelta(days=min(parts[0], 999), hours=parts[1], minutes=parts[2], seconds=parts[3])
    if not timedelta(seconds=1) <= length <= _LONGEST:
        wrong = FieldError(pointer, "an ISO 8601 duration between PT1S and P30D")
        raise Invalid("invalid", "a duration is out of range", wrong)
    return length


def _check_headers(body: SendMessage) -> None:
    for name, value in body.headers.items():
        if not _HEADER.match(name) or name.lower() in _OURS:
            wrong = FieldError(f"/headers/{_escape(name)}", "not a header you may set")
            raise Invalid("invalid", "a header is not allowed", wrong)
        if len(value) > 998 or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            wrong = FieldError(f"/headers/{_escape(name)}", "at most 998 characters and no control characters")
            raise Invalid("invalid", "a header value is not allowed", wrong)
    lines = [("/reply_to", body.reply_to), ("/content/subject", body.content.subject)]
    lines += [(f"/content/by_channel/{on}/subject", own.subject) for on, own in body.content.by_channel.items()]
    for pointer, line in lines:
        if line and any(ord(letter) < 32 or ord(letter) == 127 for letter in line):
            raise Invalid("invalid", "a line has control characters", FieldError(pointer, "no control characters"))


def _check_times(body: SendMessage) -> None:
    for pointer, moment in (("/send_at", body.send_at), ("/expires_at", body.expires_at)):
        if moment is not None and (moment.tzinfo is None or not 1970 <= moment.year <= 9000):
            raise Invalid("invalid", "a time has no zone", FieldError(pointer, "an RFC 3339 time with its zone"))
    if body.send_at and body.expires_at and body.expires_at <= body.send_at:
        raise Invalid("invalid", "the message expires before it is sent", FieldError("/expires_at", "after send_at"))


def _check_metadata(body: SendMessage) -> None:
    """Metadata goes into every event of the message, so it must stay small."""
    if body.metadata and len(msgspec.json.encode(body.metadata)) > _MOST_METADATA:
        wrong = FieldError("/metadata", f"at most {_MOST_METADATA} bytes as JSON")
        raise Invalid("invalid", "the metadata is too large; keep it with you and send a reference", wrong)


def _escape(name: str) -> str:
    return name[:64].replace("~", "~0").replace("/", "~1")
