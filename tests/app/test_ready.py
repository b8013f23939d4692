"""What readiness says of the ledger, and that a process closes what it opened."""

import io
import shutil
from collections.abc import AsyncIterator

import httpx
import pytest

from tabellion.access.service import create_workspace
from tabellion.app.roles import watch_ledger
from tabellion.app.routes import build
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.crypto import sha256
from tabellion.core.db import Tx
from tabellion.ledger.types import Forked, Leaf


@pytest.fixture
async def wired(surroundings: Surroundings) -> AsyncIterator[Hub]:
    made = wire(surroundings)
    yield made
    await made.close()


@pytest.fixture
async def client(wired: Hub) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(wired, Settings()).asgi, client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as opened:
        yield opened


async def grow(hub: Hub, side: ids.WorkspaceId) -> None:
    async def append(tx: Tx) -> None:
        await hub.ledger.append(tx, side, [Leaf(ids.new(), "consent", sha256(b"c"), tx.now.date())])

    await hub.around.db.run(append)


async def new_side(hub: Hub) -> ids.WorkspaceId:
    return (await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))).live


async def test_a_checkpoint_that_cannot_be_written_is_not_ready_until_it_is(
    wired: Hub, client: httpx.AsyncClient
) -> None:
    """The failure was kept in memory, and nobody was told."""
    await grow(wired, await new_side(wired))
    folder = wired.around.keys.checkpoints
    aside = folder.rename(folder.with_name("aside"))
    await wired.checkpoints.flush()
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "run tabellion doctor" in answer.json()["detail"]
    assert str(folder) not in answer.text, "anybody may ask"
    aside.rename(folder)
    await wired.checkpoints.flush()
    assert (await client.get("/health/ready")).status_code == 200


async def test_a_forked_log_stands_in_log_and_metrics_and_turns_nobody_else_away(
    wired: Hub, client: httpx.AsyncClient
) -> None:
    side = await new_side(wired)
    await grow(wired, side)
    await watch_ledger(wired)
    assert (await client.get("/health/ready")).status_code == 200
    await wired.around.db.run(
        lambda tx: tx.execute("update ledger_heads set size = 0, frontier = '' where log = 'consent'")
    )
    with pytest.raises(Forked):
        await grow(wired, side)
    await watch_ledger(wired)
    assert (await client.get("/health/ready")).status_code == 200
    assert wired.around.metrics.registry.get_sample_value("tabellion_ledger_logs_refusing") == 1
    [trouble] = wired.ledger_trouble()
    lines = wired.around.log._logger._file  # type: ignore[attr-defined]
    assert isinstance(lines, io.StringIO)
    assert '"event":"ledger.troubled"' in lines.getvalue()
    assert trouble.partition(": ")[0] in lines.getvalue()


async def test_the_connections_are_closed_also_where_something_else_fails(surroundings: Surroundings) -> None:
    """A full disk kept the checkpoint from being written, and every client open to the end of the interpreter."""
    hub = wire(surroundings)
    closed: list[str] = []

    async def fail() -> None:
        raise OSError("no space left")

    async def note() -> None:
        closed.append("http")

    hub.checkpoints.close = fail  # type: ignore[method-assign]
    hub.http.close = note  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space"):
        await hub.close()
    assert closed == ["http"]
    shutil.rmtree(surroundings.keys.path)
