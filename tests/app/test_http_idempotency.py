"""Idempotency keys over HTTP, on hot and typed routes alike."""

import asyncio
import json

import pytest

from tabellion.access.idempotency import claim, identify
from tabellion.access.types import Role, Workspace
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.errors import Conflict, HubError, Invalid, Unavailable
from tabellion.core.vault import Vault

from .problems import BOTH, problem

# idempotency


@BOTH
async def test_a_repeated_request_gets_the_stored_answer(hub, key, deed, path, new_hub):
    other = new_hub(deed=deed)
    headers = {"Idempotency-Key": "order 17"}
    answers = []
    for process in (hub, other, hub):
        async with process.client(key) as client:
            answers.append(await client.post(path, json={"name": "x"}, headers=headers))
    assert deed.done == ["x"]
    assert {(one.status_code, one.text) for one in answers} == {(201, answers[0].text)}
    assert [one.headers.get("idempotent-replay") for one in answers] == [None, "true", "true"]
    assert hub.logged()[-1]["replayed"] is True


@BOTH
async def test_another_body_under_the_same_key_is_refused(hub, key, deed, path):
    headers = {"Idempotency-Key": "k"}
    async with hub.client(key) as client:
        await client.post(path, json={"name": "x"}, headers=headers)
        other_body = await client.post(path, json={"name": "y"}, headers=headers)
        other_key = await client.post(path, json={"name": "y"}, headers={"Idempotency-Key": "K"})
    assert (other_body.status_code, problem(other_body)["code"]) == (409, "idempotency_key_reused")
    assert other_key.status_code == 201
    assert deed.done == ["x", "y"]


@BOTH
async def test_two_spellings_of_a_path_are_one_to_a_key(hub, key, deed, path):
    """`/v1/messages/` was served as `/v1/messages`, but a repeat between the two was sent again."""
    headers = {"Idempotency-Key": "k"}
    async with hub.client(key) as client:
        for spelling in (path, path + "/"):
            await client.post(spelling, json={"name": "x"}, headers=headers)
    assert deed.done == ["x"]


async def test_a_key_belongs_to_its_path_and_its_side(hub, new_secret, deed):
    headers = {"Idempotency-Key": "k"}
    for secret in (await new_secret(Role.DEVELOPER, "live"), await new_secret(Role.DEVELOPER, "test")):
        async with hub.client(secret) as client:
            for path in ("/v1/hot", "/v1/cold"):
                assert "idempotent-replay" not in (await client.post(path, json={"name": "x"}, headers=headers)).headers
    assert len(deed.done) == 4


@BOTH
@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (Conflict("taken", "take another"), True),
        (HubError("gone", "it is gone", 410), True),
        (Invalid("invalid_name", "choose another"), False),
        (Unavailable("database_away", "try again"), False),
        (RuntimeError(), False),
        (TimeoutError(), False),
    ],
)
async def test_a_lasting_refusal_is_an_answer_and_a_passing_one_is_not(hub, key, deed, path, error, kept):
    headers = {"Idempotency-Key": "k"}
    async with hub.client(key) as client:
        deed.raises = error
        first = await client.post(path, json={"name": "x"}, headers=headers)
        deed.raises = None
        second = await client.post(path, json={"name": "x"}, headers=headers)
    if kept:
        assert (second.status_code, second.json()) == (first.status_code, first.json())
        assert second.headers["idempotent-replay"] == "true"
        problem(second)
    else:
        assert second.status_code == 201
        assert "idempotent-replay" not in second.headers


@BOTH
async def test_a_refusal_before_execution_is_not_an_answer(hub, key, path):
    headers = {"Idempotency-Key": "k"}
    async with hub.client(key) as client:
        assert (await client.post(path, json={"nam": "x"}, headers=headers)).status_code == 422
        assert (await client.post(path, json={"name": "x"}, headers=headers)).status_code == 201


@BOTH
@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "ä", "\x7f"])
async def test_an_idempotency_key_is_printable_and_bounded(hub, key, path, value):
    async with hub.client(key) as client:
        response = await client.post(path, json={"name": "x"}, headers=[(b"Idempotency-Key", value.encode("latin-1"))])
        fine = await client.post(path, json={"name": "x"}, headers={"Idempotency-Key": "x" * 255})
    assert (response.status_code, problem(response)["code"]) == (400, "invalid_idempotency_key")
    assert fine.status_code == 201


@BOTH
async def test_equal_requests_at_once_are_done_once(hub, key, deed, path):
    async with hub.client(key) as client:
        sent = [client.post(path, json={"name": "x"}, headers={"Idempotency-Key": "k"}) for _ in range(8)]
        answers = await asyncio.gather(*sent)
    assert len(deed.done) == 1
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.text for one in answers if one.status_code == 201}) == 1


@BOTH
async def test_who_waits_longer_than_two_seconds_is_told_so(
    hub, key, deed, path, db: Database, vault: Vault, workspace: Workspace, clock: FakeClock
):
    body = json.dumps({"name": "x"}).encode()
    begun = clock.monotonic()
    async with db.transaction() as tx:
        answers = await vault.workspace(tx, workspace.live, "answers")
        await tx.execute("savepoint claimed")
        await claim(tx, workspace.live, [identify("POST", path, "k", body)], answers)
        await tx.execute("commit and chain")
        await claim(tx, workspace.live, [identify("POST", path, "k", body)], answers)
        async with hub.client(key) as client:
            headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
            response = await client.post(path, content=body, headers=headers)
    assert (response.status_code, problem(response)["code"]) == (409, "idempotency_in_progress")
    assert response.headers["retry-after"] == "1"
    assert 2 <= clock.monotonic() - begun <= 2.1
    assert deed.done == []
