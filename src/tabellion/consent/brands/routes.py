"""`/v1/brands`: in whose name a side writes."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent.brands import service
from tabellion.consent.brands.types import Brand
from tabellion.core.db import Tx

BrandKey = Annotated[str, Parameter(max_length=64, pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
EXAMPLE = {"name": "Acme Shoes", "contact": "help@acme.example or +1 202 555 0100", "url": "https://acme.example"}


class BrandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    contact: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """What HELP answers: how a person reaches the brand."""
    url: Annotated[str, Meta(max_length=1000, pattern=r"^https://[^\s\u0000-\u001f]+$")] | None = None
    postal_address: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    default: bool = False
    """Whether purposes that name no brand are of this one. Only one is: another ceases to be it."""


class BrandView(msgspec.Struct, frozen=True):
    key: str
    name: str
    contact: str | None
    url: str | None
    postal_address: str | None
    default: bool
    created_at: datetime | None
    """Null for the brand that every side has: it is named after the workspace until it is set."""
    updated_at: datetime | None


class BrandList(msgspec.Struct, frozen=True):
    data: list[BrandView]


def routes(edge: Edge) -> list[HTTPRouteHandler]:
    @get("/v1/brands", opt={"scope": "purposes:read"}, tags=["Brands"], summary="List brands")
    async def list_brands(caller: Caller) -> BrandList:
        """All of them, by key. One is the default: of it are the purposes that name none."""
        async with edge.db.transaction() as tx:
            return BrandList([_shown(one) for one in await service.brands(tx, caller.workspace_id)])

    @get("/v1/brands/{brand_key:str}", opt={"scope": "purposes:read"}, tags=["Brands"], summary="Read a brand")
    async def read_brand(caller: Caller, brand_key: BrandKey) -> BrandView:
        """`default` is there without having been made, named after the workspace."""
        async with edge.db.transaction() as tx:
            found = await service.brands(tx, caller.workspace_id)
        one = next((one for one in found if one.key == brand_key), None)
        if one is None:
            raise service.unknown()
        return _shown(one)

    @put(
        "/v1/brands/{brand_key:str}", tags=["Brands"], summary="Make or change a brand",
        opt={"scope": "purposes:write", "example": EXAMPLE},
    )  # fmt: skip
    async def set_brand(
        request: Request[Any, Any, Any], caller: Caller, brand_key: BrandKey, data: BrandBody
    ) -> Response[BrandView]:
        """All of it: what is left out is empty. Audited.

        Another default brand, while purposes name brands, needs a key of role compliance.
        """
        new = Brand(brand_key, data.name, data.contact, data.url, data.postal_address, data.default)

        async def work(tx: Tx) -> tuple[int, BrandView]:
            return 200, _shown(await service.set_brand(tx, caller, new))

        return await edge.mutate(request, caller, "purposes:write", work)

    @delete(
        "/v1/brands/{brand_key:str}", status_code=204, tags=["Brands"], summary="Delete a brand",
        opt={"scope": "purposes:write"},
    )  # fmt: skip
    async def delete_brand(caller: Caller, brand_key: BrandKey) -> None:
        """One that no purpose names. Without a default brand left, the one named after the workspace is it. Audited."""
        await edge.db.run(lambda tx: service.delete_brand(tx, caller, brand_key))

    return [list_brands, read_brand, set_brand, delete_brand]


def _shown(one: Brand) -> BrandView:
    return BrandView(
        one.key, one.name, one.contact, one.url, one.postal_address, one.is_default, one.created_at, one.updated_at
    )
