"""Retention on a real database: what ends, what stays, and what a round leaves for the next."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role, Workspace
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.privacy import rounds
from tabellion.privacy.types import Applied, Policy

DAY = timedelta(days=1)
MAIL = {
    "to": {"email": "ann@example.org"},
    "purpose": "transactional",
    "content": {"subject": "Hi", "text": "Hello"},
    "route": {"steps": [{"channel": "email"}]},
}


@pytest.fixture
def clock() -> FakeClock:
    """At today: what is old is told by ids, and ids are made by the system's clock."""
    return FakeClock(SystemClock().now())


@pytest.fixture
async def workspace(hub: Hub) -> Workspace:
    return await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
async def client(hub: Hub, workspace: Workspace) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", Role.OWNER))
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers) as opened:
        yield opened


async def messages(hub: Hub, client: httpx.AsyncClient, count: int, *open_: int) -> None:
    """So many messages, all final but the named ones."""
    for _ in range(count):
        assert (await client.post("/v1/messages", json=MAIL)).status_code == 202
    await hub.around.db.run(lambda tx: tx.execute("update messages set final = true"))
    for place in open_:
        await hub.around.db.run(
            lambda tx, place=place: tx.execute(  # type: ignore[misc]
                "update messages set final = false where id = (select id from messages order by id offset $1 limit 1)",
                place,
            )
        )


async def callbacks(hub: Hub, side: WorkspaceId, count: int) -> None:
    await hub.around.db.run(
        lambda tx: tx.execute(
            """
            insert into callbacks (workspace_id, id, account_id, provider, received_at, digest, state, raw)
            select $1, id, id, 'twilio', now(), decode(replace(id::text, '-', ''), 'hex'), 'normalised', 'raw'
              from unnest($2::uuid[]) as made (id)
            """,
            side,
            [ids.new() for _ in range(count)],
        )
    )


async def kept(hub: Hub) -> tuple[list[bool], int]:
    """Whether each message still says something, and how many callbacks there are."""
    rows = await hub.around.db.run(lambda tx: tx.rows("select octet_length(content) > 0 from messages order by id"))
    number = await hub.around.db.run(lambda tx: tx.value("select count(*) from callbacks"))
    return [row[0] for row in rows], number


async def test_what_is_old_enough_ends_and_the_log_says_so(
    hub: Hub, workspace: Workspace, client: httpx.AsyncClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BATCH", 2)
    await messages(hub, client, 5)
    await callbacks(hub, workspace.test, 5)
    await callbacks(hub, workspace.live, 1)
    clock.advance(89 * DAY)
    assert await hub.rounds.apply(hub.around.db) == Applied()
    clock.advance(2 * DAY)
    assert await hub.rounds.apply(hub.around.db) == Applied(callbacks=6)
    clock.advance(275 * DAY)
    assert await hub.rounds.apply(hub.around.db) == Applied(contents=5)
    assert await kept(hub) == ([False] * 5, 0)
    assert await hub.rounds.apply(hub.around.db) == Applied(), "there is nothing left to do"
    rows = await hub.around.db.run(
        lambda tx: tx.rows("select workspace_id, data from events where type = 'retention.applied' order by position")
    )
    assert sorted((row["workspace_id"] == workspace.test, row["data"]["callbacks"]) for row in rows) == [
        (False, 1),
        (True, 0),
        (True, 5),
    ]


async def test_what_is_not_final_says_what_it_said_until_it_is(
    hub: Hub, client: httpx.AsyncClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message of next year must not be sent empty; nor may it keep those behind it from ending."""
    monkeypatch.setattr(rounds, "BATCH", 2)
    await messages(hub, client, 6, 1, 4)
    clock.advance(366 * DAY)
    assert (await hub.rounds.apply(hub.around.db)).contents == 4
    assert (await kept(hub))[0] == [False, True, False, False, True, False]
    await hub.around.db.run(lambda tx: tx.execute("update messages set final = true"))
    assert (await hub.rounds.apply(hub.around.db)).contents == 2
    assert (await kept(hub))[0] == [False] * 6


async def test_a_side_sets_its_own_policy_audited(
    hub: Hub, workspace: Workspace, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    assert (await client.get("/v1/retention")).json() == {
        "callbacks": 90, "content": 365, "events": 400, "recipients": None, "proofs": 1095, "proofs_by_purpose": {},
        "updated_at": None, "last_round": None,
    }  # fmt: skip
    set_ = await client.put("/v1/retention", json={"callbacks": 1, "content": None})
    assert (set_.status_code, set_.json()["callbacks"], set_.json()["content"]) == (200, 1, None)
    await messages(hub, client, 1)
    await callbacks(hub, workspace.test, 1)
    await callbacks(hub, workspace.live, 1)
    clock.advance(2 * DAY)
    assert await hub.rounds.apply(hub.around.db) == Applied(callbacks=1)
    clock.advance(4000 * DAY)
    assert await hub.rounds.apply(hub.around.db) == Applied(callbacks=1), "content is kept for ever"
    [entry] = [one for one in (await client.get("/v1/audit")).json()["data"] if one["action"] == "retention.set"]
    assert entry["detail"] == {
        "callbacks_days": 1, "content_days": None, "events_days": 400, "recipients_days": None, "proofs_days": 1095,
        "proofs_by_purpose": {},
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"callbacks": 0}, {"content": -1}, {"content": "90"}, {"other": 1}, []])
async def test_a_policy_that_is_none_is_refused(client: httpx.AsyncClient, wrong: object) -> None:
    assert (await client.put("/v1/retention", json=wrong)).status_code == 422


async def test_a_round_that_was_cut_off_is_finished_by_the_next(
    hub: Hub, client: httpx.AsyncClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BATCH", 2)
    await messages(hub, client, 5)
    clock.advance(366 * DAY)
    empty = hub.messages.empty

    async def dies(
        tx: Tx, side: WorkspaceId, after: UUID | None, before: UUID, most: int, spared: Sequence[UUID]
    ) -> object:
        if after is not None:
            raise KeyboardInterrupt
        return await empty(tx, side, after, before, most, spared)

    with monkeypatch.context() as patched:
        patched.setattr(hub.messages, "empty", dies)
        with pytest.raises(KeyboardInterrupt):
            await hub.rounds.apply(hub.around.db)
    assert (await kept(hub))[0] == [False, False, True, True, True]
    assert (await hub.rounds.apply(hub.around.db)).contents == 3


def test_the_default_keeps_nothing_for_ever() -> None:
    assert Policy() == Policy(callbacks=90, content=365)
