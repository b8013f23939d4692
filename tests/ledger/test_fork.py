"""A database that lost what was published must not go on: appends are refused until an operator has acted."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import b64url
from tabellion.core.db import Database, connect
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger import note
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import CHECK_EVERY, Ledger
from tabellion.ledger.types import Forked, Leaf

from .conftest import INSTALL

if TYPE_CHECKING:
    from tests.conftest import Server

Make = Callable[[int], list[Leaf]]
Copy = Callable[[], Awaitable[str]]
Open = Callable[[str], Awaitable[Database]]


@pytest.fixture
def workspace_id() -> WorkspaceId:
    """A side nobody registered: the usual fixture keeps the database connected, which then cannot be copied."""
    return WorkspaceId(ids.new())


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    """The connections of this test, all closed at its end, or before a copy is made."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def open_db(clock: FakeClock, opened: AsyncExitStack) -> Open:
    async def open_one(url: str) -> Database:
        database = await connect(url, clock, size=3)
        opened.push_async_callback(database.close)
        return database

    return open_one


@pytest.fixture
async def copy(server: "Server", database_url: str, opened: AsyncExitStack) -> AsyncIterator[Copy]:
    """Makes an exact copy of the test's database as it is now, as a dump restored later would be."""
    source = database_url.partition("@/")[2].partition("?")[0]
    made: list[str] = []

    async def make() -> str:
        await opened.aclose()
        name = f"{source}_copy_{len(made)}"
        admin = await asyncpg.connect(server.postgres.admin_url())
        await admin.execute(f"create database {name} template {source} strategy file_copy owner tabellion")
        await admin.close()
        made.append(server.url(name))
        return made[-1]

    yield make
    await opened.aclose()
    for url in made:
        await server.drop(url)


@pytest.fixture
def append(some_leaves: Make, workspace_id: WorkspaceId) -> Callable[[Database, Ledger, int], Awaitable[int]]:
    async def one(db: Database, ledger: Ledger, count: int) -> int:
        _, size = await db.run(lambda tx: ledger.append(tx, workspace_id, some_leaves(count)))
        return size

    return one


Append = Callable[[Database, Ledger, int], Awaitable[int]]


def move(source: Path, target: Path) -> None:
    """Put the checkpoint files elsewhere."""
    for file in source.glob("*.checkpoint"):
        file.rename(target / file.name)


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.checkpoint")
    return file


async def codes(db: Database, ledger: Ledger) -> list[str]:
    async with db.transaction() as tx:
        return [problem.code for problem in await ledger.verify_heads(tx)]


@pytest.fixture
async def restored(
    database_url: str, copy: Copy, open_db: Open, ledger: Ledger, checkpoints: Checkpoints, append: Append
) -> Database:
    """The database as it was at 10 entries, after it had grown to 300 and published that."""
    await append(await open_db(database_url), ledger, 10)
    older = await copy()
    now = await open_db(database_url)
    await append(now, ledger, 256)
    await append(now, ledger, 34)
    await checkpoints.flush()
    return await open_db(older)


async def test_a_restored_older_dump_is_refused_by_a_new_process(
    restored: Database, other_process: Callable[[], Ledger], append: Append
) -> None:
    process = other_process()
    with pytest.raises(Forked, match=r"stands at 10, but was published at 300.*Restore the newest backup") as refused:
        await append(restored, process, 1)
    assert (refused.value.code, refused.value.status) == ("ledger_forked", 503)
    assert await codes(restored, process) == ["ledger_forked"]
    async with restored.transaction() as tx:
        assert await tx.value("select count(*) from ledger_leaves") == 10


async def test_a_database_put_back_under_a_running_process_is_refused_at_once(
    restored: Database, ledger: Ledger, append: Append, folder: Path, tmp_path: Path
) -> None:
    """By what the process itself has committed, even with no file to compare with."""
    move(folder, tmp_path)
    with pytest.raises(Forked, match="was committed at 300 before"):
        await append(restored, ledger, 1)


async def test_growing_past_the_published_size_does_not_hide_the_loss(
    restored: Database, other_process: Callable[[], Ledger], append: Append, folder: Path, tmp_path: Path, vault: Vault
) -> None:
    """An older copy that grew on while the keys folder was away: larger than published, and yet another tree.

    That process is over when the folder comes back; it once published its own tree into it.
    """
    move(folder, tmp_path)
    meanwhile = Checkpoints(folder)
    process = Ledger(vault, meanwhile, INSTALL)
    await append(restored, process, 256)
    await append(restored, process, 256)
    await meanwhile.close()
    move(tmp_path, folder)
    with pytest.raises(Forked, match="does not begin with the tree that was published at 300"):
        await append(restored, other_process(), 1)


async def test_a_process_that_saw_less_is_stopped_within_seconds(
    database_url: str, copy: Copy, open_db: Open, ledger: Ledger, other_process: Callable[[], Ledger],
    checkpoints: Checkpoints, append: Append, clock: FakeClock,
) -> None:  # fmt: skip
    """It cannot know at once that another process' entries are gone, but it looks at the file again and again."""
    slow = other_process()
    await append(await open_db(database_url), slow, 10)
    older = await copy()
    await append(await open_db(database_url), ledger, 5)
    await checkpoints.flush()
    restored = await open_db(older)
    clock.advance(CHECK_EVERY + timedelta(seconds=1))
    with pytest.raises(Forked, match="stands at 10, but was published at 15"):
        await append(restored, slow, 1)


async def test_another_server_is_compared_at_once(
    database_url: str, copy: Copy, open_db: Open, ledger: Ledger, other_process: Callable[[], Ledger],
    checkpoints: Checkpoints, append: Append,
) -> None:  # fmt: skip
    """A standby that was promoted has another start time: simulated by a function that hides the real one."""
    slow = other_process()
    await append(await open_db(database_url), slow, 10)
    older = await copy()
    await append(await open_db(database_url), ledger, 5)
    await checkpoints.flush()
    promoted = await open_db(older + "&options=-csearch_path%3Dhidden,public,pg_catalog")
    async with promoted.transaction() as tx:
        await tx.execute("create schema hidden")
        await tx.execute(
            "create function hidden.pg_postmaster_start_time() returns timestamptz language sql"
            " return '2020-01-01 00:00:00Z'::timestamptz"
        )
    with pytest.raises(Forked, match="stands at 10, but was published at 15"):
        await append(promoted, slow, 1)


async def test_a_dump_from_before_the_log_existed_is_refused(
    database_url: str, copy: Copy, open_db: Open, ledger: Ledger, other_process: Callable[[], Ledger],
    checkpoints: Checkpoints, append: Append,
) -> None:  # fmt: skip
    older = await copy()
    await append(await open_db(database_url), ledger, 5)
    await checkpoints.flush()
    restored, process = await open_db(older), other_process()
    with pytest.raises(Forked, match="the database does not know it"):
        await append(restored, process, 1)
    assert await codes(restored, process) == ["ledger_forked"]


async def test_a_newer_backup_goes_on(
    database_url: str, copy: Copy, open_db: Open, ledger: Ledger, other_process: Callable[[], Ledger],
    checkpoints: Checkpoints, append: Append,
) -> None:  # fmt: skip
    """The file may lag behind the database, as after a kill between commit and writing."""
    await append(await open_db(database_url), ledger, 5)
    await checkpoints.flush()
    db = await open_db(database_url)
    await append(db, ledger, 300 - 256)
    newer = await open_db(await copy())
    assert await append(newer, other_process(), 2) == 51
    assert await codes(newer, other_process()) == []


async def test_an_append_rolled_back_is_no_loss(
    db: Database, ledger: Ledger, append: Append, workspace_id: WorkspaceId, some_leaves: Make
) -> None:
    """What a process saw inside a transaction that failed was never committed."""

    async def fail() -> None:
        async with db.transaction() as tx:
            await ledger.append(tx, workspace_id, some_leaves(2))
            await ledger.append(tx, workspace_id, some_leaves(2))
            raise RuntimeError

    await append(db, ledger, 3)
    with pytest.raises(RuntimeError):
        await fail()
    assert await append(db, ledger, 1) == 4


async def test_a_successor_commits_to_what_was_published(
    restored: Database, ledger: Ledger, other_process: Callable[[], Ledger], checkpoints: Checkpoints, append: Append,
    workspace_id: WorkspaceId, folder: Path,
) -> None:  # fmt: skip
    """Log …/2 begins with the hash of the last checkpoint of …/1, under a key of its own, and goes on."""
    old = only_file(folder).read_text()
    process = other_process()
    origin = await restored.run(lambda tx: process.succeed(tx, workspace_id))
    assert origin == old.split("\n")[0].removesuffix("1") + "2"
    async with restored.transaction() as tx:
        keys = [note.parse_verifier(line) for line in (await process.verifier_keys(tx, workspace_id)).splitlines()]
        head = note.verify_checkpoint(await process.checkpoint(tx, workspace_id), keys[-1:])
        bundle = await process.bundle(tx, workspace_id, 0, 1)
    assert [key.name for key in keys] == [old.split("\n")[0], origin]
    assert (head.origin, head.size) == (origin, 1)
    commitment = b64url(hashlib.sha256(old.encode()).digest()).encode()
    assert commitment in bundle
    assert b'"type":"successor"' in bundle
    assert await append(restored, process, 4) == 5
    assert await append(restored, ledger, 1) == 6
    await checkpoints.flush()
    assert await codes(restored, process) == []


async def test_a_dump_from_before_the_succession_is_refused(
    restored: Database, database_url: str, open_db: Open, other_process: Callable[[], Ledger],
    append: Append, workspace_id: WorkspaceId, ledger: Ledger, checkpoints: Checkpoints,
) -> None:  # fmt: skip
    """The whole old log is there, and yet the new one was published since."""
    await restored.run(lambda tx: ledger.succeed(tx, workspace_id))
    await checkpoints.flush()
    whole = await open_db(database_url)
    with pytest.raises(Forked, match="has a successor"):
        await append(whole, other_process(), 1)


async def test_a_sound_log_needs_no_successor(
    db: Database, ledger: Ledger, append: Append, workspace_id: WorkspaceId
) -> None:
    with pytest.raises(Conflict):
        await db.run(lambda tx: ledger.succeed(tx, workspace_id))
    await append(db, ledger, 2)
    with pytest.raises(Conflict):
        await db.run(lambda tx: ledger.succeed(tx, workspace_id))
    assert await append(db, ledger, 2) == 4


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("update ledger_leaves set leaf = leaf || ' ' where index = 258", "ledger_forked"),
        ("delete from ledger_leaves where index = 258", "ledger_forked"),
        ("delete from ledger_tiles", "ledger_forked"),
        ("update ledger_heads set checkpoint = replace(checkpoint, E'\\n259\\n', E'\\n260\\n')", "ledger_signature"),
        ("update ledger_heads set public_key = sha256('other')", "ledger_signature"),
    ],
)
async def test_the_doctor_sees_what_was_done_to_the_rows(
    db: Database, ledger: Ledger, checkpoints: Checkpoints, append: Append, harm: str, code: str
) -> None:
    await append(db, ledger, 256)
    await append(db, ledger, 3)
    assert await codes(db, ledger) == ["checkpoint_missing"]
    await checkpoints.flush()
    assert await codes(db, ledger) == []
    await db.run(lambda tx: tx.execute(harm))
    assert await codes(db, ledger) == [code]


async def test_rows_that_do_not_lead_to_the_head_stop_the_log(
    db: Database, ledger: Ledger, append: Append, other_process: Callable[[], Ledger]
) -> None:
    await append(db, ledger, 10)
    await db.run(lambda tx: tx.execute("update ledger_leaves set leaf = leaf || ' ' where index = 9"))
    with pytest.raises(Forked, match="do not lead to its head"):
        await append(db, other_process(), 1)


async def test_a_checkpoint_file_that_cannot_be_read_stops_the_log(
    db: Database, ledger: Ledger, checkpoints: Checkpoints, append: Append, other_process: Callable[[], Ledger],
    folder: Path,
) -> None:  # fmt: skip
    """A damaged file must not pass for one that was never there."""
    await append(db, ledger, 10)
    await checkpoints.flush()
    only_file(folder).write_text("rubbish")
    with pytest.raises(HubError, match="restore the keys folder") as refused:
        await append(db, other_process(), 1)
    assert refused.value.code == "checkpoint_unreadable"
    assert await codes(db, other_process()) == ["checkpoint_unreadable"]


async def watched(db: Database, ledger: Ledger) -> list[str]:
    await db.run(ledger.watch)
    return [problem.code for problem in ledger.problems]


async def test_a_restored_older_dump_is_seen_before_anything_is_appended(
    restored: Database, other_process: Callable[[], Ledger]
) -> None:
    assert await watched(restored, other_process()) == ["ledger_forked"]


async def test_a_log_that_refuses_is_watched_until_it_has_a_successor(
    restored: Database, ledger: Ledger, other_process: Callable[[], Ledger], append: Append, workspace_id: WorkspaceId
) -> None:
    """The hub told nobody but the caller that a log refused entries."""
    ledger._suspect = False  # it looked while all was well
    with pytest.raises(Forked):
        await append(restored, ledger, 1)
    assert await watched(restored, ledger) == ["ledger_forked"]
    await restored.run(lambda tx: other_process().succeed(tx, workspace_id))
    assert await watched(restored, ledger) == []


async def test_a_checkpoint_that_stays_in_the_database_is_late(
    open_db: Open, database_url: str, ledger: Ledger, checkpoints: Checkpoints, append: Append, clock: FakeClock
) -> None:
    db, patience = await open_db(database_url), timedelta(seconds=10)
    await append(db, ledger, 1)
    await checkpoints.flush()
    checkpoints.publish = lambda *_: None  # type: ignore[method-assign] # the process dies before it writes
    await append(db, ledger, 1)
    assert await db.run(lambda tx: ledger.unpublished(tx, patience)) == []
    clock.advance(timedelta(seconds=11))
    [late] = await db.run(lambda tx: ledger.unpublished(tx, patience))
    assert (late.code, late.detail) == ("checkpoint_late", "published at 1, and stands at 2")
