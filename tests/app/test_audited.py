"""Every route that changes something is audited, or is on the list of those whose own events say who did it.

The list is closed: a new route needs a deed here, or a reason there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.trail_check import Check, Compared
from tabellion.access.types import Role
from tabellion.app.routes import build
from tabellion.app.wiring import Surroundings, wire
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.jobs import service as jobs
from tabellion.recipients.types import Kind, Named, NewRecipient

from . import audited_consent
from .test_isolation import CONTENT, SECRET, Side, World, every_route, open_side

BY_EVENT: Final = {
    ("POST", "/v1/recipients"): "the recipient's history has the key",
    ("POST", "/v1/recipients/batch"): "the recipient's history has the key",
    ("PATCH", "/v1/recipients/{recipient_id}"): "the recipient's history has the key",
    ("POST", "/v1/consents"): "the log of decisions commits to the actor",
    ("POST", "/v1/messages"): "the message and its events",
    ("POST", "/in/{provider}/{account_id}"): "what the vendor said: no key calls it",
    **audited_consent.BY_EVENT,
}
"""The data plane: each has a record of its own (`docs/how-to-audit.md`)."""
ONLY_READ: Final = {
    ("POST", "/v1/consents/check"),
    ("POST", "/v1/consents/check/batch"),
    ("POST", "/v1/recipient-settings/preview"),
}
READS: Final = {"GET", "HEAD"}


@dataclass
class Story:
    """One side, and a second key of it for what takes two."""

    world: World
    side: Side
    second: str

    @property
    def hub(self) -> Any:
        return self.world.hub

    async def ask(self, method: str, path: str, body: Any = None, *, second: bool = False) -> Any:
        headers = {"Authorization": f"Bearer {self.second}"} if second else {}
        answer = await self.side.call(method, path, body, **headers)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") and answer.content else answer.content

    async def audited(self, after: int) -> list[str]:
        """The actions that were audited since."""
        rows = await self.world.db.run(
            lambda tx: tx.rows(
                "select action from audit where workspace_id = $1 and log_index >= $2 order by log_index",
                self.side.workspace.side(self.side.mode), after,
            )
        )  # fmt: skip
        return [row["action"] for row in rows]

    async def size(self) -> int:
        return len(await self.audited(0))

    async def person(self, name: str) -> str:
        made = {"external_id": name, "identifiers": [{"kind": "email", "value": f"{name}@example.org"}]}
        shown: str = (await self.side.made("/v1/recipients", made))["id"]
        return shown


@pytest.fixture
async def story(surroundings: Surroundings) -> AsyncIterator[Story]:
    hub = wire(replace(surroundings, private_networks=("127.0.0.0/8",)))
    world = World(hub, build(hub, Settings()), {})
    workspace = await world.db.run(lambda tx: create_workspace(tx, "acme"))
    side = await open_side(world, workspace, "test")
    await world.work()
    _, second = await world.db.run(lambda tx: create_key(tx, workspace, "test", Role.COMPLIANCE))
    yield Story(world, side, second.reveal())
    await side.client.aclose()
    await world.app.drain()
    await hub.close()


# what is done, each with the action it is audited as

Deed = Callable[[Story], Awaitable[Any]]
DEEDS: Final[dict[tuple[str, str], tuple[str, Deed]]] = {**audited_consent.DEEDS}


def deed(method: str, path: str, action: str) -> Callable[[Deed], Deed]:
    def add(one: Deed) -> Deed:
        DEEDS[method, path] = (action, one)
        return one

    return add


def asks(method: str, path: str, action: str, body: Any = None, named: str | None = None) -> None:
    """A deed that is one request, about nothing or about a thing the side has."""

    async def done(of: Story) -> Any:
        asked = path.replace("{" + named + "_id}", of.side.ids[named]) if named else path
        return await of.ask(method, asked, body)

    DEEDS[method, path] = (action, done)


asks("POST", "/v1/keys", "key.created", {"role": "readonly"})
asks("POST", "/v1/user-token-keys", "user_token_key.created", {"algorithm": "HS256"})
asks("PATCH", "/v1/accounts/{account_id}", "account.updated", {"weight": 3}, "account")
asks("PUT", "/v1/recipient-settings", "recipient_settings.set", {"default_region": "AT"})
asks("PUT", "/v1/retention", "retention.set", {"content": 30})
asks("PUT", "/v1/privacy-settings", "privacy_settings.set", {"approvals": []})
asks("PUT", "/v1/ledger/settings", "ledger_settings.set", {"published": True})
asks("POST", "/v1/proofs/{proof_id}/openings", "proof.asked", {"reason": "complaint"}, "proof")


@deed("POST", "/v1/keys/{key_id}/rotate", "key.rotated")
async def _(of: Story) -> None:
    made = await of.ask("POST", "/v1/keys", {"role": "readonly"})
    await of.ask("POST", f"/v1/keys/{made['id']}/rotate", {"grace_seconds": 0})


@deed("DELETE", "/v1/keys/{key_id}", "key.revoked")
async def _(of: Story) -> None:
    made = await of.ask("POST", "/v1/keys", {"role": "readonly"})
    await of.ask("DELETE", f"/v1/keys/{made['id']}")


@deed("DELETE", "/v1/user-token-keys/{token_key_id}", "user_token_key.revoked")
async def _(of: Story) -> None:
    await of.ask("DELETE", f"/v1/user-token-keys/{of.side.ids['token_key']}")


@deed("POST", "/v1/accounts", "account.created")
async def new_account(of: Story) -> str:
    settings = {"secret": SECRET, "base_url": f"{of.hub.around.simulator.http}/sim/fake"}
    shown: str = (await of.ask("POST", "/v1/accounts", {"provider": "fake", "settings": settings}))["id"]
    return shown


@deed("DELETE", "/v1/accounts/{account_id}", "account.disabled")
async def _(of: Story) -> None:
    await of.ask("DELETE", f"/v1/accounts/{await new_account(of)}")


async def merged(of: Story, name: str) -> tuple[str, str]:
    into, from_ = await of.person(name), await of.person(f"{name}-too")
    made = await of.ask("POST", f"/v1/recipients/{into}/merge", {"from": from_, "reason": "the same"})
    return made["id"], made["merge_id"]


@deed("POST", "/v1/recipients/{recipient_id}/merge", "recipient.merged")
async def _(of: Story) -> None:
    await merged(of, "mary")


@deed("POST", "/v1/recipients/{recipient_id}/split", "recipient.split")
async def _(of: Story) -> None:
    into, merge = await merged(of, "mona")
    await of.ask("POST", f"/v1/recipients/{into}/split", {"merge_id": merge})


async def conflict(of: Story, name: str) -> str:
    """Something for people to decide: an import says another external_id for an address."""
    await of.person(name)
    side = of.side.workspace.side(of.side.mode)
    unit = NewRecipient((Named(Kind.EMAIL, f"{name}@example.org"), Named(Kind.EXTERNAL_ID, f"{name}-other")))
    await of.world.db.run(lambda tx: of.hub.intake.upsert(tx, side, [unit], source="import:x.csv", actor="x"))
    [one] = await of.world.db.run(lambda tx: of.hub.queue.page(tx, side, None, None, None, 1))
    return ids.show("rev", one.id)


@deed("POST", "/v1/reviews/{review_id}/accept", "review.accepted")
async def _(of: Story) -> None:
    await of.ask("POST", f"/v1/reviews/{await conflict(of, 'rita')}/accept", {})


@deed("POST", "/v1/reviews/{review_id}/reject", "review.rejected")
async def _(of: Story) -> None:
    await of.ask("POST", f"/v1/reviews/{await conflict(of, 'rosa')}/reject", {})


@deed("POST", "/v1/legal-holds", "legal_hold.set")
async def hold(of: Story) -> str:
    body = {"recipient": await of.person("hanna"), "reason": "court"}
    shown: str = (await of.ask("POST", "/v1/legal-holds", body))["id"]
    return shown


@deed("DELETE", "/v1/legal-holds/{hold_id}", "legal_hold.released")
async def _(of: Story) -> None:
    await of.ask("DELETE", f"/v1/legal-holds/{await hold(of)}")


async def order(of: Story, type: str, recipient: str, **more: Any) -> str:
    body = {"type": type, "recipient": recipient, "verified_by": "in person", **more}
    shown: str = (await of.ask("POST", "/v1/regulations", body))["id"]
    return shown


@deed("DELETE", "/v1/recipients/{recipient_id}", "regulation.created")
async def _(of: Story) -> None:
    await of.ask("DELETE", f"/v1/recipients/{await of.person('doris')}")


@deed("POST", "/v1/regulations", "regulation.created")
async def _(of: Story) -> None:
    await order(of, "restrict", await of.person("olga"))


@deed("DELETE", "/v1/regulations/{regulation_id}", "regulation.cancelled")
async def _(of: Story) -> None:
    await of.ask("DELETE", f"/v1/regulations/{await order(of, 'restrict', await of.person('olivia'))}")


@deed("POST", "/v1/regulations/{regulation_id}/approve", "regulation.approved")
async def _(of: Story) -> None:
    await of.ask("PUT", "/v1/privacy-settings", {"approvals": ["restrict"]})
    made = await order(of, "restrict", await of.person("paula"))
    await of.ask("POST", f"/v1/regulations/{made}/approve", second=True)
    await of.ask("PUT", "/v1/privacy-settings", {"approvals": []})


@deed("POST", "/v1/regulations/{regulation_id}/systems/{system}", "regulation.reported")
async def _(of: Story) -> None:
    """Somebody a vendor was handed something for, erased."""
    person = await of.person("vera")
    route = {"steps": [{"channel": "sms", "accounts": [of.side.ids["account"]]}]}
    number = {"identifiers": [{"kind": "phone", "value": "+12025550199"}]}
    await of.ask("POST", "/v1/recipients", {"external_id": "vera", **number})
    await of.ask("POST", "/v1/messages", {"to": person, **CONTENT, "route": route})
    await of.world.work()
    made = await order(of, "erase", person, immediate=True)
    for _ in range(3):
        await of.world.db.run(lambda tx: jobs.tick(tx, 256, of.hub.around.bell))
        await of.world.work()
    system = of.side.ids["account"]
    await of.ask("POST", f"/v1/regulations/{made}/systems/{system}", {"note": "they confirmed"})
    assert "recipient.erased" in await of.audited(0)


@deed("POST", "/v1/proof-openings/{opening_id}/approve", "proof.approved")
async def _(of: Story) -> None:
    await of.ask("POST", f"/v1/proof-openings/{of.side.ids['opening']}/approve", second=True)


# the claims


async def test_every_route_that_changes_something_has_a_deed_or_a_reason(story: Story) -> None:
    routes = {one for one in every_route(story.world.app) if one[0] not in READS}
    named = {*DEEDS, *BY_EVENT, *ONLY_READ}
    assert routes - named == set()
    assert named - routes == set(), "they are gone"
    assert not {*DEEDS} & {*BY_EVENT, *ONLY_READ}


async def test_every_deed_is_audited_and_in_the_log(story: Story, subtests: Any) -> None:
    for (method, path), (action, done) in DEEDS.items():
        with subtests.test(f"{method} {path}"):
            before = await story.size()
            await done(story)
            assert action in await story.audited(before), "it is not audited"
    side = story.side.workspace.side(story.side.mode)
    compared = await Check(story.world.db, story.hub.trail, story.hub.ledger, side).run()
    assert compared == Compared(entries=await story.size())


async def test_no_detail_holds_what_somebody_wrote(story: Story) -> None:
    """What an erasure would have to reach, and cannot: entries are for ever."""
    for _, done in DEEDS.values():
        await done(story)
    rows = await story.world.rows_of(story.side)
    told = " ".join(rows["audit"])
    for word in (
        "example.org",
        "+1202555",
        "in person",
        "court",
        "complaint",
        "the same",
        "they confirmed",
        "in error",
        SECRET,
    ):
        assert word not in told, word


async def test_what_the_data_plane_does_is_not_audited_row_by_row(story: Story) -> None:
    before = await story.size()
    person = await story.person("dora")
    await story.ask("PATCH", f"/v1/recipients/{person}", {"traits": {"plan": "pro"}})
    await story.ask("GET", "/v1/recipients?email=dora@example.org")
    await story.ask("POST", "/v1/messages", {"to": person, **CONTENT})
    await story.world.work()
    assert await story.audited(before) == []


async def test_a_forked_audit_log_stops_what_is_audited_and_nothing_else(story: Story) -> None:
    await story.hub.checkpoints.flush()
    undone = "update ledger_heads set size = 1, frontier = decode(repeat('00', 32), 'hex') where log = 'audit'"
    await story.world.db.run(lambda tx: tx.execute(undone))
    before = await story.size()
    person = await story.person("dora")
    for method, path, body in (
        ("POST", "/v1/keys", {"role": "readonly"}),
        ("PUT", "/v1/retention", {"content": 30}),
        ("PATCH", f"/v1/accounts/{story.side.ids['account']}", {"weight": 9}),
        ("POST", "/v1/legal-holds", {"recipient": person, "reason": "court"}),
        ("GET", "/v1/search?q=dora@example.org", None),
    ):
        refused = await story.side.call(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_forked"), (method, path)
    assert await story.size() == before
    assert (await story.ask("GET", f"/v1/accounts/{story.side.ids['account']}"))["weight"] != 9
    grant = {
        "recipient": person, "channel": "email", "purpose": "marketing", "decision": "withdrawn", "method": "api",
        "source": "shop",
    }  # fmt: skip
    assert (await story.ask("POST", "/v1/consents", grant))["applied"]
    message = await story.ask("POST", "/v1/messages", {"to": person, **CONTENT})
    await story.world.work()
    assert (await story.ask("GET", f"/v1/messages/{message['id']}"))["status"] != "queued"
    assert await story.ask("GET", "/v1/audit"), "what was audited can still be read"


async def test_reads_that_disclose_are_audited(story: Story) -> None:
    side = story.side
    await story.ask("POST", f"/v1/proof-openings/{side.ids['opening']}/approve", second=True)
    exported = await order(story, "export", side.ids["recipient"], reason="a complaint")
    await story.world.work()
    for path, *actions in (
        ("/v1/search?q=ann@example.org", "address.searched"),
        (f"/v1/regulations/{side.ids['regulation']}/export", "regulation.fetched"),
        (f"/v1/regulations/{side.ids['regulation']}/document", "regulation.fetched"),
        (f"/v1/regulations/{exported}/evidence", "regulation.evidence_begun", "regulation.evidence_made"),
        (f"/v1/consents/{side.ids['consent']}/receipt?disclose=1", "consent.disclosed"),
        (f"/v1/consents/{side.ids['consent']}?disclose=true", "consent.disclosed"),
        (f"/v1/recipients/{side.ids['recipient']}/consents/entries?disclose=true", "consent.disclosed"),
        ("/v1/notices/equal/served?disclose=true", "served.disclosed"),
        ("/v1/suppressions/export", "suppressions.exported"),
        ("/v1/ledger/export", "ledger.exported"),
    ):
        before = await story.size()
        await story.ask("GET", path)
        assert await story.audited(before) == actions, path
    before = await story.size()
    await story.ask("GET", "/v1/search?q=crm-1042")
    assert await story.audited(before) == [], "an id is no address"
