"""The files and proofs of a log over the real application, with a key and without, read with nothing of ours."""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.service import list_audit
from tabellion.access.types import Role, Workspace
from tabellion.admin import ledger as admin
from tabellion.admin.ledger_public import RATE
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, NotYetPublished, Published

from .conftest import Routes, authorized

INSTALL = UUID(int=0xABC)
Get = Callable[..., Awaitable[httpx.Response]]


class Behind(Ledger):
    """A ledger whose published head may lag: as with witnesses that have not cosigned yet."""

    shows: Published | None = None
    shows_nothing = False

    async def published(self, tx: Tx, workspace_id: WorkspaceId, log: str = "consent") -> Published:
        if self.shows_nothing:
            raise NotYetPublished(0)
        return self.shows or await super().published(tx, workspace_id, log)


@pytest.fixture
def ledger(vault: Vault, checkpoints: Checkpoints) -> Behind:
    return Behind(vault, checkpoints, INSTALL)


@pytest.fixture
def routes(ledger: Ledger) -> Routes:
    return lambda edge: admin.routes(edge, Reading(ledger))


@pytest.fixture
async def get(db: Database, client: httpx.AsyncClient, workspace: Workspace) -> Get:
    """Asks with a key that may read."""
    headers = await authorized(db, workspace)

    async def ask(path: str, **more: str) -> httpx.Response:
        return await client.get(f"/v1/ledger/{path}", headers=headers | more)

    return ask


def leaves(count: int) -> list[Leaf]:
    return [Leaf(ids.new(), "consent", bytes([number % 256]) * 32, date(2026, 11, 21)) for number in range(count)]


async def grow(db: Database, ledger: Ledger, side: WorkspaceId, count: int, log: str = "consent") -> None:
    async def work(tx: Tx) -> None:
        for at in range(0, count, 256):
            await ledger.append(tx, side, leaves(min(256, count - at)), log)

    await db.run(work, limit=60)


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def mth(hashes: list[bytes]) -> bytes:
    """MTH of RFC 9162 over leaf hashes."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha(b"\x01" + mth(hashes[:split]) + mth(hashes[split:]))


def unpacked(bundle: bytes) -> list[bytes]:
    """The entries of a bundle."""
    entries = []
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2:end])
        bundle = bundle[end:]
    return entries


async def test_a_stranger_rebuilds_the_tree_from_the_files_alone(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get
) -> None:
    """Bundles lead to the tiles of level 0, these to level 1, all to the root that the checkpoint states."""
    await grow(db, ledger, workspace.live, 700)
    _, size, root = (await get("checkpoint")).text.split("\n")[:3]
    assert size == "700"
    names = ["000", "001", "002.p/188"]
    entries = [entry for name in names for entry in unpacked((await get(f"tile/entries/{name}")).content)]
    hashes = [sha(b"\x00" + entry) for entry in entries]
    assert b"".join([(await get(f"tile/0/{name}")).content for name in names]) == b"".join(hashes)
    assert (await get("tile/1/000.p/2")).content == mth(hashes[:256]) + mth(hashes[256:512])
    assert base64.b64encode(mth(hashes)).decode() == root


async def test_files_say_what_they_are_and_that_they_never_change(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get
) -> None:
    await grow(db, ledger, workspace.live, 300)
    for name in ("0/000", "0/001.p/44", "entries/000", "entries/001.p/1", "1/000.p/1"):
        answer = await get(f"tile/{name}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        again = await get(f"tile/{name}", **{"If-None-Match": f'W/"x", {answer.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert (await get(f"tile/{name}", **{"If-None-Match": '"x"'})).status_code == 200
    assert len((await get("tile/0/000")).content) == 8192


async def test_a_checkpoint_is_kept_for_a_moment_only(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get
) -> None:
    await grow(db, ledger, workspace.live, 1)
    first = await get("checkpoint")
    assert first.headers["cache-control"] == "private, max-age=2"
    tag = {"If-None-Match": first.headers["etag"]}
    assert (await get("checkpoint", **tag)).status_code == 304
    await grow(db, ledger, workspace.live, 1)
    assert (await get("checkpoint", **tag)).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "0", "0/", "0/0", "0/00", "0/0000", "0/000/", "0//000", "0/000.p/0", "0/000.p/256", "0/000.p/01",
        "00/000", "64/000", "-1/000", "a/000", "0/x000/000", "0/000/000", "0/x00/000", "0/001/x000", "0/000.p/",
        "0/000.p", "entries/0", "entries/", "data/000", "0/" + "x001/" * 6 + "000",
        "0/%D9%A0%D9%A0%D9%A0", "0/000.p/%D9%A1",
    ],
)  # fmt: skip
async def test_a_file_has_one_name(db: Database, ledger: Ledger, workspace: Workspace, get: Get, name: str) -> None:
    await grow(db, ledger, workspace.live, 1)
    assert (await get("tile/0/000.p/1")).status_code == 200
    answer = await get(f"tile/{name}")
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    "name", ["0/000", "0/000.p/4", "0/001.p/1", "1/000.p/1", "63/000", "entries/000", "7/" + "x999/" * 5 + "999"]
)
async def test_a_file_beyond_the_shown_tree_is_not_there_yet(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get, name: str
) -> None:
    await grow(db, ledger, workspace.live, 3)
    answer = await get(f"tile/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_yet_published")
    assert answer.headers["cache-control"] == "no-store"


async def test_proofs_are_those_of_the_rfc(db: Database, ledger: Ledger, workspace: Workspace, get: Get) -> None:
    await grow(db, ledger, workspace.live, 7)
    hashes = [sha(b"\x00" + one) for one in unpacked((await get("tile/entries/000.p/7")).content)]

    def shown(*some: bytes) -> list[str]:
        return [base64.b64encode(one).decode() for one in some]

    # RFC 9162, 2.1.5: the example of seven entries.
    a, b, c, d, e, f, j = hashes
    g, h, i = mth([a, b]), mth([c, d]), mth([e, f])
    assert (await get("proof/inclusion?index=0&size=7")).json()["path"] == shown(b, h, mth([e, f, j]))
    assert (await get("proof/inclusion?index=3")).json() == {
        "index": 3, "size": 7, "path": shown(c, g, mth([e, f, j])),
    }  # fmt: skip
    assert (await get("proof/inclusion?index=6&size=7")).json()["path"] == shown(i, mth([a, b, c, d]))
    assert (await get("proof/consistency?from=3&to=7")).json() == {
        "from": 3, "to": 7, "path": shown(c, d, g, mth([e, f, j])),
    }  # fmt: skip
    assert (await get("proof/consistency?from=4")).json()["path"] == shown(mth([e, f, j]))
    assert (await get("proof/consistency?from=6&to=7")).json()["path"] == shown(i, j, mth([a, b, c, d]))
    assert (await get("proof/consistency?from=7&to=7")).json()["path"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("inclusion?index=7", 409, "not_yet_published"),
        ("inclusion?index=0&size=8", 409, "not_yet_published"),
        ("inclusion?index=7&size=7", 400, "no_such_tree"),
        ("inclusion?index=9007199254740991", 409, "not_yet_published"),
        ("inclusion?index=-1", 400, "invalid_parameter"),
        ("inclusion", 400, "invalid_parameter"),
        ("inclusion?index=0&view=1", 400, "invalid_parameter"),
        ("inclusion?index=0&at=1", 400, "invalid_parameter"),
        ("consistency?from=0", 400, "invalid_parameter"),
        ("consistency?from=8", 409, "not_yet_published"),
        ("consistency?from=3&to=2", 400, "no_such_tree"),
        ("consistency?from=3&to=8", 409, "not_yet_published"),
        ("consistency?to=3", 400, "invalid_parameter"),
    ],
)
async def test_what_no_proof_is_for_is_refused(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get, query: str, status: int, code: str
) -> None:
    await grow(db, ledger, workspace.live, 7)
    answer = await get(f"proof/{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 409)


async def test_nothing_is_shown_beyond_the_published_head(
    db: Database, ledger: Behind, workspace: Workspace, get: Get
) -> None:
    """Neither entry 3 nor a proof about it, although they are in the database."""
    await grow(db, ledger, workspace.live, 3)
    ledger.shows = await db.run(lambda tx: ledger.published(tx, workspace.live))
    await grow(db, ledger, workspace.live, 300)
    assert (await get("checkpoint")).text.split("\n")[1] == "3"
    for path in ("tile/0/000.p/4", "tile/0/000", "tile/entries/000.p/4", "tile/1/000.p/1"):
        assert (await get(path)).json()["code"] == "not_yet_published"
    for query in ("inclusion?index=3", "inclusion?index=0&size=4", "consistency?from=3&to=4"):
        assert (await get(f"proof/{query}")).json()["code"] == "not_yet_published"
    assert (await get("proof/inclusion?index=2")).json()["size"] == 3
    assert (await get("tile/entries/000.p/3")).status_code == 200


async def test_before_anything_was_published_the_log_says_so(
    db: Database, ledger: Behind, workspace: Workspace, get: Get
) -> None:
    await grow(db, ledger, workspace.live, 3)
    ledger.shows_nothing = True
    for path in ("checkpoint", "tile/0/000.p/3", "proof/inclusion?index=0", "proof/consistency?from=1"):
        answer = await get(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_yet_published"), path
    assert (await get("key")).status_code == 200


async def test_the_audit_log_is_read_in_the_same_way(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get
) -> None:
    await grow(db, ledger, workspace.live, 2)
    await grow(db, ledger, workspace.live, 3, "audit")  # beside the making of the workspace and of a key
    assert (await get("audit/checkpoint")).text.split("\n")[1] == "5"
    assert (await get("consent/checkpoint")).text == (await get("checkpoint")).text
    assert len((await get("audit/tile/0/000.p/5")).content) == 160
    assert len((await get("audit/proof/inclusion?index=4")).json()["path"]) == 1
    assert len((await get("audit/proof/consistency?from=3")).json()["path"]) == 4
    [key] = (await get("audit/keys")).json()["keys"]
    assert (await get("audit/key")).text == key["vkey"] + "\n"
    assert key["vkey"].split("+")[0] == (await get("audit/checkpoint")).text.split("\n")[0]
    for name in ("other", "audit-", "audit-0", "audit-2", "consent-99999", "a" * 32, "a" * 99):
        assert (await get(f"{name}/checkpoint")).status_code == 404, name


async def test_a_log_that_has_a_successor_stays_readable(
    db: Database, ledger: Behind, checkpoints: Checkpoints, workspace: Workspace, get: Get
) -> None:
    """Under its generation, with its own checkpoint, files and proofs; its key stands before the successor's, and ends
    with what it last published.
    """
    await grow(db, ledger, workspace.live, 1)
    before = (await get("checkpoint")).text
    head = "select size, frontier, checkpoint from ledger_heads where log = 'consent'"
    [row] = await db.run(lambda tx: tx.rows(head))
    await grow(db, ledger, workspace.live, 2)
    await checkpoints.flush()
    restored = "update ledger_heads set size = $1, frontier = $2, checkpoint = $3 where log = 'consent'"
    await db.run(lambda tx: tx.execute("delete from ledger_leaves where index > 0 and log = 'consent'"))
    await db.run(lambda tx: tx.execute(restored, *row))
    await db.run(lambda tx: ledger.succeed(tx, workspace.live))
    after = (await get("checkpoint")).text
    assert (before.split("\n")[0][:-1], after.split("\n")[:2]) == (
        after.split("\n")[0][:-1],
        [before.split("\n")[0][:-1] + "2", "1"],
    )
    assert (await get("consent-1/checkpoint")).text == before
    assert (await get("consent-2/checkpoint")).text == after
    ledger.shows_nothing = True
    assert (await get("consent-1/checkpoint")).text == before, "whatever its successor has come to"
    ledger.shows_nothing = False
    old, new = (await get("consent-1/tile/entries/000.p/1")), (await get("tile/entries/000.p/1"))
    assert (b'"type":"consent"' in old.content, b'"type":"successor"' in new.content) == (True, True)
    assert (await get("consent-1/proof/inclusion?index=0&size=1")).json()["path"] == []
    keys = (await get("keys")).json()["keys"]
    assert [(one["from_size"], one["to_size"]) for one in keys] == [(0, 3), (0, None)]
    names = [one["vkey"].split("+")[0] for one in keys]
    assert names == [before.split("\n")[0], after.split("\n")[0]]


async def test_a_gap_is_not_served_as_if_nothing_were_missing(
    db: Database, ledger: Ledger, workspace: Workspace, get: Get
) -> None:
    """A cache would keep it for a year."""
    await grow(db, ledger, workspace.live, 3)
    await db.run(lambda tx: tx.execute("delete from ledger_leaves where index = 1"))
    for path in ("tile/entries/000.p/3", "tile/0/000.p/3", "proof/inclusion?index=0"):
        answer = await get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "ledger_forked")
    assert (await get("tile/entries/000.p/1")).status_code == 200


# without a key


async def publish(db: Database, client: httpx.AsyncClient, workspace: Workspace, body: dict[str, Any]) -> Any:
    headers = await authorized(db, workspace, role=Role.COMPLIANCE)
    answer = await client.put("/v1/ledger/settings", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_published_log_is_read_without_a_key(
    db: Database, ledger: Ledger, client: httpx.AsyncClient, workspace: Workspace, get: Get
) -> None:
    await grow(db, ledger, workspace.live, 300)
    said = (await get("settings")).json()
    assert (said["published"], said["audit_published"]) == (False, False)
    path = said["logs"][0]["path"]
    assert (await client.get(f"{path}/checkpoint")).status_code == 404
    assert (await publish(db, client, workspace, {"published": True}))["published"] is True
    for name in ("checkpoint", "tile/0/000", "tile/entries/001.p/44", "key", "keys", "proof/inclusion?index=299",
                 "proof/consistency?from=1&to=300"):  # fmt: skip
        mine, anybodys = await get(name), await client.get(f"{path}/{name}")
        assert (anybodys.status_code, anybodys.content) == (200, mine.content), name
        assert anybodys.headers["access-control-allow-origin"] == "*"
        assert "ratelimit-remaining" in anybodys.headers
        assert anybodys.headers["cache-control"] == mine.headers["cache-control"].replace("private", "public")
    assert (await client.get(f"{path}-1/checkpoint")).text == (await get("checkpoint")).text
    assert (await client.get(f"{path}-2/checkpoint")).status_code == 404
    origin = (await get("checkpoint")).text.split("\n")[0]
    assert path == f"/ledger/{origin.split('/')[2]}"
    beyond = await client.get(f"{path}/tile/0/000.p/400")
    assert (beyond.status_code, beyond.headers["access-control-allow-origin"]) == (404, "*")


async def test_what_is_not_published_looks_like_what_is_not_there(
    db: Database, ledger: Ledger, client: httpx.AsyncClient, workspace: Workspace, get: Get
) -> None:
    """Another side's log, the audit log, one that was published and is no more, and none at all."""
    await grow(db, ledger, workspace.live, 1)
    said = await publish(db, client, workspace, {"published": True})
    paths = {one["log"]: one["path"] for one in said["logs"]}
    test = await authorized(db, workspace, "test")
    other = (await client.get("/v1/ledger/settings", headers=test)).json()["logs"][0]["path"]
    assert len({other, *paths.values()}) == 3
    assert (await client.get(f"{paths['consent']}/checkpoint")).status_code == 200
    await publish(db, client, workspace, {})
    answers = [
        await client.get(f"{path}/{name}")
        for path in (*paths.values(), other, "/ledger/" + "0" * 32, "/ledger/consent", "/ledger/audit", "/ledger/x")
        for name in ("checkpoint", "key", "tile/0/000.p/1", "proof/inclusion?index=0")
    ]
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(404, "not_found")}
    assert len({one.json()["detail"] for one in answers[:12]}) == 1


async def test_publishing_is_for_compliance_and_audited(
    db: Database, client: httpx.AsyncClient, workspace: Workspace
) -> None:
    for role in (Role.DEVELOPER, Role.OPERATOR, Role.READONLY):
        headers = await authorized(db, workspace, role=role)
        refused = await client.put("/v1/ledger/settings", json={"published": True}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    said = await publish(db, client, workspace, {"published": True, "audit_published": True})
    assert [one["published_at"] is not None for one in said["logs"]] == [True, True]
    async with db.transaction() as tx:
        [one] = [one for one in await list_audit(tx, workspace.live) if one.action == "ledger_settings.set"]
    assert one.detail == {"published": True, "audit_published": True}


async def test_one_address_cannot_take_everything(
    db: Database, ledger: Ledger, client: httpx.AsyncClient, workspace: Workspace
) -> None:
    """Whether it asks for a log that is there or not: guessing is bounded as reading is."""
    await publish(db, client, workspace, {"published": True})
    answers = [await client.get("/ledger/" + f"{number:032x}/checkpoint") for number in range(2 * RATE + 1)]
    assert {one.status_code for one in answers[:-1]} == {404}
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limited")
    assert answers[-1].headers["access-control-allow-origin"] == "*"
