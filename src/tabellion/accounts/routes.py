"""`/v1/accounts` and `/v1/providers`."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.accounts import views
from tabellion.accounts.service import Accounts
from tabellion.core import ids
from tabellion.core.db import Tx

Name = Annotated[str, Parameter(max_length=255)]
EXAMPLE = {
    "provider": "twilio",
    "name": "Twilio EU",
    "settings": {"account_sid": f"AC{0:032x}", "auth_token": "…", "from": "+15005550006"},
    "weight": 1,
}


def routes(edge: Edge, accounts: Accounts) -> list[HTTPRouteHandler]:
    @get("/v1/providers", opt={"scope": "providers:read"}, tags=["Accounts"], summary="List providers")
    async def list_providers() -> views.ProviderPage:
        """The vendors this hub can use: channels, features, and the form of an account's settings."""
        return views.ProviderPage([views.described(one) for _, one in sorted(accounts.providers.items())])

    @get("/v1/accounts", opt={"scope": "accounts:read"}, tags=["Accounts"], summary="List accounts")
    async def list_accounts(caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> views.AccountPage:
        """The accounts of this side, newest first, disabled ones too. A test side has simulator accounts by itself."""
        before = read_cursor(cursor)
        found = await edge.db.run(lambda tx: accounts.page(tx, caller.workspace_id, before, limit))
        return views.AccountPage([views.shown(one) for one in found], next_cursor([one.id for one in found], limit))

    @post(
        "/v1/accounts", status_code=201, opt={"scope": "accounts:write", "example": EXAMPLE}, tags=["Accounts"],
        summary="Add an account",
    )  # fmt: skip
    async def create_account(
        request: Request[Any, Any, Any], caller: Caller, data: views.AccountBody
    ) -> Response[views.AccountView]:
        """The account, its secrets sealed for the host they are for and from here on shown as dots.

        On a test side it is checked like any other, and used with the vendor's host replaced by the simulator.
        """

        async def work(tx: Tx) -> tuple[int, views.AccountView]:
            return 201, views.shown(await accounts.create(tx, caller, data.new()))

        return await edge.mutate(request, caller, "accounts:write", work)

    @get("/v1/accounts/{account_id:str}", opt={"scope": "accounts:read"}, tags=["Accounts"], summary="Read an account")
    async def read_account(caller: Caller, account_id: Name) -> views.AccountView:
        wanted = ids.parse("acc", account_id)
        async with edge.db.transaction() as tx:
            return views.shown(await accounts.read(tx, caller.workspace_id, wanted))

    @patch(
        "/v1/accounts/{account_id:str}", opt={"scope": "accounts:write", "example": {"weight": 2}}, tags=["Accounts"],
        summary="Change an account",
    )  # fmt: skip
    async def patch_account(
        request: Request[Any, Any, Any], caller: Caller, account_id: Name, data: views.AccountPatchBody
    ) -> Response[views.AccountView]:
        """The account after the change. Another host clears its secrets: 422 `secrets_required` unless given anew."""
        wanted = ids.parse("acc", account_id)

        async def work(tx: Tx) -> tuple[int, views.AccountView]:
            return 200, views.shown(await accounts.change(tx, caller, wanted, data.patch()))

        return await edge.mutate(request, caller, "accounts:write", work)

    @delete(
        "/v1/accounts/{account_id:str}", status_code=204, opt={"scope": "accounts:write"}, tags=["Accounts"],
        summary="Disable an account",
    )  # fmt: skip
    async def disable_account(caller: Caller, account_id: Name) -> None:
        """No message uses it from within a second on. It stays in the list, and hears late callbacks."""
        wanted = ids.parse("acc", account_id)
        await edge.db.run(lambda tx: accounts.disable(tx, caller, wanted))

    return [list_providers, list_accounts, create_account, read_account, patch_account, disable_account]
