"""Whoever writes about a person while their erasure commits leaves nothing of them behind, and is told.

The keys stay in memory as in another process, which learns of the erasure a minute later.
"""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.core.vault import Vault
from tabellion.privacy import regulation_store as store
from tabellion.privacy.orders import Step

from .conftest import ANN, MINUTE, Client, World

OTHER = "other.olga@example.org"
NUMBER = "+12025550147"
WORDS = "lavender-words-of-ann"
HELD = {
    "identifiers": "recipient_id", "identifier_claims": "recipient_id", "recipient_versions": "recipient_id",
    "recipient_traits": "recipient_id", "consent_entries": "recipient_id", "events": "recipient_id",
}  # fmt: skip


def writes(person: str, other: str) -> dict[str, tuple[str, str, Any]]:
    """method, path and body of each writer."""
    content = {"text": WORDS, "subject": WORDS}
    send = {"purpose": "transactional", "content": content, "route": {"steps": [{"channel": "email"}]}}
    said = {
        "channel": "email", "purpose": "marketing", "decision": "withdrawn", "method": "api", "source": "crm",
        "evidence": {"note": WORDS},
    }  # fmt: skip
    upsert = {"identifiers": [{"kind": "email", "value": ANN}, {"kind": "phone", "value": NUMBER}]}
    return {
        "message to id": ("POST", "/v1/messages", {**send, "to": {"id": person}, "metadata": {"note": WORDS}}),
        "message to address": ("POST", "/v1/messages", {**send, "to": {"email": ANN}, "metadata": {"note": WORDS}}),
        "patch": ("PATCH", f"/v1/recipients/{person}", {"traits": {"name": WORDS}}),
        "upsert": ("POST", "/v1/recipients", {**upsert, "traits": {"name": WORDS}}),
        "decision by id": ("POST", "/v1/consents", {**said, "recipient": {"id": person}}),
        "decision by address": ("POST", "/v1/consents", {**said, "recipient": {"email": ANN}}),
        "merge into": ("POST", f"/v1/recipients/{person}/merge", {"from": other, "reason": "same"}),
        "merge from": ("POST", f"/v1/recipients/{other}/merge", {"from": person, "reason": "same"}),
        "restrict": ("POST", "/v1/regulations", {"type": "restrict", "recipient": person, "verified_by": "ticket"}),
        "export": ("POST", "/v1/regulations", {"type": "export", "recipient": {"email": ANN}, "verified_by": "ticket"}),
    }


async def left(world: World, person: UUID) -> dict[str, int]:
    found = {}
    for table, column in HELD.items():
        rows = await world.rows(f"select 1 from {table} where {column} = $1", person)
        if rows:
            found[table] = len(rows)
    full = await world.rows(
        "select 1 from messages where recipient_id = $1 and (content <> '' or metadata is not null)", person
    )
    return found | ({"messages": len(full)} if full else {})


@pytest.mark.parametrize("which", list(writes("", "")))
async def test_a_writer_beside_an_erasure_leaves_nothing(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    person, other = await world.person(ANN), await world.person(OTHER)
    client = await api(Role.OWNER)
    await client.patch(f"/v1/recipients/{ids.show('rcp', person)}", json={"traits": {"city": WORDS}})
    order = {"type": "erase", "recipient": {"email": ANN}, "verified_by": "ticket"}
    made = (await client.post("/v1/regulations", json=order)).json()
    monkeypatch.setattr(Vault, "forget", lambda *given: None)
    world.clock.advance(timedelta(days=2))
    await world.db.run(lambda tx: world.hub.around.vault.subjects(tx, world.side, [person]))
    method, path, body = writes(ids.show("rcp", person), ids.show("rcp", other))[which]
    regulation = ids.parse("reg", made["id"])
    async with world.db.transaction() as tx:
        for step in (Step.ERASE, Step.MESSAGES):
            locked = await store.lock(tx, world.side, regulation)
            assert locked is not None
            after, _ = await world.hub.regulations.erasure.go_on(tx, locked)
            assert after.progress.step is step
        writing = asyncio.create_task(client.request(method, path, json=body))
        for _ in range(60):
            if not writing.done():
                await world.rows("select pg_sleep(0.005)")
    answer: httpx.Response = await asyncio.wait_for(writing, 20)
    assert answer.status_code < 500, answer.text
    await world.pass_time(3 * MINUTE)
    done = (await client.get(f"/v1/regulations/{made['id']}")).json()
    assert done["state"] == "done", done
    assert await left(world, person) == {}
    open_ = await world.rows("select status from messages where recipient_id = $1 and status = 'accepted'", person)
    assert open_ == []
    olga = (await client.get(f"/v1/recipients/{ids.show('rcp', other)}")).json()
    assert [one["value"] for one in olga["identifiers"]] == [OTHER]
