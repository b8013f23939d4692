"""An old dump restored together with its old keys folder: nothing here knows of the loss, but the witness does."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import b64, b64url, canonical, sha256
from tabellion.core.db import connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger import note
from tabellion.ledger import store as ledger_store
from tabellion.ledger.paths import LogName
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.receipts import UNWITNESSED
from tabellion.ledger.types import Forked, LogId, NotYetPublished

from .conftest import House, Standing, any_of

if TYPE_CHECKING:
    from tests.conftest import Server

NewStanding = Callable[..., Awaitable[Standing]]


@pytest.fixture
def workspace_id() -> WorkspaceId:
    """A side nobody registered."""
    return WorkspaceId(ids.new())


class Yesterday:
    """A copy of the database and the keys folder, as a backup holds them."""

    def __init__(self, server: "Server", url: str, folder: Path, clock: FakeClock, stack: AsyncExitStack) -> None:
        self._server = server
        self._name = url.partition("@/")[2].partition("?")[0]
        self._folder = folder
        self._clock = clock
        self._stack = stack
        self.copy = f"{self._name}_yesterday"

    async def save(self) -> None:
        admin = await asyncpg.connect(self._server.postgres.admin_url())
        ended = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
        await admin.execute(f"alter database {self._name} allow_connections false")
        await admin.fetch(ended, self._name)
        await admin.execute(f"create database {self.copy} template {self._name} strategy file_copy owner tabellion")
        await admin.execute(f"alter database {self._name} allow_connections true")
        await admin.close()
        shutil.copytree(self._folder, f"{self._folder}.yesterday")

    async def restore(self, house: House) -> None:
        """The hub goes on with yesterday's database and yesterday's keys folder."""
        shutil.rmtree(self._folder)
        shutil.copytree(f"{self._folder}.yesterday", self._folder)
        database = await connect(self._server.url(self.copy), self._clock, size=5)
        self._stack.push_async_callback(database.close)
        house.db = database
        house.checkpoints = Checkpoints(house.folder)


@pytest.fixture
async def yesterday(
    server: "Server", database_url: str, vault: Vault, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[Yesterday]:
    async with AsyncExitStack() as stack:
        made = Yesterday(server, database_url, tmp_path / "keys", clock, stack)
        yield made
    await server.drop(server.url(made.copy))


async def lose(house: House, yesterday: Yesterday, one: Standing) -> None:
    """Published up to 10, saved, published up to 30, restored at 10."""
    await house.under(any_of(one)).grow(10)
    await house.publisher.publish()
    await house.checkpoints.flush()
    await yesterday.save()
    await house.grow(20)
    await house.publisher.publish()
    await house.checkpoints.flush()
    assert await house.size() == 30
    await yesterday.restore(house)
    house.under(any_of(one))


async def test_the_witness_tells_at_the_start(house: House, yesterday: Yesterday, witness_of: NewStanding):
    one = await witness_of("one", await house.verifier())
    await lose(house, yesterday, one)
    await house.publisher.examine(5.0)
    assert [line["size"] for line in house.logged("ledger.forked")] == [30]
    with pytest.raises(Forked, match="what a witness saw at 30") as refused:
        await house.grow(1)
    assert refused.value.code == "ledger_forked"
    assert [one.code for one in await house.db.run(house.ledger.verify_heads)] == ["ledger_forked"]


async def test_without_the_witness_nobody_would_have_known(house: House, yesterday: Yesterday, witness_of: NewStanding):
    """What the test above would be worth if this one failed."""
    one = await witness_of("one", await house.verifier())
    await lose(house, yesterday, one)
    assert await house.grow(1) == 11


async def test_other_processes_refuse_too_and_after_a_restart(
    house: House, yesterday: Yesterday, witness_of: NewStanding
):
    one = await witness_of("one", await house.verifier())
    await lose(house, yesterday, one)
    await house.publisher.examine(5.0)
    one.url = "http://127.0.0.1:1"
    house.checkpoints = Checkpoints(house.folder)
    with pytest.raises(Forked):
        await house.under(any_of(one)).grow(1)


async def test_a_witness_that_was_away_at_the_start_tells_later(
    house: House, yesterday: Yesterday, witness_of: NewStanding
):
    """By then the log has grown past what the witness saw, into another log: larger, and not the same."""
    one = await witness_of("one", await house.verifier())
    await lose(house, yesterday, one)
    url, one.url = one.url, "http://127.0.0.1:1"
    await house.under(any_of(one)).publisher.examine(5.0)
    assert await house.grow(50) == 60
    one.url = url
    assert await house.under(any_of(one)).publisher.publish() == 0
    with pytest.raises(Forked, match="what a witness saw at 30"):
        await house.grow(1)
    assert one.size_of((await house.verifier()).name) == 30


async def test_the_newest_backup_brings_it_back(house: House, yesterday: Yesterday, witness_of: NewStanding):
    one = await witness_of("one", await house.verifier())
    newest = house.db
    await lose(house, yesterday, one)
    await house.publisher.examine(5.0)
    with pytest.raises(Forked):
        await house.grow(1)
    house.db = newest
    assert await house.under(any_of(one)).grow(1) == 31
    await house.publisher.publish()
    assert await house.size() == 31


async def test_the_successor_commits_to_what_the_witness_holds(
    house: House, yesterday: Yesterday, witness_of: NewStanding
):
    one = await witness_of("one", await house.verifier())
    log = await house.verifier()
    await lose(house, yesterday, one)
    await house.publisher.examine(5.0)
    origin = await house.db.run(lambda tx: house.ledger.succeed(tx, house.workspace_id))
    assert origin == log.name.removesuffix("/1") + "/2"
    held = await house.checkpoints.last_note(log.name)
    assert held is not None
    assert note.verify_checkpoint(held, [log]).size == 30

    async def first(tx: object) -> bytes:
        head = await ledger_store.open_head(tx, house.workspace_id, "consent")  # type: ignore[arg-type]
        assert head is not None
        return (await ledger_store.leaves(tx, head.log, [0]))[0]  # type: ignore[arg-type]

    assert b64url(sha256(held.encode())).encode() in await house.db.run(first)
    await house.publisher.publish()
    assert await house.size() is None, "the witness was not told of it yet"
    keys = await house.db.run(lambda tx: house.ledger.verifier_keys(tx, house.workspace_id))
    one.folder.trust([note.parse_verifier(keys.splitlines()[-1])])
    await house.under(any_of(one)).publisher.publish()
    assert (await house.db.run(lambda tx: house.ledger.published(tx, house.workspace_id))).size == 1


async def test_a_log_with_a_successor_shows_what_its_witnesses_cosigned_last(
    house: House, yesterday: Yesterday, witness_of: NewStanding
):
    """It showed its own last head, which no witness had seen, and had no receipt for what lies behind the other."""
    one = await witness_of("one", await house.verifier())
    log = await house.verifier()
    await house.under(any_of(one)).grow(10)
    await house.publisher.publish()
    await house.grow(3)
    await yesterday.save()
    await house.grow(20)
    await house.publisher.publish()
    await house.checkpoints.flush()
    await yesterday.restore(house)
    await house.under(any_of(one)).publisher.examine(5.0)
    await house.db.run(lambda tx: house.ledger.succeed(tx, house.workspace_id))
    reading, first = Reading(house.ledger), LogId(house.workspace_id, "consent", 1)
    shown = await house.db.run(lambda tx: reading.open(tx, house.workspace_id, LogName("consent", 1)))
    assert (shown.log, shown.size, shown.witnessed) == (first, 10, True)
    assert house.policy.accepts(shown.checkpoint)
    assert note.verify_checkpoint(shown.checkpoint, [log]).size == 10
    assert await house.size() is None, "the successor has shown nothing yet"
    assert shown.checkpoint in await house.db.run(lambda tx: reading.receipt(tx, first, 9, {}))
    with pytest.raises(NotYetPublished):
        await house.db.run(lambda tx: reading.receipt(tx, first, 11, {}))
    marked = await house.db.run(lambda tx: reading.receipt(tx, first, 11, {}, unwitnessed=True))
    assert note.verify_checkpoint(marked.partition("\n\n")[2], [log]).size == 13
    assert marked.splitlines()[1] == f"extra {b64(canonical({UNWITNESSED: True}))}"


async def test_a_forged_proof_stops_nothing(house: House, witness_of: NewStanding):
    """Only our own key, or a quorum, proves anything: a witness cannot stop a log by itself."""
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    await house.under(any_of(one, two)).grow(4)
    forged = note.Checkpoint(log.name, 90, bytes(32)).text()
    stranger = note.Signer.of(log.name, b"f" * 32)
    one.folder.keep(log.name, stranger.sign(forged) + one.cosigner.cosign(forged, 1))
    await house.publisher.publish()
    assert await house.grow(1) == 5
    assert not house.logged("ledger.forked")
    assert "does not prove it" in (await house.troubles())[0]
    await house.under(any_of(one, needed="any")).publisher.publish()
    with pytest.raises(Forked):
        await house.grow(1)


async def test_a_stolen_key_that_was_replaced_stops_nothing(house: House, witness_of: NewStanding):
    """The thief and a witness together: above the sizes that it signed, the key proves nothing."""
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    await house.under(any_of(one, two)).grow(4)
    stolen = await house.db.run(lambda tx: house.ledger.signer(tx, house.workspace_id))
    await house.db.run(lambda tx: house.ledger.rotate_key(tx, house.workspace_id))
    await house.grow(1)
    for size in (90, 2**63 + 1):
        forged = note.Checkpoint(log.name, size, bytes(32)).text()
        one.folder.keep(log.name, stolen.sign(forged) + one.cosigner.cosign(forged, 1))
        house.later()
        await house.publisher.publish()
        assert await house.grow(1)
        assert not house.logged("ledger.forked")
    assert len(await house.troubles()) == 2, "they do not know the new key"
