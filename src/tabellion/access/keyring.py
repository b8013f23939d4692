"""Authentication without a database round trip: keys read at most a second ago, and their uses counted in memory."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from math import inf
from typing import Final, TypeAlias
from uuid import UUID

from tabellion.access import store
from tabellion.access.rules import from_allowed, key_hash, read_key
from tabellion.access.store import KeptKey
from tabellion.access.types import ApiKey, Caller, Network
from tabellion.core import ids
from tabellion.core.db import Database
from tabellion.core.errors import Unauthorized, Unavailable
from tabellion.core.ids import WorkspaceId

LIFE: Final = 1.0
"""Seconds an entry may be believed, counted from before it was read. It bounds how long a revoked key lives."""
SOON: Final = 0.5
"""Age at which an entry in use is read again beside the requests, so that none of them waits."""
IDLE: Final = 60.0
MOST_UNKNOWN: Final = 10_000
TURNS: Final = 3
NAME: Final = slice(-77, -51)
"""Where the id stands in a key's text, counted from its end: id, `_`, 43 of secret, `_`, 6 of checksum."""

Use: TypeAlias = tuple[WorkspaceId, UUID, datetime, int, datetime]


@dataclass(slots=True)
class Held:
    """A key as this process holds it. Moments are of the monotonic clock."""

    caller: Caller
    told: Mapping[str, object]
    """What the log says of it."""
    hash: bytes
    networks: tuple[Network, ...]
    rate_limit: int | None
    api_version: str
    read_at: float
    ends: float
    ended_by: str
    used_at: float
    uses: int = 0


class KeyRing:
    """Who a token belongs to. A key revoked anywhere is refused here a second later at most.

    `flush` writes the counted uses; call it every few seconds, and `close` at the end.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._clock = db.clock
        self._held: dict[str, Held] = {}
        self._unknown: dict[str, float] = {}
        self._wanted: dict[str, UUID] = {}
        self._reading: asyncio.Task[None] | None = None

    async def caller(self, token: str, address: str | None) -> Caller:
        """Who token belongs to, when used from address. Raises Unauthorized."""
        return (await self.hold(token, address)).caller

    async def hold(self, token: str, address: str | None) -> Held:
        """As `caller`, with the key's rate limit and version."""
        held = self._held.get(token[NAME])
        now = self._clock.monotonic()
        if held is None or now - held.read_at >= LIFE:
            held = await self._look_up(token)
            now = self._clock.monotonic()
        elif now - held.read_at >= SOON:
            self._begin()
        if held is None or not compare_digest(held.hash, key_hash(token)):
            raise _unknown()
        if now >= held.ends:
            raise Unauthorized(held.ended_by, "this key is no longer valid; use its replacement, or create a new one")
        if held.networks and not from_allowed(address, held.networks):
            raise Unauthorized(
                "address_not_allowed",
                f"this key may not be used from {address or 'an unknown address'}; see its networks",
            )
        held.uses += 1
        held.used_at = now
        return held

    def forget(self, key_id: UUID) -> None:
        """Read this key again before it is believed once more: it was just changed here."""
        if held := self._held.get(_name(key_id)):
            held.read_at = -inf

    async def flush(self) -> None:
        """Write down the uses counted since the last time. Counts that cannot be written are kept for the next."""
        used = [held for held in self._held.values() if held.uses]
        if not used:
            return
        counts = [held.uses for held in used]
        rows = [self._use(held) for held in used]
        for held in used:
            held.uses = 0
        try:
            await self._db.run(lambda tx: store.add_uses(tx, rows))
        except BaseException:
            for held, count in zip(used, counts, strict=True):
                held.uses += count
            raise

    async def close(self) -> None:
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.flush()

    async def _look_up(self, token: str) -> Held | None:
        """The key read within the last second; None where there is none."""
        said = read_key(token)
        if said is None:
            raise _unknown()
        name = token[NAME]
        for _ in range(TURNS):  # the read that is under way may have begun before this key was wanted
            now = self._clock.monotonic()
            held = self._held.get(name)
            if held is not None and now - held.read_at < LIFE:
                return held
            if now - self._unknown.get(name, -inf) < LIFE:
                return None
            self._wanted[name] = said.key_id
            await asyncio.shield(self._begin())
        raise Unavailable("database_away", "the database answers too slowly; try again")

    def _begin(self) -> "asyncio.Task[None]":
        """The read under way, begun if there was none: one statement for everything that is due."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._reading

    async def _read(self) -> None:
        began, at = self._clock.monotonic(), self._clock.now()
        due = self._due(began) | self._wanted
        self._wanted = {}
        async with self._db.transaction() as tx:
            kept = await store.keys_by_id(tx, due.values())
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.clear()
        for name, key_id in due.items():
            self._keep(name, kept.get(key_id), began, at)

    def _due(self, now: float) -> dict[str, UUID]:
        """The keys to read again; those nobody uses any more are let go."""
        idle = [name for name, held in self._held.items() if now - held.used_at > IDLE and not held.uses]
        for name in idle:
            del self._held[name]
        return {name: held.caller.key_id for name, held in self._held.items() if now - held.read_at >= SOON}

    def _keep(self, name: str, kept: KeptKey | None, began: float, at: datetime) -> None:
        if kept is None:
            self._held.pop(name, None)
            self._unknown[name] = began
            return
        before = self._held.get(name)
        held = _held(kept, began, at)
        if before is not None:
            held.uses, held.used_at = before.uses, before.used_at
        self._held[name] = held

    def _use(self, held: Held) -> Use:
        last = self._clock.now() - timedelta(seconds=self._clock.monotonic() - held.used_at)
        hour = last.replace(minute=0, second=0, microsecond=0)
        return held.caller.workspace_id, held.caller.key_id, hour, held.uses, last


def _held(kept: KeptKey, began: float, at: datetime) -> Held:
    key = kept.key
    ends_at = key.ends_at()
    return Held(
        caller=Caller(key.workspace_id, key.workspace, key.id, key.role, key.mode, key.scopes, key.public),
        told={"key": key.shown, "workspace_id": str(key.workspace_id), "mode": key.mode},
        hash=kept.hash,
        networks=key.networks,
        rate_limit=key.rate_limit,
        api_version=key.api_version,
        read_at=began,
        ends=inf if ends_at is None else began + (ends_at - at).total_seconds(),
        ended_by=_ended_by(key),
        used_at=began,
    )


def _ended_by(key: ApiKey) -> str:
    codes: Mapping[datetime | None, str] = {
        key.retires_at: "key_rotated", key.expires_at: "key_expired", key.revoked_at: "key_revoked",
    }  # fmt: skip
    return codes[key.ends_at()] if key.ends_at() else ""


def _name(key_id: UUID) -> str:
    return ids.show("key", key_id).removeprefix("key_")


def _unknown() -> Unauthorized:
    return Unauthorized(
        "invalid_key", "this key is not known; check that it is whole, or create one with POST /v1/keys"
    )
