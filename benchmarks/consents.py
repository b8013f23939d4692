"""Decisions and verdicts a second.

    make bench ARGS=consents          BENCH_CONSENTS says how many decisions (51,200)

Decisions are durable and in a signed tree: through the service, 256 a transaction, about people who are new, then about
people who are known; through `POST /v1/consents` over 64 connections for 20 seconds; through `POST /v1/consents/batch`,
1,000 a request over 2 connections. Verdicts are asked for 1,000 at a time: as a gate asks (`verdicts`: identifiers are
known), as people ask (`check`: addresses are looked up), and over HTTP; as a gate asks also on a side with 50 purposes
of its own. `bare` commits rows of the same size with one insert a transaction: no person, no key, no tree.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.http import CONNECTIONS, load
from tabellion.access.service import find_workspace
from tabellion.app.demo.world import World
from tabellion.app.domains import domains
from tabellion.app.memory import settle_memory
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.consent.purposes import store as purposes
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.questions import Ask, Question
from tabellion.consent.types import Basis, Decision, Method, NewDecision, PurposeClass, Rank
from tabellion.core import ids
from tabellion.core.config import load as load_settings
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind, Ref

DECISIONS: Final = int(os.environ.get("BENCH_CONSENTS", "51200"))
BATCH: Final = 256
ASKED: Final = 1_000
SECONDS: Final = 20.0
MOST_POSTS: Final = 4_000
"""A second, prepared."""
PURPOSES: Final = 50
ROW: Final = b"x" * 700
BARE: Final = "create table bare (workspace_id uuid, id uuid, row bytea, primary key (workspace_id, id))"
INSERT: Final = "insert into bare select $1, id, $3 from unnest($2::uuid[]) as made (id)"


async def run() -> dict[str, Any]:
    """Decisions and verdicts a second, through the service and over HTTP."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        return await asyncio.to_thread(_measure, Path(folder))


def _measure(folder: Path) -> dict[str, Any]:
    world = World(folder)
    try:
        world.command("workspace", "create", "bench")
        key: str = world.command(
            "keys", "create", "--workspace", "bench", "--role", "developer", "--mode", "test"
        )["key"]  # fmt: skip
        world.start_hub("--roles", "api")
        return asyncio.run(_through_the_service(world)) | _over_http(world, key)
    finally:
        world.stop()


# through the service


async def _through_the_service(world: World) -> dict[str, Any]:
    settings = load_settings({}, {"data": world.data}).settings
    async with opened(settings) as installation, domains(installation, settings) as hub:
        settle_memory()  # as a hub does
        workspace = await installation.db.run(lambda tx: find_workspace(tx, "bench"))
        side = workspace.test
        await _decide(hub, side, "warm", BATCH * 4)
        new = await _decide(hub, side, "ann", DECISIONS)
        known = await _decide(hub, side, "ann", DECISIONS)
        bare = await _bare(hub, side, DECISIONS)
        questions, asks = await _asked(hub, side)
        gate = await _rate(len(questions), lambda: hub.around.db.run(lambda tx: hub.consent.verdicts(tx, questions)))
        check = await _rate(len(asks), lambda: hub.around.db.run(lambda tx: hub.consent.check(tx, side, asks)))
        await hub.around.db.run(lambda tx: _more_purposes(tx, side))
        many = await _rate(len(questions), lambda: hub.around.db.run(lambda tx: hub.consent.verdicts(tx, questions)))
    return {
        "decisions_new_people": new,
        "decisions_known_people": known,
        "decisions_goal": 6_000,
        "bare": bare,
        "ratio_known": round(known / bare, 3),
        "verdicts": gate,
        "verdicts_goal": 60_000,
        "verdicts_with_own_purposes": many,
        "checks": check,
    }


async def _decide(hub: Hub, side: WorkspaceId, name: str, count: int) -> int:
    async def record(first: int) -> None:
        some = [_decision(f"{name}{number}@example.org") for number in range(first, first + BATCH)]
        answers = await hub.around.db.run(lambda tx: hub.consent.record(tx, side, some))
        assert not any(isinstance(one, HubError) for one in answers), answers[0]

    return await _batches(count, record)


async def _batches(count: int, work: Callable[[int], Awaitable[None]]) -> int:
    """Rows a second, in batches by two writers: one prepares while the other is with the database."""

    async def writer(start: int) -> None:
        for first in range(start, count, 2 * BATCH):
            await work(first)

    began = time.perf_counter()
    await asyncio.gather(writer(0), writer(BATCH))
    return round(count / (time.perf_counter() - began))


def _decision(address: str) -> NewDecision:
    return NewDecision(
        recipient=Ref(kind=Kind.EMAIL, value=address, pointer="/recipient"),
        channel="email",
        purpose="marketing",
        decision=Decision.GRANTED,
        basis=Basis.CONSENT,
        method=Method.FORM,
        source="signup",
        rank=Rank.SECRET_KEY,
        actor="bench",
        evidence={"url": "https://example.org/signup"},
    )


async def _bare(hub: Hub, side: WorkspaceId, count: int) -> int:
    db = hub.around.db
    await db.run(lambda tx: tx.execute(BARE))

    async def insert(first: int) -> None:
        made = [ids.new() for _ in range(BATCH)]
        await db.run(lambda tx: tx.execute(INSERT, side, made, ROW))

    return await _batches(count, insert)


async def _asked(hub: Hub, side: WorkspaceId) -> tuple[list[Question], list[Ask]]:
    """The same questions as a gate puts them, and as people do."""
    refs = [Ref(kind=Kind.EMAIL, value=f"ann{number * 7}@example.org") for number in range(ASKED)]

    async def resolve(tx: Tx) -> list[Question]:
        found = await hub.recipients.resolve(tx, side, refs, create=False)
        known = [one for one in found if not isinstance(one, HubError) and one.identifier]
        return [
            Question(side, one.recipient_id, one.identifier.hash, "email", Channel.EMAIL, "marketing")
            for one in known
            if one.identifier
        ]

    questions = await hub.around.db.run(resolve)
    return questions, [Ask(ref, Channel.EMAIL, "marketing") for ref in refs]


async def _more_purposes(tx: Tx, side: WorkspaceId) -> None:
    """Let the side have purposes of its own."""
    for number in range(PURPOSES):
        settings = PurposeSettings(
            title=f"List {number}", purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT, parent="marketing"
        )
        await purposes.write(tx, side, f"marketing.list{number}", settings)


async def _rate(size: int, work: Callable[[], Awaitable[Sequence[object]]]) -> int:
    for _ in range(3):
        await work()
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        await work()
        rounds += 1
    return round(size * rounds / (time.perf_counter() - began))


# over HTTP


def _over_http(world: World, key: str) -> dict[str, Any]:
    url = f"{world.url}/v1/consents"
    posts = [_body(f"post{number}@example.org") for number in range(int(SECONDS * MOST_POSTS))]
    load(url, key, posts[:500])
    single = load(url, key, posts[500:], within=SECONDS)
    bodies = [
        _items([_said(f"many{first + one}@example.org") for one in range(ASKED)]) for first in range(0, 40_000, ASKED)
    ]
    many = load(f"{url}/batch", key, bodies, 2)
    questions = [_items([_question(f"ann{at * 7}@example.org") for at in range(ASKED)])] * 40
    checks = load(f"{url}/check/batch", key, questions, 2)
    return {
        "http_single_per_second": single["per_second"],
        "http_single_p99_ms": single["p99_ms"],
        "http_batch_decisions_per_second": _items_a_second(many),
        "http_batch_verdicts_per_second": _items_a_second(checks),
        "statuses": f"{single['statuses']} {many['statuses']} {checks['statuses']}",
        "settings": {"decisions": DECISIONS, "connections": CONNECTIONS, "seconds": SECONDS},
        "http": {"single": single, "batch": many, "check": checks},
    }


def _items_a_second(report: dict[str, Any]) -> int:
    return round(int(report["requests"]) * ASKED / float(report["seconds"]))


def _said(address: str) -> dict[str, Any]:
    return {
        "recipient": {"email": address}, "channel": "email", "purpose": "marketing", "decision": "granted",
        "basis": "consent", "method": "form", "source": "signup", "evidence": {"url": "https://example.org/signup"},
    }  # fmt: skip


def _question(address: str) -> dict[str, Any]:
    return {"recipient": {"email": address}, "channel": "email", "purpose": "marketing"}


def _body(address: str) -> bytes:
    return msgspec.json.encode(_said(address))


def _items(items: Sequence[dict[str, Any]]) -> bytes:
    return msgspec.json.encode({"items": items})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
