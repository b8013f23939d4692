"""What each statement that is told a workspace is asked for, or told to change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

from msgspec import structs

from tabellion.access import store as access
from tabellion.access.types import AuditFilter
from tabellion.accounts import store as accounts
from tabellion.consent import store as consent
from tabellion.consent.questions import Question
from tabellion.core import ids, vault
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events import keeping_store as keeping
from tabellion.events import store as events
from tabellion.events.types import END, EVERYTHING, START, Wanted
from tabellion.identity import items
from tabellion.identity import store as identity
from tabellion.identity.review_types import ReviewState
from tabellion.jobs import store as jobs
from tabellion.ledger import store as ledger
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.types import LogId
from tabellion.ledger.witness import store as witnessed
from tabellion.messages import store as messages
from tabellion.messages.store import Filter
from tabellion.privacy import store as privacy
from tabellion.providers.base import Channel
from tabellion.webhooks import store as webhooks

STORES = (
    access,
    accounts,
    consent,
    events,
    identity,
    items,
    jobs,
    keeping,
    ledger,
    messages,
    privacy,
    webhooks,
    witnessed,
    vault,
)


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


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
OTHERS = "push"
"""A channel, and a vendor's id, that only an attempt of the second's has."""


# access and accounts: their ids are nobody else's


LAST = UUID(int=(1 << 128) - 1)


reads(access, "read_mode")(lambda tx, of: access.read_mode(tx, of.name))
reads(access, "read_workspace")(lambda tx, of: access.read_workspace(tx, of.name))
reads(access, "list_keys")(lambda tx, of: access.list_keys(tx, of.name, 100, None))
reads(access, "lock_key")(lambda tx, of: access.lock_key(tx, of.name, of.one("api_keys", "id")))
reads(access, "user_token_key")(lambda tx, of: access.user_token_key(tx, of.name, of.one("user_token_keys", "id")))
reads(access, "list_user_token_keys")(lambda tx, of: access.list_user_token_keys(tx, of.name, 100, None))
reads(access, "last_use")(lambda tx, of: access.last_use(tx, of.name, of.one("api_key_usage", "key_id")))
reads(access, "list_audit")(lambda tx, of: access.list_audit(tx, of.name, AuditFilter(), 100, None))
reads(access, "read_audit")(lambda tx, of: access.read_audit(tx, of.name, of.one("audit", "id")))
reads(access, "logged_audit")(lambda tx, of: access.logged_audit(tx, of.name, 1, of.all("audit", "log_index")))
reads(access, "misplaced_audit")(lambda tx, of: access.misplaced_audit(tx, of.name, 1, 0, 100))
reads(access, "audit_generations")(lambda tx, of: access.audit_generations(tx, of.name))
reads(access, "unlogged_audit")(lambda tx, of: access.unlogged_audit(tx, of.name, ids.FIRST, 100))
reads(access, "read_answers")(lambda tx, of: access.read_answers(tx, of.name, of.all("idempotency", "scope")))


@writes(access, "retire_key")
async def _(tx: Tx, of: Asked) -> None:
    await access.retire_key(tx, of.name, of.one("api_keys", "id"), ids.new(), tx.now)


@writes(access, "revoke_key")
async def _(tx: Tx, of: Asked) -> None:
    await access.revoke_key(tx, of.name, of.one("api_keys", "id"))


@writes(access, "revoke_user_token_key")
async def _(tx: Tx, of: Asked) -> None:
    await access.revoke_user_token_key(tx, of.name, of.one("user_token_keys", "id"))


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


@reads(consent, "of_people")
async def _(tx: Tx, of: Asked) -> Any:
    return await consent.of_people(tx, of.name, of.all("consent_entries", "recipient_id"), -1, 100)


@writes(consent, "end")
async def _(tx: Tx, of: Asked) -> None:
    await consent.end(tx, of.name, dict.fromkeys(of.all("consent_entries", "id")))


@writes(consent, "restore")
async def _(tx: Tx, of: Asked) -> None:
    await consent.restore(tx, of.name, [row["id"] for row in of.rows["consent_entries"] if row["ended_by"]])


@reads(consent, "suspended")
async def _(tx: Tx, of: Asked) -> Any:
    hashes = of.all("consent_entries", "identifier_hash")
    return {by: sorted(some) for by, some in (await consent.suspended(tx, of.name, hashes)).items()}


@writes(consent, "settle")
async def _(tx: Tx, of: Asked) -> None:
    await consent.settle(tx, of.name, of.all("consent_entries", "recipient_id"), None)


@writes(consent, "lift_blocks")
async def _(tx: Tx, of: Asked) -> None:
    await consent.lift_blocks(
        tx, of.name, [(row["identifier_hash"], row["sender"]) for row in of.rows["vendor_blocks"]]
    )


@writes(consent, "add_lifts")
async def _(tx: Tx, of: Asked) -> None:
    grants = [row["id"] for row in of.rows["consent_entries"] if row["decision"] == "granted"]
    await consent.add_lifts(tx, of.name, [(one, 99) for one in grants])


@writes(consent, "give")
async def _(tx: Tx, of: Asked) -> None:
    await consent.give(tx, of.name, of.all("consent_entries", "id"), ids.new())


reads(consent, "latest")(lambda tx, of: _latest(tx, of))


async def _latest(tx: Tx, of: Asked) -> list[int]:
    people = of.all("consent_entries", "recipient_id")
    return [found for one in people if (found := await consent.latest(tx, of.name, one)) >= 0]


reads(consent, "kept")(lambda tx, of: consent.kept(tx, of.name, of.all("consent_entries", "recipient_id")))


@reads(consent, "since")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("consent_entries", "subject_id")
    return [found for one in people for found in await consent.since(tx, of.name, one, -1)]


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
reads(ledger, "generations")(lambda tx, of: ledger.generations(tx, of.name, "consent"))
reads(ledger, "entries")(lambda tx, of: ledger.entries(tx, of.log, of.all("ledger_leaves", "index")))
reads(ledger, "sealed_key")(lambda tx, of: ledger.sealed_key(tx, of.log, _signing(of)))
reads(ledger, "closed_head")(lambda tx, of: ledger.closed_head(tx, LogId(of.name, "closed", 1)))
reads(ledger, "verifier_keys")(lambda tx, of: ledger.verifier_keys(tx, of.name, "consent"))
reads(ledger, "locate")(lambda tx, of: ledger.locate(tx, of.name, of.one("ledger_leaves", "entry_id")))
reads(ledger, "leaves_from")(lambda tx, of: ledger.leaves_from(tx, of.log, 0, 500))
reads(ledger, "tiles_from")(lambda tx, of: ledger.tiles_from(tx, of.log, 0, -1, 500))
reads(ledger, "publications")(lambda tx, of: ledger.publications(tx, of.name))
reads(ledger, "leaves")(lambda tx, of: ledger.leaves(tx, of.log, of.all("ledger_leaves", "index")))


@reads(ledger, "tiles")
async def _(tx: Tx, of: Asked) -> Any:
    hashes, roots = await ledger.tiles(tx, of.log, [(0, 0)], [(0, 0)])
    return {**hashes, **roots}


reads(ledger, "tile")(lambda tx, of: ledger.tile(tx, of.log, 0, of.one("ledger_tiles", "index")))


def _signing(of: Asked) -> bytes:
    """The public key of the log of decisions."""
    key: bytes = next(row["public_key"] for row in of.rows["ledger_keys"] if row["log"] == "consent")
    return key


reads(witnessed, "published")(lambda tx, of: witnessed.published(tx, of.name, "consent", bytes(32)))
reads(witnessed, "last_published")(lambda tx, of: witnessed.last_published(tx, of.log))
reads(witnessed, "sizes")(lambda tx, of: witnessed.sizes(tx, of.log))
reads(witnessed, "log_keys")(lambda tx, of: witnessed.log_keys(tx, of.log, 0))


@writes(ledger, "update_head")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.update_head(tx, of.log, Frontier.unpacked(0, b""), "changed")


@writes(ledger, "sign_head")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.sign_head(tx, of.log, "changed", bytes(32))


@writes(ledger, "retire_key")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.retire_key(tx, of.log, 99)


@writes(ledger, "unpublish")
async def _(tx: Tx, of: Asked) -> None:
    await ledger.unpublish(tx, of.name, "consent")


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


@reads(messages, "of_people")
async def _(tx: Tx, of: Asked) -> Any:
    return await messages.of_people(tx, of.name, of.all("messages", "recipient_id"), None, 100)


@reads(webhooks, "of_people")
async def _(tx: Tx, of: Asked) -> Any:
    return await webhooks.of_people(tx, of.name, of.all("callbacks", "recipient_id"), None, 100)


@reads(webhooks, "page_of")
async def _(tx: Tx, of: Asked) -> Any:
    return await webhooks.page_of(tx, of.name, of.all("callbacks", "recipient_id"), None, 100)


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


reads(identity, "of")(lambda tx, of: identity.of(tx, of.name, of.all("merges", "into_id")))
reads(identity, "read")(lambda tx, of: identity.read(tx, of.name, of.one("merges", "id")))
reads(identity, "standing_into")(lambda tx, of: identity.standing_into(tx, of.name, of.one("merges", "into_id")))
reads(identity, "standing_of")(lambda tx, of: identity.standing_of(tx, of.name, of.one("merges", "from_id")))


@writes(identity, "undo")
async def _(tx: Tx, of: Asked) -> None:
    await identity.undo(tx, of.name, of.one("merges", "id"), "key_1")


reads(items, "read")(lambda tx, of: items.read(tx, of.name, of.one("reviews", "id")))
reads(items, "page")(lambda tx, of: items.page(tx, of.name, None, None, None, 100))


@reads(items, "lock")
async def _(tx: Tx, of: Asked) -> Any:
    """A lock shows nothing; what it is taken for is read after it."""
    await items.lock(tx, of.name, of.one("reviews", "id"))
    return await items.read(tx, of.name, of.one("reviews", "id"))


@writes(items, "decide")
async def _(tx: Tx, of: Asked) -> None:
    await items.decide(tx, of.name, of.one("reviews", "id"), ReviewState.REJECTED, "key_1", None)


@writes(items, "forget")
async def _(tx: Tx, of: Asked) -> None:
    people = [one for row in of.rows["reviews"] for one in row["recipients"]]
    await items.forget(tx, of.name, people, "hub")


@reads(vault, "_read_workspace", "_read_subjects")
async def _(tx: Tx, of: Asked) -> Any:
    """The keys of people. That of a side is made where there is none; it opens for no other."""
    await of.hub.around.vault.workspace(tx, of.name, "lookup")
    return {one: key.raw() for one, key in (await _subjects(tx, of)).items()}


async def _subjects(tx: Tx, of: Asked) -> Any:
    return await of.hub.around.vault._read_subjects(tx, of.name, of.all("subject_keys", "subject_id"))


@writes(vault, "destroy")
async def _(tx: Tx, of: Asked) -> None:
    await of.hub.around.vault.destroy(tx, of.name, of.all("subject_keys", "subject_id"))


@reads(messages, "finals")
async def _(tx: Tx, of: Asked) -> Any:
    return await messages.finals(tx, of.name, None, LAST, [], 500)


@reads(messages, "unfinished")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await messages.unfinished(tx, of.name, of.all("messages", "id")))


@reads(messages, "written_to")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await messages.written_to(tx, of.name, of.all("messages", "recipient_id"), LONG_AGO))


@reads(consent, "decided")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await consent.decided(tx, of.name, of.all("consent_entries", "recipient_id"), LONG_AGO))


@reads(keeping, "old")
async def _(tx: Tx, of: Asked) -> Any:
    return await keeping.old(tx, of.name, START, END, tx.now + timedelta(days=1), 500)


@writes(keeping, "delete")
async def _(tx: Tx, of: Asked) -> None:
    await keeping.delete(tx, of.name, START, END, tx.now + timedelta(days=1), [])


@writes(messages, "empty")
async def _(tx: Tx, of: Asked) -> None:
    await messages.empty(tx, of.name, of.all("messages", "id"))


@writes(webhooks, "delete")
async def _(tx: Tx, of: Asked) -> None:
    await webhooks.delete(tx, of.name, LAST, [], 500)


@reads(privacy, "read")
async def _(tx: Tx, of: Asked) -> Any:
    standing = await privacy.read(tx, of.name)
    return standing if standing.updated_at else None


reads(privacy, "mark")(lambda tx, of: privacy.mark(tx, of.name))
reads(privacy, "finals_to")(lambda tx, of: privacy.finals_to(tx, of.name))
reads(privacy, "recipients_to")(lambda tx, of: privacy.recipients_to(tx, of.name))
reads(privacy, "last_round")(lambda tx, of: privacy.last_round(tx, of.name))
