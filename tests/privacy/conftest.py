"""The hub and the vendors of `tests/messages`: what is erased is what was sent, said and reported there."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from tabellion.access.service import create_key
from tabellion.access.types import Role

from ..messages.conftest import (  # noqa: TID252 - tests are no package: there is no absolute name
    ANN,
    HOUR,
    MINUTE,
    NUMBER,
    OTHER_NUMBER,
    SECOND,
    SECRET,
    World,
    mail,
    sms,
    world,
)

__all__ = [
    "ANN",
    "HOUR",
    "MINUTE",
    "NUMBER",
    "OTHER_NUMBER",
    "SECOND",
    "SECRET",
    "World",
    "mail",
    "sms",
    "world",
]

Client = Callable[[Role], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def api(world: World) -> AsyncIterator[Client]:
    """Gives a client of the test side with a new key of a role."""
    opened: list[httpx.AsyncClient] = []

    async def make(role: Role = Role.COMPLIANCE) -> httpx.AsyncClient:
        _, secret = await world.db.run(lambda tx: create_key(tx, world.workspace, "test", role))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        transport = httpx.ASGITransport(app=world.app.asgi, raise_app_exceptions=False)
        opened.append(httpx.AsyncClient(transport=transport, base_url=world.url, headers=headers))
        return opened[-1]

    yield make
    for one in opened:
        await one.aclose()
