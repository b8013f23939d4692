"""As the cases of `test_isolation`, for links and the pages that people see."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from tabellion.consent.links.types import Confirm, Named, Preferences, Unsubscribe
from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

Case = Callable[[Any], Awaitable[None]]
CASES: dict[tuple[str, str], Case] = {}
"""Method and path → what is tried there by an `Attack`."""
ANN = "ann@example.org"


def case(method: str, path: str) -> Callable[[Case], Case]:
    def add(one: Case) -> Case:
        CASES[method, path] = one
        return one

    return add


def side_of(attack: Any) -> WorkspaceId:
    side: WorkspaceId = attack.mine.workspace.side(attack.mine.mode)
    return side


async def page(attack: Any, named: Named) -> str:
    """A page of mine."""
    links = attack.world.hub.links
    path: str = await attack.world.db.run(lambda tx: links.path(tx, side_of(attack), named))
    return path


async def unsubscribe(attack: Any) -> str:
    people, side = attack.world.hub.recipients, side_of(attack)

    async def hashed(tx: Any) -> Any:
        return await people.hashed(tx, side, people.asked_identifier(side, Kind.EMAIL, ANN, "email"))

    hash_ = await attack.world.db.run(hashed)
    return await page(attack, Unsubscribe(hash_, Kind.EMAIL, Channel.EMAIL, "marketing"))


async def preferences(attack: Any, person: UUID) -> str:
    return await page(attack, Preferences(person, attack.world.hub.around.clock.now().replace(year=2100)))


@case("POST", "/v1/recipients/{recipient_id}/links")
async def make_link(attack: Any) -> None:
    body = {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}
    theirs = await attack.mine.call("POST", f"/v1/recipients/{attack.theirs.ids['recipient']}/links", body)
    assert (theirs.status_code, theirs.json()["code"]) == (404, "recipient_not_found")
    mine = await attack.mine.call("POST", f"/v1/recipients/{attack.mine.ids['recipient']}/links", body)
    assert mine.status_code == (201 if attack.mine.mode == "test" else 409), mine.text


@case("GET", "/v1/page-settings")
async def page_settings(attack: Any) -> None:
    await attack.ask("GET", "/v1/page-settings")


@case("PUT", "/v1/page-settings")
async def set_page_settings(attack: Any) -> None:
    await attack.ask("PUT", "/v1/page-settings", {"gpc": "ignore"})


@case("GET", "/r/u/{token}")
@case("HEAD", "/r/u/{token}")
async def see_unsubscribe(attack: Any) -> None:
    answer = await attack.mine.call("GET", await unsubscribe(attack))
    assert answer.status_code == 200
    assert attack.mine.ids["key"] in answer.text, "the brand is named after the key"
    assert attack.theirs.ids["key"] not in answer.text


@case("POST", "/r/u/{token}")
async def leave(attack: Any) -> None:
    """Both have the address; it is mine that is left."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    where = await unsubscribe(attack)
    answer = await attack.mine.client.post(where, content="List-Unsubscribe=One-Click", headers=form)
    assert answer.status_code == 200


@case("GET", "/r/p/{token}")
@case("HEAD", "/r/p/{token}")
@case("POST", "/r/p/{token}")
async def see_preferences(attack: Any) -> None:
    """A token of my side names nobody of theirs."""
    theirs = await preferences(attack, ids.parse("rcp", attack.theirs.ids["recipient"]))
    mine = await preferences(attack, ids.parse("rcp", attack.mine.ids["recipient"]))
    for method in ("GET", "POST"):
        assert (await attack.mine.call(method, theirs)).status_code == 404
        assert (await attack.mine.call(method, mine)).status_code in (200, 422)


@case("GET", "/r/c/{token}")
@case("HEAD", "/r/c/{token}")
@case("POST", "/r/c/{token}")
async def see_confirm(attack: Any) -> None:
    later = attack.world.hub.around.clock.now().replace(year=2100)
    where = await page(attack, Confirm(ids.parse("cns", attack.theirs.ids["consent"]), later))
    for method in ("GET", "POST"):
        assert (await attack.mine.call(method, where)).status_code == 404


@case("GET", "/r/style.css")
async def style(attack: Any) -> None:
    assert (await attack.mine.call("GET", "/r/style.css")).status_code == 200
