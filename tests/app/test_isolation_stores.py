"""Every statement that is told a workspace keeps to it, also where ids are unique and no route could show that it does.

Each is asked for one twin's rows in that twin's name, before and after the other came to be, and in the name of a side
that is none: it must find the same, then nothing. Each that writes is told to change what a twin has in that twin's
name, then in the name of the one that is none: nobody else's rows may change, then nobody's at all.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

import tabellion
from tabellion.access import store as access
from tabellion.accounts import store as accounts
from tabellion.app.wiring import Surroundings
from tabellion.consent import store as consent
from tabellion.consent.types import Question
from tabellion.core import ids, vault
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events import store as events
from tabellion.events.types import END, EVERYTHING, START, Wanted
from tabellion.jobs import store as jobs
from tabellion.jobs.types import Claimed, Lane
from tabellion.ledger import store as ledger
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.types import LogId, Tile
from tabellion.messages import store as messages
from tabellion.messages.store import Filter
from tabellion.providers.base import Channel
from tabellion.recipients import store as recipients
from tabellion.webhooks import store as webhooks

from .test_isolation_twins import NOBODYS, ann, begins
from .twins import Twins, dump, twins

STORES = (access, accounts, consent, events, jobs, ledger, messages, recipients, webhooks, vault)


@dataclass(frozen=True)
class Asked:
    """Whose rows are asked for, and in whose name."""

    name: WorkspaceId
    owner: WorkspaceId
    rows: dict[str, list[dict[str, Any]]]
    """The owner's rows, by table."""
    hub: Any

    def all(self, table: str, column: str) -> list[Any]:
        return sorted({row[column] for row in self.rows[table] if row[column] is not None})

    def one(self, table: str, column: str) -> Any:
        return self.all(table, column)[0]

    def pairs(self, table: str, column: str) -> list[tuple[UUID, UUID]]:
        return [(self.name, one) for one in self.all(table, column)]

    @property
    def log(self) -> LogId:
        return LogId(self.name, "consent", 1)


Statement = Callable[[Tx, Asked], Awaitable[Any]]
READS: dict[str, Statement] = {}
WRITES: dict[str, Statement] = {}
COVERED: set[tuple[str, str]] = set()
"""Module and function of each statement that has a case."""


def _case(cases: dict[str, Statement], module: ModuleType, *names: str) -> Callable[[Statement], Statement]:
    def add(one: Statement) -> Statement:
        cases[f"{module.__name__.removeprefix('tabellion.')}.{names[0]}"] = one
        COVERED.update((module.__name__, name) for name in names)
        return one

    return add


def reads(module: ModuleType, *names: str) -> Callable[[Statement], Statement]:
    return _case(READS, module, *names)


def writes(module: ModuleType, *names: str) -> Callable[[Statement], Statement]:
    return _case(WRITES, module, *names)


# access and accounts: their ids are nobody else's


reads(access, "read_mode")(lambda tx, of: access.read_mode(tx, of.name))
reads(access, "list_keys")(lambda tx, of: access.list_keys(tx, of.name, 100, None))
reads(access, "lock_key")(lambda tx, of: access.lock_key(tx, of.name, of.one("api_keys", "id")))
reads(access, "list_audit")(lambda tx, of: access.list_audit(tx, of.name, 100, None))
reads(access, "read_answers")(lambda tx, of: access.read_answers(tx, of.name, of.all("idempotency", "scope")))


@writes(access, "retire_key")
async def _(tx: Tx, of: Asked) -> None:
    await access.retire_key(tx, of.name, of.one("api_keys", "id"), ids.new(), tx.now)


@writes(access, "revoke_key")
async def _(tx: Tx, of: Asked) -> None:
    await access.revoke_key(tx, of.name, of.one("api_keys", "id"))


@writes(access, "renew_claims")
async def _(tx: Tx, of: Asked) -> None:
    claims = [(scope, bytes(32)) for scope in of.all("idempotency", "scope")]
    await access.renew_claims(tx, of.name, claims, tx.now + timedelta(days=2))


@writes(access, "store_answers")
async def _(tx: Tx, of: Asked) -> None:
    await access.store_answers(tx, of.name, [(scope, 299, b"other") for scope in of.all("idempotency", "scope")])


reads(accounts, "lock")(lambda tx, of: accounts.lock(tx, of.name, of.one("accounts", "id")))
reads(accounts, "of_workspace")(lambda tx, of: accounts.of_workspace(tx, of.name))
reads(accounts, "read")(lambda tx, of: accounts.read(tx, of.name, of.one("accounts", "id")))
reads(accounts, "page")(lambda tx, of: accounts.page(tx, of.name, None, 100))
reads(accounts, "ceilings")(lambda tx, of: accounts.ceilings(tx, of.name, of.all("account_pacing", "account_id")))
reads(accounts, "lock_paces")(lambda tx, of: accounts.lock_paces(tx, of.pairs("account_pacing", "account_id")))


@writes(accounts, "update")
async def _(tx: Tx, of: Asked) -> None:
    for one in await accounts.of_workspace(tx, of.owner):
        await accounts.update(tx, replace(one, workspace_id=of.name, name="renamed"))


@writes(accounts, "write_paces")
async def _(tx: Tx, of: Asked) -> None:
    paces = await accounts.lock_paces(tx, [(of.owner, one) for one in of.all("account_pacing", "account_id")])
    await accounts.write_paces(tx, {(of.name, one): replace(pace, rate=9.0) for (_, one), pace in paces.items()})


@writes(accounts, "delete_paces")
async def _(tx: Tx, of: Asked) -> None:
    await accounts.delete_paces(tx, of.pairs("account_pacing", "account_id"))


# consent


@reads(consent, "around_questions")
async def _(tx: Tx, of: Asked) -> Any:
    entries = of.rows["consent_entries"]
    by_address = [(None, row["identifier_hash"]) for row in entries if row["identifier_hash"]]
    by_person = [(row["recipient_id"], None) for row in entries if row["recipient_id"]]
    asked = [
        Question(of.name, person, address, None, Channel.SMS, "marketing") for person, address in by_address + by_person
    ]
    return [found for found in await consent.around_questions(tx, asked) if found]


@reads(consent, "around_decisions")
async def _(tx: Tx, of: Asked) -> Any:
    hashes, people = of.all("consent_entries", "identifier_hash"), of.all("consent_entries", "recipient_id")
    return sorted(one.id for one in await consent.around_decisions(tx, of.name, hashes, people))


reads(consent, "blocks")(
    lambda tx, of: consent.blocks(tx, [(of.name, one) for one in of.all("vendor_blocks", "identifier_hash")])
)


@writes(consent, "end")
async def _(tx: Tx, of: Asked) -> None:
    await consent.end(tx, of.name, of.all("consent_entries", "id"))


@writes(consent, "add_lifts")
async def _(tx: Tx, of: Asked) -> None:
    grants = [row["id"] for row in of.rows["consent_entries"] if row["decision"] == "granted"]
    await consent.add_lifts(tx, of.name, [(one, 99) for one in grants])


@writes(consent, "move")
async def _(tx: Tx, of: Asked) -> None:
    await consent.move(tx, of.name, of.one("consent_entries", "recipient_id"), ids.new())


# events, jobs, ledger


reads(events, "page")(lambda tx, of: events.page(tx, of.name, START, END, EVERYTHING, 500))
reads(events, "nth_after")(lambda tx, of: events.nth_after(tx, of.name, START, 1))
reads(events, "page_of_message")(
    lambda tx, of: events.page_of_message(tx, of.name, START, Wanted(message_id=of.one("messages", "id")), 500)
)
reads(events, "of_message")(lambda tx, of: events.of_message(tx, of.name, of.one("messages", "id")))
reads(jobs, "dead_letters")(lambda tx, of: jobs.dead_letters(tx, of.name, None, 100))

reads(ledger, "open_head")(lambda tx, of: ledger.open_head(tx, of.name, "consent"))
reads(ledger, "lock_head")(lambda tx, of: ledger.lock_head(tx, of.name, "consent"))
reads(ledger, "sealed_key")(lambda tx, of: ledger.sealed_key(tx, of.log, of.one("ledger_keys", "public_key")))
reads(ledger, "public_keys")(lambda tx, of: ledger.public_keys(tx, of.name, "consent"))
reads(ledger, "leaves")(lambda tx, of: ledger.leaves(tx, of.log, of.all("ledger_leaves", "index")))
reads(ledger, "tile_roots")(lambda tx, of: ledger.tile_roots(tx, of.log, 0, of.all("ledger_tiles", "index")))
reads(ledger, "tile")(lambda tx, of: ledger.tile(tx, of.log, 0, of.one("ledger_tiles", "index")))


@writes(ledger, "update_head")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.update_head(tx, of.log, Frontier.unpacked(0, b""), "changed")


@writes(ledger, "close_head")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.close_head(tx, of.log)


# messages and callbacks


@reads(messages, "lock_messages")
async def _(tx: Tx, of: Asked) -> Any:
    return await messages.lock_messages(tx, of.pairs("messages", "id"), content=True)


@reads(messages, "list_messages")
async def _(tx: Tx, of: Asked) -> Any:
    """With what only the other's attempts have, too."""
    asked = [Filter(), Filter(channel="sms"), *(Filter(channel=OTHERS), Filter(provider_message_id=OTHERS))]
    return [
        one.id for wanted in asked for one in await messages.list_messages(tx, of.name, wanted, before=None, limit=100)
    ]


@reads(messages, "in_flight")
async def _(tx: Tx, of: Asked) -> Any:
    """By person, and by address."""
    by_person = await messages.in_flight(tx, of.name, of.all("attempts", "recipient_id"), [])
    by_address = await messages.in_flight(tx, of.name, [], of.all("attempts", "identifier"))
    return [one.id for one in by_person] + [one.id for one in by_address]


@reads(messages, "attempts_of")
async def _(tx: Tx, of: Asked) -> Any:
    found = await messages.attempts_of(tx, of.pairs("messages", "id"))
    return {pair: attempts for pair, attempts in found.items() if attempts}


@reads(messages, "attempts_by_vendor_id")
async def _(tx: Tx, of: Asked) -> Any:
    known = [row for row in of.rows["attempts"] if row["provider_message_id"]]
    wanted = [(of.name, row["account_id"], row["provider_message_id"]) for row in known]
    return await messages.attempts_by_vendor_id(tx, wanted)


reads(messages, "read_message")(lambda tx, of: messages.read_message(tx, of.name, of.one("messages", "id")))
reads(messages, "attempts_by_id")(lambda tx, of: messages.attempts_by_id(tx, of.pairs("attempts", "id")))
reads(webhooks, "read")(lambda tx, of: webhooks.read(tx, of.pairs("callbacks", "id")))


@writes(messages, "update_messages")
async def _(tx: Tx, of: Asked) -> None:
    found = await messages.lock_messages(tx, [(of.owner, one) for one in of.all("messages", "id")], content=False)
    changed = [structs.replace(one, workspace_id=of.name, reason="changed") for one in found.values()]
    await messages.update_messages(tx, changed)


@writes(messages, "update_attempts")
async def _(tx: Tx, of: Asked) -> None:
    found = await messages.attempts_by_id(tx, [(of.owner, one) for one in of.all("attempts", "id")])
    await messages.update_attempts(
        tx, [structs.replace(one, workspace_id=of.name, detail="new") for one in found.values()]
    )


@writes(webhooks, "mark")
async def _(tx: Tx, of: Asked) -> None:
    await webhooks.mark(tx, [(of.name, one, "unmatched") for one in of.all("callbacks", "id")])


# recipients and their keys


reads(recipients, "find")(lambda tx, of: recipients.find(tx, of.name, of.all("identifiers", "hash")))
reads(recipients, "roots")(lambda tx, of: recipients.roots(tx, of.name, of.all("recipients", "id")))
reads(recipients, "merged")(lambda tx, of: recipients.merged(tx, of.name, of.all("recipients", "merged_into")))
reads(recipients, "identifiers")(lambda tx, of: recipients.identifiers(tx, of.pairs("recipients", "id")))
reads(recipients, "records")(lambda tx, of: recipients.records(tx, of.name, of.all("recipients", "id")))
reads(recipients, "page")(lambda tx, of: recipients.page(tx, of.name, None, 100))


@reads(recipients, "lock", "_lock", "_lock_free")
async def _(tx: Tx, of: Asked) -> Any:
    pairs = of.pairs("recipients", "id")
    waiting = await recipients.lock(tx, pairs, skip_locked=False)
    return [*waiting, *await recipients.lock(tx, pairs, skip_locked=True)]


@reads(vault, "workspace", "_read_subjects")
async def _(tx: Tx, of: Asked) -> Any:
    """The keys of people. That of a side is made where there is none; it opens for no other."""
    await of.hub.around.vault.workspace(tx, of.name, "lookup")
    return {one: key.raw() for one, key in (await _subjects(tx, of)).items()}


async def _subjects(tx: Tx, of: Asked) -> Any:
    return await of.hub.around.vault._read_subjects(tx, of.name, of.all("subject_keys", "subject_id"))


@writes(recipients, "withdraw")
async def _(tx: Tx, of: Asked) -> None:
    roots = {row["merged_into"] for row in of.rows["recipients"] if row["merged_into"] != row["id"]}
    leaves = [row["id"] for row in of.rows["recipients"] if row["id"] not in roots]
    await recipients.withdraw(tx, of.name, of.all("identifiers", "hash"), leaves)


@writes(recipients, "write")
async def _(tx: Tx, of: Asked) -> None:
    found = await recipients.records(tx, of.owner, of.all("recipients", "id"))
    changed = [recipients.Record(one.id, 99, *_after_version(one)) for one in found.values()]
    await recipients.write(tx, of.name, changed)


def _after_version(one: recipients.Record) -> tuple[Any, ...]:
    return (one.address_only, one.locale, one.time_zone, one.traits, one.created_at, one.updated_at, None, False)


@writes(recipients, "touch")
async def _(tx: Tx, of: Asked) -> None:
    await recipients.touch(tx, of.name, [(one, True) for one in of.all("identifiers", "hash")])


@writes(recipients, "move")
async def _(tx: Tx, of: Asked) -> None:
    await recipients.move(tx, of.name, [(row["hash"], row["recipient_id"], b"x") for row in of.rows["identifiers"]])


@writes(recipients, "merge")
async def _(tx: Tx, of: Asked) -> None:
    first, *rest = [row["id"] for row in of.rows["recipients"] if row["merged_into"] == row["id"]]
    await recipients.merge(tx, of.name, [(one, first) for one in rest])


# the claims


OTHERS = "push"
"""A channel, and a vendor's id, that only an attempt of the second's has."""


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
    """A full tile, a dead letter, a vendor's block, attempts on their way; and accounts with equal ids."""
    log, job = LogId(side, "consent", 1), Claimed(1, Lane.BULK, side, "x", {}, 1, ids.new(), tx.now, False)
    await ledger.insert_tiles(tx, log, [Tile(0, 0, bytes(8192), bytes(32))])
    await jobs.bury(tx, [jobs.Buried(job, 1, False, "why")])
    await consent.block(tx, side, [(b"h" * 32, "+1", ids.new())])
    await tx.execute("update attempts set state = 'started', account_id = $2 where workspace_id = $1", side, ids.new())


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
    for module in STORES:
        things = [one for _, one in inspect.getmembers(module, inspect.isfunction)]
        things += [one for _, one in inspect.getmembers(vault.Vault, inspect.isfunction) if module is vault]
        told = {one for one in things if one.__module__ == module.__name__ and TOLD.search(inspect.getsource(one))}
        wanted |= {(module.__name__, one.__name__) for one in told}
    assert wanted <= COVERED, wanted - COVERED


def test_every_store_is_among_them() -> None:
    """A new domain's store needs to be."""
    files = {Path(one.__file__ or "") for one in STORES}
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
    assert by_side == [([False] * 6, [False] * 3, True, 1), ([True] * 4, [False, True, True], False, 0)]


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
