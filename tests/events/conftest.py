import pytest

from tabellion.core.db import Database
from tabellion.events.service import EventLog, open_log


@pytest.fixture
async def events(db: Database) -> EventLog:
    return await open_log(db)
