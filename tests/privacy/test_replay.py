"""Journal and database brought together at the start: what one lost, the other has."""

from pathlib import Path
from uuid import UUID

import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.privacy.erasure import Erasure
from tabellion.privacy.examining import journal_trouble
from tabellion.privacy.orders import State
from tabellion.recipients.types import Ref

from .conftest import ANN, HOUR, MINUTE, Client, World, mail

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


TABLES = (
    "recipients", "identifiers", "subject_keys", "recipient_versions", "regulations", "legal_holds", "consent_entries",
    "messages", "attempts", "held_proofs", "merges",
)  # fmt: skip


async def remember(world: World) -> None:
    for table in TABLES:
        await world.execute(f"create table old_{table} as select * from {table}")


async def restore(world: World, *people: UUID) -> None:
    """The database is what it was, but for its ledger, which lost nothing."""
    for table in reversed(TABLES):
        await world.execute(f"delete from {table}")
    for table in TABLES:
        await world.execute(f"insert into {table} select * from old_{table}")
    for one in people:
        world.hub.around.vault.forget(world.side, one)


async def test_nobody_under_a_legal_hold_is_erased_by_what_was_never_committed(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died after the journal; a hold was set since, and the order waits for its end."""
    client = await api(Role.COMPLIANCE)
    person = await world.person(ANN)
    await client.post("/v1/regulations", json=ORDER)
    real = Erasure.destroy

    async def dying(self, *given):  # type: ignore[no-untyped-def]
        await real(self, *given)
        raise RuntimeError("died before the commit")

    monkeypatch.setattr(Erasure, "destroy", dying)
    await world.pass_time(24 * HOUR + MINUTE)
    monkeypatch.setattr(Erasure, "destroy", real)
    assert len(await world.hub.replay.erasure.journal.read()) == 1
    hold = (await client.post("/v1/legal-holds", json={"recipient": {"email": ANN}, "reason": "case"})).json()
    assert await world.hub.replay.run(world.db) == (0, 0)
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 200
    await world.pass_time(HOUR)
    assert (await client.delete(f"/v1/legal-holds/{hold['id']}")).status_code == 204
    await world.pass_time(5 * MINUTE)
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 404


async def test_what_is_done_again_is_done_whole(world: World, api: Client) -> None:
    """What was to be sent is not, proofs are held, the vendors are named, and who approved still did."""
    first, second = await api(Role.COMPLIANCE), await api(Role.COMPLIANCE)
    person = await world.person(ANN)
    await world.decide(ANN, "granted", "email")
    await world.sent(ANN, mail(), purpose="marketing")
    waiting = await world.send(ANN, mail(), send_at=world.clock.now() + 99 * HOUR)
    await first.put("/v1/privacy-settings", json={"approvals": ["erase"]})
    await remember(world)
    body = {**ORDER, "immediate": True, "keep_opt_outs": False}
    made = (await first.post("/v1/regulations", json=body)).json()
    await second.post(f"/v1/regulations/{made['id']}/approve")
    await world.pass_time(2 * MINUTE)
    before = (await first.get(f"/v1/regulations/{made['id']}")).json()
    assert before["state"] == "done"
    await restore(world, person)
    assert await world.hub.replay.run(world.db) == (1, 0)
    await world.pass_time(2 * MINUTE)
    after = (await first.get(f"/v1/regulations/{made['id']}")).json()
    assert after["state"] == "done"
    assert after["approved_by"] == before["approved_by"]
    assert set(after["systems"]) == set(before["systems"])
    assert after["systems"]["proofs"]["detail"] == {"held": 1}
    assert len((await first.get("/v1/proofs")).json()["data"]) == 1
    assert (await world.message(waiting)).final
    assert after["erased_at"] == before["erased_at"]


async def test_who_became_one_since_is_erased_as_both_that_they_were(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    ann, anna = await world.person(ANN), await world.person("anna@example.org")
    await world.decide("anna@example.org", "granted", "email")
    await world.sent("anna@example.org", mail(), purpose="marketing")
    await remember(world)
    pair = Ref(id=ann), Ref(id=anna)
    await world.db.run(lambda tx: world.hub.identity.merge(tx, world.side, pair, "one", "key_1"))
    body = {**ORDER, "immediate": True, "keep_opt_outs": False}
    made = (await client.post("/v1/regulations", json=body)).json()
    await world.pass_time(2 * MINUTE)
    await restore(world, ann, anna)
    assert await world.hub.replay.run(world.db) == (1, 0)
    await world.pass_time(2 * MINUTE)
    for one in (ann, anna):
        assert (await client.get(f"/v1/recipients/{ids.show('rcp', one)}")).status_code == 404
    done = (await client.get(f"/v1/regulations/{made['id']}")).json()
    assert done["state"] == "done"
    assert done["systems"]["recipients"]["detail"] == {"identifiers": 2}
    assert done["systems"]["proofs"]["detail"] == {"held": 1}
    assert await world.hub.replay.run(world.db) == (0, 0)


async def test_who_is_not_here_at_all_is_no_hindrance(world: World, api: Client) -> None:
    """A dump from before there was such a person."""
    await remember(world)
    await erased(world, api)
    await restore(world)
    assert await world.hub.replay.run(world.db) == (0, 0)
