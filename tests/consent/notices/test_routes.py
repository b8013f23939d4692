"""`/v1/notices` and their versions."""

import hashlib

import asyncpg
import httpx
import pytest
import rfc8785

from tabellion.access.types import Role

from .conftest import GRANT, NEWSLETTER, TEXTS, World


async def test_a_published_version_never_changes(api: httpx.AsyncClient, world: World) -> None:
    for answer in (
        await api.put("/v1/notices/newsletter/versions/1", json=TEXTS),
        await api.delete("/v1/notices/newsletter/versions/1"),
        await api.post("/v1/notices/newsletter/versions/1/publish"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "version_published")
    kept = await api.delete("/v1/notices/newsletter")
    assert (kept.status_code, kept.json()["code"]) == (409, "notice_published")


@pytest.mark.parametrize(
    "statement",
    [
        'update notice_versions set texts = \'{"en": "other"}\' where workspace_id = $1',
        "update notice_versions set published_at = null, hash = null, title = null, purposes = null,"
        " published_by = null where workspace_id = $1",
        "delete from notice_versions where workspace_id = $1",
    ],
)
async def test_the_database_itself_keeps_what_was_published(
    api: httpx.AsyncClient, world: World, statement: str
) -> None:
    with pytest.raises(asyncpg.RaiseError):
        await world.rows(statement)


async def test_the_hash_can_be_computed_from_the_answer(api: httpx.AsyncClient) -> None:
    said = (await api.get("/v1/notices/newsletter/versions/latest")).json()
    names = ("notice", "version", "title", "purposes", "default_language", "texts")
    form = {"v": 1} | {name: said[name] for name in names}
    assert said["hash"] == hashlib.sha256(rfc8785.dumps(form)).hexdigest()


async def test_a_draft_changes_and_goes(api: httpx.AsyncClient) -> None:
    made = (await api.post("/v1/notices/newsletter/versions", json=TEXTS)).json()
    assert (made["version"], made["hash"], made["published_at"]) == ("2", None, None)
    other = {"default_language": "fr", "texts": {"fr": "Oui"}}
    assert (await api.put("/v1/notices/newsletter/versions/2", json=other)).json()["texts"] == {"fr": "Oui"}
    assert (await api.get("/v1/notices/newsletter")).json()["latest"] == "1"
    assert (await api.delete("/v1/notices/newsletter/versions/2")).status_code == 204
    assert (await api.get("/v1/notices/newsletter/versions/2")).status_code == 404


async def test_what_was_published_keeps_the_title_and_purposes_of_that_day(api: httpx.AsyncClient) -> None:
    before = (await api.get("/v1/notices/newsletter/versions/1")).json()
    patch = {"title": "News", "purposes": ["marketing", "transactional"]}
    assert (await api.patch("/v1/notices/newsletter", json=patch)).json()["title"] == "News"
    assert (await api.get("/v1/notices/newsletter/versions/1")).json() == before
    second = (await api.post("/v1/notices/newsletter/versions", json=TEXTS | {"publish": True})).json()
    assert (second["title"], second["purposes"]) == ("News", ["marketing", "transactional"])


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [("", None, "en"), ("", "de-AT,de;q=0.9", "de"), ("?language=de", "en", "de"), ("?language=fr", None, "en")],
)
async def test_a_text_is_read_in_ones_language(
    api: httpx.AsyncClient, query: str, header: str | None, language: str
) -> None:
    headers = {"Accept-Language": header} if header else {}
    answer = await api.get(f"/v1/notices/newsletter/versions/1/text{query}", headers=headers)
    said = answer.json()
    assert (said["language"], said["text"]) == (language, TEXTS["texts"][language])
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")


async def test_a_retired_notice_takes_no_further_version_and_keeps_those_it_has(api: httpx.AsyncClient) -> None:
    first = (await api.post("/v1/notices/newsletter/retire")).json()
    assert first["retired_at"] == (await api.post("/v1/notices/newsletter/retire")).json()["retired_at"]
    refused = await api.post("/v1/notices/newsletter/versions", json=TEXTS)
    assert (refused.status_code, refused.json()["code"]) == (409, "notice_retired")
    assert (await api.get("/v1/notices/newsletter/versions/1/text")).status_code == 200
    said = (await api.post("/v1/consents", json=GRANT)).json()
    assert [one["code"] for one in said["warnings"]] == ["notice_retired"]


async def test_notices_and_versions_are_listed_newest_first(api: httpx.AsyncClient) -> None:
    await api.post("/v1/notices", json=NEWSLETTER | {"id": "terms", "purposes": ["transactional"]})
    await api.post("/v1/notices/newsletter/versions", json=TEXTS)
    page = (await api.get("/v1/notices?limit=1")).json()
    rest = (await api.get(f"/v1/notices?limit=1&cursor={page['next_cursor']}")).json()
    assert [one["id"] for one in page["data"] + rest["data"]] == ["terms", "newsletter"]
    versions = (await api.get("/v1/notices/newsletter/versions")).json()["data"]
    assert [(one["version"], one["languages"]) for one in versions] == [("2", ["de", "en"]), ("1", ["de", "en"])]
    assert "texts" not in versions[0]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/notices", NEWSLETTER, "notice_exists"),
        ("/v1/notices", NEWSLETTER | {"id": "x", "purposes": ["nothing"]}, "notice_invalid"),
        ("/v1/notices/newsletter/versions", TEXTS | {"version": "1"}, "version_exists"),
        ("/v1/notices/newsletter/versions", TEXTS | {"version": "latest"}, "notice_invalid"),
        ("/v1/notices/newsletter/versions", TEXTS | {"default_language": "fr"}, "notice_invalid"),
        ("/v1/notices/nothing/versions", TEXTS, "notice_not_found"),
    ],
)
async def test_what_cannot_be_made_says_why(api: httpx.AsyncClient, path: str, body: object, code: str) -> None:
    answer = await api.post(path, json=body)
    assert answer.json()["code"] == code, answer.text


async def test_everything_is_audited_and_publishing_is_an_event(api: httpx.AsyncClient, world: World) -> None:
    await api.post("/v1/notices/newsletter/versions", json=TEXTS)
    await api.put("/v1/notices/newsletter/versions/2", json=TEXTS)
    await api.delete("/v1/notices/newsletter/versions/2")
    await api.patch("/v1/notices/newsletter", json={"title": "News"})
    await api.post("/v1/notices/newsletter/retire")
    await api.post("/v1/notices", json=NEWSLETTER | {"id": "other"})
    await api.delete("/v1/notices/other")
    rows = await world.rows("select action from audit where workspace_id = $1 and action like 'notice.%' order by id")
    assert [row["action"] for row in rows] == [
        "notice.created", "notice.drafted", "notice.published", "notice.drafted", "notice.redrafted", "notice.dropped",
        "notice.changed", "notice.retired", "notice.created", "notice.deleted",
    ]  # fmt: skip
    events = await world.rows("select type, data from events where workspace_id = $1 order by position")
    assert [row["type"] for row in events] == ["notice.published", "notice.retired"]
    assert events[0]["data"]["notice"]["languages"] == ["de", "en"]


async def test_notices_are_for_keys_that_may(world: World, api: httpx.AsyncClient) -> None:
    developer = await world.client(Role.DEVELOPER)
    assert (await developer.get("/v1/notices/newsletter")).status_code == 200
    assert (await developer.post("/v1/notices", json=NEWSLETTER)).status_code == 403
    assert (await (await world.client(Role.COMPLIANCE)).post("/v1/notices", json=NEWSLETTER)).status_code == 409
