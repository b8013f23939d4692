"""Keys of links, and `POST /v1/recipients/{id}/links`."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tabellion.access.service import create_key
from tabellion.access.types import Role
from tabellion.app.wiring import wire
from tabellion.consent.links import store
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import LinkUnknown, Page, Preferences, Unsubscribe
from tabellion.core import ids
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

from ..pages.conftest import ANN, NUMBER, People, World  # noqa: TID252 - tests are no package

NAMED = Unsubscribe(bytes([7]) * 32, Kind.EMAIL, Channel.EMAIL, "marketing", ids.new())


async def made(world: World, links: Links, side: Any = None) -> str:
    """The token of a new link."""
    path = await world.db.run(lambda tx: links.path(tx, side or world.side, NAMED))
    return path.rpartition("/")[2]


async def test_a_link_opens_to_what_it_names_in_any_process(world: World) -> None:
    token = await made(world, world.hub.links)
    other = wire(world.hub.around)
    for links in (world.hub.links, other.links):
        opened = await links.open(Page.UNSUBSCRIBE, token)
        assert (opened.workspace_id, opened.named) == (world.side, NAMED)
    await other.close()


async def test_two_processes_that_need_the_first_key_at_once_make_one(world: World) -> None:
    other = wire(world.hub.around)
    tokens = await asyncio.gather(*(made(world, links) for links in (world.hub.links, other.links) * 3))
    rows = await world.rows("select id from link_keys where workspace_id = $1", world.side)
    assert len(rows) == 1
    for token in tokens:
        assert (await world.hub.links.open(Page.UNSUBSCRIBE, token)).named == NAMED
    await other.close()


async def test_a_side_has_a_key_a_month_and_all_of_them_go_on_opening(world: World) -> None:
    tokens = []
    for _ in range(3):
        tokens.append(await made(world, world.hub.links))
        world.clock.advance(timedelta(days=31))
    assert len({token[:10] for token in tokens}) == 3
    later = wire(world.hub.around)
    for token in tokens:
        assert (await later.links.open(Page.UNSUBSCRIBE, token)).named == NAMED
    await later.close()


async def test_the_key_of_one_side_opens_no_link_of_another(world: World) -> None:
    mine = await made(world, world.hub.links)
    theirs = await made(world, world.hub.links, world.workspace.live)
    assert (await world.hub.links.open(Page.UNSUBSCRIBE, theirs)).workspace_id == world.workspace.live
    with pytest.raises(LinkUnknown):
        await world.hub.links.open(Page.UNSUBSCRIBE, theirs[:10] + mine[10:])


async def test_a_row_that_was_moved_to_another_side_does_not_open(world: World) -> None:
    """The wrapped key is bound to its side: who writes to the database gives nobody's links to another."""
    token = await made(world, world.hub.links)
    await world.execute("update link_keys set workspace_id = $1", world.workspace.live)
    other = wire(world.hub.around)
    with pytest.raises(Exception, match="unreadable"):
        await other.links.open(Page.UNSUBSCRIBE, token)
    await other.close()


async def test_after_the_first_a_link_costs_no_statement(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await made(world, world.hub.links)
    monkeypatch.setattr(store, "key_of", None)
    assert len(await made(world, world.hub.links)) == len(first)


async def test_a_customer_gets_a_link_and_the_headers_to_send_with_it(people: People, world: World) -> None:
    person = ids.show("rcp", await world.person(ANN))
    body = {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}
    answer = await people.api.post(f"/v1/recipients/{person}/links", json=body)
    assert answer.status_code == 201
    said = answer.json()
    assert said["url"].startswith(f"{world.url}/r/u/")
    assert said["expires_at"] is None
    assert said["headers"] == {
        "List-Unsubscribe": f"<{said['url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    rows = await world.rows("select action, target, detail from audit where workspace_id = $1", world.side)
    [audited] = [row for row in rows if row["action"] == "link.created"]
    assert audited["target"] == person
    assert said["url"] not in str(audited["detail"])


async def test_a_preference_link_lives_a_week_at_most(people: People, world: World) -> None:
    path = f"/v1/recipients/{ids.show('rcp', await world.person(ANN))}/links"
    answer = await people.api.post(path, json={"kind": "preferences"})
    assert answer.json()["expires_at"] == "2026-11-28T09:00:00.000Z"
    assert answer.json()["headers"] == {}
    for seconds in (7 * 86_400 + 1, 59):
        assert (await people.api.post(path, json={"kind": "preferences", "expires_in": seconds})).status_code == 422


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "unsubscribe", "purpose": "marketing"}, "channel_required"),
        ({"kind": "unsubscribe", "channel": "email"}, "purpose_required"),
        ({"kind": "unsubscribe", "channel": "email", "purpose": "nothing"}, "purpose_unknown"),
        ({"kind": "unsubscribe", "channel": "email", "purpose": "security"}, "purpose_essential"),
        ({"kind": "unsubscribe", "channel": "push", "purpose": "marketing"}, "identifier_required"),
        (
            {"kind": "unsubscribe", "channel": "email", "purpose": "marketing",
             "identifier": {"kind": "phone", "value": NUMBER}},
            "identifier_mismatch",
        ),
        (
            {"kind": "unsubscribe", "channel": "email", "purpose": "marketing",
             "identifier": {"kind": "email", "value": "eve@example.org"}},
            "identifier_unknown",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_linked_is_refused(people: People, world: World, body: Any, code: str) -> None:
    path = f"/v1/recipients/{ids.show('rcp', await world.person(ANN))}/links"
    answer = await people.api.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_of_several_addresses_one_is_named(people: People, world: World) -> None:
    path = f"/v1/recipients/{ids.show('rcp', await world.person(ANN, 'a2@example.org'))}/links"
    body: dict[str, Any] = {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}
    assert (await people.api.post(path, json=body)).json()["code"] == "identifier_required"
    body["identifier"] = {"kind": "email", "value": "A2@example.org"}
    answer = await people.api.post(path, json=body)
    await people.one_click(answer.json()["url"])
    assert (await people.entries())[-1]["identifier_hash"] is not None
    assert await people.verdict("a2@example.org") == "denied"


async def test_who_may_only_read_makes_no_link(people: People, world: World) -> None:
    _, secret = await world.db.run(lambda tx: create_key(tx, world.workspace, "test", Role.READONLY))
    person = ids.show("rcp", await world.person(ANN))
    answer = await people.browser.post(
        f"{world.url}/v1/recipients/{person}/links",
        json={"kind": "preferences"},
        headers={"Authorization": f"Bearer {secret.reveal()}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_erasure_takes_what_waits_and_the_codes_along(people: People, world: World) -> None:
    person = await world.person(NUMBER)
    decision = {
        "recipient": {"phone": NUMBER}, "channel": "sms", "purpose": "marketing", "decision": "granted",
        "basis": "consent", "method": "form", "source": "s", "confirm": True,
    }  # fmt: skip
    assert (await people.api.post("/v1/consents", json=decision)).json()["decision"] == "pending"
    await people.press(await people.preferences_link(person), "on")
    await people.follow()
    for table in ("confirmations", "link_codes"):
        assert len(await world.rows(f"select * from {table} where workspace_id = $1", world.side)) == 1
    page = await people.preferences_link(person)
    order = {"type": "erase", "recipient": {"phone": NUMBER}, "verified_by": "letter", "immediate": True}
    assert (await people.api.post("/v1/regulations", json=order)).status_code == 202
    for _ in range(4):
        await world.pass_time(timedelta(seconds=70))
    for table in ("confirmations", "link_codes"):
        assert await world.rows(f"select * from {table} where workspace_id = $1", world.side) == []
    assert (await people.open(page)).status_code == 404
    await people.follow()


async def test_a_public_address_is_used_on_a_live_side_whatever_path_it_has(world: World) -> None:
    async def reached(tx: Any, side: Any) -> str | None:
        return "https://mail.example/hub/"

    links = Links(world.db, world.hub.around.vault, reached)
    later = world.clock.now() + timedelta(days=1)
    named = Preferences(ids.new(), later)
    url = await world.db.run(lambda tx: links.preferences_url(tx, world.workspace.live, named))
    assert url is not None
    assert url.startswith("https://mail.example/hub/r/p/")
