"""Brands: the default that is always there, and setting them over HTTP."""

import pytest

from tabellion.access.service import create_workspace
from tabellion.access.types import Role
from tabellion.consent.brands.service import brand, set_brand
from tabellion.consent.brands.types import MOST, Brand
from tabellion.core.db import Database
from tabellion.core.errors import Conflict, NotFound
from tabellion.core.ids import WorkspaceId

SHOES = {
    "name": "Acme Shoes",
    "contact": "help@acme.example",
    "url": "https://acme.example",
    "postal_address": "Acme, 1 Road",
}


async def test_a_side_has_a_brand_named_after_its_workspace(db: Database, workspace_id: WorkspaceId) -> None:
    own = await db.run(lambda tx: brand(tx, workspace_id, None))
    assert (own.key, own.name, own.contact, own.is_default, own.created_at) == ("default", "fixture", None, True, None)
    assert await db.run(lambda tx: brand(tx, workspace_id, "default")) == own
    with pytest.raises(NotFound, match="no such brand"):
        await db.run(lambda tx: brand(tx, workspace_id, "shoes"))


async def test_what_is_set_for_the_own_brand_counts_for_whoever_names_none(db, workspace_id, caller) -> None:
    await db.run(lambda tx: set_brand(tx, caller(workspace_id), Brand("default", "Acme", "+1 202 555 0100")))
    assert (await db.run(lambda tx: brand(tx, workspace_id, None))).contact == "+1 202 555 0100"


async def test_one_brand_is_the_default(served) -> None:
    api = await served.client()
    assert [one["key"] for one in (await api.get("/v1/brands")).json()["data"]] == ["default"]
    shoes = (await api.put("/v1/brands/shoes", json=SHOES | {"default": True})).json()
    assert (shoes["key"], shoes["default"], shoes["contact"]) == ("shoes", True, "help@acme.example")
    hats = (await api.put("/v1/brands/hats", json={"name": "Hats", "default": True})).json()
    assert hats["default"] is True
    listed = (await api.get("/v1/brands")).json()["data"]
    assert [(one["key"], one["default"]) for one in listed] == [("hats", True), ("shoes", False)]
    side = served.workspace.test
    assert (await served.hub.around.db.run(lambda tx: brand(tx, side, None))).name == "Hats"
    assert (await api.delete("/v1/brands/hats")).status_code == 204
    listed = (await api.get("/v1/brands")).json()["data"]
    assert [(one["key"], one["default"]) for one in listed] == [("default", True), ("shoes", False)]


async def test_a_brand_of_the_key_default_gives_way_to_one_that_is_set_so(served) -> None:
    api = await served.client()
    await api.put("/v1/brands/default", json={"name": "Acme"})
    assert (await api.get("/v1/brands/default")).json()["default"] is True
    await api.put("/v1/brands/shoes", json=SHOES | {"default": True})
    assert (await api.get("/v1/brands/default")).json()["default"] is False


async def test_setting_replaces_all_and_is_audited(served) -> None:
    api = await served.client(Role.ADMIN)
    await api.put("/v1/brands/shoes", json=SHOES)
    again = (await api.put("/v1/brands/shoes", json={"name": "Shoes"})).json()
    assert (again["name"], again["contact"], again["url"]) == ("Shoes", None, None)
    await api.delete("/v1/brands/shoes")
    assert (await api.get("/v1/brands/shoes")).status_code == 404
    assert (await api.delete("/v1/brands/shoes")).json()["code"] == "brand_not_found"
    assert [detail["name"] for _, detail in await served.audited("brand.set")] == ["Acme Shoes", "Shoes"]
    assert await served.audited("brand.deleted") == [("shoes", {})]


async def test_only_who_may_write_purposes_sets_brands(served) -> None:
    assert (await (await served.client(Role.DEVELOPER)).put("/v1/brands/x", json=SHOES)).status_code == 403
    assert (await (await served.client(Role.DEVELOPER)).get("/v1/brands")).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": ""}, {"name": "A", "url": "http://a.example"}, {"name": "A", "other": 1}, {"name": "A" * 101}],
)
async def test_what_is_no_brand_is_refused(served, wrong: object) -> None:
    assert (await (await served.client()).put("/v1/brands/x", json=wrong)).status_code == 422


async def test_a_key_that_is_none_is_refused(served) -> None:
    assert (await (await served.client()).put("/v1/brands/Shoes", json=SHOES)).status_code == 400


async def test_a_side_has_so_many_brands_and_no_more(db, workspace_id, caller) -> None:
    for number in range(MOST):
        await db.run(lambda tx, key=f"b{number}": set_brand(tx, caller(workspace_id), Brand(key, "B")))  # type: ignore[misc]
    await db.run(lambda tx: set_brand(tx, caller(workspace_id), Brand("b0", "Again")))
    with pytest.raises(Conflict, match="at most 100"):
        await db.run(lambda tx: set_brand(tx, caller(workspace_id), Brand("more", "B")))


async def test_brands_of_another_workspace_are_none(db, workspace_id, caller) -> None:
    other = await db.run(lambda tx: create_workspace(tx, "other"))
    await db.run(lambda tx: set_brand(tx, caller(workspace_id), Brand("shoes", "S", is_default=True)))
    assert (await db.run(lambda tx: brand(tx, other.live, None))).name == "other"
