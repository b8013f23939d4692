"""As the cases of `test_isolation`, for notices, suppressions, batches of decisions and what holds for a person."""

from collections.abc import Awaitable, Callable
from typing import Any

Case = Callable[[Any], Awaitable[None]]
CASES: dict[tuple[str, str], Case] = {}
"""Method and path → what is tried there by an `Attack`."""
ASK = {"recipient": {"external_id": "ann"}, "channel": "sms", "purpose": "marketing"}
WITHDRAWN = {"channel": "sms", "purpose": "marketing", "method": "form", "source": "signup", "decision": "withdrawn"}
NOTICE = {"id": "equal", "title": "Equal", "purposes": ["marketing"]}
WORDS = {"default_language": "en", "texts": {"en": "equal"}}
SUPPRESSED = {"recipient": {"email": "bob@example.org"}}


async def begin(side: Any) -> tuple[str, str]:
    """A notice that was shown to Ann, and a suppression of somebody; the ids of both."""
    await side.made("/v1/notices", NOTICE)
    await side.made("/v1/notices/equal/versions", WORDS | {"publish": True})
    served = await side.made("/v1/notices/equal/served", {"version": "1", "recipient": ASK["recipient"]})
    suppression = await side.made("/v1/suppressions", SUPPRESSED)
    return served["id"], suppression["id"]


def case(method: str, path: str) -> Callable[[Case], Case]:
    def add(one: Case) -> Case:
        CASES[method, path] = one
        return one

    return add


def refuses(method: str, path: str, named: str) -> None:
    """A route about one thing: theirs is not found."""

    async def tried(attack: Any) -> None:
        await attack.ask(method, path.replace("{" + named + "_id}", attack.theirs.ids[named]), status=404)

    CASES[method, path] = tried


refuses("GET", "/v1/recipients/{recipient_id}/consents", "recipient")
refuses("GET", "/v1/recipients/{recipient_id}/consents/entries", "recipient")
refuses("GET", "/v1/consents/{consent_id}", "consent")
refuses("GET", "/v1/suppressions/{suppression_id}", "suppression")


@case("POST", "/v1/consents/batch")
async def consents(attack: Any) -> None:
    items = [WITHDRAWN | {"recipient": {"email": "ann@example.org"}}]
    items.append(WITHDRAWN | {"recipient": attack.theirs.ids["recipient"]})
    mine, theirs = (await attack.ask("POST", "/v1/consents/batch", {"items": items}))["data"]
    assert (mine["recipient_id"], theirs["status"]) == (attack.mine.ids["recipient"], 404)


@case("POST", "/v1/consents/check/batch")
async def checks(attack: Any) -> None:
    items = [ASK, ASK | {"recipient": attack.theirs.ids["recipient"]}]
    mine, theirs = (await attack.ask("POST", "/v1/consents/check/batch", {"items": items}))["data"]
    assert (mine["status"], theirs["status"]) == (200, 404)


def of_a_notice(method: str, path: str, body: Any = None, status: int = 200) -> None:
    """A route about a notice, by the id that it has with both sides."""

    async def tried(attack: Any) -> None:
        await attack.ask(method, path.replace("{notice_id}", "equal").replace("{version}", "1"), body, status)

    CASES[method, path] = tried


of_a_notice("GET", "/v1/notices/{notice_id}")
of_a_notice("PATCH", "/v1/notices/{notice_id}", {"title": "mine"})
of_a_notice("DELETE", "/v1/notices/{notice_id}", status=409)
of_a_notice("GET", "/v1/notices/{notice_id}/versions")
of_a_notice("POST", "/v1/notices/{notice_id}/versions", WORDS, 201)
of_a_notice("GET", "/v1/notices/{notice_id}/versions/{version}")
of_a_notice("PUT", "/v1/notices/{notice_id}/versions/{version}", WORDS, 409)
of_a_notice("DELETE", "/v1/notices/{notice_id}/versions/{version}", status=409)
of_a_notice("POST", "/v1/notices/{notice_id}/versions/{version}/publish", status=409)
of_a_notice("GET", "/v1/notices/{notice_id}/versions/{version}/text")
of_a_notice("POST", "/v1/notices/{notice_id}/retire")


@case("GET", "/v1/notices")
async def notices(attack: Any) -> None:
    assert [one["id"] for one in await attack.listed("/v1/notices")] == ["equal"]


@case("POST", "/v1/notices")
async def new_notice(attack: Any) -> None:
    await attack.ask("POST", "/v1/notices", NOTICE | {"id": "mine"}, 201)


@case("POST", "/v1/notices/{notice_id}/served")
async def shown(attack: Any) -> None:
    theirs = {"version": "1", "recipient": attack.theirs.ids["recipient"]}
    await attack.ask("POST", "/v1/notices/equal/served", theirs, 404)
    mine = await attack.ask("POST", "/v1/notices/equal/served", {"version": "1", "recipient": ASK["recipient"]}, 201)
    assert mine["recipient_id"] == attack.mine.ids["recipient"]


@case("POST", "/v1/notices/{notice_id}/served/batch")
async def shown_many(attack: Any) -> None:
    items = [{"version": "1", "recipient": attack.theirs.ids["recipient"]}]
    [one] = (await attack.ask("POST", "/v1/notices/equal/served/batch", {"items": items}))["data"]
    assert one["status"] == 404


@case("GET", "/v1/notices/{notice_id}/served")
async def list_shown(attack: Any) -> None:
    for query in ("limit=500", "disclose=true", "version=1"):
        found = {one["id"] for one in await attack.listed(f"/v1/notices/equal/served?{query}")}
        assert attack.mine.ids["served"] in found
    assert await attack.listed(f"/v1/notices/equal/served?recipient={attack.theirs.ids['recipient']}") == []


@case("GET", "/v1/suppressions")
async def suppressions(attack: Any) -> None:
    for query in ("limit=500", "address=bob@example.org"):
        found = {one["id"] for one in await attack.listed(f"/v1/suppressions?{query}")}
        assert attack.mine.ids["suppression"] in found


@case("POST", "/v1/suppressions")
async def suppress(attack: Any) -> None:
    await attack.ask("POST", "/v1/suppressions", {"recipient": attack.theirs.ids["recipient"]}, 404)
    await attack.ask("POST", "/v1/suppressions", SUPPRESSED, 201)


@case("POST", "/v1/suppressions/batch")
async def suppress_many(attack: Any) -> None:
    items = [SUPPRESSED, {"recipient": attack.theirs.ids["recipient"]}]
    mine, theirs = (await attack.ask("POST", "/v1/suppressions/batch", {"items": items}))["data"]
    assert (mine["status"], theirs["status"]) == (201, 404)


@case("DELETE", "/v1/suppressions/{suppression_id}")
async def end_suppression(attack: Any) -> None:
    theirs = attack.theirs.ids["suppression"]
    await attack.ask("DELETE", f"/v1/suppressions/{theirs}?reason=mine", status=404)


@case("POST", "/v1/suppressions/import")
async def import_list(attack: Any) -> None:
    answer = await attack.mine.client.post(
        "/v1/suppressions/import", content=b"email\r\nbob@example.org\r\n", headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["rows"]) == (200, 1)


@case("GET", "/v1/suppressions/export")
async def export_list(attack: Any) -> None:
    assert "bob@example.org" in await attack.ask("GET", "/v1/suppressions/export")
