"""What a public key may say of recipients: of browsers and devices, and of the user that a token vouches for."""

from tabellion.access.calls import Call
from tabellion.consent.purposes.rules import BORN, YEARS
from tabellion.core.errors import FieldError, HubError
from tabellion.identity.views import RecipientBody
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import NewRecipient
from tabellion.recipients.vouching import names


def unit(recipients: Recipients, call: Call[RecipientBody]) -> NewRecipient:
    """The unit of a call with a public key. Raises `Invalid`, or 403 for what it may not say.

    With a user token it is about that user, named or not. Without one it leaves those who are known as they are.
    """
    side, user, body = call.caller.workspace_id, call.visit.user, call.body
    _refuse_proof(body)
    _refuse_age(body)
    known = names(recipients, side, user)
    named = list(body.named())
    about = [] if user is None or body.external_id is not None else [(known.person, "/external_id")]
    made = recipients.unit(side, [*named, *about], body.profile())
    places = [pointer for _, pointer in named]
    known.require((one.kind, one.value, place) for one, place in zip(made.identifiers, places, strict=False))
    return NewRecipient(made.identifiers, made.profile, unproven=user is None, vouched=user is not None)


def _refuse_proof(body: RecipientBody) -> None:
    wrong = [f"/identifiers/{index}/verified" for index, one in enumerate(body.identifiers) if one.verified]
    if wrong:
        detail = "a public key proves nothing; let your backend say that it is verified, with a secret key"
        raise HubError("public_key_not_allowed", detail, 403, [FieldError(where, detail) for where in wrong])


def _refuse_age(body: RecipientBody) -> None:
    """Nobody makes themselves old enough for a purpose with a minimum age."""
    said = body.traits if isinstance(body.traits, dict) else {}
    wrong = [f"/traits/{name}" for name in (*BORN, YEARS) if name in said]
    if wrong:
        detail = "a public key does not say how old somebody is; let your backend say it, with a secret key"
        raise HubError("public_key_not_allowed", detail, 403, [FieldError(where, detail) for where in wrong])
