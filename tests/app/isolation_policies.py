"""As the cases of `test_isolation`, for what a side says about consent: brands, purposes, settings."""

from collections.abc import Awaitable, Callable
from typing import Any

Case = Callable[[Any], Awaitable[None]]
CASES: dict[tuple[str, str], Case] = {}
"""Method and path → what is tried there by an `Attack`."""


def case(method: str, path: str) -> Callable[[Case], Case]:
    def add(one: Case) -> Case:
        CASES[method, path] = one
        return one

    return add


@case("GET", "/v1/brands")
async def brands(attack: Any) -> None:
    assert [one["key"] for one in await attack.listed("/v1/brands")] == ["shoes"]


@case("GET", "/v1/brands/{brand_key}")
async def brand(attack: Any) -> None:
    assert (await attack.ask("GET", "/v1/brands/shoes"))["name"] == attack.mine.ids["key"]


@case("PUT", "/v1/brands/{brand_key}")
async def set_brand(attack: Any) -> None:
    mine = {"name": attack.mine.ids["key"], "contact": "mine", "default": True}
    await attack.ask("PUT", "/v1/brands/shoes", mine)


@case("DELETE", "/v1/brands/{brand_key}")
async def delete_brand(attack: Any) -> None:
    await attack.ask("PUT", "/v1/brands/hats", {"name": "mine"})
    await attack.ask("DELETE", "/v1/brands/hats", status=204)


@case("GET", "/v1/purposes")
async def purposes(attack: Any) -> None:
    found = {one["key"]: one["title"] for one in await attack.listed("/v1/purposes")}
    assert (found["equal"], len(found)) == (attack.mine.ids["key"], 6)


@case("POST", "/v1/purposes")
async def new_purpose(attack: Any) -> None:
    await attack.ask("POST", "/v1/purposes", {"key": "equal.more", "title": "mine"}, 201)


@case("GET", "/v1/purposes/{purpose_key}")
async def purpose(attack: Any) -> None:
    assert (await attack.ask("GET", "/v1/purposes/equal"))["title"] == attack.mine.ids["key"]


@case("PATCH", "/v1/purposes/{purpose_key}")
async def change_purpose(attack: Any) -> None:
    await attack.ask("PATCH", "/v1/purposes/equal", {"min_age": 18})


@case("DELETE", "/v1/purposes/{purpose_key}")
async def delete_purpose(attack: Any) -> None:
    await attack.ask("DELETE", "/v1/purposes/equal.more", status=204)


@case("GET", "/v1/consent-settings")
async def consent_settings(attack: Any) -> None:
    assert (await attack.ask("GET", "/v1/consent-settings"))["settings"]["cross_channel"] == {}


@case("PUT", "/v1/consent-settings")
async def set_consent_settings(attack: Any) -> None:
    await attack.ask("PUT", "/v1/consent-settings", {"cross_channel": {"sms": ["whatsapp"]}})
    theirs = (await attack.theirs.call("GET", "/v1/consent-settings")).json()
    assert theirs["settings"]["cross_channel"] == {}
