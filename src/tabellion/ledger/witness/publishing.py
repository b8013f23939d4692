"""Publishing: the heads of the logs, cosigned by as many witnesses as the policy asks for, and shown from then on.

All witnesses of a round are asked about one and the same head. A round that a quorum cannot come of is not begun. A
witness that proves to hold what the database has lost stops the log: see `_doubt`.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tabellion.core.clock import Clock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.log import Log
from tabellion.ledger import merkle, note, tree
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.witness import store
from tabellion.ledger.witness.client import WitnessClient
from tabellion.ledger.witness.policy import NONE, Member, Policy
from tabellion.ledger.witness.submission import Submission
from tabellion.ledger.witness.types import Cosigned, Due, Elsewhere, Inconsistent, Lag, Standing, Unhelpful

AT_ONCE: Final = 8
"""Logs that are worked on at the same time."""
MOST: Final = 500
"""Logs a round."""
GRACE: Final = 1.0
"""Seconds that the other witnesses still have once enough have cosigned."""
TURNS: Final = 3
"""How often a witness may answer in one round that it stands at another size: somebody else may be asking it too."""
LARGEST: Final = (1 << 63) - 1
"""Entries that the database can count."""
LONGEST: Final = 300.0
"""Seconds until a witness in trouble is asked again, at most."""
CLAIM: Final = Unhelpful("says that it cosigned more of this log, or another, and does not prove it", of_log=True)
PROOF: Final = "proves that it cosigned what the database has lost: the log refuses entries"
SETTLED: Final = timedelta(seconds=30)
"""How long a head that does not change may stay unpublished."""
STALE: Final = timedelta(minutes=5)
"""How long ago the last publication of a log that goes on growing may be."""


async def behind(tx: Tx, policy: Policy) -> list[Lag]:
    """The logs that show less than they hold for longer than publishing takes."""
    return await store.lags(tx, policy.digest(), tx.now - SETTLED, tx.now - STALE)


@dataclass
class Pause:
    """How long something is left alone, and how often in a row it failed."""

    until: float
    failures: int


class Publisher:
    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        checkpoints: Checkpoints,
        client: WitnessClient,
        policy: Policy,
        log: Log,
        observe: Callable[[str], None],
    ) -> None:
        """`observe` is told the outcome of each call: `cosigned`, `elsewhere`, `inconsistent` or `unhelpful`."""
        self._db = db
        self._ledger = ledger
        self._checkpoints = checkpoints
        self._client = client
        self._policy = policy
        self._log = log
        self._observe = observe
        self._clock: Clock = db.clock
        self._members = [one for one in policy.witnesses if one.url]
        self._pauses: dict[tuple[str, str | None], Pause] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._chance = random.Random()  # noqa: S311 - jitter, not a secret

    async def publish(self) -> int:
        """One round: how many heads are shown now that were not before."""
        due = await self._db.run(lambda tx: store.due(tx, self._policy.digest()))
        ready = [(one, self._ready(one)) for one in due]
        begun = [(one, members) for one, members in ready if self._policy.satisfied({each.key for each in members})]
        return await self._all(begun[:MOST])

    async def examine(self, within: float) -> None:
        """Ask every witness about every log, for at most so many seconds: has any seen more than the database holds?"""
        due = await self._db.run(store.all_due)
        try:
            async with asyncio.timeout(within):
                await self._all([(one, self._members) for one in due])
        except TimeoutError:
            self._log.warning("witnesses.slow", logs=len(due), seconds=within)

    async def _all(self, begun: Sequence[tuple[Due, list[Member]]]) -> int:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(due: Due, members: list[Member]) -> bool:
            async with turns:
                return await self._one(due, members)

        return sum(await asyncio.gather(*(one(*each) for each in begun)))

    async def _one(self, due: Due, members: list[Member]) -> bool:
        """Whether the head is shown now. One log's trouble is not another's. A log known to be forked asks nobody."""
        try:
            if await self._refuted(due):
                return False
            known = await self._db.run(lambda tx: store.sizes(tx, due.log))
            standings = await self._collect(due, members, known)
            refuted = await self._refuted(due)
            return await self._db.run(lambda tx: self._keep(tx, due, standings, refuted=refuted))
        except HubError as error:
            self._log.warning("ledger.unpublished", origin=due.origin, error=error)
            return False

    async def _refuted(self, due: Due) -> bool:
        """Whether a witness has proved that the log lost something, and the database does not hold it again."""
        held = await self._checkpoints.witnessed(due.origin)
        return held is not None and await self._db.run(lambda tx: self._ledger.contradicts(tx, due.log, held))

    async def _keep(self, tx: Tx, due: Due, standings: Sequence[Standing], *, refuted: bool) -> bool:
        if standings:
            await store.record(tx, due.log, standings)
        cosignatures = [one.cosignature for one in standings if one.cosignature]
        if refuted or not self._policy.satisfied({one.witness for one in cosignatures}):
            return False
        cosigned = due.checkpoint + "".join(one.signature.line() for one in cosignatures)
        return await store.publish(tx, due.log, due.size, cosigned, self._policy.digest())

    async def _collect(self, due: Due, members: list[Member], known: dict[str, int]) -> list[Standing]:
        """What the witnesses say: all of them, or after `GRACE` those that a quorum did not have to wait for."""
        asking = {
            asyncio.create_task(self._ask(due, one, min(known.get(one.key.line(), 0), due.size))): one
            for one in members
        }
        found: list[Standing] = []
        try:
            pending = set(asking)
            while pending:
                met = self._policy.satisfied({one.member.key for one in found if one.cosignature})
                done, pending = await asyncio.wait(
                    pending, timeout=GRACE if met else None, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                found += [one.result() for one in done]
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        slow = Unhelpful("is slower than the others")
        found += [Standing(asking[one], known.get(asking[one].key.line(), 0), unhelpful=slow) for one in pending]
        for one in found:
            self._learn(due, one)
        return found

    async def _ask(self, due: Due, member: Member, old: int) -> Standing:
        """Where the witness stands once it was asked to cosign the head, from the size that it itself names."""
        for _ in range(TURNS):
            outcome = await self._client.submit(member, await self._submission(due, old))
            self._observe(type(outcome).__name__.lower())
            match outcome:
                case Cosigned():
                    return Standing(member, due.size, outcome.cosignature)
                case Elsewhere() if outcome.size == old:
                    return _left(member, old, Unhelpful("contradicts itself", of_log=True))
                case Elsewhere() if outcome.size <= due.size:
                    old = outcome.size
                case Elsewhere():
                    return await self._doubt(due, member, outcome.size, CLAIM)
                case Inconsistent():
                    return await self._doubt(due, member, old, CLAIM)
                case Unhelpful():
                    return (
                        await self._doubt(due, member, old, outcome) if outcome.of_log else _left(member, old, outcome)
                    )
        return _left(member, old, Unhelpful("stands at another size with every answer", of_log=True))

    async def _submission(self, due: Due, old: int) -> Submission:
        if not 0 < old < due.size:
            return Submission(old, (), due.checkpoint)
        ranges = merkle.consistency_ranges(old, due.size)
        return Submission(old, await self._db.run(lambda tx: tree.range_hashes(tx, due.log, ranges)), due.checkpoint)

    async def _doubt(self, due: Due, member: Member, named: int, otherwise: Unhelpful) -> Standing:
        """The witness may know what the database has lost. Its word alone stops nothing: anybody could say so.

        A checkpoint that our own key signed, or that witnesses enough for the policy cosigned, is a proof. Kept beside
        the published ones it makes every process refuse entries.
        """
        shown = await self._client.shown(member, due.origin)
        stated = await self._db.run(lambda tx: self._believed(tx, due, shown)) if shown else None
        if shown is None or stated is None:
            return _left(member, min(named, due.size), otherwise)
        if await self._db.run(lambda tx: self._ledger.contradicts(tx, due.log, stated)):
            await self._checkpoints.prove(due.origin, shown)
            self._ledger.distrust(due.origin)
            self._log.error("ledger.forked", origin=due.origin, witness=member.key.name, size=stated.size)
            return _left(member, min(named, due.size), Unhelpful(PROOF, of_log=True))
        # Another process of ours was faster, and the witness stands where that one is.
        return (
            Standing(member, stated.size) if stated.size >= named > due.size else _left(member, stated.size, otherwise)
        )

    async def _believed(self, tx: Tx, due: Due, shown: str) -> note.Checkpoint | None:
        """The checkpoint that a witness shows, if our key of that size signed it or enough witnesses cosigned it."""
        stated = note.parse_checkpoint(note.parse(shown).text)
        if not 0 <= stated.size <= LARGEST:
            return None
        keys = [note.Verifier(due.origin, key) for key in await store.log_keys(tx, due.log, stated.size)]
        try:
            return note.verify_checkpoint(shown, keys)
        except note.BadNote:
            return stated if self._policy.quorum != NONE and self._policy.accepts(shown) else None

    # who is left alone for how long

    def _ready(self, due: Due) -> list[Member]:
        """The witnesses that may be asked now."""
        now = self._clock.monotonic()
        return [one for one in self._members if all(pause.until <= now for pause in self._paused(one, due.origin))]

    def _paused(self, member: Member, origin: str) -> list[Pause]:
        found = (self._pauses.get((member.name, key)) for key in (None, origin))
        return [pause for pause in found if pause]

    def _learn(self, due: Due, standing: Standing) -> None:
        """Leave a witness in trouble alone for a while, longer each time; say once what the trouble is, and its end."""
        name, unhelpful = standing.member.name, standing.unhelpful
        told = self._told.get((name, due.origin))
        if unhelpful is None:
            for key in (None, due.origin):
                self._pauses.pop((name, key), None)
            if self._told.pop((name, due.origin), None):
                self._log.info("witness.recovered", witness=name, origin=due.origin)
            return
        self._pause((name, due.origin if unhelpful.of_log else None), unhelpful.retry_after)
        if told != unhelpful.trouble:
            self._told[name, due.origin] = unhelpful.trouble
            self._log.warning("witness.troubled", witness=name, origin=due.origin, trouble=unhelpful.trouble)

    def _pause(self, key: tuple[str, str | None], asked: float | None) -> None:
        now, before = self._clock.monotonic(), self._pauses.get(key)
        if before is not None and before.until > now:
            return
        failures = before.failures + 1 if before else 1
        wait = min(2.0 ** min(failures, 16), LONGEST) * self._chance.uniform(0.5, 1.0)
        self._pauses[key] = Pause(now + max(wait, asked or 0.0), failures)


def _left(member: Member, size: int, unhelpful: Unhelpful) -> Standing:
    return Standing(member, size, unhelpful=unhelpful)
