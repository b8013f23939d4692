"""Appending to the logs of a workspace side, and what can be read from them."""

import secrets
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final
from uuid import UUID

from tabellion.core import ids
from tabellion.core.crypto import sha256
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError, Invalid, Misconfigured
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger import merkle, note, rules, store, tree
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.types import (
    Appended,
    Closed,
    Entry,
    Forked,
    Head,
    Leaf,
    LogId,
    NotYetPublished,
    Problem,
    Published,
    SigningKey,
    VerifierKey,
)
from tabellion.ledger.witness import store as witnessed
from tabellion.ledger.witness.policy import Policy

SAMPLE: Final = 256
"""Bundles of entries that are compared at once with the tree."""
CHECK_EVERY: Final = timedelta(seconds=5)
"""How long a process goes on without comparing a log with the checkpoint outside the database. A change of the
database server, and a head below what the process itself has committed, are noticed at once.
"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last head of a log that this process knows committed, and when and on which server it was compared."""

    size: int
    root: bytes
    server_started: datetime
    checked_at: datetime


class Ledger:
    def __init__(self, vault: Vault, checkpoints: Checkpoints, install_id: UUID, policy: Policy | None = None) -> None:
        """`policy`: which witnesses must have cosigned a head before it is shown; None: all heads are."""
        self._vault = vault
        self._checkpoints = checkpoints
        self._install_id = install_id
        self._policy = policy.digest() if policy else None
        self._signers: dict[str, note.Signer] = {}
        self._seen: dict[str, _Seen] = {}
        self._suspect = True
        """No look yet, or one that found something, or an append refused since."""
        self.problems: tuple[Problem, ...] = ()
        """What the last `watch` found: logs that refuse entries."""

    async def append(
        self, tx: Tx, workspace_id: WorkspaceId, leaves: Sequence[Leaf], log: str = "consent"
    ) -> tuple[list[Appended], int]:
        """Append the leaves and return where each went, and the size of the signed tree that holds them all.

        The new signed head commits with the transaction. Locks the head, the last lock in the common order; who
        appends to several logs in one transaction takes them by workspace, and logs of `audit` after all others:
        another order raises. At most 256 leaves a call. Raises `Forked` where the database has lost what was already
        published.
        """
        rules.check_batch(leaves)
        try:
            return await self._append(tx, workspace_id, leaves, log)
        except (Forked, Misconfigured):
            self._suspect = True
            raise

    async def _append(
        self, tx: Tx, workspace_id: WorkspaceId, leaves: Sequence[Leaf], log: str
    ) -> tuple[list[Appended], int]:
        head = await self._locked(tx, workspace_id, log)
        checked_at = await self._check(tx, head)
        entries = [rules.leaf_bytes(leaf) for leaf in leaves]
        hashes = [merkle.leaf_hash(entry) for entry in entries]
        identified = [(leaf.entry_id, entry) for leaf, entry in zip(leaves, entries, strict=True)]
        await store.insert_leaves(tx, head.log, head.size, identified)
        if tiles := await tree.filled_tiles(tx, head, hashes):
            await store.insert_tiles(tx, head.log, tiles)
        size = await self._advance(tx, head, head.frontier.extended(hashes), checked_at)
        generation = head.log.generation
        return [Appended(index, hashed, generation) for index, hashed in enumerate(hashes, head.size)], size

    async def hold(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> Head:
        """The head, locked until the transaction ends, of a log made on first use: what is appended next is next."""
        return await self._locked(tx, workspace_id, log)

    def name(self, log: LogId) -> str:
        """The origin of a log, as its checkpoints begin."""
        return rules.origin(self._install_id, log)

    async def entries(self, tx: Tx, log: LogId, start: int, past: int) -> list[Entry]:
        """The entries at the indexes from start up to, not including, past: those that there are rows of."""
        return await store.entries(tx, log, range(start, past))

    async def stated(
        self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent"
    ) -> list[tuple[Head, note.Checkpoint | None]]:
        """The heads of the log and of those it succeeds, the first one first, each with its checkpoint outside.

        That was read before the head: a sound head is not below it. Nothing where nothing was appended yet.
        """
        origins = [head.origin for head in await store.generations(tx, workspace_id, log)]
        published = [await self._checkpoints.last(origin) for origin in origins]
        heads = await store.generations(tx, workspace_id, log)
        return list(zip(heads, published, strict=False))

    async def checkpoint(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> str:
        """The signed head (a note) of the log, of size 0 when nothing was appended yet."""
        return (await self._head(tx, workspace_id, log)).checkpoint

    async def published(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> Published:
        """The head that is shown to others, and that receipts lead to: the last that enough witnesses cosigned.

        Without a policy the integrated one. Raises `NotYetPublished` until a head of the log was cosigned.
        """
        head = await self._head(tx, workspace_id, log)
        if self._policy is None:
            return Published(head.size, head.checkpoint, witnessed=False)
        shown = await witnessed.published(tx, workspace_id, log, self._policy)
        if shown is None:
            raise NotYetPublished(0)
        return shown

    async def closed(self, tx: Tx, log: LogId) -> Closed | None:
        """What a generation that has a successor shows for ever, and its own last head; None of any other.

        Under a policy it shows the head that was published last: no witness cosigns it any more.
        """
        head = await store.closed_head(tx, log)
        if head is None:
            return None
        shown = await witnessed.last_published(tx, log) if self._policy else None
        if shown is None or shown.size > head.size:
            shown = Published(head.size, head.checkpoint, witnessed=False)
        return Closed(shown, head)

    async def origin(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> str:
        """The name of the log, as it stands in its checkpoints and in committed records."""
        return (await self._head(tx, workspace_id, log)).origin

    async def verifier_keys(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> str:
        """One verifier key line a key, the current one last."""
        keys = await self.keys(tx, workspace_id, log)
        return "".join(note.Verifier(one.origin, one.public_key).line() + "\n" for one in keys)

    async def keys(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> list[VerifierKey]:
        """Every key the log ever signed with and the tree sizes it signed, the current one last."""
        await self._head(tx, workspace_id, log)
        return await store.verifier_keys(tx, workspace_id, log)

    async def inclusion_proof(
        self, tx: Tx, workspace_id: WorkspaceId, index: int, size: int, log: str = "consent"
    ) -> list[bytes]:
        """The hashes that prove the entry at index in the tree of this size."""
        head = await self._head(tx, workspace_id, log)
        if not 0 <= index < size <= head.size:
            raise Invalid("no_such_tree", f"name an index below a size of at most {head.size}")
        return await tree.range_hashes(tx, head.log, merkle.inclusion_ranges(index, size))

    async def consistency_proof(
        self, tx: Tx, workspace_id: WorkspaceId, old: int, new: int, log: str = "consent"
    ) -> list[bytes]:
        """The hashes that prove that the tree of size new begins with that of size old."""
        head = await self._head(tx, workspace_id, log)
        if not 0 < old <= new <= head.size:
            raise Invalid("no_such_tree", f"name two sizes between 1 and {head.size}, the smaller first")
        return await tree.range_hashes(tx, head.log, merkle.consistency_ranges(old, new))

    async def tile(
        self, tx: Tx, workspace_id: WorkspaceId, level: int, index: int, width: int = 256, log: str = "consent"
    ) -> bytes:
        """A tile of C2SP tlog-tiles, full or cut to its first hashes."""
        head = await self._head(tx, workspace_id, log)
        return await tree.tile(tx, head.log, head.size, level, index, width)

    async def bundle(
        self, tx: Tx, workspace_id: WorkspaceId, index: int, width: int = 256, log: str = "consent"
    ) -> bytes:
        """An entry bundle of C2SP tlog-tiles, full or cut to its first entries."""
        head = await self._head(tx, workspace_id, log)
        return await tree.bundle(tx, head.log, head.size, index, width)

    async def succeed(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> str:
        """Start the successor of a log that has lost entries, and return its origin.

        Its first entry commits to the last checkpoint published before. Refused while the log is sound.
        """
        tx.locks("ledger_heads", rules.place(workspace_id, log))
        head = await store.lock_head(tx, workspace_id, log)
        if head is not None:
            await self._refuse_sound(tx, head)
            await self._close(tx, head)
        fresh, last = await self._unused(LogId(workspace_id, log, head.log.generation if head else 1))
        if last is None and head is None:
            raise Conflict("ledger_sound", "this log has published nothing; there is nothing to succeed")
        await self._create(tx, fresh)
        commitment = sha256((last or (head.checkpoint if head else "")).encode())
        await self.append(tx, workspace_id, [Leaf(ids.new(), "successor", commitment, tx.now.date())], log)
        return rules.origin(self._install_id, fresh)

    async def _close(self, tx: Tx, head: Head) -> None:
        """End a log that has lost entries, and its key with the last size it is known to have signed."""
        published = await self._checkpoints.last(head.origin)
        await store.close_head(tx, head.log)
        await store.retire_key(tx, head.log, max(head.size, published.size if published else 0))

    async def rotate_key(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> list[VerifierKey]:
        """Let a new key sign from the present size on, and return all keys with their ranges, the new one last.

        The head gets its signature at once, so both keys sign this one size. The old private key is gone with the
        commit, and other processes sign with the new one from their next append on. Raises `Forked`.
        """
        head = await self._locked(tx, workspace_id, log)
        await self._check(tx, head)
        signer = note.Signer.new(head.origin)
        await store.retire_key(tx, head.log, head.size)
        await self._keep_key(tx, head.log, signer, head.size)
        await store.sign_head(tx, head.log, _signed(signer, head.frontier), signer.verifier.public_key)
        return await store.verifier_keys(tx, workspace_id, log)

    async def heads(self, tx: Tx) -> list[Head]:
        """The heads of all logs in use, of all workspaces: for the operator."""
        return await store.heads(tx)

    async def signer(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> note.Signer:
        """The key that signs now: for drills, on a copy."""
        return await self._signer(tx, await self._head(tx, workspace_id, log))

    async def contradicts(self, tx: Tx, log: LogId, stated: note.Checkpoint) -> bool:
        """Whether the log, if it is in use, does not begin with the tree that a witness holds."""
        head = await store.open_head(tx, log.workspace_id, log.name)
        return head is not None and head.log == log and not await _begins_with(tx, head, stated)

    def distrust(self, origin: str) -> None:
        """Compare this log with what lies outside the database before the next entry, and look at all logs again."""
        self._suspect = True
        if origin in self._seen:
            self._seen[origin] = replace(self._seen[origin], checked_at=datetime.min.replace(tzinfo=UTC))

    async def watch(self, tx: Tx) -> None:
        """Keep `problems` true: look at every log at first, and again as long as one of them refuses entries."""
        if self._suspect:
            found = await self.verify_heads(tx)
            # A log's first checkpoint is written a moment after its first entry.
            self.problems = tuple(one for one in found if one.code != "checkpoint_missing")
            self._suspect = bool(self.problems)

    async def unpublished(self, tx: Tx, patience: timedelta) -> list[Problem]:
        """The logs whose newest checkpoint has been in the database alone for longer than patience."""
        late = []
        for origin, size in await store.settled(tx, tx.now - patience):
            published = await self._checkpoints.last(origin)
            if published is not None and published.size < size:
                late.append(Problem(origin, "checkpoint_late", f"published at {published.size}, and stands at {size}"))
        return late

    async def verify_heads(self, tx: Tx) -> list[Problem]:
        """What is wrong with any log of the installation: rebuilt from its rows, its signature, what it published."""
        published = await self._checkpoints.origins()
        known = await store.known_origins(tx)
        lost = [
            Problem(origin, "ledger_forked", "it has published a checkpoint, but the database does not know it")
            for origin in published
            if origin not in known
        ]
        problems = [await self._problem(tx, head) for head in await store.heads(tx)]
        return [*lost, *(one for one in problems if one)]

    async def sample(self, tx: Tx, most: int = SAMPLE) -> tuple[list[Problem], int, int]:
        """Entries of any log that its tree does not have, by a sample that nobody can foresee; how many bundles of 256
        it was of, and how many there are. `verify_heads` trusts full tiles, which whoever changes an entry may leave.
        """
        heads = [head for head in await store.heads(tx) if head.size >= rules.TILE]
        past = list(accumulate(head.size // rules.TILE for head in heads))
        full = past[-1] if past else 0
        chosen = sorted(secrets.SystemRandom().sample(range(full), min(most, full)))
        problems: list[Problem] = []
        for one in chosen:
            head = heads[place := bisect_right(past, one)]
            number = one - (past[place - 1] if place else 0)
            index = await tree.first_unlike(tx, head, number)
            if index is not None and all(each.origin != head.origin for each in problems):
                problems.append(Problem(head.origin, "entry_differs", f"entry {index} is not what the log signed"))
        return problems, len(chosen), full

    async def _problem(self, tx: Tx, head: Head) -> Problem | None:
        """Compares with the checkpoint file as it was before the head is read again: nothing is locked here."""
        try:
            published = await self._checkpoints.last(head.origin)
            head = await store.open_head(tx, head.log.workspace_id, head.log.name) or head
            await self._compare(tx, head, published)
            stated = note.verify_checkpoint(head.checkpoint, [note.Verifier(head.origin, head.public_key)])
        except (HubError, note.BadNote) as error:
            return Problem(head.origin, getattr(error, "code", "ledger_signature"), str(error))
        if (stated.size, stated.root) != (head.size, head.frontier.root()):
            return Problem(head.origin, "ledger_signature", "the signed head is not the head")
        if published is None and head.size:
            return Problem(head.origin, "checkpoint_missing", "no checkpoint of it lies in the keys folder yet")
        return None

    async def _head(self, tx: Tx, workspace_id: WorkspaceId, name: str) -> Head:
        """The head as last committed, of a log made on first use."""
        return await store.open_head(tx, workspace_id, name) or await self._locked(tx, workspace_id, name)

    async def _locked(self, tx: Tx, workspace_id: WorkspaceId, name: str) -> Head:
        tx.locks("ledger_heads", rules.place(workspace_id, name))
        head = await store.lock_head(tx, workspace_id, name)
        if head is None:
            await self._create(tx, LogId(workspace_id, name, 1))
            head = await store.lock_head(tx, workspace_id, name)
        if head is None:
            raise Misconfigured("ledger_closed", f"log '{name}' was closed and has no successor")
        return head

    async def _create(self, tx: Tx, log: LogId) -> None:
        """Make the log with its key and a signed head of size 0, or find that another process just did."""
        origin = rules.origin(self._install_id, log)
        if await self._checkpoints.last(origin):
            raise _forked(origin, "has published a checkpoint, but the database does not know it")
        signer, empty = note.Signer.new(origin), Frontier()
        if await store.insert_head(tx, log, origin, empty, _signed(signer, empty), signer.verifier.public_key):
            await self._keep_key(tx, log, signer, from_size=0)

    async def _keep_key(self, tx: Tx, log: LogId, signer: note.Signer, from_size: int) -> None:
        public = signer.verifier.public_key
        sealed = await self._vault.outer.wrap(signer.private_key(), _key_context(signer.name, public))
        await store.insert_key(tx, log, SigningKey(public, sealed, from_size))

    async def _advance(self, tx: Tx, head: Head, frontier: Frontier, checked_at: datetime) -> int:
        """Sign and store the new head; announce it once it is durable."""
        signed = _signed(await self._signer(tx, head), frontier)
        await store.update_head(tx, head.log, frontier, signed)
        seen = _Seen(frontier.size, frontier.root(), head.server_started, checked_at)
        tx.after_commit(lambda: self._announce(head.origin, seen, signed))
        return frontier.size

    def _announce(self, origin: str, seen: _Seen, signed: str) -> None:
        before = self._seen.get(origin)
        if before is None or before.size < seen.size:
            self._seen[origin] = seen
        self._checkpoints.publish(origin, seen.size, signed)

    async def _signer(self, tx: Tx, head: Head) -> note.Signer:
        signer = self._signers.get(head.origin)
        if signer is None or signer.verifier.public_key != head.public_key:
            sealed = await store.sealed_key(tx, head.log, head.public_key)
            if sealed is None:
                raise Misconfigured("keys_missing", f"the signing key of {head.origin} is gone; restore the database")
            private = await self._vault.outer.unwrap(sealed, _key_context(head.origin, head.public_key))
            signer = self._signers[head.origin] = note.Signer.of(head.origin, private)
        return signer

    async def _check(self, tx: Tx, head: Head) -> datetime:
        """When the locked head was last compared with the checkpoint outside; compares now where that is due."""
        seen = self._seen.get(head.origin)
        if seen is not None:
            if head.size < seen.size or (head.size == seen.size and head.frontier.root() != seen.root):
                raise _forked(head.origin, f"stands at {head.size}, but was committed at {seen.size} before")
            if seen.server_started == head.server_started and abs(tx.now - seen.checked_at) < CHECK_EVERY:
                return seen.checked_at
        await self._compare(tx, head, await self._checkpoints.last(head.origin))
        return tx.now

    async def _compare(self, tx: Tx, head: Head, published: note.Checkpoint | None) -> None:
        """Refuse a head below or beside what was published, or one that its own rows do not lead to."""
        if published is not None and published.size > head.size:
            raise _forked(head.origin, f"stands at {head.size}, but was published at {published.size}")
        heir = head.log._replace(generation=head.log.generation + 1)
        if await self._checkpoints.last(rules.origin(self._install_id, heir)):
            raise _forked(head.origin, "has a successor, but the database does not know it")
        size = published.size if published else 0
        before, now = await tree.range_hashes(tx, head.log, [(0, size), (0, head.size)])
        if published is not None and before != published.root:
            raise _forked(head.origin, f"does not begin with the tree that was published at {size}")
        if now != head.frontier.root():
            raise _forked(head.origin, f"has entries that do not lead to its head at {head.size}")
        held = await self._checkpoints.witnessed(head.origin)
        if held is not None and not await _begins_with(tx, head, held):
            raise _forked(head.origin, f"stands at {head.size}, and does not lead to what a witness saw at {held.size}")

    async def _refuse_sound(self, tx: Tx, head: Head) -> None:
        try:
            await self._check(tx, head)
        except Forked:
            return
        raise Conflict("ledger_sound", f"{head.origin} has lost nothing; it needs no successor")

    async def _unused(self, log: LogId) -> tuple[LogId, str | None]:
        """The first generation after this that never published, and the last note published before it."""
        last = await self._checkpoints.last_note(rules.origin(self._install_id, log))
        while True:
            log = log._replace(generation=log.generation + 1)
            published = await self._checkpoints.last_note(rules.origin(self._install_id, log))
            if published is None:
                return log, last
            last = published


async def _begins_with(tx: Tx, head: Head, stated: note.Checkpoint) -> bool:
    """Whether the tree of head, as its rows are, begins with the stated one."""
    if stated.size > head.size:
        return False
    (before,) = await tree.range_hashes(tx, head.log, [(0, stated.size)])
    return before == stated.root


def _signed(signer: note.Signer, frontier: Frontier) -> str:
    return signer.sign(note.Checkpoint(signer.name, frontier.size, frontier.root()).text())


def _key_context(origin: str, public_key: bytes) -> str:
    return f"ledger:{origin}:{public_key.hex()}"


def _forked(origin: str, what: str) -> Forked:
    return Forked(
        f"{origin} {what}: this database is an older copy, and appending would fork the log. Restore the newest backup;"
        " if there is none, start the log's successor"
    )
