"""`/v1/purposes`: why a side communicates."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import UNSET, Meta, UnsetType

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent.purposes.service import Catalogue
from tabellion.consent.purposes.types import KEY, Duration, Language, PurposeSettings, Row, Text, Title
from tabellion.consent.types import BUILT_IN, Basis, OptOutScope, PurposeClass, QuietHours
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, Invalid

PurposePath = Annotated[str, Parameter(max_length=64, pattern=KEY)]
BrandKey = Annotated[str, Meta(max_length=64, pattern="^[a-z0-9][a-z0-9_-]*$")]
ParentKey = Annotated[str, Meta(max_length=64, pattern=KEY, examples=["marketing"])]
Age = Annotated[int, Meta(ge=1, le=120)]
Unknown = Literal["denied", "allowed"]
EXAMPLE = {"key": "marketing.newsletter", "title": "Our newsletter", "titles": {"de": "Unser Newsletter"}}


class PurposeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new purpose."""

    key: Annotated[str, Meta(max_length=64, pattern=KEY)]
    """With dots; what stands before the last one is the parent where none is named."""
    title: Title
    titles: Annotated[dict[Language, Title], Meta(max_length=100)] = {}
    """Language → title, for the person's own pages."""
    description: Text | None = None
    descriptions: Annotated[dict[Language, Text], Meta(max_length=100)] = {}
    purpose_class: PurposeClass | None = msgspec.field(name="class", default=None)
    """Left out: the parent's, or marketing."""
    basis: Basis | None = None
    """Left out: the parent's, or consent."""
    brand: BrandKey | None = None
    """Left out: the default brand."""
    parent: ParentKey | UnsetType | None = UNSET
    """Whoever refuses the parent refuses this. Null: none."""
    unknown: Unknown = "denied"
    """Whether it may be sent while the person said nothing: class service or security, by contract or law."""
    accepts_asserted: bool = False
    soft_opt_in: bool = False
    min_age: Age | None = None
    """In years, by the traits `birth_date`, `birthday` or `age`. Whose age is unknown is refused."""
    consent_ttl: Duration | None = None
    """How long a grant counts, as `P2Y`."""
    quiet_hours: QuietHours | None = None
    opt_out_scope: OptOutScope = OptOutScope.PURPOSE
    """What an opt-out reaches, too: the brand's marketing and research, or the whole class."""


class PurposePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What changes; null takes the default. Maps are replaced as a whole."""

    title: Title | UnsetType = UNSET
    titles: Annotated[dict[Language, Title], Meta(max_length=100)] | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    descriptions: Annotated[dict[Language, Text], Meta(max_length=100)] | UnsetType | None = UNSET
    purpose_class: PurposeClass | UnsetType = msgspec.field(name="class", default=UNSET)
    basis: Basis | UnsetType = UNSET
    brand: BrandKey | UnsetType | None = UNSET
    parent: ParentKey | UnsetType | None = UNSET
    unknown: Unknown | UnsetType = UNSET
    accepts_asserted: bool | UnsetType = UNSET
    soft_opt_in: bool | UnsetType = UNSET
    min_age: Age | UnsetType | None = UNSET
    consent_ttl: Duration | UnsetType | None = UNSET
    quiet_hours: QuietHours | UnsetType | None = UNSET
    opt_out_scope: OptOutScope | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    """`false` takes an archived purpose up again."""


class PurposeView(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    title: str
    titles: dict[str, str]
    description: str | None
    descriptions: dict[str, str]
    purpose_class: PurposeClass = msgspec.field(name="class")
    basis: Basis
    brand: str | None
    parent: str | None
    unknown: Unknown
    accepts_asserted: bool
    soft_opt_in: bool
    min_age: int | None
    consent_ttl: str | None
    quiet_hours: QuietHours | None
    opt_out_scope: OptOutScope
    built_in: bool
    archived: bool
    created_at: datetime | None
    """Null for a built-in purpose as it comes."""
    updated_at: datetime | None


class PurposeList(msgspec.Struct, frozen=True):
    data: list[PurposeView]


def routes(edge: Edge, catalogue: Catalogue) -> list[HTTPRouteHandler]:
    @get("/v1/purposes", opt={"scope": "purposes:read"}, tags=["Purposes"], summary="List purposes")
    async def list_purposes(caller: Caller) -> PurposeList:
        """All of them, by key, built-in and archived ones too."""
        async with edge.db.transaction() as tx:
            return PurposeList([_shown(one) for one in (await catalogue.rows(tx, caller.workspace_id)).values()])

    @post(
        "/v1/purposes", status_code=201, tags=["Purposes"], summary="Make a purpose",
        opt={"scope": "purposes:write", "example": EXAMPLE},
    )  # fmt: skip
    async def create_purpose(
        request: Request[Any, Any, Any], caller: Caller, data: PurposeBody
    ) -> Response[PurposeView]:
        """One that asks for less than its parent, or without one than `marketing`, needs a key of role compliance.

        A child's class is never looser than its parent's. Audited; event `purpose.changed`.
        """

        async def work(tx: Tx) -> tuple[int, PurposeView]:
            new = _settings(data, {key: row.settings for key, row in (await catalogue.rows(tx, side)).items()})
            return 201, _shown(await catalogue.create(tx, caller, data.key, new))

        side = caller.workspace_id
        return await edge.mutate(request, caller, "purposes:write", work)

    @get("/v1/purposes/{purpose_key:str}", opt={"scope": "purposes:read"}, tags=["Purposes"], summary="Read a purpose")
    async def read_purpose(caller: Caller, purpose_key: PurposePath) -> PurposeView:
        """As it is now."""
        async with edge.db.transaction() as tx:
            return _shown(await catalogue.read(tx, caller.workspace_id, purpose_key))

    @patch(
        "/v1/purposes/{purpose_key:str}", tags=["Purposes"], summary="Change a purpose",
        opt={"scope": "purposes:write", "example": {"consent_ttl": "P2Y"}},
    )  # fmt: skip
    async def change_purpose(
        request: Request[Any, Any, Any], caller: Caller, purpose_key: PurposePath, data: PurposePatch
    ) -> Response[PurposeView]:
        """Once it is answered, nothing starts that the purpose as it is now forbids.

        What loosens it needs a key of role compliance (403 `compliance_required`, which names the fields). Audited with
        what it was and is; event `purpose.changed`.
        """
        said: dict[str, Any] = msgspec.to_builtins(data)
        archived = said.pop("archived", None)

        async def work(tx: Tx) -> tuple[int, PurposeView]:
            return 200, _shown(await catalogue.change(tx, caller, purpose_key, said, archived=archived))

        return await edge.mutate(request, caller, "purposes:write", work)

    @delete(
        "/v1/purposes/{purpose_key:str}", status_code=204, tags=["Purposes"], summary="Delete or archive a purpose",
        opt={"scope": "purposes:write"},
    )  # fmt: skip
    async def delete_purpose(caller: Caller, purpose_key: PurposePath) -> None:
        """One that was ever used is archived: nothing is sent for it, and what was refused stays refused. Audited.

        So is one that names a brand, or whose opt-outs reach other purposes.
        """
        await edge.db.run(lambda tx: catalogue.remove(tx, caller, purpose_key))

    return [list_purposes, create_purpose, read_purpose, change_purpose, delete_purpose]


def _settings(body: PurposeBody, known: dict[str, PurposeSettings]) -> PurposeSettings:
    """What a new purpose says; class and basis are its parent's where it does not say them."""
    named = (body.key.rpartition(".")[0] or None) if body.parent is UNSET else body.parent
    parent = known.get(named) if named else None
    if named and parent is None:
        detail = f"there is no purpose '{named}'; make it first, or name another parent, or null"
        raise Invalid("parent_unknown", detail, FieldError("/parent", detail))
    said: dict[str, Any] = msgspec.structs.asdict(body)
    del said["key"]
    return PurposeSettings(
        **said
        | {
            "parent": named,
            "purpose_class": body.purpose_class or (parent.purpose_class if parent else PurposeClass.MARKETING),
            "basis": body.basis or (parent.basis if parent else Basis.CONSENT),
        }
    )


def _shown(row: Row) -> PurposeView:
    return PurposeView(
        **msgspec.structs.asdict(row.settings),
        key=row.key,
        built_in=row.key in BUILT_IN,
        archived=row.archived_at is not None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
