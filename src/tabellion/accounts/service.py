"""Use cases of accounts: configure them, find those a message may use, pace them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from tabellion.access.service import audit
from tabellion.access.types import Caller, Role
from tabellion.accounts import pacing, store
from tabellion.accounts.rules import CustomHosts, is_custom
from tabellion.accounts.store import Stored
from tabellion.accounts.types import (
    Account,
    AccountPatch,
    Configured,
    HostRefused,
    KeywordReplies,
    ModeOf,
    NewAccount,
    SecretsRequired,
    UnfitInPublic,
)
from tabellion.core import ids
from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, Forbidden, HubError, Invalid, NotFound
from tabellion.core.ids import AccountId, WorkspaceId
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.vault import Vault
from tabellion.providers.base import Channel, Feature, Provider, ProviderSettings
from tabellion.providers.settings import MASK, decode_settings, expose, mask, secret_fields

FRESH_SECONDS = 1.0
"""How long a process may use accounts without looking again."""
CACHE_SIDES = 10_000
CACHE_CALLED = 50_000
CACHE_STRANGE = 10_000
"""Ids that vendors, or strangers, called and that are no account's. Apart, so that strangers push nobody out."""
BLOCKED_BY = frozenset({Channel.SMS, Channel.MMS, Channel.RCS, Channel.WHATSAPP})
"""Channels on which a person may refuse what comes from one of our senders."""
SIMULATED_CHANNELS = frozenset({Channel.EMAIL, Channel.SMS})
"""Each provider of one of them has a simulator account on every test side; `fake` only when somebody adds it."""


class Accounts:
    """The only way to accounts. One a process; caches what it read for at most a second."""

    def __init__(
        self,
        vault: Vault,
        providers: Iterable[Provider[Any]],
        simulator: SimulatorAddress,
        clock: Clock,
        mode_of: ModeOf,
        hosts: CustomHosts = CustomHosts(),  # noqa: B008 - frozen
    ) -> None:
        self._vault = vault
        self._providers = {provider.name: provider for provider in providers}
        self._simulator = simulator
        self._clock = clock
        self._mode_of = mode_of
        self._hosts = hosts
        self._cache: OrderedDict[UUID, tuple[float, tuple[Account, ...]]] = OrderedDict()
        self._called: OrderedDict[UUID, tuple[float, Account]] = OrderedDict()
        self._strange: dict[UUID, float] = {}

    @property
    def providers(self) -> Mapping[str, Provider[Any]]:
        return self._providers

    # For the engine

    async def usable(self, tx: Tx, workspace_id: WorkspaceId) -> list[Account]:
        """The enabled accounts of a side, oldest first. At most a second old."""
        return [one for one in await self._read(tx, workspace_id) if one.enabled]

    def senders(self, accounts: Iterable[Account], channel: Channel) -> list[str | None]:
        """What these accounts send from on a channel, as blocks name it, each once. One None: of no account known."""
        found = [self.sender(one) for one in accounts if channel in one.channels] if channel in BLOCKED_BY else []
        return list(dict.fromkeys(found)) or [None]

    def sender(self, account: Account) -> str | None:
        """What an account sends from: a number of ours, or a pool of them; None where nobody knows."""
        return self._providers[account.provider].sender(account.settings)

    async def by_ids(self, tx: Tx, pairs: Iterable[pacing.Pair]) -> dict[pacing.Pair, Account]:
        """The accounts named, disabled ones too. At most a second old."""
        wanted = set(pairs)
        sides = sorted({workspace_id for workspace_id, _ in wanted})
        found = [one for side in sides for one in await self._read(tx, WorkspaceId(side))]
        return {(one.workspace_id, one.id): one for one in found if (one.workspace_id, one.id) in wanted}

    def called(self, account_id: UUID) -> Account | UnsetType | None:
        """The account a vendor's callback names, or None for no account's id, as `for_callbacks` found it at most a
        second ago. UNSET: it must be asked."""
        now = self._clock.monotonic()
        until, account = self._called.get(account_id) or (self._strange.get(account_id, now), None)
        return account if now < until else UNSET

    async def for_callbacks(self, tx: Tx, account_ids: Sequence[UUID]) -> dict[UUID, Account]:
        """Those of the accounts that exist, read now, disabled ones too: they still hear what became of messages."""
        asked = self._clock.monotonic()
        found: dict[UUID, Account] = {}
        for side, rows in groupby(await store.by_ids(tx, account_ids), key=lambda row: row.workspace_id):
            test = await self._mode_of(tx, WorkspaceId(side)) == "test"
            found |= {one.id: one for one in await self._opened(tx, WorkspaceId(side), list(rows), test)}
        tx.after_commit(lambda: self._keep_called(asked + FRESH_SECONDS, account_ids, found))
        return found

    async def reserve(
        self, tx: Tx, departures: Sequence[pacing.Pair], kept: Mapping[int, datetime] = MappingProxyType({})
    ) -> list[datetime]:
        """A departure time for each (workspace, account), in order; now where nothing paces the account.

        `kept` are times reserved before, by place: each still holds unless its account is paused now.
        """
        return await pacing.reserve(tx, departures, kept)

    async def throttled(self, tx: Tx, workspace_id: WorkspaceId, account_id: UUID, retry_after: float | None) -> None:
        """The vendor said "too many": halve the pace (at most once a second), pause for `retry_after` seconds."""
        await pacing.throttled(tx, (workspace_id, account_id), retry_after)

    async def succeeded(self, tx: Tx, pairs: Iterable[pacing.Pair]) -> None:
        """The vendor took messages: give back a little speed. One statement where nothing paces the accounts."""
        await pacing.succeeded(tx, pairs)

    # For people

    async def create(self, tx: Tx, caller: Caller, new: NewAccount) -> Configured:
        """The account made, audited. Raises `Invalid` with pointers where the settings are wrong."""
        provider = self._provider(new.provider)
        key = await self._vault.workspace(tx, caller.workspace_id, "secrets")
        empty = Stored(
            caller.workspace_id, ids.new(), provider.name, new.name or provider.name, {}, "", None, new.weight,
            False, tx.now, tx.now, None, _answering(provider, new.keyword_replies), new.brand,
        )  # fmt: skip
        stored = self._with_settings(caller, empty, new.settings, key)
        await store.insert(tx, stored)
        tx.after_commit(lambda: self._forget(caller.workspace_id, stored.id))
        if new.rate is not None:
            await pacing.limit(tx, (stored.workspace_id, stored.id), new.rate)
        await self._audit(tx, caller, "account.created", stored, {"provider": provider.name, "host": stored.host})
        return (await self._shown(tx, caller.workspace_id, [stored]))[0]

    async def change(self, tx: Tx, caller: Caller, account_id: UUID, patch: AccountPatch) -> Configured:
        """The account after the change, audited. Raises `SecretsRequired` when another host would get the secrets."""
        before = await self._locked(tx, caller.workspace_id, account_id)
        key = await self._vault.workspace(tx, caller.workspace_id, "secrets")
        after = before
        if patch.settings is not UNSET:
            after = self._with_settings(caller, before, patch.settings, key)
        after = replace(
            after,
            name=before.name if patch.name is UNSET else patch.name,
            weight=before.weight if patch.weight is UNSET else patch.weight,
            disabled_at=_disabled_at(tx, before, patch),
            brand=before.brand if patch.brand is UNSET else patch.brand,
            keyword_replies=before.keyword_replies
            if patch.keyword_replies is UNSET
            else _answering(self._provider(before.provider), patch.keyword_replies),
        )
        if after != before:
            await store.update(tx, after)
        if patch.rate is not UNSET:
            await pacing.limit(tx, (caller.workspace_id, account_id), patch.rate)
        await self._audit(tx, caller, "account.updated", after, _difference(before, after, patch))
        return (await self._shown(tx, caller.workspace_id, [replace(after, updated_at=tx.now)]))[0]

    async def disable(self, tx: Tx, caller: Caller, account_id: UUID) -> None:
        """Stop using the account, in every process within a second. Again is no error."""
        before = await self._locked(tx, caller.workspace_id, account_id)
        if before.disabled_at is None:
            await store.update(tx, replace(before, disabled_at=tx.now))
            await self._audit(tx, caller, "account.disabled", before, {})

    async def read(self, tx: Tx, workspace_id: WorkspaceId, account_id: UUID) -> Configured:
        stored = await store.read(tx, workspace_id, account_id)
        if stored is None:
            raise _unknown(account_id)
        return (await self._shown(tx, workspace_id, [stored]))[0]

    async def page(self, tx: Tx, workspace_id: WorkspaceId, before: UUID | None, limit: int) -> list[Configured]:
        """Accounts of a side, newest first; a test side's simulator accounts are made if they are not there yet."""
        await self._read(tx, workspace_id)
        return await self._shown(tx, workspace_id, await store.page(tx, workspace_id, before, limit))

    async def survey(self, tx: Tx, workspace_id: WorkspaceId) -> list[Configured]:
        """All accounts of a side, oldest first, as they are: none is made by looking."""
        return await self._shown(tx, workspace_id, await store.of_workspace(tx, workspace_id))

    # Reading

    async def _read(self, tx: Tx, workspace_id: WorkspaceId) -> tuple[Account, ...]:
        kept = self._cache.get(workspace_id)
        asked = self._clock.monotonic()
        if kept is not None and asked < kept[0]:
            return kept[1]
        accounts = await self._fetch(tx, workspace_id)
        tx.after_commit(lambda: self._keep(workspace_id, asked + FRESH_SECONDS, accounts))
        return accounts

    async def _fetch(self, tx: Tx, workspace_id: WorkspaceId) -> tuple[Account, ...]:
        test = await self._mode_of(tx, workspace_id) == "test"
        rows = await store.of_workspace(tx, workspace_id)
        if test and (missing := self._not_simulated(rows)):
            await store.insert_simulated(tx, workspace_id, [(ids.new(), name) for name in missing])
            rows = await store.of_workspace(tx, workspace_id)
        return await self._opened(tx, workspace_id, rows, test)

    async def _opened(
        self, tx: Tx, workspace_id: WorkspaceId, rows: Sequence[Stored], test: bool
    ) -> tuple[Account, ...]:
        """The accounts of these rows of one side that can be used."""
        key = await self._vault.workspace(tx, workspace_id, "secrets") if any(row.secrets for row in rows) else None
        found = [(row, self._settings(row, key, test)) for row in rows]
        return tuple(self._account(row, settings) for row, settings in found if settings is not None)

    def _not_simulated(self, rows: Sequence[Stored]) -> list[str]:
        there = {row.provider for row in rows if row.simulated}
        wanted = [
            one.name for one in self._providers.values() if one.channels & SIMULATED_CHANNELS and one.name != "fake"
        ]
        return [name for name in wanted if name not in there]

    def _settings(self, row: Stored, key: Key | None, test: bool) -> ProviderSettings | None:
        """The settings to use; None where the provider is gone or the secrets do not open for this host."""
        provider = self._providers.get(row.provider)
        if provider is None:
            return None
        if row.simulated:
            return provider.simulated(None, self._simulator) if test else None
        try:
            settings: ProviderSettings = decode_settings(provider, {**row.settings, **_opened(provider, row, key)})
        except HubError:
            return None
        return provider.simulated(settings, self._simulator) if test else settings

    def _account(self, row: Stored, settings: ProviderSettings) -> Account:
        return Account(
            AccountId(row.id), WorkspaceId(row.workspace_id), row.provider, row.name, settings, row.weight,
            self._providers[row.provider].channels, row.disabled_at is None,
            _answers(self._providers[row.provider], row), row.brand,
        )  # fmt: skip

    def _keep(self, workspace_id: UUID, until: float, accounts: tuple[Account, ...]) -> None:
        self._cache[workspace_id] = (until, accounts)
        self._cache.move_to_end(workspace_id)
        while len(self._cache) > CACHE_SIDES:
            self._cache.popitem(last=False)

    def _keep_called(self, until: float, asked: Sequence[UUID], found: Mapping[UUID, Account]) -> None:
        if len(self._strange) > CACHE_STRANGE:
            self._strange.clear()
        for one in asked:
            self._called.pop(one, None)
            self._strange.pop(one, None)
            if one in found:
                self._called[one] = (until, found[one])
            else:
                self._strange[one] = until
        while len(self._called) > CACHE_CALLED:
            self._called.popitem(last=False)

    # Showing

    async def _shown(self, tx: Tx, workspace_id: WorkspaceId, rows: Sequence[Stored]) -> list[Configured]:
        key = await self._vault.workspace(tx, workspace_id, "secrets") if any(row.secrets for row in rows) else None
        rates = await store.ceilings(tx, workspace_id, [row.id for row in rows]) if rows else {}
        return [self._configured(row, rates.get(row.id), key) for row in rows]

    def _configured(self, row: Stored, rate: float | None, key: Key | None) -> Configured:
        settings = self._settings(row, key, test=row.simulated)
        provider = self._providers.get(row.provider)
        return Configured(
            id=AccountId(row.id),
            provider=row.provider,
            name=row.name,
            settings=mask(settings) if settings else dict(row.settings),
            weight=row.weight,
            rate=rate,
            channels=provider.channels if provider else frozenset(),
            simulated=row.simulated,
            enabled=row.disabled_at is None,
            readable=settings is not None,
            created_at=row.created_at,
            updated_at=row.updated_at,
            keyword_replies=_answers(provider, row),
            brand=row.brand,
        )

    # Changing

    def _provider(self, name: str) -> Provider[Any]:
        provider = self._providers.get(name)
        if provider is None:
            detail = f"there is no provider '{name[:64]}'; use one of: {', '.join(sorted(self._providers))}"
            raise Invalid("provider_unknown", detail, FieldError("/provider", detail))
        return provider

    def _require_host(self, caller: Caller, settings: ProviderSettings) -> None:
        """Return if this caller may give secrets to the host of these settings. A test side never calls it."""
        if caller.mode == "test":
            return
        if is_custom(settings) and caller.role not in (Role.OWNER, Role.ADMIN):
            raise Forbidden("role_missing", "only owner and admin keys may put another host in place of the vendor's")
        if not self._hosts.allows(settings):
            raise HostRefused(settings.host())
        if not self._hosts.opened(settings) and (unfit := settings.unfit_in_public()):
            raise UnfitInPublic(settings.host(), unfit)

    async def _locked(self, tx: Tx, workspace_id: WorkspaceId, account_id: UUID) -> Stored:
        """The row, locked first and then read."""
        stored = (
            await store.read(tx, workspace_id, account_id) if await store.lock(tx, workspace_id, account_id) else None
        )
        if stored is None:
            raise _unknown(account_id)
        tx.after_commit(lambda: self._forget(workspace_id, account_id))
        return stored

    def _with_settings(self, caller: Caller, before: Stored, patch: Mapping[str, Any], key: Key) -> Stored:
        """The row with its settings patched. Secrets go along only to the host they were given for."""
        if before.simulated:
            raise Conflict("account_simulated", "the settings of a simulator account are the hub's own; add an account")
        provider = self._provider(before.provider)
        names = secret_fields(provider.settings_type)
        given = {name: value for name, value in patch.items() if not (name in names and value == MASK)}
        wanted = {name: value for name, value in {**before.settings, **given}.items() if value is not None}
        after = replace(before, host=_host(decode_settings(provider, wanted)))
        stay = sorted(name for name in names if wanted.get(name) == MASK)
        if stay:
            wanted |= _only(_kept(provider, before, after.host, key, stay), stay)
        settings = decode_settings(provider, wanted)
        self._require_host(caller, settings)
        return _sealed(after, settings, key)

    async def _audit(self, tx: Tx, caller: Caller, action: str, stored: Stored, detail: Mapping[str, object]) -> None:
        await audit(tx, caller.workspace_id, caller.actor, action, ids.show("acc", stored.id), detail)

    def _forget(self, workspace_id: UUID, account_id: UUID) -> None:
        self._cache.pop(workspace_id, None)
        self._called.pop(account_id, None)
        self._strange.pop(account_id, None)


def _unknown(account_id: UUID) -> NotFound:
    shown = ids.show("acc", account_id)
    return NotFound("account_not_found", f"there is no account {shown} here; check the id and the key's mode")


def _host(settings: ProviderSettings) -> str:
    try:
        return settings.host()
    except ValueError as error:
        detail = f"the host cannot be read: {error}"
        raise Invalid("settings_invalid", detail, FieldError("/settings/base_url", str(error))) from None


def _disabled_at(tx: Tx, before: Stored, patch: AccountPatch) -> datetime | None:
    if patch.enabled is UNSET:
        return before.disabled_at
    return None if patch.enabled else before.disabled_at or tx.now


def _answering(provider: Provider[Any], wanted: KeywordReplies | None) -> KeywordReplies | None:
    """Who shall answer keywords. Raises `Invalid` for a vendor that answers none."""
    if wanted is KeywordReplies.VENDOR and Feature.HANDLES_KEYWORDS not in provider.features:
        detail = f"{provider.name} answers no STOP and HELP itself; use hub or off"
        raise Invalid("keyword_replies_not_possible", detail, FieldError("/keyword_replies", detail))
    return wanted


def _answers(provider: Provider[Any] | None, row: Stored) -> KeywordReplies:
    """Who answers keywords: what was set, else the vendor where it does anyhow, else the hub."""
    if row.keyword_replies is not None:
        return KeywordReplies(row.keyword_replies)
    handled = provider is not None and Feature.HANDLES_KEYWORDS in provider.features
    return KeywordReplies.VENDOR if handled else KeywordReplies.HUB


def _difference(before: Stored, after: Stored, patch: AccountPatch) -> dict[str, object]:
    """What was to change, for the audit trail: names of fields, and the host, because secrets go there."""
    named = ("name", "weight", "rate", "enabled", "keyword_replies", "brand")
    changed = [name for name in named if getattr(patch, name) is not UNSET]
    if patch.settings is not UNSET:
        changed += [f"settings.{name}" for name in sorted(patch.settings)]
    return {"changed": changed} | ({"host": after.host} if after.host != before.host else {})


# Secrets. A row keeps its settings as they are shown, dots for secrets; the secrets lie beside them, sealed.


def _sealed(row: Stored, settings: ProviderSettings, key: Key) -> Stored:
    """The row with these settings, its secrets sealed for its host."""
    secrets = {name: value for name, value in _only(expose(settings), secret_fields(type(settings))).items() if value}
    sealed = key.seal(msgspec.json.encode(secrets), _context(row, row.host)) if secrets else None
    return replace(row, settings=mask(settings), secrets=sealed)


def _opened(provider: Provider[Any], row: Stored, key: Key | None) -> dict[str, str]:
    """The secrets of a row. They open only while its settings name the host they were sealed for."""
    if row.secrets is None or key is None:
        return {}
    host = _host(decode_settings(provider, row.settings))
    opened: dict[str, str] = msgspec.json.decode(key.open(row.secrets, _context(row, host)))
    return opened


def _kept(provider: Provider[Any], before: Stored, host: str, key: Key, stay: Sequence[str]) -> dict[str, str]:
    """The secrets before. Raises `SecretsRequired` where they would go to another host, or no longer open."""
    try:
        kept = _opened(provider, before, key)
    except HubError:
        kept = {}
    if host != before.host or not kept.keys() >= set(stay):
        raise SecretsRequired(*stay)
    return kept


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _context(row: Stored, host: str) -> str:
    return f"account:{row.workspace_id}:{row.id}:{host}"
