"""Suppressions over HTTP, beside consents."""

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.consent.conftest import Hub
from tests.consent.http import World, opened


@pytest.fixture
async def world(hub: Hub) -> AsyncIterator[World]:
    async with opened(hub) as made:
        yield made


@pytest.fixture
async def api(world: World) -> httpx.AsyncClient:
    return await world.client()
