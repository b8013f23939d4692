"""The cases of `test_isolation` for the ledger: whose log it is decides the key, or the id in a public address."""

from collections.abc import Awaitable, Callable
from typing import Any

Case = Callable[[Any], Awaitable[None]]
Add = Callable[[str, str], Callable[[Case], Case]]
NAMES = ("checkpoint", "key", "keys", "proof/inclusion", "proof/consistency", "tile/{file}")
ASKED = {
    "proof/inclusion": "proof/inclusion?index=0",
    "proof/consistency": "proof/consistency?from=1",
    "tile/{file}": "tile/entries/000.p/1",
}


def add(case: Add) -> None:
    """A case for each resource of a log: with a key, by the log's name with a key, and by its id without one."""
    for name in NAMES:
        asked = ASKED.get(name, name)
        case("GET", f"/v1/ledger/{name}")(_own(f"/v1/ledger/{asked}"))
        case("GET", f"/v1/ledger/{{log}}/{name}")(_own(f"/v1/ledger/consent-1/{asked}"))
        case("GET", f"/ledger/{{log}}/{name}")(_unpublished(asked))
    case("GET", "/v1/ledger/settings")(_settings)
    case("PUT", "/v1/ledger/settings")(_publish)


def _own(path: str) -> Case:
    """It is mine that is read: of both there is one, and they differ."""

    async def tried(attack: Any) -> None:
        await attack.ask("GET", path)
        mine, theirs = await attack.mine.call("GET", path), await attack.theirs.call("GET", path)
        assert theirs.status_code == 200
        assert mine.content != theirs.content or "proof" in path
        if "checkpoint" in path or "key" in path:
            assert attack.mine.ids["origin"] in mine.text

    return tried


def _unpublished(name: str) -> Case:
    """A key opens nothing here, and mine being published does not publish theirs."""

    async def tried(attack: Any) -> None:
        await attack.ask("PUT", "/v1/ledger/settings", {"published": True})
        mine, theirs = (side.ids["origin"].split("/")[2] for side in (attack.mine, attack.theirs))
        await attack.ask("GET", f"/ledger/{mine}/{name}")
        await attack.ask("GET", f"/ledger/{theirs}/{name}", status=404)

    return tried


async def _settings(attack: Any) -> None:
    said = await attack.ask("GET", "/v1/ledger/settings")
    assert said["logs"][0]["path"] == f"/ledger/{attack.mine.ids['origin'].split('/')[2]}"


async def _publish(attack: Any) -> None:
    await attack.ask("PUT", "/v1/ledger/settings", {"published": True, "audit_published": True})
    theirs = (await attack.theirs.call("GET", "/v1/ledger/settings")).json()
    assert (theirs["published"], theirs["audit_published"]) == (False, False)
