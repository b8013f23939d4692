"""As `statements`, for orders on people's data and what they end."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from tabellion.consent import store as consent
from tabellion.core import ids, vault
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events import store as events
from tabellion.events.types import END, START
from tabellion.identity import store as identity
from tabellion.messages import store as messages
from tabellion.privacy import legal_hold_store as holds
from tabellion.privacy import proof_store as proofs
from tabellion.privacy import regulation_store as regulations
from tabellion.privacy.legal_hold_store import LegalHold
from tabellion.privacy.orders import Options, Regulation, State, Type
from tabellion.privacy.proof_store import HeldProof, Opening
from tabellion.recipients import erasure_store as erasure
from tabellion.recipients import store as recipients
from tabellion.webhooks import store as webhooks

from .statements import Asked, reads, writes

STORES = (holds, proofs, regulations, erasure)


async def make(tx: Tx, side: WorkspaceId) -> None:
    """A row in each of their tables, with ids that the twin has too, and words of its own."""
    [recipient, *_] = [
        row["id"] for row in await tx.rows("select id from recipients where workspace_id = $1 order by id", side)
    ]
    word, soon = side.hex[:8], tx.now + timedelta(days=3)
    order = Regulation(
        side, ids.new(), Type.ERASE, State.BLOCKED, recipient, [recipient], "key", word, Options(), tx.now, tx.now, soon
    )
    await regulations.insert(tx, order)
    await regulations.insert(tx, replace(order, id=ids.new(), state=State.CANCELLED))
    await regulations.set_settings(tx, side, {"approvals": []})
    await holds.insert(tx, side, LegalHold(ids.new(), recipient, word, "key", tx.now, soon))
    proof = HeldProof(ids.new(), order.id, ids.new(), 1, word, word.encode(), tx.now, soon)
    await proofs.insert(tx, side, [proof])
    await proofs.insert_opening(tx, side, Opening(ids.new(), proof.id, word, "key", tx.now))
    await erasure.remember(tx, side, [b"e" * 32], order.id)
    await erasure.restrict(tx, side, [recipient])
    await tx.execute("update callbacks set recipient_id = null where workspace_id = $1", side)


@reads(regulations, "read")
async def _(tx: Tx, of: Asked) -> Any:
    found = await regulations.read(tx, of.name, of.one("regulations", "id"))
    return found and found.state


@reads(regulations, "lock")
async def _(tx: Tx, of: Asked) -> Any:
    found = await regulations.lock(tx, of.name, of.one("regulations", "id"))
    return found and found.state


@reads(regulations, "page")
async def _(tx: Tx, of: Asked) -> Any:
    every: dict[str, Any] = {"recipients": None, "type": None, "state": None, "before": None}
    return [one.id for one in await regulations.page(tx, of.name, **every, limit=100)]


@reads(regulations, "of_person")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("recipients", "id")
    return [one.id for one in await regulations.of_person(tx, of.name, people, list(State))]


@reads(regulations, "being_erased")
async def _(tx: Tx, of: Asked) -> Any:
    return await regulations.being_erased(tx, of.name, of.all("recipients", "id"), list(State))


@reads(regulations, "not_erased")
async def _(tx: Tx, of: Asked) -> Any:
    """Those that need no more."""
    asked = of.pairs("regulations", "id")
    return sorted({one for _, one in asked} - set(await regulations.not_erased(tx, asked)))


@reads(regulations, "settings")
async def _(tx: Tx, of: Asked) -> Any:
    settings, _ = await regulations.settings(tx, of.name)
    return settings


@reads(regulations, "people_of")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("recipients", "id")
    return sorted(await regulations.people_of(tx, of.name, people, list(State)))


@reads(regulations, "count_open")
async def _(tx: Tx, of: Asked) -> Any:
    return await regulations.count_open(tx, of.name, of.one("regulations", "requested_by"))


@writes(regulations, "write")
async def _(tx: Tx, of: Asked) -> None:
    order = await regulations.read(tx, of.owner, of.one("regulations", "id"))
    assert order is not None
    told = {name: getattr(order, name) for name in order.__struct_fields__} | {"workspace_id": of.name}
    await regulations.write(tx, Regulation(**{**told, "state": State.RUNNING}))


reads(holds, "lock")(lambda tx, of: _has(holds.lock(tx, of.name, of.one("legal_holds", "id"))))
reads(holds, "any_of")(lambda tx, of: holds.any_of(tx, of.name, of.all("recipients", "id")))
reads(holds, "held")(lambda tx, of: _some(holds.held(tx, of.name)))
reads(holds, "page")(lambda tx, of: _some(holds.page(tx, of.name, standing=None, before=None, limit=100)))
reads(proofs, "of_regulation")(lambda tx, of: _some(proofs.of_regulation(tx, of.name, of.one("regulations", "id"))))
reads(proofs, "page")(lambda tx, of: _some(proofs.page(tx, of.name, None, 100)))
reads(proofs, "read")(lambda tx, of: _has(proofs.read(tx, of.name, of.one("held_proofs", "id"))))
reads(proofs, "lock_opening")(lambda tx, of: _has(proofs.lock_opening(tx, of.name, of.one("proof_openings", "id"))))
reads(erasure, "remembered")(lambda tx, of: erasure.remembered(tx, of.name, [b"e" * 32]))
reads(erasure, "hashes_of")(lambda tx, of: erasure.hashes_of(tx, of.name, of.one("regulations", "id")))
reads(erasure, "erased")(lambda tx, of: erasure.erased(tx, of.name, of.all("recipients", "id")))
reads(erasure, "restricted")(lambda tx, of: _some(erasure.restricted(tx, of.pairs("recipients", "id"))))


async def _has(found: Any) -> bool:
    return await found is not None


async def _some(found: Any) -> int:
    return len(await found)


@writes(holds, "release")
async def _(tx: Tx, of: Asked) -> None:
    await holds.release(tx, of.name, of.one("legal_holds", "id"), "key")


@writes(proofs, "destroy")
async def _(tx: Tx, of: Asked) -> None:
    await proofs.destroy(tx, of.name, of.all("held_proofs", "id"))


@writes(proofs, "approve_opening")
async def _(tx: Tx, of: Asked) -> None:
    await proofs.approve_opening(tx, of.name, of.one("proof_openings", "id"), "other", tx.now)


@writes(erasure, "delete_identifiers")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.delete_identifiers(tx, of.name, of.all("recipients", "id"))


@writes(erasure, "delete_claims")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.delete_claims(tx, of.name, of.all("recipients", "id"))


@writes(erasure, "delete_versions")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.delete_versions(tx, of.name, of.all("recipients", "id"))


@writes(erasure, "empty")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.empty(tx, of.name, of.all("recipients", "id"))


@writes(erasure, "restrict")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.restrict(tx, of.name, of.all("recipients", "id"))


@writes(erasure, "release")
async def _(tx: Tx, of: Asked) -> None:
    await erasure.release(tx, of.name, of.all("recipients", "id"))


@reads(consent, "sealed")
async def _(tx: Tx, of: Asked) -> Any:
    return [one.id for one in await consent.sealed(tx, of.name, of.all("consent_entries", "id"))]


@writes(consent, "forget")
async def _(tx: Tx, of: Asked) -> None:
    await consent.forget(tx, of.name, of.all("recipients", "id"), [])


@writes(consent, "unblock")
async def _(tx: Tx, of: Asked) -> None:
    await consent.unblock(tx, of.name, of.all("vendor_blocks", "identifier_hash"))


@writes(identity, "forget")
async def _(tx: Tx, of: Asked) -> None:
    await identity.forget(tx, of.name, of.all("recipients", "id"))


@reads(messages, "open_of", "page_of")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("recipients", "id")
    return [*await messages.open_of(tx, of.name, people, 100), *await messages.page_of(tx, of.name, people, None, 100)]


@reads(messages, "relied_on", "reached_through")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("recipients", "id")
    relied = await messages.relied_on(tx, of.name, people)
    reached = await messages.reached_through(tx, of.name, people)
    return [*(one.purpose for one in relied), *(one.attempts for one in reached)]


@writes(messages, "erase_messages")
async def _(tx: Tx, of: Asked) -> None:
    await messages.erase_messages(tx, of.name, of.all("messages", "id"))


@writes(messages, "erase_attempts")
async def _(tx: Tx, of: Asked) -> None:
    await messages.erase_attempts(tx, of.name, of.all("messages", "id"))


reads(webhooks, "page")(lambda tx, of: _some(webhooks.page(tx, of.name, None, 100)))


@writes(webhooks, "erase")
async def _(tx: Tx, of: Asked) -> None:
    await webhooks.erase(tx, of.name, of.all("callbacks", "id"))


@writes(events, "unlink")
async def _(tx: Tx, of: Asked) -> None:
    await events.unlink(tx, of.name, of.all("recipients", "id"), START, END)


@writes(recipients, "carry_restriction")
async def _(tx: Tx, of: Asked) -> None:
    restricted, other, *_ = of.all("recipients", "id")
    await recipients.carry_restriction(tx, of.name, [(restricted, other)])


@writes(vault, "destroy")
async def _(tx: Tx, of: Asked) -> None:
    await of.hub.around.vault.destroy(tx, of.name, of.all("subject_keys", "subject_id"))
