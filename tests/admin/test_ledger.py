"""`/v1/ledger` over the real application, read as a stranger would: with nothing of ours."""

import base64
import hashlib
from datetime import date
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tabellion.access.service import create_workspace
from tabellion.access.types import Role, Workspace
from tabellion.admin import ledger as admin
from tabellion.core import ids
from tabellion.core.db import Database
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf

from .conftest import Routes, authorized

INSTALL = UUID(int=0xABC)


@pytest.fixture
def ledger(vault: Vault, checkpoints: Checkpoints) -> Ledger:
    return Ledger(vault, checkpoints, INSTALL)


@pytest.fixture
def routes(ledger: Ledger) -> Routes:
    return lambda edge: admin.routes(edge, Reading(ledger))


async def test_the_checkpoint_and_the_key_verify_without_us(
    db: Database, client: httpx.AsyncClient, ledger: Ledger, workspace: Workspace
) -> None:
    leaf = Leaf(ids.new(), "consent", bytes(32), date(2026, 11, 21))
    await db.run(lambda tx: ledger.append(tx, workspace.live, [leaf]))
    headers = await authorized(db, workspace)
    checkpoint = await client.get("/v1/ledger/checkpoint", headers=headers)
    keys = await client.get("/v1/ledger/key", headers=headers)
    assert {checkpoint.status_code, keys.status_code} == {200}
    assert checkpoint.headers["content-type"] == keys.headers["content-type"] == "text/plain; charset=utf-8"
    text, _, signature = checkpoint.text.partition("\n\n")
    name, _, key = keys.text.strip().split("+", 2)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(
        base64.b64decode(signature.split()[-1])[4:], text.encode() + b"\n"
    )
    entry = b'{"c":"%s","d":"2026-11-21","type":"consent","v":1}' % (b"A" * 43)
    root = base64.b64encode(hashlib.sha256(b"\x00" + entry).digest()).decode()
    assert text.split("\n") == [name, "1", root]
    assert name.split("/")[1] == INSTALL.hex


async def test_each_side_has_its_own_log(
    db: Database, client: httpx.AsyncClient, ledger: Ledger, workspace: Workspace
) -> None:
    """Two sides of one workspace, and another workspace: three logs, three keys; what one appends the others lack."""
    leaf = Leaf(ids.new(), "consent", bytes(32), date(2026, 11, 21))
    await db.run(lambda tx: ledger.append(tx, workspace.live, [leaf]))
    other = await db.run(lambda tx: create_workspace(tx, "other"))
    callers = [
        await authorized(db, workspace),
        await authorized(db, workspace, "test"),
        await authorized(db, other),
    ]
    heads = [(await client.get("/v1/ledger/checkpoint", headers=one)).text.split("\n") for one in callers]
    keys = {(await client.get("/v1/ledger/key", headers=one)).text for one in callers}
    assert [head[1] for head in heads] == ["1", "0", "0"]
    assert len(keys) == len({head[0] for head in heads}) == 3


async def test_only_a_key_with_the_scope_reads(db: Database, client: httpx.AsyncClient, workspace: Workspace) -> None:
    assert (await client.get("/v1/ledger/checkpoint")).status_code == 401
    headers = await authorized(db, workspace, role=Role.INGEST)
    refused = await client.get("/v1/ledger/key", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
