"""Journal and database brought together at the start: what one lost, the other has."""

from pathlib import Path

import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.privacy.erasure import Erasure
from tabellion.privacy.examining import journal_trouble
from tabellion.privacy.orders import State

from .conftest import ANN, HOUR, MINUTE, Client, World

ORDER = {"type": "erase", "recipient": {"email": ANN}, "verified_by": "ticket"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "erasures.journal"


async def erased(world: World, api: Client) -> str:
    """The order by which Ann was erased."""
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    made = (await client.post("/v1/regulations", json={**ORDER, "immediate": True})).json()
    await world.pass_time(2 * MINUTE)
    shown: str = made["id"]
    return shown


async def test_where_both_agree_nothing_is_done(world: World, api: Client) -> None:
    assert await world.hub.replay.run(world.db) == (0, 0)
    await erased(world, api)
    events = len(await world.rows("select 1 from events"))
    assert await world.hub.replay.run(world.db) == (0, 0)
    assert len(await world.rows("select 1 from events")) == events


async def test_what_the_journal_lost_is_written_again(world: World, api: Client, file: Path) -> None:
    """An older keys folder was put back over a newer one."""
    first = await erased(world, api)
    before = file.read_bytes()
    file.write_bytes(b"")
    assert await world.hub.replay.run(world.db) == (0, 1)
    assert file.read_bytes() == before
    assert [ids.show("reg", one.regulation_id) for one in await world.hub.replay.erasure.journal.read()] == [first]


async def test_an_erasure_that_was_written_down_but_not_committed_and_then_taken_back_is_not_done(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is written before the commit: that it names somebody does not say that they were erased."""
    client = await api(Role.COMPLIANCE)
    person = await world.person(ANN)
    made = (await client.post("/v1/regulations", json=ORDER)).json()
    real = Erasure.destroy

    async def dying(self, *given):  # type: ignore[no-untyped-def]
        await real(self, *given)
        raise RuntimeError("died before the commit")

    monkeypatch.setattr(Erasure, "destroy", dying)
    await world.pass_time(24 * HOUR + MINUTE)
    assert len(await world.hub.replay.erasure.journal.read()) == 1
    hold = {"recipient": {"email": ANN}, "reason": "a case came up"}
    assert (await client.post("/v1/legal-holds", json=hold)).status_code == 201
    await world.pass_time(HOUR)
    assert (await client.get(f"/v1/regulations/{made['id']}")).json()["state"] == State.BLOCKED
    assert (await client.delete(f"/v1/regulations/{made['id']}")).status_code == 200
    monkeypatch.setattr(Erasure, "destroy", real)
    assert await world.hub.replay.run(world.db) == (0, 0)
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 200


async def test_doctor_knows_whether_journal_and_database_agree(world: World, api: Client, file: Path) -> None:
    async def trouble() -> str | None:
        return await world.db.run(lambda tx: journal_trouble(tx, world.hub.replay.erasure.journal))

    assert await trouble() is None
    shown = await erased(world, api)
    assert await trouble() is None
    kept = file.read_bytes()
    file.write_bytes(b"")
    assert shown in (await trouble() or "")
    file.write_bytes(kept)
    await world.execute("update regulations set erased_at = null, state = 'running', certificate = null")
    assert f"{shown} erased people whom this database holds again" in (await trouble() or "")
    file.write_bytes(kept.replace(b"ticket", b"tocket"))
    assert "not as it was written" in (await trouble() or "")


async def test_somebody_who_is_here_again_is_erased_again(world: World, api: Client) -> None:
    """What a restored database looks like where its ledger lost nothing: nothing was refused, nothing kept."""
    client = await api(Role.COMPLIANCE)
    person = await world.person(ANN)
    tables = ("recipients", "identifiers", "subject_keys", "recipient_versions", "regulations")
    for table in tables:
        await world.execute(f"create table old_{table} as select * from {table}")
    body = {**ORDER, "immediate": True, "keep_opt_outs": False}
    made = (await client.post("/v1/regulations", json=body)).json()
    await world.pass_time(2 * MINUTE)
    for table in reversed(tables):
        await world.execute(f"delete from {table}")
    for table in tables:
        await world.execute(f"insert into {table} select * from old_{table}")
    world.hub.around.vault.forget(world.side, person)
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 200
    assert await world.hub.replay.run(world.db) == (1, 0)
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 404
    await world.pass_time(2 * MINUTE)
    told = (await client.get(f"/v1/regulations/{made['id']}")).json()
    assert told["state"] == "done", "it is tidied up and certified once more"
    assert await world.hub.replay.run(world.db) == (0, 0)
