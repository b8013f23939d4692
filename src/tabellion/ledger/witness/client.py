"""A witness as the hub asks it: one call, one outcome. What it says is believed only as far as it is verified."""

import re
from dataclasses import dataclass
from typing import Final

from tabellion.core.clock import Clock
from tabellion.core.http import HttpClient, HttpRequest, HttpResponse, Lost, NotSent
from tabellion.ledger import note
from tabellion.ledger.witness.folder import hash_of
from tabellion.ledger.witness.policy import Member
from tabellion.ledger.witness.submission import Submission
from tabellion.ledger.witness.types import Cosigned, Elsewhere, Inconsistent, Outcome, Unhelpful
from tabellion.ledger.witness.watch import SIZE_TYPE

SKEW: Final = 600
"""Seconds that a witness's clock may be away from ours: it cosigns while we wait."""
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True)
class WitnessClient:
    http: HttpClient
    clock: Clock

    async def submit(self, member: Member, submission: Submission) -> Outcome:
        """What the witness does with the checkpoint."""
        request = HttpRequest(
            "POST", _address(member, "add-checkpoint"), {"Content-Type": "text/plain; charset=utf-8"}, submission.body()
        )
        try:
            response = await self.http.send(request)
        except (NotSent, Lost) as error:
            return Unhelpful(f"cannot be reached: {error}")
        match response.status:
            case 200:
                return self._cosigned(member, submission.checkpoint, response)
            case 409:
                return _elsewhere(response)
            case 422:
                return Inconsistent()
        return _unhelpful(response)

    async def shown(self, member: Member, origin: str) -> str | None:
        """The last checkpoint of the log that the witness shows, whole but not verified; None where it shows none."""
        try:
            response = await self.http.send(HttpRequest("GET", _address(member, f"{hash_of(origin)}/checkpoint")))
            signed = response.body.decode()
            stated = note.parse_checkpoint(note.parse(signed).text)
        except (NotSent, Lost, UnicodeDecodeError, note.BadNote):
            return None
        return signed if response.status == 200 and stated.origin == origin else None

    def _cosigned(self, member: Member, checkpoint: str, response: HttpResponse) -> Outcome:
        """Its own line of the answer. Lines of others are nobody's business, as tlog-witness says."""
        try:
            found = note.verify_cosignatures(checkpoint + response.body.decode(), [member.key])
        except (UnicodeDecodeError, note.BadNote):
            found = []
        if not found:
            return Unhelpful("answers with something else than its cosignature of what it was sent")
        away = found[0].at - int(self.clock.now().timestamp())
        if abs(away) > SKEW:
            return Unhelpful(f"cosigns with a time that is {abs(away)} seconds {'ahead' if away > 0 else 'behind'}")
        return Cosigned(found[0])


def _elsewhere(response: HttpResponse) -> Outcome:
    size = _SIZE.fullmatch(response.body)
    if size is None or response.headers.get("content-type", "").partition(";")[0].strip().lower() != SIZE_TYPE:
        return Unhelpful("answers 409 without the size it stands at")
    return Elsewhere(int(size[1]))


def _unhelpful(response: HttpResponse) -> Unhelpful:
    match response.status:
        case 404:
            return Unhelpful("does not watch this log (404): give its operator the log's verifier key", of_log=True)
        case 403:
            return Unhelpful(
                "does not know the key that signs this log (403): give its operator the newest", of_log=True
            )
        case 400 | 413:
            return Unhelpful(f"does not take what it was sent ({response.status})", of_log=True)
    return Unhelpful(f"answers {response.status}", retry_after=_pause(response))


def _pause(response: HttpResponse) -> float | None:
    said = response.headers.get("retry-after", "")
    return min(float(said), _LONGEST_PAUSE) if said.isascii() and said.isdigit() else None


def _address(member: Member, path: str) -> str:
    return f"{(member.url or '').rstrip('/')}/{path}"
