"""Every statement that is told a workspace keeps to it, also where ids are unique and no route could show that it does.

Each is asked for one twin's rows in that twin's name, before and after the other came to be, and in the name of a side
that is none: it must find the same, then nothing. Each that writes is told to change what a twin has in that twin's
name, then in the name of the one that is none: nobody else's rows may change, then nobody's at all.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import tabellion
from tabellion.access import store as access
from tabellion.access.types import AuditEntry, UserTokenKey
from tabellion.app.wiring import Surroundings
from tabellion.consent import store as consent
from tabellion.core import ids, vault
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.identity import items
from tabellion.identity.items import NewItem
from tabellion.identity.review_types import ReviewKind
from tabellion.jobs import store as jobs
from tabellion.jobs.types import Claimed, Lane
from tabellion.ledger import note
from tabellion.ledger import store as ledger
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.types import LogId, Tile
from tabellion.ledger.witness import store as witnessed
from tabellion.ledger.witness.policy import Member
from tabellion.ledger.witness.types import Standing
from tabellion.privacy import store as privacy
from tabellion.privacy.types import Applied, Policy
from tabellion.recipients import indexed_store, settings_store, tokens_store

from . import (
    statements_notices,
    statements_pages,
    statements_policies,
    statements_privacy,
    statements_recipients,
)
from .statements import COVERED, OTHERS, READS, STORES, WRITES, Asked, Statement
from .test_isolation_twins import NOBODYS, ann, begins
from .twins import Twins, dump, twins


@dataclass
class Told:
    twins: Twins
    nobody: WorkspaceId
    """A side that is none."""
    alone: dict[str, str]
    """What each statement found for the first, when there was no other."""

    async def run(self, work: Callable[[Tx], Awaitable[Any]]) -> Any:
        return await self.twins.hub.around.db.run(work)

    async def asked(self, tx: Tx, name: WorkspaceId, owner: WorkspaceId) -> Asked:
        return Asked(name, owner, await rows(tx, owner), self.twins.hub)


async def rows(tx: Tx, owner: WorkspaceId) -> dict[str, list[dict[str, Any]]]:
    tables = await dump(tx, owner)
    return {
        name: [dict(row) for row in await tx.rows(f"select * from {name} where workspace_id = $1", owner)]
        for name in tables
    }


@pytest.fixture
async def told(surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Told]:
    async with twins(surroundings, monkeypatch, of_one=False) as made:
        first, second = made.both
        world = Told(made, WorkspaceId(ids.new()), {})
        start, lay = made.clock.now(), made.dice.taken_up()
        for twin in (first, second):
            async with made.life_of(twin, start, lay):
                await begins(made, twin)
                await twin.post("/v1/recipients", ann(twin, NOBODYS))
                await world.run(lambda tx, twin=twin: what_no_route_makes(tx, twin.id))
            if twin is first:
                world.alone = {name: repr(await found(world, one, first.id, first.id)) for name, one in READS.items()}
        await world.run(lambda tx: estrange(tx, second.id))
        yield world


async def found(world: Told, one: Statement, name: WorkspaceId, owner: WorkspaceId) -> Any:
    async def work(tx: Tx) -> Any:
        return await one(tx, await world.asked(tx, name, owner))

    return await world.run(work)


async def what_no_route_makes(tx: Tx, side: WorkspaceId) -> None:
    """What no route makes by itself: tiles, dead letters, blocks, reviews, marks, uses of keys, callbacks, attempts."""
    log, job = LogId(side, "consent", 1), Claimed(1, Lane.BULK, side, "x", {}, 1, ids.new(), tx.now, False)
    await ledger.insert_tiles(tx, log, [Tile(0, 0, bytes(8192), bytes(32))])
    await ledger.publish(tx, side, "consent", side.bytes)
    closed = LogId(side, "closed", 1)
    await ledger.insert_head(tx, closed, f"closed/{side}", Frontier(), "signed", bytes(32))
    await ledger.close_head(tx, closed)
    await witnessed.publish(tx, log, 1, "checkpoint", bytes(32))
    witness = Member("w", note.Cosigner.of("w.example", bytes(32)).witness, None)
    await witnessed.record(tx, log, [Standing(witness, side.int % 1000)])
    await jobs.bury(tx, [jobs.Buried(job, 1, False, "why")])
    await consent.block(tx, side, [(b"h" * 32, "+1", ids.new())])
    [person, *_] = await tx.rows("select id from recipients where workspace_id = $1 order by id", side)
    new = NewItem(ids.new(), ReviewKind.IDENTITY_CONFLICT, b"d" * 32, [person["id"]], "import", b"sealed", 1)
    await items.put(tx, side, [new])
    await tx.execute(
        """
        insert into consent_entries
        select (jsonb_populate_record(e, jsonb_build_object(
                   'id', $2::uuid, 'log_index', 9999, 'applied', false, 'standing', false, 'reason', 'newer'))).*
          from consent_entries e
         where workspace_id = $1 and strength > 0
         limit 1
        """,
        side, ids.new(),
    )  # fmt: skip
    await tx.execute(
        """
        insert into consent_entries
        select (jsonb_populate_record(e, made.fields || jsonb_build_object(
                   'method', 'keyword', 'applied', true, 'identifier_kind', 'phone', 'person_scope', false,
                   'identifier_hash', '\\x7374'))).*
          from consent_entries e
         cross join (values (jsonb_build_object('id', $2::uuid, 'log_index', 9997, 'standing', true)),
                            (jsonb_build_object('id', $3::uuid, 'log_index', 9998, 'standing', false, 'strength', 0,
                                                'decision', 'granted', 'channel', 'sms', 'purpose', 'marketing',
                                                'ended_by', $2::uuid))) as made (fields)
         where e.workspace_id = $1
           and e.log_index = (select min(log_index) from consent_entries
                               where workspace_id = $1 and strength > 0 and recipient_id is not null)
        """,
        side, ids.new(), ids.new(),
    )  # fmt: skip
    await privacy.write(tx, side, Policy(callbacks=7))
    old = AuditEntry(ids.new(), tx.now, "key_1", "before.log", "nothing", {})
    await access.insert_audit(tx, side, [old])
    signing = UserTokenKey(ids.new(), None, "HS256", None, tx.now, "key_1")
    await access.insert_user_token_key(tx, side, signing, b"sealed")
    key_id = await tx.value("select id from api_keys where workspace_id = $1", side)
    await access.add_uses(tx, [(side, key_id, tx.now, 1, tx.now)])
    for mark in (privacy.set_mark, privacy.set_finals_to, privacy.set_recipients_to):
        await mark(tx, side, ids.new())
    await privacy.set_last_round(tx, side, tx.now, Applied(callbacks=1))
    await settings_store.write(tx, side, {"default_region": "AT"})
    await statements_notices.make(tx, side)
    await statements_privacy.make(tx, side)
    await statements_pages.make(tx, side)
    await statements_policies.make(tx, side)
    await indexed_store.declare(tx, side, ["plan"])
    people = await indexed_store.people(tx, side, None, 100)
    await indexed_store.put(tx, side, [(one, "plan", "pro") for one in people])
    await tx.execute(
        """
        insert into identifiers (workspace_id, hash, kind, recipient_id, value, source, first_seen_at, last_seen_at)
        select $1, sha256(kind::bytea), kind, person.id, 'sealed', 'test', $2, $2
          from (select min(recipient_id::text)::uuid as id from identifiers where workspace_id = $1) person
         cross join unnest(array['device', 'external:crm']) as made (kind)
        """,
        side, tx.now,
    )  # fmt: skip
    claims = await tx.rows(
        "select hash, recipient_id from identifiers where workspace_id = $1 and kind = 'device'", side
    )
    since = tx.now - timedelta(days=1)
    await tokens_store.claim(tx, side, [(row["hash"], row["recipient_id"], since) for row in claims], since)
    await tx.execute("update attempts set state = 'started', account_id = $2 where workspace_id = $1", side, ids.new())
    await tx.execute(
        """
        insert into callbacks (workspace_id, id, account_id, provider, received_at, digest, state, raw, recipient_id)
        select workspace_id, $2, $2, 'twilio', created_at, 'digest', 'normalised', 'raw', id
          from recipients
         where workspace_id = $1
         order by id
         limit 1
        """,
        side, ids.new(),
    )  # fmt: skip


async def estrange(tx: Tx, side: WorkspaceId) -> None:
    """Let its rows say something else than the twin's of the same ids."""
    await tx.execute("update recipients set address_only = not address_only where workspace_id = $1", side)
    await tx.execute("update recipients set merged_into = id where workspace_id = $1", side)
    await tx.execute("delete from identifiers where workspace_id = $1 and kind = 'external_id'", side)
    await tx.execute(
        """
        update attempts set channel = $2, provider_message_id = $2
         where workspace_id = $1 and id = (select max(id::text)::uuid from attempts where workspace_id = $1)
        """,
        side, OTHERS,
    )  # fmt: skip


def test_every_statement_has_a_case() -> None:
    """A new statement needs one."""
    wanted = set()
    parts = (statements_notices, statements_pages, statements_policies, statements_recipients, statements_privacy)
    for module in (*STORES, *(store for part in parts for store in part.STORES)):
        things = [one for _, one in inspect.getmembers(module, inspect.isfunction)]
        things += [one for _, one in inspect.getmembers(vault.Vault, inspect.isfunction) if module is vault]
        told = {one for one in things if one.__module__ == module.__name__ and TOLD.search(inspect.getsource(one))}
        wanted |= {(module.__name__, one.__name__) for one in told}
    assert wanted <= COVERED, wanted - COVERED


def test_every_store_is_among_them() -> None:
    """A new domain's store needs to be."""
    files = {Path(one.__file__ or "") for one in (*STORES, *statements_recipients.STORES)}
    assert files >= set(Path(tabellion.__path__[0]).glob("*/store.py"))


TOLD = re.compile(r"workspace_id = |m\.workspace_id")


async def test_a_statement_finds_what_is_of_the_side_it_is_told(told, subtests):
    first = told.twins.both[0]
    for name, one in READS.items():
        with subtests.test(name):
            mine = await found(told, one, first.id, first.id)
            assert mine, "nothing to find"
            assert repr(mine) == told.alone[name]
            assert not await found(told, one, told.nobody, first.id)


async def test_what_is_joined_is_of_that_side_too(told):
    """What both have by the same ids says another thing with each; one has no external_id, and merged nobody."""
    by_side = []
    for twin in told.twins.both:
        by_address, by_id, records = [
            (await found(told, READS[f"recipients.store.{name}"], twin.id, twin.id)).values()
            for name in ("find", "roots", "records")
        ]
        seen = [sorted(one.address_only for one in some) for some in (by_address, by_id)]
        roots = {one.recipient_id for one in by_id}
        by_side.append((*seen, any(one.external_id for one in records), len(by_id) - len(roots)))
    assert by_side == [([False] * 8, [False] * 3, True, 1), ([True] * 6, [False, True, True], False, 0)]


class Undone(Exception):
    """Nothing stays of it."""


async def test_a_statement_changes_what_is_of_the_side_it_is_told(told, subtests):
    first, second = told.twins.both

    async def changed(one: Statement, name: WorkspaceId) -> dict[str, bool]:
        """Whose rows changed."""
        seen: dict[str, bool] = {}

        async def work(tx: Tx) -> None:
            before = {twin.word: await dump(tx, twin.id) for twin in told.twins.both}
            await one(tx, await told.asked(tx, name, second.id))
            seen.update({twin.word: await dump(tx, twin.id) != before[twin.word] for twin in told.twins.both})
            raise Undone

        with pytest.raises(Undone):
            await told.run(work)
        return seen

    for name, one in WRITES.items():
        with subtests.test(name):
            assert await changed(one, second.id) == {first.word: False, second.word: True}
            assert await changed(one, told.nobody) == {first.word: False, second.word: False}


async def test_a_lock_on_an_idempotency_key_is_of_its_side(told):
    """Nobody waits for, or is refused because of, another's request with the same key."""
    first, second = told.twins.both
    db, scope = told.twins.hub.around.db, bytes(32)
    async with db.transaction() as one, db.transaction() as other:
        assert await access.lock_scopes(one, first.id, [scope]) == [scope]
        assert await access.lock_scopes(other, second.id, [scope]) == [scope]
        assert await access.lock_scopes(other, first.id, [scope]) == []
