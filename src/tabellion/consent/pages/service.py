"""What pages show, and what their forms do. None commits.

A form restricts at once. It grants only with a code that was sent to the very address, or, on a confirm link, because
only who reads at the address can have the link.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.consent.brands.service import brand as brand_of
from tabellion.consent.brands.service import brands
from tabellion.consent.brands.types import Brand
from tabellion.consent.links import store as links_store
from tabellion.consent.links.codes import Codes, Sent
from tabellion.consent.links.confirming import Confirming
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import Confirm, Left, LinkUnknown, Place, Preferences, Unsubscribe, Waiting
from tabellion.consent.notices.service import Notices
from tabellion.consent.pages import settings
from tabellion.consent.pages.settings import Gpc, PageSettings
from tabellion.consent.purposes.service import Catalogue
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.service import Consent
from tabellion.consent.types import (
    ANY,
    KINDS,
    Basis,
    Decision,
    Method,
    NewDecision,
    Notice,
    Purpose,
    PurposeClass,
    Purposes,
    Rank,
    Recorded,
)
from tabellion.consent.withdrawing import MARKETING, PERSON, Withdrawal
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import ADDRESSES, DELIVERABLE, Kind, Recipient, Ref

OPTIONAL: Final = frozenset({PurposeClass.MARKETING, PurposeClass.RESEARCH})
"""What a person chooses here. What serves them, or their security, a link in a mail must not end by accident."""
UNDO: Final = timedelta(hours=1)
"""How long the page after an unsubscription leads to the preferences."""
PAGE: Final = "preference_page"
"""The source of what is decided there."""
_FIRST: Final = {Kind.EMAIL: Channel.EMAIL, Kind.PHONE: Channel.SMS, Kind.WHATSAPP: Channel.WHATSAPP,
                 Kind.DEVICE: Channel.PUSH, Kind.WEBPUSH: Channel.WEBPUSH}  # fmt: skip


Titles: TypeAlias = Mapping[str, Mapping[str, str]]
"""Purpose → language → what it is called there, as far as somebody said."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One purpose at one address on one channel."""

    purpose: Purpose
    state: str
    """`on`, `off` or `waiting`."""
    brand: str | None = None
    """Whose it is, where that is not the brand of the page."""


@dataclass(frozen=True, slots=True)
class Section:
    """An address on a channel, and what there is to choose."""

    place: Place
    choices: Sequence[Choice]

    @property
    def name(self) -> str:
        """What forms call the address: the start of its keyed hash."""
        return self.place.identifier.hash[:8].hex()

    @property
    def grantable(self) -> bool:
        """Whether a code can be sent there."""
        return self.place.identifier.kind in ADDRESSES


@dataclass(frozen=True, slots=True)
class Centre:
    """A preference page."""

    workspace_id: WorkspaceId
    named: Preferences
    person: Recipient
    brand: str
    sections: Sequence[Section]
    settings: PageSettings
    titles: Titles

    def section(self, name: str, channel: str) -> Section | None:
        return next((one for one in self.sections if one.name == name and one.place.channel == channel), None)


@dataclass(frozen=True, slots=True)
class Leaving:
    """An unsubscribe page."""

    workspace_id: WorkspaceId
    named: Unsubscribe
    purpose: Purpose
    brand: str
    person: Recipient | None
    settings: PageSettings
    titles: Titles


@dataclass(frozen=True, slots=True)
class Asking:
    """A confirm page."""

    workspace_id: WorkspaceId
    waiting: Waiting
    purpose: Purpose
    brand: str
    person: Recipient | None
    settings: PageSettings
    titles: Titles


@dataclass(frozen=True, slots=True)
class Pages:
    consent: Consent
    recipients: Recipients
    accounts: Accounts
    links: Links
    codes: Codes
    confirming: Confirming
    notices: Notices
    catalogue: Catalogue

    # unsubscribe

    async def leaving(self, tx: Tx, workspace_id: WorkspaceId, named: Unsubscribe) -> Leaving:
        """What an unsubscribe page shows. It is there for whoever was erased, too."""
        purposes = await self.consent.purposes(tx, workspace_id)
        purpose = purposes.get(named.purpose, purposes[MARKETING])
        owner = (await self.recipients.owners(tx, workspace_id, [named.identifier_hash])).get(named.identifier_hash)
        person = (await self.recipients.read(tx, workspace_id, [owner])).get(owner) if owner else None
        kept, _ = await settings.read(tx, workspace_id)
        name, titles = (await self.brand(tx, workspace_id, purpose)).name, await self.titles(tx, workspace_id)
        return Leaving(workspace_id, named, purpose, name, person, kept, titles)

    async def leave(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        named: Unsubscribe,
        method: Method,
        source: str,
        evidence: Mapping[str, Any],
        *,
        everything: bool = False,
    ) -> None:
        """Restrict what an unsubscribe link names; `everything`: all that its brand may ask for, on every channel."""
        purposes = await self.consent.purposes(tx, workspace_id)
        places = [(named.channel.value, named.purpose)]
        if everything:
            own = await self.brand(tx, workspace_id, purposes.get(named.purpose, purposes[MARKETING]))
            default = await brand_of(tx, workspace_id, None)
            places += [(ANY, one) for one in roots(purposes, lambda one: (one.brand or default.key) == own.key)]
        said = Withdrawal(named.identifier_hash, named.kind, places, method, source, evidence)
        await self._withdraw(tx, workspace_id, said)

    async def undo(self, tx: Tx, leaving: Leaving) -> str | None:
        """Where the person turns it on again: a page of this one place, for an hour.

        An unsubscribe link is for ever and gets forwarded: what it leads to tells no more than it does.
        """
        if leaving.person is None:
            return None
        left = Left(leaving.named.identifier_hash, leaving.named.channel, leaving.purpose.key)
        named = Preferences(leaving.person.id, tx.now + UNDO, left)
        return await self.links.path(tx, leaving.workspace_id, named)

    # preferences

    async def centre(self, tx: Tx, workspace_id: WorkspaceId, named: Preferences, *, lock: bool = False) -> Centre:
        """What a preference page shows; with `lock`, while nothing about the person changes. Raises `LinkUnknown`."""
        if lock:
            await self.recipients.lock(tx, [(workspace_id, named.recipient_id)], skip_locked=False)
        person = (await self.recipients.read(tx, workspace_id, [named.recipient_id])).get(named.recipient_id)
        if person is None:
            raise LinkUnknown
        purposes = await self.consent.purposes(tx, workspace_id)
        offered = [one for one in purposes.values() if not one.archived and _offered(one, named.only)]
        places = await self._places(tx, workspace_id, person, named.only)
        own = await self.brand(tx, workspace_id, offered[0] if named.only and offered else None)
        others = {one.key: one.name for one in await brands(tx, workspace_id) if one.key != own.key}
        sections = await self._sections(tx, workspace_id, places, offered, others)
        kept, _ = await settings.read(tx, workspace_id)
        titles = await self.titles(tx, workspace_id)
        return Centre(workspace_id, named, person, own.name, sections, kept, titles)

    async def restrict(
        self, tx: Tx, centre: Centre, section: Section, purpose: str, method: Method, evidence: Mapping[str, Any]
    ) -> None:
        """Turn one purpose off at an address, and with it for the person on that channel."""
        where, places = section.place, [(section.place.channel.value, purpose)]
        said = Withdrawal(where.identifier.hash, where.identifier.kind, places, method, PAGE, evidence)
        await self._withdraw(tx, centre.workspace_id, said)

    async def restrict_all(self, tx: Tx, centre: Centre, method: Method, evidence: Mapping[str, Any]) -> None:
        """Turn everything that is optional off, for the person and for each of their addresses."""
        places = [(ANY, one) for one in roots(await self.consent.purposes(tx, centre.workspace_id))]
        addresses = [one for one in centre.person.identifiers if one.kind in DELIVERABLE]
        said = [Withdrawal(one.hash, one.kind, places, method, PAGE, evidence) for one in addresses]
        await self._withdraw(tx, centre.workspace_id, *said)

    async def request_code(self, tx: Tx, centre: Centre, section: Section) -> Sent:
        """Have a code sent to an address, for turning something on there."""
        return await self.codes.request(tx, centre.workspace_id, section.place)

    async def grant(
        self, tx: Tx, centre: Centre, section: Section, purpose: str, code: str, evidence: Mapping[str, Any]
    ) -> Recorded | HubError | None:
        """Turn a purpose on at an address with the code that was sent there; None where it is not that."""
        if not await self.codes.check(tx, centre.workspace_id, section.place, code):
            return None
        where = section.place
        new = NewDecision(
            recipient=Ref(id=centre.person.id),
            channel=where.channel,
            purpose=purpose,
            decision=Decision.GRANTED,
            basis=Basis.CONSENT,
            method=Method.PREFERENCE_CENTRE,
            source=PAGE,
            rank=Rank.PERSON,
            actor=PERSON,
            identifier=Ref(kind=where.identifier.kind, value=where.identifier.value),
            evidence={**evidence, "proved_by": "code"},
        )
        [recorded] = await self.consent.record(tx, centre.workspace_id, [new])
        return recorded

    # confirm

    async def asking(self, tx: Tx, workspace_id: WorkspaceId, named: Confirm) -> Asking:
        """What a confirm page shows. Raises `LinkUnknown` where nothing waits any more."""
        waiting = await self.confirming.read(tx, workspace_id, named.entry_id)
        if waiting is None:
            raise LinkUnknown
        purposes = await self.consent.purposes(tx, workspace_id)
        purpose = purposes.get(waiting.purpose)
        if purpose is None or purpose.archived:
            raise LinkUnknown
        person = (await self.recipients.read(tx, workspace_id, [waiting.recipient_id])).get(waiting.recipient_id)
        kept, _ = await settings.read(tx, workspace_id)
        name, titles = (await self.brand(tx, workspace_id, purpose)).name, await self.titles(tx, workspace_id)
        return Asking(workspace_id, waiting, purpose, name, person, kept, titles)

    async def confirm(self, tx: Tx, asking: Asking, evidence: Mapping[str, Any]) -> Recorded | None:
        """Grant what is confirmed; None where it was already."""
        return await self.confirming.confirm(tx, asking.workspace_id, asking.waiting, evidence)

    async def holds(self, tx: Tx, asking: Asking) -> bool:
        """Whether what was confirmed is on."""
        one = asking.waiting
        place = Place(one.recipient_id, one.identifier, one.channel)
        [verdict] = await self.consent.verdicts(tx, [_question(asking.workspace_id, place, asking.purpose)])
        return verdict.verdict == "allowed"

    async def notice(self, tx: Tx, workspace_id: WorkspaceId, seen: Notice, language: str) -> tuple[str, str] | None:
        """What the person agreed to and its language, this one or its own; None where its text is not kept here."""
        try:
            version = await self.notices.version(tx, workspace_id, seen.id, str(seen.version))
        except NotFound:
            return None
        spoken = language if language in version.texts else version.default_language
        return version.texts[spoken], spoken

    # parts

    async def _withdraw(self, tx: Tx, workspace_id: WorkspaceId, *said: Withdrawal) -> None:
        """Restrict. What cannot be recorded is raised: nobody is told that it was who was not."""
        for some in await self.consent.withdraw(tx, workspace_id, said):
            raise_first(some)

    async def brand(self, tx: Tx, workspace_id: WorkspaceId, purpose: Purpose | None) -> Brand:
        """In whose name a purpose is; of none, or where its brand is no more, the default one's."""
        known = {one.key: one for one in await brands(tx, workspace_id)}
        return known.get((purpose and purpose.brand) or "") or await brand_of(tx, workspace_id, None)

    async def titles(self, tx: Tx, workspace_id: WorkspaceId) -> Titles:
        """What purposes are called in other languages."""
        return {key: row.settings.titles for key, row in (await self.catalogue.rows(tx, workspace_id)).items()}

    async def _places(self, tx: Tx, workspace_id: WorkspaceId, person: Recipient, only: Left | None) -> list[Place]:
        """Each address on the channels that it is written to by: its own, and those somebody serves or decided on."""
        shown = [one for one in person.identifiers if one.kind in DELIVERABLE]
        if only is not None:
            return [Place(person.id, one, only.channel) for one in shown if one.hash == only.identifier_hash]
        served = {one for account in await self.accounts.usable(tx, workspace_id) for one in account.channels}
        standing = await self.consent.standing(tx, workspace_id, [one.hash for one in shown], [person.id])
        decided = {(one.identifier_hash, one.channel) for one in standing}
        return [
            Place(person.id, one, channel)
            for one in shown
            for channel, kinds in KINDS.items()
            if one.kind in kinds
            and (channel is _FIRST[one.kind] or channel in served or (one.hash, channel.value) in decided)
        ]

    async def _sections(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        places: Sequence[Place],
        offered: Sequence[Purpose],
        others: Mapping[str, str],
    ) -> list[Section]:
        asked = [_question(workspace_id, place, one) for place in places for one in offered]
        verdicts = iter(await self.consent.verdicts(tx, asked))
        waiting = await links_store.waiting(tx, workspace_id, [one.identifier.hash for one in places])
        open_ = {(one.identifier_hash, one.channel, one.purpose) for one in waiting}
        return [
            Section(place, [_choice(place, one, next(verdicts), open_, others) for one in offered]) for place in places
        ]


# pure


def raise_first(became: Sequence[Recorded | HubError]) -> None:
    """Raise what could not be recorded, if anything."""
    for one in became:
        if isinstance(one, HubError):
            raise one


def roots(purposes: Purposes, wanted: Callable[[Purpose], bool] = lambda one: True) -> list[str]:
    """The purposes by which everything optional is restricted that is wanted: restrictions inherit down."""
    optional = {one.key for one in purposes.values() if one.purpose_class in OPTIONAL and wanted(one)}
    return sorted(one for one in optional if purposes[one].parent not in optional)


def _offered(purpose: Purpose, only: Left | None) -> bool:
    """Whether a page is about a purpose: whatever was left, or what one may choose."""
    return purpose.key == only.purpose if only else purpose.purpose_class in OPTIONAL


def applies(kept: PageSettings, signal: bool) -> bool:
    """Whether a privacy signal restricts by itself, beside what the person turns off."""
    return signal and kept.gpc is Gpc.RESTRICT


def _question(workspace_id: UUID, place: Place, purpose: Purpose) -> Question:
    one = place.identifier
    return Question(workspace_id, place.recipient_id, one.hash, one.kind, place.channel, purpose.key)


def _choice(
    place: Place,
    purpose: Purpose,
    verdict: Verdict,
    waiting: Collection[tuple[bytes, str, str]],
    others: Mapping[str, str],
) -> Choice:
    waits = (place.identifier.hash, place.channel.value, purpose.key) in waiting
    return Choice(purpose, _state(verdict, purpose, waits), others.get(purpose.brand or ""))


def _state(verdict: Verdict, purpose: Purpose, waits: bool) -> str:
    if verdict.verdict == "allowed" or (verdict.verdict == "unknown" and purpose.unknown_allowed):
        return "on"
    return "waiting" if waits else "off"
