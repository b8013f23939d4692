"""As `statements`, for recipients: what each statement that is told a workspace is asked for, or told to change."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.recipients import idle_store as idle
from tabellion.recipients import indexed_store, settings_store, tokens_store, versions
from tabellion.recipients import store as recipients
from tabellion.recipients.types import Health, Kind

from .statements import LONG_AGO, Asked, reads, writes

LAST = UUID(int=(1 << 128) - 1)
STORES = (recipients, idle, indexed_store, settings_store, tokens_store, versions)


reads(recipients, "find")(lambda tx, of: recipients.find(tx, of.name, of.all("identifiers", "hash")))
reads(recipients, "roots")(lambda tx, of: recipients.roots(tx, of.name, of.all("recipients", "id")))


@reads(recipients, "known")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await recipients.known(tx, of.name, of.all("recipients", "id"), [Kind.ANONYMOUS]))


reads(recipients, "merged")(lambda tx, of: recipients.merged(tx, of.name, of.all("recipients", "merged_into")))
reads(recipients, "identifiers")(lambda tx, of: recipients.identifiers(tx, of.pairs("recipients", "id")))
reads(recipients, "records")(lambda tx, of: recipients.records(tx, of.name, of.all("recipients", "id")))
reads(recipients, "page")(lambda tx, of: recipients.page(tx, of.name, None, 100))


@reads(recipients, "lock", "_lock", "_lock_free")
async def _(tx: Tx, of: Asked) -> Any:
    pairs = of.pairs("recipients", "id")
    waiting = await recipients.lock(tx, pairs, skip_locked=False)
    return [*waiting, *await recipients.lock(tx, pairs, skip_locked=True)]


@writes(recipients, "withdraw")
async def _(tx: Tx, of: Asked) -> None:
    roots = {row["merged_into"] for row in of.rows["recipients"] if row["merged_into"] != row["id"]}
    roots |= {row[end] for row in of.rows["merges"] for end in ("from_id", "into_id")}
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


@writes(recipients, "part")
async def _(tx: Tx, of: Asked) -> None:
    await recipients.part(tx, of.name, of.all("recipients", "id"), of.one("recipients", "merged_into"))


@writes(recipients, "merge")
async def _(tx: Tx, of: Asked) -> None:
    first, *rest = [row["id"] for row in of.rows["recipients"] if row["merged_into"] == row["id"]]
    await recipients.merge(tx, of.name, [(one, first) for one in rest])


reads(recipients, "counts")(lambda tx, of: recipients.counts(tx, of.name, of.all("recipients", "id")))
reads(recipients, "mailboxes")(lambda tx, of: recipients.mailboxes(tx, of.name, of.all("identifiers", "hash")))


@writes(recipients, "set_health")
async def _(tx: Tx, of: Asked) -> None:
    changes = [(one, Health.HELD, "why") for one in of.all("identifiers", "hash")]
    await recipients.set_health(tx, of.name, changes)


@writes(recipients, "retire")
async def _(tx: Tx, of: Asked) -> None:
    await tx.execute("update identifiers set kind = 'device', email_domain = null where workspace_id = $1", of.name)
    await recipients.retire(tx, of.name, [(row["hash"], row["recipient_id"]) for row in of.rows["identifiers"]])


@writes(recipients, "describe")
async def _(tx: Tx, of: Asked) -> None:
    said = [recipients.Description(one, None, b"x") for one in of.all("identifiers", "hash")]
    await recipients.describe(tx, of.name, said)


@reads(settings_store, "read")
async def _(tx: Tx, of: Asked) -> Any:
    settings, _ = await settings_store.read(tx, of.name)
    return settings


reads(tokens_store, "kinds")(lambda tx, of: tokens_store.kinds(tx, of.name, of.all("recipients", "id")))
reads(tokens_store, "systems")(lambda tx, of: tokens_store.systems(tx, of.name, 500))


@reads(tokens_store, "size", "overdue", "crowded", "crowds")
async def _(tx: Tx, of: Asked) -> Any:
    """What is counted of a side; nothing, of one that has nothing."""
    later, limits = tx.now + timedelta(days=999), [(Kind.EMAIL, 0), (Kind.PHONE, 0)]
    counts = (
        await tokens_store.size(tx, of.name, 500),
        await tokens_store.overdue(tx, of.name, later, 500),
        await tokens_store.crowded(tx, of.name, limits, 500),
        await tokens_store.crowds(tx, of.name, tx.now - timedelta(days=99), 0, 500),
    )
    return counts if any(counts) else None


@reads(tokens_store, "claimants")
async def _(tx: Tx, of: Asked) -> Any:
    since = tx.now - timedelta(days=99)
    return await tokens_store.claimants(tx, of.name, of.all("identifier_claims", "hash"), since)


@writes(tokens_store, "claim")
async def _(tx: Tx, of: Asked) -> None:
    """What is old goes; of the side named alone."""
    claims = [(row["hash"], row["recipient_id"], tx.now) for row in of.rows["identifier_claims"]]
    await tokens_store.claim(tx, of.name, claims, tx.now)


@writes(tokens_store, "share")
async def _(tx: Tx, of: Asked) -> None:
    await tokens_store.share(tx, of.name, of.all("identifiers", "hash"))


@writes(tokens_store, "hand")
async def _(tx: Tx, of: Asked) -> None:
    rows = of.rows["identifiers"]
    handed = [tokens_store.Handed(row["hash"], row["recipient_id"], b"x") for row in rows]
    await tokens_store.hand(tx, of.name, handed, "other")


@writes(tokens_store, "look")
async def _(tx: Tx, of: Asked) -> None:
    await tokens_store.look(tx, of.name, tx.now + timedelta(days=999), 500)


@writes(settings_store, "write")
async def _(tx: Tx, of: Asked) -> None:
    await settings_store.write(tx, of.name, {"default_region": "DE"})


@reads(versions, "page")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("recipients", "id")
    return [row for one in people for row in await versions.page(tx, of.name, one, limit=100)]


@reads(versions, "first_after", "root_before")
async def _(tx: Tx, of: Asked) -> Any:
    people, long_ago = of.all("recipients", "id"), tx.now - timedelta(days=9)
    firsts = [first for one in people if (first := await versions.first_after(tx, of.name, one, long_ago))]
    roots = [root for one in people if (root := await versions.root_before(tx, of.name, one, None))]
    return (firsts, roots) if firsts or roots else None


reads(indexed_store, "states")(lambda tx, of: indexed_store.states(tx, of.name))
reads(indexed_store, "people")(lambda tx, of: indexed_store.people(tx, of.name, None, 100))


@reads(indexed_store, "find")
async def _(tx: Tx, of: Asked) -> Any:
    return await indexed_store.find(tx, of.name, "plan", "pro", None, 100)


@writes(indexed_store, "declare")
async def _(tx: Tx, of: Asked) -> None:
    await indexed_store.declare(tx, of.name, [])


@writes(indexed_store, "done")
async def _(tx: Tx, of: Asked) -> None:
    await indexed_store.done(tx, of.name, "plan", LAST, ready=True)


@writes(indexed_store, "drop")
async def _(tx: Tx, of: Asked) -> None:
    await indexed_store.drop(tx, of.name, "plan", 100)


@writes(indexed_store, "take")
async def _(tx: Tx, of: Asked) -> None:
    await indexed_store.take(tx, of.name, [(one, "plan") for one in of.all("recipients", "id")])


@writes(indexed_store, "forget_indexed")
async def _(tx: Tx, of: Asked) -> None:
    await indexed_store.forget_indexed(tx, of.name, of.all("recipients", "id"))


reads(idle, "walk")(lambda tx, of: idle.walk(tx, of.name, ids.FIRST, tx.now, 500))


@reads(idle, "changed")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await idle.changed(tx, of.name, of.all("recipients", "id"), LONG_AGO))


@reads(idle, "named")
async def _(tx: Tx, of: Asked) -> Any:
    return sorted(await idle.named(tx, of.name, of.all("identifiers", "recipient_id"), LONG_AGO))
