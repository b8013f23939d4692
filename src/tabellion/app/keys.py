"""The commands about workspaces and keys. They work beside a running hub, or on the database alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tabellion import migrations
from tabellion.access import service
from tabellion.access.types import ApiKey, KeyOptions, Mode, Network, Role
from tabellion.app.opening import database, opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.crypto import Secret
from tabellion.core.db import Tx
from tabellion.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key as the command line asks for it."""

    workspace: str
    role: Role
    mode: Mode
    name: str | None = None
    scopes: tuple[str, ...] = ()
    expires_in: timedelta | None = None
    networks: tuple[Network, ...] = ()
    rate_limit: int | None = None
    source: str | None = None
    origins: tuple[str, ...] = ()
    address_limit: int | None = None


async def migrate(settings: Settings) -> list[str]:
    """The names of the migrations applied."""
    async with database(settings, beside=True) as (url, _):
        return await migrations.migrate(url)


async def create_workspace(settings: Settings, name: str) -> dict[str, Any]:
    async with opened(settings, make=True) as hub:
        made = await hub.db.run(lambda tx: service.create_workspace(tx, name))
    return {"id": ids.show("wsp", made.id), "name": made.name}


async def create_key(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    async with opened(settings) as hub:

        async def make(tx: Tx) -> tuple[ApiKey, Secret]:
            workspace = await service.find_workspace(tx, wanted.workspace)
            return await service.create_key(tx, workspace, wanted.mode, wanted.role, _options(wanted, tx.now))

        return _secret(*await hub.db.run(make))


async def list_keys(settings: Settings, workspace: str, mode: Mode) -> list[dict[str, Any]]:
    async with opened(settings) as hub:

        async def read(tx: Tx) -> list[ApiKey]:
            found = await service.find_workspace(tx, workspace)
            return await service.list_keys(tx, found.side(mode), 500)

        keys = await hub.db.run(read)
        return [_shown(key, hub.clock.now()) for key in keys]


async def show_key(settings: Settings, key_id: str) -> dict[str, Any]:
    async with opened(settings) as hub:
        key = await hub.db.run(lambda tx: service.read_key(tx, ids.parse("key", key_id)))
        return _shown(key, hub.clock.now())


async def rotate_key(settings: Settings, key_id: str, grace: timedelta) -> dict[str, Any]:
    async with opened(settings) as hub:

        async def rotate(tx: Tx) -> tuple[ApiKey, Secret]:
            return await service.rotate_key(tx, await service.find_key(tx, ids.parse("key", key_id)), grace)

        return _secret(*await hub.db.run(rotate))


async def revoke_key(settings: Settings, key_id: str) -> dict[str, Any]:
    async with opened(settings) as hub:

        async def revoke(tx: Tx) -> None:
            await service.revoke_key(tx, await service.find_key(tx, ids.parse("key", key_id)))

        await hub.db.run(revoke)
    return {"id": key_id, "revoked": True}


def _options(wanted: Wanted, now: datetime) -> KeyOptions:
    try:
        expires_at = None if wanted.expires_in is None else now + wanted.expires_in
    except OverflowError:
        raise Invalid("invalid_expiry", "a key cannot expire that late; leave --expires-in out for never") from None
    return KeyOptions(
        scopes=frozenset(wanted.scopes) or None,
        name=wanted.name,
        expires_at=expires_at,
        networks=wanted.networks,
        rate_limit=wanted.rate_limit,
        source=wanted.source,
        origins=wanted.origins,
        address_limit=wanted.address_limit,
    )


def _secret(key: ApiKey, secret: Secret) -> dict[str, Any]:
    """A new key, with the one thing that is not kept."""
    return {
        "id": ids.show("key", key.id),
        "key": secret.reveal(),
        "workspace": ids.show("wsp", key.workspace),
        "role": key.role,
        "mode": key.mode,
    }


def _shown(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "id": ids.show("key", key.id),
        "name": key.name,
        "role": key.role,
        "mode": key.mode,
        "scopes": sorted(key.scopes),
        "networks": [str(network) for network in key.networks],
        "rate_limit": key.rate_limit,
        "source": key.public.source if key.public else None,
        "origins": list(key.public.origins) if key.public else [],
        "address_limit": key.public.address_limit if key.public else None,
        "state": "active" if key.active(now) else "revoked" if key.revoked_at else "expired",
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
    }


def _time(moment: datetime | None) -> str | None:
    """As the API writes it. Not with its function: that would load the web framework for a list of keys."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
