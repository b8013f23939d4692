"""What the routes of accounts and providers take and give."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from tabellion.accounts.types import AccountPatch, Configured, KeywordReplies, NewAccount
from tabellion.core import ids
from tabellion.providers.base import Channel, Provider
from tabellion.providers.settings import describe

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Weight = Annotated[int, Meta(ge=1, le=1000, description="Its share among the accounts of a pool.")]
Brand = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$", description="Whose senders these are.")]
Rate = Annotated[float, Meta(gt=0, le=100_000, description="Messages a second at most.")]


class LimitsBody(Struct, frozen=True, forbid_unknown_fields=True):
    rate: Rate | None = None


class AccountBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A vendor account. What its settings are, `GET /v1/providers` says."""

    provider: Text
    settings: dict[str, Any]
    name: Text | None = None
    weight: Weight = 1
    limits: LimitsBody = LimitsBody()
    keyword_replies: KeywordReplies | None = None
    """Who answers STOP, START and HELP; left out, the vendor where it does anyhow, else the hub."""
    brand: Brand | None = None

    def new(self) -> NewAccount:
        return NewAccount(
            self.provider, self.settings, self.name, self.weight, self.limits.rate, self.keyword_replies, self.brand
        )


class AccountPatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change. Settings are a merge patch; secrets left out (or sent as shown) stay, unless the host changes."""

    settings: dict[str, Any] | UnsetType = UNSET
    name: Text | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    limits: LimitsBody | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    keyword_replies: KeywordReplies | UnsetType | None = UNSET
    brand: Brand | UnsetType | None = UNSET

    def patch(self) -> AccountPatch:
        rate = UNSET if self.limits is UNSET else self.limits.rate
        return AccountPatch(self.settings, self.name, self.weight, rate, self.enabled, self.keyword_replies, self.brand)


class LimitsView(Struct, frozen=True):
    rate: float | None


class AccountView(Struct, frozen=True):
    id: str
    provider: str
    name: str
    channels: list[Channel]
    settings: dict[str, Any]
    """Secrets are dots."""
    weight: int
    limits: LimitsView
    simulated: bool
    """Made by the hub for this test side: it sends to the hub's own simulator."""
    enabled: bool
    keyword_replies: KeywordReplies
    brand: str | None
    secrets_required: bool
    """Its secrets do not open for its host; give them again. Until then it is not used."""
    created_at: datetime
    updated_at: datetime


class AccountPage(Struct, frozen=True):
    data: list[AccountView]
    next_cursor: str | None


class FieldView(Struct, frozen=True):
    """One setting: its name, what it takes, whether it must be given and is a secret."""

    name: str
    type: str
    required: bool
    secret: bool
    default: Any = None


class ProviderView(Struct, frozen=True):
    name: str
    channels: list[str]
    features: list[str]
    settings: list[FieldView]


class ProviderPage(Struct, frozen=True):
    data: list[ProviderView]
    next_cursor: str | None = None


def shown(account: Configured) -> AccountView:
    return AccountView(
        id=ids.show("acc", account.id),
        provider=account.provider,
        name=account.name,
        channels=sorted(account.channels),
        settings=dict(account.settings),
        weight=account.weight,
        limits=LimitsView(account.rate),
        simulated=account.simulated,
        enabled=account.enabled,
        keyword_replies=account.keyword_replies,
        brand=account.brand,
        secrets_required=not account.readable,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )


def described(provider: Provider[Any]) -> ProviderView:
    fields = [
        FieldView(one.name, one.type, one.required, one.secret, one.default) for one in describe(provider.settings_type)
    ]
    return ProviderView(provider.name, sorted(provider.channels), sorted(provider.features), fields)
