"""Calls with a public key, which anybody can read out of a page or an app: bounded, and told nothing."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from tabellion.access.answers import Answer
from tabellion.access.calls import Call, Visit
from tabellion.access.limits import AddressLimits, crowded
from tabellion.access.problems import Problem
from tabellion.access.types import Caller, Public
from tabellion.access.user_tokens import vouch
from tabellion.core.db import Database
from tabellion.core.errors import Forbidden, HubError
from tabellion.core.vault import Vault

LARGEST: Final = 32_768
"""Bytes that the body of a public call may have."""
USER_TOKEN: Final = b"tabellion-user-token"
TOLD: Final = frozenset({"idempotency_key_reused", "idempotency_in_progress"})
"""What is said of the request by itself, though others made it so."""
PREFLIGHT: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, Tabellion-User-Token, Tabellion-Version",
    ),
    (b"access-control-max-age", b"7200"),
    (b"vary", b"Origin"),
)
"""May a page ask at all? It carries no key, so it is the same for everybody; the call itself is what is checked."""
READABLE: Final = b"Idempotent-Replay, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Request-Id, Retry-After"


class Accepted(msgspec.Struct, frozen=True):
    """What a public key hears: it was taken. Not whom it was about, nor what became of it."""

    accepted: bool = True
    id: str | msgspec.UnsetType = msgspec.UNSET
    """What to name it by, where that says nothing of whom it was about."""


class PublicCalls:
    """What a call with a public key passes, once it is known whose key it is."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._limits = AddressLimits(db.clock)

    async def admit(self, scope: Any, visit: Visit, caller: Caller, public: Public, *, allowed: bool) -> None:
        """Return if this call may go on; `allowed` says whether its route takes public keys. Raises 401, 403, 429."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        listed = all(one in public.origins for one in origins)
        visit.origin = origins[0] if origins and listed else None
        visit.largest = LARGEST
        client = scope.get("client")
        visit.address = client[0] if client else None
        visit.bucket, within = self._limits.admit(caller.key_id, visit.address, public.address_limit)
        if not within:
            raise crowded()
        if not allowed:
            raise Forbidden(
                "public_key_not_allowed", "a public key may not do this; call from your backend, with a secret key"
            )
        if not listed:
            raise Forbidden("origin_not_allowed", "this key may not be used from this origin; see its origins")
        await self._recognise(scope, visit, caller)

    async def _recognise(self, scope: Any, visit: Visit, caller: Caller) -> None:
        """Note who the user is, where the call carries a token that says so."""
        tokens = [value.decode("latin-1") for name, value in scope["headers"] if name == USER_TOKEN]
        if tokens:
            visit.user = await self._db.run(lambda tx: vouch(tx, self._vault, caller, tokens))
        visit.apart = f"{caller.actor}\0{visit.user.external_id}" if visit.user else caller.actor


def nothing_more(came_to: Answer) -> Accepted:
    return Accepted()


async def accepted(
    call: Call[Any], done: Awaitable[Answer], told: Callable[[Answer], Accepted] = nothing_more
) -> Answer:
    """Answer 202, whatever it came to: what depends on who is known here is told to the log alone."""
    try:
        came_to = await done
    except HubError as refusal:
        if refusal.code in TOLD or refusal.status not in (404, 409, 412, 422):
            raise
        came_to = Answer.refusal(refusal)
    if came_to.status >= 400:
        call.visit.notes["refused"] = msgspec.json.decode(came_to.body, type=Problem).code
    return Answer.json(202, told(came_to), {"Idempotent-Replay": "true"} if came_to.replayed else None)


def readable(origin: str) -> list[tuple[bytes, bytes]]:
    """The headers that let scripts of a listed origin read an answer."""
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", READABLE),
        (b"vary", b"Origin"),
    ]
