"""What was shown to whom, and decisions that name it."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.recipients.erasing import Person
from tabellion.recipients.types import Kind, Named, NewRecipient

from .conftest import GRANT, TEXTS, World

SERVED = "/v1/notices/newsletter/served"
SHOWN: dict[str, Any] = {"version": "1", "language": "de", "url": "https://example.org/signup?utm=1"}
ANN = {"email": "ann@example.org"}


async def shown(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await api.post(SERVED, json=SHOWN | more)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def record(world: World, entry: str) -> dict[str, Any]:
    """What the ledger committed to."""
    wanted = ids.parse("cns", entry)

    async def work(tx: Any) -> dict[str, Any]:
        people = await tx.rows("select recipient_id from consent_entries where id = $1", wanted)
        found = await world.hub.consent.entries(tx, world.side, [people[0]["recipient_id"]], -1, 100)
        return next(opened for one, opened in found if one.id == wanted and opened)

    return await world.hub.db.run(work)


async def test_a_decision_commits_to_the_hash_and_the_language_that_was_shown(
    api: httpx.AsyncClient, world: World
) -> None:
    served = await shown(api)
    version = (await api.get("/v1/notices/newsletter/versions/1")).json()
    notice = {"id": "newsletter", "version": "1", "served": served["id"]}
    granted = (await api.post("/v1/consents", json=GRANT | {"notice": notice})).json()
    assert "warnings" not in granted
    assert (await record(world, granted["id"]))["notice"] == notice | {"hash": version["hash"], "language": "de"}


async def test_a_version_as_a_number_is_the_version_of_that_name(api: httpx.AsyncClient, world: World) -> None:
    granted = (await api.post("/v1/consents", json=GRANT | {"notice": {"id": "newsletter", "version": 1}})).json()
    assert "warnings" not in granted
    assert set((await record(world, granted["id"]))["notice"]) == {"id", "version", "hash"}


@pytest.mark.parametrize("notice", [{"id": "nothing", "version": "1"}, {"id": "newsletter", "version": "2"}])
async def test_a_notice_that_is_not_known_is_recorded_and_lifts_nothing(
    api: httpx.AsyncClient, world: World, notice: dict[str, Any]
) -> None:
    """The second is a draft: nobody can have been shown it."""
    await api.post("/v1/notices/newsletter/versions", json=TEXTS)
    withdrawn = GRANT | {"decision": "withdrawn", "method": "api"}
    await api.post("/v1/consents", json=withdrawn)
    world.hub.clock.advance(timedelta(minutes=1))
    said = (await api.post("/v1/consents", json=GRANT | {"notice": notice})).json()
    assert (said["decision"], said["applied"], said["reason"]) == ("pending", False, "notice_or_evidence_incomplete")
    assert [one["code"] for one in said["warnings"]] == ["notice_unknown"]
    assert (await record(world, said["id"]))["notice"] == notice
    lifted = (await api.post("/v1/consents", json=GRANT)).json()
    assert (lifted["decision"], lifted["applied"]) == ("granted", True)


async def test_what_does_not_fit_is_said(api: httpx.AsyncClient) -> None:
    async def codes(**more: Any) -> list[str]:
        said = (await api.post("/v1/consents", json=GRANT | more)).json()
        return [one["code"] for one in said.get("warnings", [])]

    assert await codes(purpose="transactional") == ["notice_of_other_purposes"]
    named = {"id": "newsletter", "version": "1", "served": ids.show("srv", ids.new())}
    assert await codes(notice=named) == ["served_unknown"]
    assert await codes(scheme="casl_express", jurisdiction="US-CA") == [
        "evidence_missing", "scheme_of_other_jurisdiction",
    ]  # fmt: skip
    wrong = await api.post("/v1/consents", json=GRANT | {"notice": named | {"served": "srv_1"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/notice/served")


async def test_what_was_shown_to_somebody_else_proves_nothing(api: httpx.AsyncClient, world: World) -> None:
    """The language that Bob was shown was committed to as the one that Ann had agreed in."""
    served = await shown(api, recipient={"email": "bob@example.org"})
    notice = {"id": "newsletter", "version": "1", "served": served["id"]}
    granted = (await api.post("/v1/consents", json=GRANT | {"notice": notice})).json()
    assert [one["code"] for one in granted["warnings"]] == ["served_unknown"]
    assert "language" not in (await record(world, granted["id"]))["notice"]


async def test_what_was_shown_to_who_became_the_person_was_shown_to_them(api: httpx.AsyncClient, world: World) -> None:
    served = await shown(api, recipient={"email": "bob@example.org"})
    ann = await world.hub.beside(world.side).person((Kind.EMAIL, "ann@example.org"))
    sql = "update recipients set merged_into = $2 where workspace_id = $1 and id = $3"
    await world.hub.db.run(lambda tx: tx.execute(sql, world.side, ann, ids.parse("rcp", served["recipient_id"])))
    notice = {"id": "newsletter", "version": "1", "served": served["id"]}
    granted = (await api.post("/v1/consents", json=GRANT | {"notice": notice})).json()
    assert granted["recipient_id"] == ids.show("rcp", ann)
    assert "warnings" not in granted


async def test_a_text_that_was_published_after_the_decision_is_said_to_be(api: httpx.AsyncClient) -> None:
    said = (await api.post("/v1/consents", json=GRANT | {"occurred_at": "2020-01-01T00:00:00Z"})).json()
    assert [one["code"] for one in said["warnings"]] == ["notice_published_later"]


async def test_what_was_shown_to_nobody_known_becomes_the_persons_who_decides(
    api: httpx.AsyncClient, world: World
) -> None:
    served = await shown(api, anonymous_id="browser-1", evidence={"user_agent": "x"})
    assert "recipient_id" not in served
    notice = {"id": "newsletter", "version": "1", "served": served["id"]}
    granted = (await api.post("/v1/consents", json=GRANT | {"notice": notice})).json()
    [one] = (await api.get(f"{SERVED}?disclose=true")).json()["data"]
    assert one["recipient_id"] == granted["recipient_id"]
    assert (one["url"], one["to"], one["evidence"]) == (SHOWN["url"], "browser-1", {"user_agent": "x"})
    other = GRANT | {"recipient": {"email": "bob@example.org"}, "notice": notice}
    await api.post("/v1/consents", json=other)
    assert (await api.get(SERVED)).json()["data"][0]["recipient_id"] == granted["recipient_id"], "once and for all"


async def test_the_evidence_is_disclosed_on_request_and_that_is_audited(api: httpx.AsyncClient, world: World) -> None:
    await shown(api, recipient=ANN)
    [plain] = (await api.get(SERVED)).json()["data"]
    assert "url" not in plain
    [told] = (await api.get(f"{SERVED}?disclose=true")).json()["data"]
    assert told["url"] == SHOWN["url"]
    rows = await world.rows("select detail from audit where workspace_id = $1 and action = 'served.disclosed'")
    assert [row["detail"] for row in rows] == [{"count": 1}]
    operator = await world.client(Role.COMPLIANCE, scopes=frozenset({"notices:read"}))
    assert (await operator.get(SERVED)).status_code == 200
    assert (await operator.get(f"{SERVED}?disclose=true")).status_code == 403


async def test_many_are_shown_at_once_and_a_wrong_one_stops_no_other(api: httpx.AsyncClient) -> None:
    items = [
        SHOWN | {"recipient": ANN, "idempotency_key": "a"},
        SHOWN | {"version": "7"},
        SHOWN | {"language": "fr"},
        SHOWN | {"recipient": {"email": "no address"}},
        SHOWN | {"recipient": {"external_id": "nobody"}},
        SHOWN | {"evidence": {"n": 1.5}},
        SHOWN | {"recipient": ANN, "anonymous_id": "x"},
        SHOWN | {"served_at": "0001-01-01T00:00:00+14:00"},
        SHOWN | {"served_at": "2027-01-01T00:00:00Z"},
    ]
    said = (await api.post(f"{SERVED}/batch", json={"items": items})).json()["data"]
    assert [(one["index"], one["status"]) for one in said] == list(
        enumerate([201, 404, 422, 422, 404, 422, 422, 422, 422])
    )
    assert said[3]["error"]["errors"][0]["pointer"].startswith("/items/3/recipient")
    again = (await api.post(f"{SERVED}/batch", json={"items": [items[0]]})).json()["data"]
    assert again[0]["id"] == said[0]["id"], "the same key, the same answer"
    assert len((await api.get(SERVED)).json()["data"]) == 1


async def test_showings_are_listed_by_version_and_person(api: httpx.AsyncClient) -> None:
    await api.post("/v1/notices/newsletter/versions", json=TEXTS | {"publish": True})
    first = await shown(api, recipient=ANN)
    second = await shown(api, version="2")
    page = (await api.get(f"{SERVED}?limit=1")).json()
    rest = (await api.get(f"{SERVED}?limit=1&cursor={page['next_cursor']}")).json()
    assert [one["id"] for one in page["data"] + rest["data"]] == [second["id"], first["id"]]
    assert [one["id"] for one in (await api.get(f"{SERVED}?version=2")).json()["data"]] == [second["id"]]
    by_person = await api.get(SERVED, params={"recipient": '{"email": "ann@example.org"}'})
    assert [one["id"] for one in by_person.json()["data"]] == [first["id"]]


async def test_a_public_key_says_what_was_shown_and_hears_an_id_in_any_case(
    world: World, api: httpx.AsyncClient
) -> None:
    public = await world.client(Role.PUBLIC, source="shop")
    one = await public.post(
        SERVED, json=SHOWN | {"anonymous_id": "b-1", "source": "lie"}, headers={"Idempotency-Key": "k"}
    )
    again = await public.post(
        SERVED, json=SHOWN | {"anonymous_id": "b-1", "source": "lie"}, headers={"Idempotency-Key": "k"}
    )
    assert (one.status_code, one.json()["accepted"]) == (202, True)
    assert one.json() == again.json()
    assert again.headers["idempotent-replay"] == "true"
    nothing = await public.post(SERVED, json=SHOWN | {"version": "9"})
    assert nothing.status_code == 202
    assert nothing.json()["id"].startswith("srv_")
    guessed = await public.post(SERVED, json=SHOWN | {"recipient": {"external_id": "1"}})
    assert (guessed.status_code, guessed.json()["code"]) == (403, "user_token_required")
    [kept] = (await api.get(SERVED)).json()["data"]
    assert (kept["id"], kept["source"]) == (one.json()["id"], "shop")


async def test_what_was_shown_is_erased_with_the_person(api: httpx.AsyncClient, world: World) -> None:
    """Also what was shown in their browser before anybody knew that it was theirs."""
    await shown(api, recipient=ANN)
    await shown(api, anonymous_id="browser-1")
    other = await shown(api, anonymous_id="browser-2")
    hub = world.hub
    unit = NewRecipient((Named(Kind.EMAIL, "ann@example.org"), Named(Kind.ANONYMOUS, "browser-1")))
    await hub.db.run(lambda tx: hub.recipients.upsert(tx, world.side, [unit], absorbed=hub.consent.absorbed))
    rows = await world.rows("select id from recipients where workspace_id = $1 and not address_only")
    person_id = rows[0]["id"]

    async def erase(tx: Any) -> None:
        owned = (await hub.recipients.identifiers(tx, [(world.side, person_id)]))[world.side, person_id]
        found = await world.serving.of_people(tx, world.side, [person_id], [one.hash for one in owned], None, 10)
        assert len(found) == 2
        await hub.consent.erase(tx, world.side, Person(person_id, [person_id], owned), "hub", [])

    await hub.db.run(erase)
    assert [one["id"] for one in (await api.get(SERVED)).json()["data"]] == [other["id"]]


async def test_a_person_who_is_known_sees_it_on_their_timeline(api: httpx.AsyncClient, world: World) -> None:
    served = await shown(api, recipient=ANN)
    await shown(api)
    rows = await world.rows("select data from events where workspace_id = $1 and type = 'notice.served'")
    assert [row["data"]["served"]["id"] for row in rows] == [served["id"]]
