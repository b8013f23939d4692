"""Whom a call with a public key may name: browsers and devices; people only whom its user token vouches for."""

from collections.abc import Iterable
from dataclasses import dataclass

from tabellion.access.jwt import invalid
from tabellion.access.types import Vouched
from tabellion.core.errors import FieldError, HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.rules import match_form
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import ADDRESSES, NAMELESS, Kind, Named, Ref

Name = tuple[Kind, str]
"""An identifier's kind and its normal form."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a user token vouches for; none where there is no token."""

    external_id: str | None
    vouched: frozenset[Name]

    @property
    def person(self) -> Named:
        """The user, by the external_id that the token is about."""
        assert self.external_id is not None
        return Named(Kind.EXTERNAL_ID, self.external_id)

    def cover(self, kind: Kind, value: str) -> bool:
        """Whether the token vouches for this very identifier, in normal form."""
        return (kind, match_form(kind, value)) in self.vouched

    def may_name(self, ref: Ref) -> bool:
        """Whether a request may name this one: without a token no names that could be guessed one after the other."""
        if self.external_id is None:
            return ref.kind is None or ref.kind in ADDRESSES | NAMELESS
        return ref.kind is not None and (ref.kind in NAMELESS or self.cover(ref.kind, ref.value))

    def require(self, named: Iterable[tuple[Kind, str, str]]) -> None:
        """Return if (kind, normal form, pointer) may all be named. Raises 403 that points at those that may not."""
        wrong = [where for kind, value, where in named if kind not in NAMELESS and not self.cover(kind, value)]
        if wrong:
            raise self.refusal(wrong)

    def refusal(self, places: Iterable[str]) -> HubError:
        """A refusal (403) of what is named at these places."""
        if self.external_id is None:
            code, detail = "user_token_required", "a public key names nobody by this; send a Tabellion-User-Token"
        else:
            code, detail = "user_token_mismatch", "the user token does not vouch for this; name only what it does"
        return HubError(code, detail, 403, [FieldError(where, detail) for where in places])


def names(recipients: Recipients, workspace_id: WorkspaceId, vouched: Vouched | None) -> Names:
    """The names that a token vouches for, in normal form. Raises Unauthorized where one has none."""
    if vouched is None:
        return Names(None, frozenset())
    said = {Kind.EXTERNAL_ID: vouched.external_id, Kind.EMAIL: vouched.email, Kind.PHONE: vouched.phone}
    found: set[Name] = set()
    for kind, value in said.items():
        if value is not None:
            found.add((kind, match_form(kind, _normal(recipients, workspace_id, kind, value))))
    return Names(next(value for kind, value in found if kind is Kind.EXTERNAL_ID), frozenset(found))


def _normal(recipients: Recipients, workspace_id: WorkspaceId, kind: Kind, value: str) -> str:
    try:
        return recipients.normalise(workspace_id, kind, value)
    except Invalid as wrong:
        claim = "sub" if kind is Kind.EXTERNAL_ID else kind.value
        raise invalid(f"its {claim} cannot be used: {wrong.detail}") from None
