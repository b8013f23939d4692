"""`/v1/notices`: make, change, publish, retire and read the texts that people are shown."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, Parameter
from msgspec import UNSET

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent.notices import rules, views
from tabellion.consent.notices.service import Notices
from tabellion.consent.notices.views import (
    DraftBody,
    NewNotice,
    NoticePage,
    NoticePatch,
    NoticeView,
    TextView,
    VersionBody,
    VersionPage,
    VersionView,
)
from tabellion.core.db import Tx

Name = Annotated[str, Parameter(max_length=64)]
Wished = Annotated[
    str | None,
    HeaderParameter(name="Accept-Language", max_length=512, description="Which languages they read, as browsers say."),
]
InLanguage = Annotated[
    str | None, Parameter(max_length=64, description="Which of its languages; instead of `Accept-Language`.")
]
NOTICE = {"id": "newsletter", "title": "Newsletter by e-mail", "purposes": ["marketing"]}
VERSION = {"default_language": "en", "texts": {"en": "Yes, send me news and offers.", "de": "Ja, schickt mir Neues."}}


def routes(edge: Edge, notices: Notices) -> list[HTTPRouteHandler]:
    """The routes of the notices themselves."""

    @post(
        "/v1/notices", status_code=201, tags=["Notices"], summary="Make a notice",
        opt={"scope": "notices:write", "example": NOTICE},
    )  # fmt: skip
    async def make_notice(request: Request[Any, Any, Any], caller: Caller, data: NewNotice) -> Response[NoticeView]:
        """What a text is about. Nobody can be shown it before a version of it is published."""

        async def work(tx: Tx) -> tuple[int, NoticeView]:
            made = await notices.make(tx, caller.workspace_id, data.id, data.title, data.purposes, caller.actor)
            return 201, views.notice(made)

        return await edge.mutate(request, caller, "notices:write", work)

    @get("/v1/notices", opt={"scope": "notices:read"}, tags=["Notices"], summary="List notices, newest first")
    async def list_notices(caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> NoticePage:
        """Those that are retired are among them."""
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            found = await notices.page(tx, caller.workspace_id, before, limit)
        return NoticePage([views.notice(one) for one in found], next_cursor([one.id for one in found], limit))

    @get("/v1/notices/{notice_id:str}", opt={"scope": "notices:read"}, tags=["Notices"], summary="Read a notice")
    async def read_notice(caller: Caller, notice_id: Name) -> NoticeView:
        """`latest` is the version to show."""
        async with edge.db.transaction() as tx:
            return views.notice(await notices.read(tx, caller.workspace_id, notice_id))

    @patch(
        "/v1/notices/{notice_id:str}", tags=["Notices"], summary="Change what a notice is about",
        opt={"scope": "notices:write", "example": {"title": "News by e-mail"}},
    )  # fmt: skip
    async def change_notice(
        request: Request[Any, Any, Any], caller: Caller, notice_id: Name, data: NoticePatch
    ) -> Response[NoticeView]:
        """For versions that are yet to be published: each keeps the title and the purposes it was published with."""
        title = None if data.title is UNSET else data.title
        purposes = None if data.purposes is UNSET else data.purposes

        async def work(tx: Tx) -> tuple[int, NoticeView]:
            changed = await notices.change(tx, caller.workspace_id, notice_id, title, purposes, caller.actor)
            return 200, views.notice(changed)

        return await edge.mutate(request, caller, "notices:write", work)

    @post(
        "/v1/notices/{notice_id:str}/retire", status_code=200, tags=["Notices"], summary="Retire a notice",
        opt={"scope": "notices:write"},
    )  # fmt: skip
    async def retire_notice(request: Request[Any, Any, Any], caller: Caller, notice_id: Name) -> Response[NoticeView]:
        """It takes no further versions. Its texts, and what rests on them, stay; again changes nothing."""

        async def work(tx: Tx) -> tuple[int, NoticeView]:
            return 200, views.notice(await notices.retire(tx, caller.workspace_id, notice_id, caller.actor))

        return await edge.mutate(request, caller, "notices:write", work)

    @delete(
        "/v1/notices/{notice_id:str}", status_code=204, tags=["Notices"], summary="Delete a notice that is all drafts",
        opt={"scope": "notices:write"},
    )  # fmt: skip
    async def delete_notice(caller: Caller, notice_id: Name) -> None:
        """Once a version was published: 409 `notice_published`; retire it."""
        await edge.db.run(lambda tx: notices.delete(tx, caller.workspace_id, notice_id, caller.actor))

    return [make_notice, list_notices, read_notice, change_notice, retire_notice, delete_notice]


def version_routes(edge: Edge, notices: Notices) -> list[HTTPRouteHandler]:
    """The routes of their versions."""

    @post(
        "/v1/notices/{notice_id:str}/versions", status_code=201, tags=["Notices"], summary="Write a version",
        opt={"scope": "notices:write", "example": VERSION},
    )  # fmt: skip
    async def write_version(
        request: Request[Any, Any, Any], caller: Caller, notice_id: Name, data: VersionBody
    ) -> Response[VersionView]:
        """A draft, which may change until it is published; with `publish`, published at once."""
        side, actor = caller.workspace_id, caller.actor

        async def work(tx: Tx) -> tuple[int, VersionView]:
            made = await notices.draft(tx, side, notice_id, data.version, data.default_language, data.texts, actor)
            if data.publish:
                made = await notices.publish(tx, side, notice_id, made.version, actor)
            return 201, views.version(made)

        return await edge.mutate(request, caller, "notices:write", work)

    @get(
        "/v1/notices/{notice_id:str}/versions", opt={"scope": "notices:read"}, tags=["Notices"],
        summary="List the versions of a notice, newest first",
    )  # fmt: skip
    async def list_versions(caller: Caller, notice_id: Name, limit: Limit = 50, cursor: Cursor = None) -> VersionPage:
        """Without their texts."""
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            found = await notices.versions(tx, caller.workspace_id, notice_id, before, limit)
        return VersionPage(views.lines(found), next_cursor([one.id for one in found], limit))

    @get(
        "/v1/notices/{notice_id:str}/versions/{version:str}", opt={"scope": "notices:read"}, tags=["Notices"],
        summary="Read a version",
    )  # fmt: skip
    async def read_version(caller: Caller, notice_id: Name, version: Name) -> VersionView:
        """With all its texts; `latest` is the one that was published last."""
        async with edge.db.transaction() as tx:
            return views.version(await notices.version(tx, caller.workspace_id, notice_id, version))

    @get(
        "/v1/notices/{notice_id:str}/versions/{version:str}/text", opt={"scope": "notices:read"}, tags=["Notices"],
        summary="Read one text",
    )  # fmt: skip
    async def read_text(
        caller: Caller, notice_id: Name, version: Name, language: InLanguage = None, wished: Wished = None
    ) -> Response[TextView]:
        """The text for who reads these languages, by the look-up of RFC 4647; otherwise the default one."""
        async with edge.db.transaction() as tx:
            found = await notices.version(tx, caller.workspace_id, notice_id, version)
        chosen = rules.choose(found.texts, found.default_language, language or wished)
        view = TextView(
            found.notice, found.version, chosen, found.texts[chosen], found.hash.hex() if found.hash else None
        )
        return Response(view, headers={"Content-Language": chosen, "Vary": "Accept-Language"})

    @put(
        "/v1/notices/{notice_id:str}/versions/{version:str}", tags=["Notices"], summary="Rewrite a draft",
        opt={"scope": "notices:write", "example": VERSION},
    )  # fmt: skip
    async def rewrite_draft(
        request: Request[Any, Any, Any], caller: Caller, notice_id: Name, version: Name, data: DraftBody
    ) -> Response[VersionView]:
        """Once it was published: 409 `version_published`."""

        async def work(tx: Tx) -> tuple[int, VersionView]:
            made = await notices.redraft(
                tx, caller.workspace_id, notice_id, version, data.default_language, data.texts, caller.actor
            )
            return 200, views.version(made)

        return await edge.mutate(request, caller, "notices:write", work)

    @post(
        "/v1/notices/{notice_id:str}/versions/{version:str}/publish", status_code=200, tags=["Notices"],
        summary="Publish a version", opt={"scope": "notices:write"},
    )  # fmt: skip
    async def publish_version(
        request: Request[Any, Any, Any], caller: Caller, notice_id: Name, version: Name
    ) -> Response[VersionView]:
        """From here on nobody can change or delete it. Decisions that name it are committed to its hash."""

        async def work(tx: Tx) -> tuple[int, VersionView]:
            made = await notices.publish(tx, caller.workspace_id, notice_id, version, caller.actor)
            return 200, views.version(made)

        return await edge.mutate(request, caller, "notices:write", work)

    @delete(
        "/v1/notices/{notice_id:str}/versions/{version:str}", status_code=204, tags=["Notices"],
        summary="Delete a draft", opt={"scope": "notices:write"},
    )  # fmt: skip
    async def delete_draft(caller: Caller, notice_id: Name, version: Name) -> None:
        """Once it was published: 409 `version_published`."""
        await edge.db.run(lambda tx: notices.drop(tx, caller.workspace_id, notice_id, version, caller.actor))

    return [write_version, list_versions, read_version, read_text, rewrite_draft, publish_version, delete_draft]
