"""A workspace, its keys, and key rings as separate processes have them."""

from collections.abc import AsyncIterator, Callable

import pytest

from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_workspace
from tabellion.access.types import Workspace
from tabellion.core.db import Database


@pytest.fixture
async def workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
async def other_workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "other"))


@pytest.fixture
async def new_ring(db: Database) -> AsyncIterator[Callable[[], KeyRing]]:
    """Makes key rings, each as another process would have it."""
    rings: list[KeyRing] = []

    def make() -> KeyRing:
        rings.append(KeyRing(db))
        return rings[-1]

    yield make
    for ring in rings:
        await ring.close()
