"""A job's turn, step by step, on a real database: rulings, retries, poison, leases."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg
import pytest
from tests.jobs.conftest import Bench, Scripted, until

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.jobs.rules import MARGIN
from tabellion.jobs.service import DELAYED, dead_letters, enqueue, topic, waiting
from tabellion.jobs.types import Begun, Claimed, Lane, NewJob


async def test_a_job_is_begun_performed_finished_and_gone(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1}, {"n": 2})
    await bench.work(bench.engine(scripted))
    assert sorted(scripted.begun) == sorted(scripted.performed) == [1, 2]
    assert sorted(scripted.finished) == [(1, 10, True), (2, 20, True)]
    assert await bench.rows("jobs") == []


async def test_a_job_of_a_rolled_back_transaction_is_never_done(bench: Bench, scripted: Scripted) -> None:
    bell = Bell()
    rung = bell.listen(topic(Lane.NORMAL))
    with pytest.raises(ZeroDivisionError):
        async with bench.db.transaction() as tx:
            await enqueue(tx, [NewJob(bench.workspace_id, scripted.name, {"n": 1})], bell)
            raise ZeroDivisionError
    await bench.work(bench.engine(scripted))
    assert scripted.begun == []
    assert not rung.is_set()


async def test_enqueueing_wakes_after_the_commit_those_who_wait_for_that_lane(bench: Bench) -> None:
    bell = Bell()
    bulk, normal, delayed = (bell.listen(name) for name in (topic(Lane.BULK), topic(Lane.NORMAL), DELAYED))
    async with bench.db.transaction() as tx:
        jobs = [
            NewJob(bench.workspace_id, "x", {}, Lane.BULK),
            NewJob(bench.workspace_id, "x", {}, run_at=tx.now + timedelta(days=1)),
        ]
        await enqueue(tx, jobs, bell)
        assert not bulk.is_set()
    assert (bulk.is_set(), normal.is_set(), delayed.is_set()) == (True, False, True)


async def test_what_begin_rules_needs_no_perform(bench: Bench, scripted: Scripted) -> None:
    await bench.put(*({"n": n, "begin": said} for n, said in enumerate(["done", "later", "skip", "dead"])))
    await bench.work(bench.engine(scripted))
    assert scripted.performed == []
    assert await bench.rows("jobs") == []
    later, skip = await bench.rows("delayed")
    assert (later["tries"], later["error"], later["lost"]) == (1, "asked to wait", False)
    assert (skip["tries"], skip["error"]) == (0, "busy")
    dead = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id))
    assert [(one.payload["n"], one.error, one.tries) for one in dead] == [(3, "no use", 0)]


async def test_a_counted_later_ends_as_a_dead_letter(bench: Bench, scripted: Scripted, clock: FakeClock) -> None:
    await bench.put({"n": 1, "finish": "later"})
    engine = bench.engine(scripted)
    for _ in range(scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(minutes=2))
        await engine.tick()
    await bench.work(engine)
    assert scripted.performed == [1, 1, 1]
    (dead,) = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id))
    assert dead.error == "gave up after 3 tries: asked to wait"
    assert dead.enqueued_at == clock.now() - 3 * timedelta(minutes=2)


async def test_an_uncounted_later_never_ends(bench: Bench, scripted: Scripted, clock: FakeClock) -> None:
    await bench.put({"n": 1, "begin": "skip"})
    engine = bench.engine(scripted)
    for _ in range(3 * scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(milliseconds=50))
        await engine.tick()
    (job,) = await bench.rows("jobs")
    assert job["tries"] == 0
    assert len(scripted.begun) == 3 * scripted.max_tries


async def test_dead_letters_belong_to_their_workspace_and_come_in_pages(bench: Bench, scripted: Scripted) -> None:
    await bench.put(*({"n": n, "begin": "dead"} for n in range(5)))
    await bench.work(bench.engine(scripted))
    first = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id, most=3))
    rest = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id, first[-1].id, 3))
    assert sorted(one.payload["n"] for one in first + rest) == [0, 1, 2, 3, 4]
    assert await bench.db.run(lambda tx: dead_letters(tx, WorkspaceId(ids.new()))) == []


async def test_a_kind_this_worker_does_not_know_waits_uncounted(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1}, kind="test.newer")
    await bench.work(bench.engine(scripted))
    (job,) = await bench.rows("delayed")
    assert (job["tries"], job["error"]) == (0, "this worker has no kind test.newer")
    assert job["run_at"] == bench.db.clock.now() + timedelta(seconds=30)


# Delayed


async def test_jobs_of_later_run_when_their_time_has_come_in_its_order(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    now = clock.now()
    for n in (5, 1, 4, 2, 3):
        await bench.put({"n": n}, run_at=now + timedelta(seconds=n))
    engine = bench.engine(scripted)
    assert await engine.tick() == (False, now + timedelta(seconds=1))
    await bench.work(engine)
    assert scripted.begun == []

    clock.advance(timedelta(seconds=3))
    assert await engine.tick() == (False, now + timedelta(seconds=4))
    ordered = await bench.db.run(lambda tx: tx.rows("select payload ->> 'n' from jobs order by id"))
    assert [row[0] for row in ordered] == ["1", "2", "3"]
    await bench.work(engine)
    assert sorted(scripted.begun) == [1, 2, 3]


async def test_a_job_scheduled_for_later_is_not_old_when_it_starts(bench: Bench, clock: FakeClock) -> None:
    due = clock.now() + timedelta(days=30)
    await bench.put({"n": 1}, run_at=due)
    clock.advance(timedelta(days=31))
    await bench.engine(Scripted()).tick()
    (job,) = await bench.rows("jobs")
    assert job["enqueued_at"] == due


async def test_a_time_that_has_passed_is_now(bench: Bench, clock: FakeClock) -> None:
    await bench.put({"n": 1}, run_at=clock.now())
    assert len(await bench.rows("jobs")) == 1


async def test_the_ticker_moves_in_batches(bench: Bench, clock: FakeClock) -> None:
    await bench.put(*({"n": n} for n in range(300)), run_at=clock.now() + timedelta(seconds=1))
    clock.advance(timedelta(seconds=1))
    engine = bench.engine(Scripted())
    assert [(await engine.tick())[0] for _ in range(2)] == [True, False]
    assert (await bench.db.run(waiting))[Lane.NORMAL] == 300


# Poison


async def test_one_job_that_raises_in_begin_costs_the_others_nothing(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    await bench.put(*({"n": n, "begin": "raise" if n == 13 else None} for n in range(30)))
    await bench.work(bench.engine(scripted))
    assert sorted(n for n, _, _ in scripted.finished) == [n for n in range(30) if n != 13]
    assert len(scripted.performed) == 29
    (culprit,) = await bench.rows("delayed")
    assert (culprit["payload"]["n"], culprit["tries"], culprit["lost"]) == (13, 1, False)
    assert culprit["error"].startswith("ZeroDivisionError at conftest:")
    assert clock.now() <= culprit["run_at"] <= clock.now() + timedelta(seconds=1)


async def test_poison_ends_as_a_dead_letter_with_its_error(bench: Bench, scripted: Scripted, clock: FakeClock) -> None:
    await bench.put({"n": 1, "begin": "raise"}, {"n": 2})
    engine = bench.engine(scripted)
    for _ in range(scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(hours=1))
        await engine.tick()
    (dead,) = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id))
    assert dead.payload["n"] == 1
    assert dead.error.startswith("gave up after 3 tries: ZeroDivisionError at conftest:")
    assert await bench.rows("jobs") == await bench.rows("delayed") == []


async def test_a_kind_that_raises_does_not_stop_another_kind(bench: Bench) -> None:
    bad, good = Scripted("test.bad"), Scripted("test.good")
    await bench.put({"n": 1, "begin": "raise"}, {"n": 2}, kind="test.bad")
    await bench.put({"n": 3}, {"n": 4}, kind="test.good")
    await bench.work(bench.engine(bad, good))
    assert sorted(good.finished) == [(3, 30, True), (4, 40, True)]
    assert bad.finished == [(2, 20, True)]


@dataclass
class Numbered(Scripted):
    """Remembers which transactions its jobs began in."""

    transactions: set[str] = field(default_factory=set)

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        self.transactions.add(await tx.value("select pg_current_xact_id()::text"))
        return await super().begin(tx, jobs)


async def test_kinds_caught_by_one_claim_begin_in_transactions_of_their_own(bench: Bench) -> None:
    """In one transaction a kind took its locks behind another's, in an order that nobody had chosen."""
    kinds = [Numbered(f"test.{name}") for name in ("first", "second", "third")]
    for turn in range(3):
        for kind in kinds:
            await bench.put({"n": turn}, {"n": turn + 10}, kind=kind.name)
    engine = bench.engine(*kinds)
    await engine.claim(list(Lane))
    assert [sorted(kind.begun) for kind in kinds] == [[0, 1, 2, 10, 11, 12]] * 3
    assert all(len(kind.transactions) == 1 for kind in kinds)
    assert len(set.union(*(kind.transactions for kind in kinds))) == 3
    await bench.work(engine)
    assert await bench.rows("jobs") == []


async def test_a_worker_that_dies_between_two_kinds_of_a_claim_loses_none(
    bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Scripted("test.one"), Scripted("test.other")
    await bench.put({"n": 1}, kind="test.one")
    await bench.put({"n": 2}, kind="test.other")
    engine = bench.engine(one, other)

    async def dies(jobs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_begin_part", dies)
    with pytest.raises(KeyboardInterrupt):
        await engine.claim(list(Lane))
    assert (one.begun, other.begun) == ([1], [])
    clock.advance(timedelta(seconds=31))
    await bench.work(bench.engine(one, other))
    assert other.finished == [(2, 20, True)]


async def test_a_kind_that_raises_behind_another_of_its_claim_keeps_its_tries(bench: Bench, clock: FakeClock) -> None:
    """Begun again in smaller parts, its jobs were held by this worker already: that is no lost lease."""
    good, bad = Scripted("test.good"), Scripted("test.bad")
    await bench.put({"n": 1}, kind="test.good")
    await bench.put({"n": 2, "begin": "raise"}, {"n": 3}, {"n": 4}, kind="test.bad")
    await bench.work(bench.engine(good, bad))
    assert (sorted(bad.begun), bad.lost_) == ([3, 4], [])
    (culprit,) = await bench.rows("delayed")
    assert (culprit["payload"]["n"], culprit["tries"], culprit["lost"]) == (2, 1, False)


async def test_one_result_that_raises_in_finish_costs_the_others_nothing(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    """What was handed over has no recorded result: `lost` runs before it begins again."""
    await bench.put(*({"n": n, "finish": "raise" if n == 5 else None} for n in range(12)))
    engine = bench.engine(scripted)
    await bench.work(engine)
    assert sorted(n for n, _, _ in scripted.finished) == [n for n in range(12) if n != 5]
    (culprit,) = await bench.rows("delayed")
    assert (culprit["payload"]["n"], culprit["tries"], culprit["lost"]) == (5, 1, True)
    clock.advance(timedelta(hours=1))
    await engine.tick()
    await bench.work(engine)
    assert scripted.lost_ == [5]


async def test_a_perform_that_raises_is_a_counted_try_and_lost_before_the_next(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    await bench.put({"n": 1, "perform": "raise"}, {"n": 2})
    engine = bench.engine(scripted)
    for _ in range(scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(hours=1))
        await engine.tick()
    assert scripted.finished == [(2, 20, True)]
    assert scripted.performed.count(1) == scripted.max_tries
    assert scripted.lost_ == [1] * scripted.max_tries, "twice before a new begin, once before it was buried"
    (dead,) = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id))
    assert dead.error.startswith("gave up after 3 tries: ZeroDivisionError")


async def test_a_lost_that_raises_too_still_ends_as_a_dead_letter(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    await bench.put({"n": 1, "perform": "raise", "lost": "raise"})
    engine = bench.engine(scripted)
    for _ in range(scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(hours=1))
        await engine.tick()
    assert len(await bench.rows("dead_letters")) == 1
    assert await bench.rows("jobs") == await bench.rows("delayed") == []


@pytest.mark.parametrize("where", ["begin", "perform", "finish"])
async def test_its_kind_is_told_of_each_dead_letter_once(
    bench: Bench, scripted: Scripted, clock: FakeClock, where: str
) -> None:
    await bench.put({"n": 1, where: "raise"}, {"n": 2})
    engine = bench.engine(scripted)
    for _ in range(scripted.max_tries):
        await bench.work(engine)
        clock.advance(timedelta(hours=1))
        await engine.tick()
    assert scripted.died_ == [1]
    assert len(await bench.rows("dead_letters")) == 1


async def test_a_died_that_raises_too_still_ends_as_a_dead_letter(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1, "begin": "dead", "died": "raise"}, {"n": 2, "begin": "dead"})
    await bench.work(bench.engine(scripted))
    assert scripted.died_ == [2]
    assert [row["payload"]["n"] for row in await bench.rows("dead_letters")] == [2]
    assert [row["tries"] for row in await bench.rows("delayed")] == [1]


async def test_an_error_is_kept_without_words_that_may_be_a_persons(bench: Bench, scripted: Scripted) -> None:
    async def begin(tx: object, jobs: object) -> None:
        raise ValueError("ann@example.org is no number")

    scripted.begin = begin  # type: ignore[method-assign, assignment]
    await bench.put({"n": 1})
    await bench.work(bench.engine(scripted))
    (culprit,) = await bench.rows("delayed")
    assert culprit["error"].startswith("ValueError at test_engine:")
    assert "ann@" not in culprit["error"]


# Leases


async def held(bench: Bench, scripted: Scripted, n: int = 1) -> object:
    """An engine that performs job n and does not come to an end."""
    engine = bench.engine(scripted)
    await engine.claim(list(Lane), rescan=True)
    await until(lambda: n in scripted.performed)
    return engine


async def test_a_late_result_is_evidence_only(bench: Bench, clock: FakeClock) -> None:
    """Two workers, one expired lease: the second owns the job, the first may still tell what it saw."""
    slow, quick = Scripted(), Scripted()
    await bench.put({"n": 1, "perform": "wait", "finish": "dead"})
    first = bench.engine(slow)
    await first.claim(list(Lane))
    await until(lambda: slow.performed == [1])

    clock.advance(timedelta(seconds=31))
    second = bench.engine(quick)
    await second.claim(list(Lane), rescan=True)
    assert (quick.lost_, quick.begun) == ([1], [1])
    await until(lambda: quick.performed == [1])

    slow.gate.set()
    await until(lambda: bool(first.results))
    assert await first.finish()
    assert slow.finished == [(1, 10, False)]
    (job,) = await bench.rows("jobs")
    assert job["tries"] == 1
    assert await bench.rows("dead_letters") == [], "the ruling of who has lost the lease counts for nothing"

    quick.gate.set()
    await until(lambda: bool(second.results))
    await second.finish()
    assert quick.finished == [(1, 10, True)]
    assert len(await bench.rows("dead_letters")) == 1


async def test_a_late_result_is_told_apart_even_within_one_worker(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    """The worker lost the lease and claimed the same job again; both results are finished in one batch."""
    await bench.put({"n": 1, "perform": "wait"})
    engine = bench.engine(scripted)
    await engine.claim(list(Lane))
    await until(lambda: scripted.performed == [1])
    clock.advance(timedelta(seconds=31))
    await engine.claim(list(Lane), rescan=True)
    await until(lambda: scripted.performed == [1, 1])
    scripted.gate.set()
    await until(lambda: len(engine.results) == 2)
    await engine.finish()
    assert sorted(owned for _, _, owned in scripted.finished) == [False, True]
    assert await bench.rows("jobs") == []


async def test_a_lease_that_is_renewed_is_not_taken(bench: Bench, clock: FakeClock) -> None:
    slow, other = Scripted(), Scripted()
    await bench.put({"n": 1, "perform": "wait"})
    engine = bench.engine(slow)
    await engine.claim(list(Lane))
    for _ in range(5):
        clock.advance(timedelta(seconds=20))
        await engine.renew()
        await bench.work(bench.engine(other))
    assert other.begun == []


async def test_renewing_does_not_take_back_a_lost_lease(bench: Bench, clock: FakeClock) -> None:
    slow, quick = Scripted(), Scripted()
    await bench.put({"n": 1, "perform": "wait"})
    first, second = bench.engine(slow), bench.engine(quick)
    await first.claim(list(Lane))
    clock.advance(timedelta(seconds=31))
    await second.claim(list(Lane), rescan=True)
    (before,) = await bench.rows("jobs")
    clock.advance(timedelta(seconds=10))
    await first.renew()
    assert await bench.rows("jobs") == [before]


async def test_what_a_stopping_worker_gives_back_is_taken_at_once_and_counts_no_try(bench: Bench) -> None:
    slow, other = Scripted(), Scripted()
    await bench.put({"n": 1, "perform": "wait"})
    engine = bench.engine(slow)
    await engine.claim(list(Lane))
    await until(lambda: slow.performed == [1])
    await engine.slots.close()
    await engine.release()
    await bench.engine(other).claim(list(Lane), rescan=True)
    assert (other.lost_, other.begun) == ([1], [1])
    (job,) = await bench.rows("jobs")
    assert job["tries"] == 0


async def test_a_job_whose_workers_die_ends_as_a_dead_letter(
    bench: Bench, scripted: Scripted, clock: FakeClock
) -> None:
    await bench.put({"n": 1, "perform": "wait"})
    for _ in range(scripted.max_tries):
        await bench.engine(scripted).claim(list(Lane), rescan=True)
        clock.advance(timedelta(seconds=31))
    await bench.work(bench.engine(scripted))
    assert len(scripted.begun) == scripted.max_tries
    assert scripted.lost_ == [1] * scripted.max_tries
    (dead,) = await bench.db.run(lambda tx: dead_letters(tx, bench.workspace_id))
    assert dead.error == "gave up after 3 tries: the worker was lost"


async def test_results_survive_a_database_that_is_away(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1}, {"n": 2})
    engine = bench.engine(scripted)
    await engine.claim(list(Lane))
    await until(lambda: len(engine.results) == 2)

    finish = scripted.finish

    async def cut(tx, results):  # type: ignore[no-untyped-def]
        scripted.finish = finish  # type: ignore[method-assign]
        await tx.execute("select pg_terminate_backend(pg_backend_pid())")

    scripted.finish = cut  # type: ignore[method-assign]
    assert not await engine.finish()
    assert len(engine.results) == 2
    assert await engine.finish()
    assert sorted(scripted.finished) == [(1, 10, True), (2, 20, True)]
    assert await bench.rows("delayed") == [], "no job is charged for it"


async def test_a_finish_that_answers_too_little_is_an_error_of_its_jobs(bench: Bench, scripted: Scripted) -> None:
    async def finish(tx: object, results: object) -> list[object]:
        return []

    scripted.finish = finish  # type: ignore[method-assign, assignment]
    await bench.put({"n": 1}, {"n": 2})
    await bench.work(bench.engine(scripted))
    assert [job["error"][:10] for job in await bench.rows("delayed")] == ["ValueError"] * 2


# Lanes and the watermark


async def test_lanes_share_the_slots_by_weight_and_critical_has_its_own(bench: Bench, scripted: Scripted) -> None:
    for lane in Lane:
        await bench.put(*({"n": 0, "perform": "wait"} for _ in range(100)), lane=lane)
    engine = bench.engine(scripted, slots=64)
    await engine.claim(list(Lane))
    taken = await bench.db.run(
        lambda tx: tx.rows("select lane, count(*) from jobs where lease_token is not null group by lane order by lane")
    )
    assert [tuple(row) for row in taken] == [(0, 32), (1, 16), (2, 12), (3, 4)]
    assert engine.slots.free == 0


async def test_a_full_house_of_bulk_leaves_room_for_critical(bench: Bench, scripted: Scripted) -> None:
    await bench.put(*({"n": 0, "perform": "wait"} for _ in range(100)), lane=Lane.BULK)
    engine = bench.engine(scripted, slots=64)
    await engine.claim(list(Lane))
    assert engine.slots.free == 4
    assert not engine.may_claim([Lane.HIGH, Lane.NORMAL, Lane.BULK])
    await bench.put({"n": 1, "perform": "wait"}, lane=Lane.CRITICAL)
    await engine.claim(list(Lane))
    await until(lambda: 1 in scripted.performed)


async def test_a_commit_overtaken_by_few_is_found_at_once_and_by_many_at_the_rescan(
    bench: Bench, db: Database, scripted: Scripted
) -> None:
    engine = bench.engine(scripted)
    for overtaken_by, without_rescan in ((100, [1]), (MARGIN + 100, [])):
        scripted.begun.clear()
        async with db.transaction() as slow:
            await enqueue(slow, [NewJob(bench.workspace_id, scripted.name, {"n": 1})])
            await db.run(
                lambda tx, many=overtaken_by: tx.execute("select setval('job_ids', nextval('job_ids') + $1)", many)
            )
            await bench.put({"n": 2})
            await bench.work(engine)
            assert scripted.begun == [2]
        scripted.begun.clear()
        await engine.claim(list(Lane))
        assert scripted.begun == without_rescan
        await bench.work(engine)
        assert scripted.begun == [1]


async def test_a_queue_empty_at_the_last_vacuum_is_read_by_its_index(
    bench: Bench, scripted: Scripted, database_url: str
) -> None:
    """The planner believes the vacuum; a plan that collects and sorts all would walk the whole backlog each time."""
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set random_page_cost = 4")  # PostgreSQL's own default
    await connection.execute("vacuum analyze jobs")
    await connection.close()
    db = await connect(database_url, bench.db.clock, size=1)
    await bench.put(*({"n": n} for n in range(3000)))
    engine = Bench(db, bench.workspace_id, bench.log).engine(scripted)
    for _ in range(8):
        await bench.work(engine)
    before = await _tuples_read(db)
    await bench.work(engine)
    assert await _tuples_read(db) - before < 1500
    await db.close()


async def _tuples_read(db: Database) -> int:
    """Rows of the lane that any statement has fetched so far."""

    async def work(tx):  # type: ignore[no-untyped-def]
        await tx.execute("select pg_stat_force_next_flush()")
        await tx.execute("select pg_stat_clear_snapshot()")
        return await tx.value(
            "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'jobs_normal'"
        )

    read: int = await db.run(work)
    return read


async def test_slots_end_when_their_loop_does(bench: Bench, scripted: Scripted) -> None:
    """A slot once took its own cancellation for its work's, and the process hung at its end."""
    await bench.put({"n": 1, "perform": "wait"})
    engine = bench.engine(scripted)
    await engine.claim(list(Lane))
    await until(lambda: scripted.performed == [1])
    (slot,) = engine.slots._tasks
    slot.cancel()
    await asyncio.wait([slot], timeout=30)
    assert slot.cancelled()


async def test_metrics_count_what_became_of_the_jobs(bench: Bench, scripted: Scripted, clock: FakeClock) -> None:
    metrics = Metrics(process=False)
    await bench.put(
        {"n": 1}, {"n": 2}, {"n": 3, "finish": "later"}, {"n": 4, "begin": "skip"}, {"n": 5, "begin": "dead"}
    )
    clock.advance(timedelta(seconds=9))
    await bench.work(bench.engine(scripted, metrics=metrics))
    text = metrics.render().decode()
    for outcome, count in {"done": 2, "retried": 1, "put_off": 1, "dead": 1}.items():
        assert f'tabellion_jobs_total{{kind="test.scripted",outcome="{outcome}"}} {count}.0' in text
    assert 'tabellion_job_perform_seconds_count{kind="test.scripted"} 1.0' in text, "one of a row is timed"
    assert 'tabellion_job_wait_seconds_sum{lane="normal"} 9.0' in text
