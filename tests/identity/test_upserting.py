"""`POST /v1/recipients` in groups: requests that share a transaction keep their own answers, keys and names."""

import asyncio
from typing import Any

from .conftest import Client


def body(*addresses: str) -> dict[str, Any]:
    return {"identifiers": [{"kind": "email", "value": one} for one in addresses]}


async def test_many_at_once_make_one_person_once(client: Client) -> None:
    http = await client()
    answers = await asyncio.gather(*(http.post("/v1/recipients", json=body("ann@example.org")) for _ in range(40)))
    assert sorted(one.status_code for one in answers) == [200] * 39 + [201]
    assert len({one.json()["id"] for one in answers}) == 1


async def test_a_refused_request_refuses_none_of_its_neighbours(client: Client) -> None:
    http = await client()
    for name in ("ann", "bob"):
        await http.post("/v1/recipients", json=body(f"{name}@example.org"))
    bodies = [body(f"p{number}@example.org") for number in range(10)]
    bodies.insert(5, body("ann@example.org", "bob@example.org"))
    answers = await asyncio.gather(*(http.post("/v1/recipients", json=one) for one in bodies))
    assert [one.status_code for one in answers] == [201] * 5 + [409] + [201] * 5


async def test_history_names_the_key_of_each_request(client: Client) -> None:
    keys = [await client(), await client()]
    made = await asyncio.gather(
        *(keys[number % 2].post("/v1/recipients", json=body(f"p{number}@example.org")) for number in range(8))
    )
    actors = []
    for answer in made:
        told = await keys[0].get(f"/v1/recipients/{answer.json()['id']}/history")
        actors.append(told.json()["data"][0]["actor"])
    assert len(set(actors)) == 2
    assert actors == actors[:2] * 4
