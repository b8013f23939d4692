"""Push tokens and subscriptions that nobody named for long, and what looking for them costs an upsert."""

from datetime import timedelta
from uuid import UUID

import pytest

from tabellion.core.clock import FakeClock
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import staleness
from tabellion.recipients.settings import RecipientSettings
from tabellion.recipients.staleness import Staleness
from tabellion.recipients.types import Health, Kind, Named

from .conftest import Absorptions, Hub
from .test_forms import CRM, FCM, KEYS
from .test_kinds import ANDROID, ENDPOINT, owned, set_health, unit, upsert
from .test_upsert import People

DAY = timedelta(days=1)


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> People:
    return People(hub, workspace_id, absorbed)


async def look(people: People) -> int:
    return await Staleness(people.hub.recipients).apply(people.hub.db)


async def healths(people: People, person: UUID) -> dict[str, Health]:
    return {kind: one.health for (kind, _), one in (await owned(people, person)).items()}


def phone(number: int = 0) -> Named:
    return Named(Kind.DEVICE, f"{FCM}-{number}", device=ANDROID)


async def test_what_is_not_named_for_long_is_stale_and_the_log_says_so(people: People, clock: FakeClock) -> None:
    ann = await upsert(people, Named(CRM, "1"), phone(), Named(Kind.WEBPUSH, ENDPOINT, keys=KEYS))
    clock.advance(200 * DAY)
    await upsert(people, Named(CRM, "1"), phone())
    clock.advance(71 * DAY)
    assert await look(people) == 1
    assert await healths(people, ann) == {"external:crm": Health.OK, "device": Health.OK, "webpush": Health.STALE}
    assert await look(people) == 0
    clock.advance(198 * DAY)
    assert await look(people) == 0, "its time is counted from when it was named"
    clock.advance(2 * DAY)
    assert await look(people) == 1
    assert (await people.events())[1:] == ["identifier.stale", "identifier.stale"]


async def test_one_named_again_is_well_and_may_become_stale_again(people: People, clock: FakeClock) -> None:
    ann = await upsert(people, phone())
    for _ in range(2):
        clock.advance(271 * DAY)
        assert await look(people) == 1
        await upsert(people, phone())
        assert await healths(people, ann) == {"device": Health.OK}


async def test_what_is_of_no_use_already_is_looked_at_once(people: People, clock: FakeClock) -> None:
    ann = await upsert(people, phone())
    await set_health(people, ann, Health.INVALID, "unregistered", f"{FCM}-0")
    clock.advance(271 * DAY)
    assert await look(people) == 0
    assert await healths(people, ann) == {"device": Health.INVALID}
    assert await people.hub.db.run(
        lambda tx: tx.value("select count(*) from identifiers where watched_at = 'infinity'")
    ) == 1  # fmt: skip


@pytest.mark.parametrize(("days", "stale"), [(None, 0), (30, 1)])
async def test_a_side_says_after_how_long(people: People, clock: FakeClock, days: int | None, stale: int) -> None:
    settings = RecipientSettings(stale_after_days=days)
    await people.hub.db.run(lambda tx: people.hub.recipients.settings.set(tx, people.workspace_id, settings))
    await upsert(people, phone())
    clock.advance(31 * DAY)
    assert await look(people) == stale


async def test_a_round_goes_on_batch_by_batch(
    people: People, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staleness, "BATCH", 2)
    for number in range(5):
        await upsert(people, phone(number))
    clock.advance(271 * DAY)
    assert await look(people) == 5


async def test_what_is_being_named_this_moment_is_left(people: People, clock: FakeClock) -> None:
    await upsert(people, phone())
    clock.advance(271 * DAY)
    async with people.hub.db.transaction() as tx:
        await people.upsert_in(tx, unit(people, phone()))
        assert await look(people) == 0
    assert await look(people) == 0


async def test_naming_a_token_again_touches_no_index(people: People, clock: FakeClock) -> None:
    await upsert(people, Named(CRM, "1"), phone())
    await people.hub.db.run(lambda tx: tx.execute("analyze identifiers"))
    for _ in range(20):
        clock.advance(DAY)
        await upsert(people, Named(CRM, "1"), phone())
    await people.hub.db.run(lambda tx: tx.value("select pg_stat_force_next_flush()"))
    updates, hot = await people.hub.db.run(
        lambda tx: tx.row("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'identifiers'")
    )
    assert updates == hot >= 40
