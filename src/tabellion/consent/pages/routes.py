"""`/r/…`: the pages of recipients. No key, no cookie, no script; a token in the address, which no log line has."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any, Final

from litestar import Request, Response, get, post, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from tabellion.access.calls import visit_of
from tabellion.access.edge import Edge
from tabellion.consent.pages import forms
from tabellion.consent.pages.site import SIGNAL, Asked, Shown, Site
from tabellion.core.errors import HubError

POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Sec-GPC",
}
"""`Referrer-Policy: no-referrer` is on every answer of the hub: a token is in no Referer."""
STYLED: Final = {"Cache-Control": "public, max-age=3600"}
LANGUAGE: Final = 16
MOST_SLASHES: Final = 4

Answer = Callable[[Asked], Awaitable[Shown]]


def routes(edge: Edge, site: Site) -> list[HTTPRouteHandler]:
    style = (resources.files(__package__) / "style.css").read_bytes()

    async def answered(request: Request[Any, Any, Any], token: str, answer: Answer) -> Response[bytes]:
        """What the site shows; a page for people also where it refuses."""
        asked = _asked(request, token)
        try:
            if request.method == "POST":
                visit_of(request.scope).largest = forms.LARGEST
                asked = _with_form(asked, forms.read(_header(request, b"content-type"), await request.body()))
            shown = await answer(asked)
        except HubError as error:
            status = edge.refuse(error, visit_of(request.scope)).status
            shown = site.busy(asked, status) if status == 429 or status >= 500 else site.unknown(asked, status)
        later = {"Retry-After": str(shown.retry_after)} if shown.retry_after else {}
        return Response(shown.body, status_code=shown.status, media_type="text/html", headers=HEADERS | later)

    def pages(word: str, show: Answer, change: Answer) -> list[HTTPRouteHandler]:
        path = f"/r/{word}/{{token:str}}"

        @route(path, http_method=_SHOW, public=True, include_in_schema=False)
        async def shown(request: Request[Any, Any, Any], token: str) -> Response[bytes]:
            return await answered(request, token, show)

        @post(path, status_code=200, public=True, include_in_schema=False)
        async def changed(request: Request[Any, Any, Any], token: str) -> Response[bytes]:
            return await answered(request, token, change)

        return [shown, changed]

    @get("/r/style.css", public=True, include_in_schema=False)
    async def styled() -> Response[bytes]:
        return Response(style, media_type="text/css", headers=STYLED)

    return [
        *pages("u", site.show_leaving, site.leave),
        *pages("p", site.show_centre, site.choose),
        *pages("c", site.show_asking, site.confirm),
        styled,
    ]


_SHOW: Final = [HttpMethod.GET, HttpMethod.HEAD]


def _asked(request: Request[Any, Any, Any], token: str) -> Asked:
    client = request.scope.get("client")
    language = request.query_params.get("lang")
    accept = _header(request, b"accept-language")
    return Asked(
        token=token,
        address=client[0] if client else None,
        language=language[:LANGUAGE] if isinstance(language, str) and language.isascii() else None,
        accept=accept.decode("latin-1") if accept else None,
        signal=_header(request, b"sec-gpc") == SIGNAL.encode(),
        near=_near(request.scope["raw_path"]),
    )


def _near(path: bytes) -> str:
    """Where `/r/` is from an address that may have a slash too many behind it: mail that is copied gets some.

    As the browser has it: the path of the framework has lost them.
    """
    return "../" * min(1 + len(path) - len(path.rstrip(b"/")), MOST_SLASHES)


def _with_form(asked: Asked, fields: Mapping[str, str]) -> Asked:
    return replace(asked, fields=fields)


def _header(request: Request[Any, Any, Any], name: bytes) -> bytes | None:
    return next((value for one, value in request.scope["headers"] if one == name), None)
