"""As the deeds of `test_audited`, for what a side says about consent: purposes, notices, suppressions and the rest."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

Deed = Callable[[Any], Awaitable[Any]]
DEEDS: Final[dict[tuple[str, str], tuple[str, Deed]]] = {}
"""Method and path → the action that it is audited as, and what is done by a `Story`."""
BY_EVENT: Final = {
    ("POST", "/v1/consents/batch"): "the log of decisions commits to the actor",
    ("POST", "/v1/suppressions"): "a decision: the log commits to the actor",
    ("POST", "/v1/suppressions/batch"): "decisions: the log commits to the actor",
    ("POST", "/v1/notices/{notice_id}/served"): "the record of what was shown names the actor",
    ("POST", "/v1/notices/{notice_id}/served/batch"): "the records of what was shown name the actor",
    ("POST", "/r/u/{token}"): "the person's own: their entry in the log of decisions",
    ("POST", "/r/p/{token}"): "the person's own: their entries in the log of decisions",
    ("POST", "/r/c/{token}"): "the person's own: their entry in the log of decisions",
}
WORDS: Final = {"default_language": "en", "texts": {"en": "Yes, send me news."}}
LINK: Final = {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}


def deed(method: str, path: str, action: str) -> Callable[[Deed], Deed]:
    def add(one: Deed) -> Deed:
        DEEDS[method, path] = (action, one)
        return one

    return add


def sets(path: str, action: str, body: Any) -> None:
    """A deed that is one request, about the side itself."""

    async def done(of: Any) -> Any:
        return await of.ask("PUT", path, body)

    DEEDS["PUT", path] = (action, done)


sets("/v1/consent-settings", "consent_settings.set", {"cross_channel": {"sms": ["whatsapp"]}})
sets("/v1/page-settings", "page_settings.set", {"gpc": "ignore"})


@deed("PUT", "/v1/brands/{brand_key}", "brand.set")
async def brand(of: Any) -> None:
    await of.ask("PUT", "/v1/brands/hats", {"name": "Hats"})


@deed("DELETE", "/v1/brands/{brand_key}", "brand.deleted")
async def _(of: Any) -> None:
    await brand(of)
    await of.ask("DELETE", "/v1/brands/hats")


@deed("POST", "/v1/purposes", "purpose.created")
async def _(of: Any) -> None:
    await purpose(of, "made")


async def purpose(of: Any, key: str) -> None:
    await of.ask("POST", "/v1/purposes", {"key": key, "title": key})


@deed("PATCH", "/v1/purposes/{purpose_key}", "purpose.changed")
async def _(of: Any) -> None:
    await purpose(of, "changed")
    await of.ask("PATCH", "/v1/purposes/changed", {"min_age": 18})


@deed("DELETE", "/v1/purposes/{purpose_key}", "purpose.deleted")
async def _(of: Any) -> None:
    await purpose(of, "deleted")
    await of.ask("DELETE", "/v1/purposes/deleted")


async def notice(of: Any, key: str, *, publish: bool | None = None) -> str:
    """Its path; with a draft, or a version that is published."""
    await of.ask("POST", "/v1/notices", {"id": key, "title": key, "purposes": ["marketing"]})
    if publish is not None:
        await of.ask("POST", f"/v1/notices/{key}/versions", WORDS | {"publish": publish})
    return f"/v1/notices/{key}"


@deed("POST", "/v1/notices", "notice.created")
async def _(of: Any) -> None:
    await notice(of, "created")


@deed("PATCH", "/v1/notices/{notice_id}", "notice.changed")
async def _(of: Any) -> None:
    await of.ask("PATCH", await notice(of, "changed"), {"title": "another"})


@deed("DELETE", "/v1/notices/{notice_id}", "notice.deleted")
async def _(of: Any) -> None:
    await of.ask("DELETE", await notice(of, "deleted"))


@deed("POST", "/v1/notices/{notice_id}/retire", "notice.retired")
async def _(of: Any) -> None:
    await of.ask("POST", f"{await notice(of, 'retired', publish=True)}/retire")


@deed("POST", "/v1/notices/{notice_id}/versions", "notice.drafted")
async def _(of: Any) -> None:
    await notice(of, "drafted", publish=False)


@deed("PUT", "/v1/notices/{notice_id}/versions/{version}", "notice.redrafted")
async def _(of: Any) -> None:
    await of.ask("PUT", f"{await notice(of, 'redrafted', publish=False)}/versions/1", WORDS)


@deed("DELETE", "/v1/notices/{notice_id}/versions/{version}", "notice.dropped")
async def _(of: Any) -> None:
    await of.ask("DELETE", f"{await notice(of, 'dropped', publish=False)}/versions/1")


@deed("POST", "/v1/notices/{notice_id}/versions/{version}/publish", "notice.published")
async def _(of: Any) -> None:
    await of.ask("POST", f"{await notice(of, 'published', publish=False)}/versions/1/publish")


@deed("DELETE", "/v1/suppressions/{suppression_id}", "suppression.ended")
async def _(of: Any) -> None:
    made = await of.ask("POST", "/v1/suppressions", {"recipient": await of.person("sven")})
    await of.ask("DELETE", f"/v1/suppressions/{made['id']}?reason=in%20error", second=True)


@deed("POST", "/v1/suppressions/import", "suppressions.imported")
async def _(of: Any) -> None:
    listed = b"email\r\nsusi@example.org\r\n"
    answer = await of.side.client.post(
        "/v1/suppressions/import?source=their%20list", content=listed, headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["applied"]) == (200, 1)


@deed("POST", "/v1/recipients/{recipient_id}/links", "link.created")
async def _(of: Any) -> None:
    await of.ask("POST", f"/v1/recipients/{await of.person('lena')}/links", LINK)
