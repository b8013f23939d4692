"""What a public key may decide: it restricts; it grants only for the user that a token vouches for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from tabellion.access.bodies import too_large
from tabellion.access.calls import Call
from tabellion.access.limits import crowded
from tabellion.access.types import Caller, Public
from tabellion.consent.pages.limits import SourceLimits
from tabellion.consent.service import Consent
from tabellion.consent.types import GRANTS, KINDS, NewDecision, Rank
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import FieldError, HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import ADDRESSES, Kind, Named, NewRecipient, Ref
from tabellion.recipients.vouching import Names, names

LARGEST: Final = 3072
"""Bytes of a decision: with whatever the hub adds, its record fits. Too large would be told after the answer."""


Attach: TypeAlias = Callable[[Tx, WorkspaceId, NewRecipient, Caller], Awaitable[None]]
"""Makes the user that a token vouches for, or adds to them, as `POST /v1/recipients` would."""


@dataclass(frozen=True, slots=True)
class PublicDecisions:
    """Decisions of calls with a public key, before they are recorded."""

    db: Database
    recipients: Recipients
    consent: Consent
    attach: Attach
    asking: SourceLimits | None = None
    """How many confirmations may be asked for from one address; None: no bound."""

    async def stated(self, call: Call[Any], public: Public, new: NewDecision) -> NewDecision:
        """The decision at its rank, from the key's source. Raises what is wrong with it, whoever it is about.

        The user of a token is there then; a grant is about them and their own address.
        """
        side, user = call.caller.workspace_id, call.visit.user
        if call.header("sec-gpc") == "1":
            new = replace(new, evidence={**(new.evidence or {}), "sec_gpc": "1"})
        if new.confirm and self.asking and not self.asking.admit(call.visit.address):
            raise crowded()
        if len(call.raw) > LARGEST:
            raise too_large(LARGEST)
        known = names(self.recipients, side, user)
        _require(known, new)
        if wrong := await self.db.run(lambda tx: self.consent.refusal(tx, side, new)):
            raise _without_purposes(wrong)
        if user is None:
            return replace(new, source=public.source, rank=Rank.PUBLIC_KEY)
        await self.db.run(lambda tx: self.attach(tx, side, _user(known, new), call.caller))
        evidence = {**(new.evidence or {}), "user_token_key": ids.show("utk", user.key_id)}
        said = replace(new, source=public.source, rank=Rank.PERSON, evidence=evidence)
        return _own(known, said) if new.decision in GRANTS else said


def _require(known: Names, new: NewDecision) -> None:
    """Raise 403 for names that could be guessed one after the other, or that the token does not vouch for."""
    named = {"/recipient": new.recipient, "/identifier": new.identifier}
    if wrong := [where for where, ref in named.items() if ref is not None and not known.may_name(ref)]:
        raise known.refusal(wrong)


def _user(known: Names, new: NewDecision) -> NewRecipient:
    """The user, with the addresses that the decision names."""
    named = {ref.value: Named(ref.kind, ref.value) for ref in (new.recipient, new.identifier) if ref and ref.kind}
    return NewRecipient((known.person, *(one for one in named.values() if one.kind in ADDRESSES)))


def _own(known: Names, grant: NewDecision) -> NewDecision:
    """The grant, about the user themselves and, where it names an address, about that one of theirs."""
    ref = grant.recipient
    address = ref if ref.kind in KINDS.get(Channel(grant.channel), ()) else None
    user = Ref(kind=Kind.EXTERNAL_ID, value=known.person.value, pointer="/recipient")
    return replace(grant, recipient=user, identifier=grant.identifier or address)


def _without_purposes(refusal: HubError) -> HubError:
    """The refusal, without the list of a workspace's purposes."""
    if refusal.code != "purpose_unknown":
        return refusal
    detail = "there is no such purpose"
    return Invalid(refusal.code, detail, FieldError("/purpose", detail))
