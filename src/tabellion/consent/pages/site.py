"""The pages by token: what is asked for, and what is shown. Each question is one transaction, opened here.

GET only reads. A POST restricts where its form was read on the page of the token within the hour and a button says
so; a mailbox provider's one click needs neither (RFC 8058).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from tabellion.consent.links.codes import Sent
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import Confirm, LinkUnknown, Opened, Page, Preferences, Unsubscribe
from tabellion.consent.pages import forms, views
from tabellion.consent.pages.clicks import SOURCE, clicked
from tabellion.consent.pages.limits import PageLimits, SourceLimits
from tabellion.consent.pages.service import Asking, Centre, Leaving, Pages, Section, applies
from tabellion.consent.pages.settings import PageSettings
from tabellion.consent.pages.texts import Texts
from tabellion.consent.pages.views import Frame
from tabellion.consent.types import Method
from tabellion.consent.withdrawing import Withdrawal
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError, Overloaded
from tabellion.recipients.types import Recipient

SIGNAL: Final = "1"
"""What `Sec-GPC` says where it says anything (https://www.w3.org/TR/gpc/, 3.3, read 2026-11-28)."""

BUSY_FOR: Final = 60
"""Seconds after which who was told to wait is shown pages again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a page."""

    token: str
    address: str | None
    language: str | None = None
    """As `?lang=` has it."""
    accept: str | None = None
    """`Accept-Language`."""
    signal: bool = False
    """`Sec-GPC: 1`."""
    fields: Mapping[str, str] | None = None
    """Of a POST."""
    near: str = views.NEAR
    """Where other pages lie from the address as it was asked for."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What goes back."""

    status: int
    body: bytes
    retry_after: int | None = None
    """Seconds."""


class View(Protocol):
    """What every page of somebody has."""

    @property
    def brand(self) -> str: ...
    @property
    def person(self) -> Recipient | None: ...
    @property
    def settings(self) -> PageSettings: ...


@dataclass(frozen=True, slots=True)
class Site:
    db: Database
    links: Links
    pages: Pages
    texts: Texts
    limits: PageLimits
    clicks: Batcher[Withdrawal, None]

    # unsubscribe

    async def show_leaving(self, asked: Asked) -> Shown:
        opened, named = await self._unsubscribe(asked)
        return await self._leaving(asked, opened, named)

    async def _leaving(
        self, asked: Asked, opened: Opened, named: Unsubscribe, told: str | None = None, status: int = 200
    ) -> Shown:
        """The page that asks; where too many pages were shown, one that takes no reading, with the button all the same.

        Who shares an address with many others could not leave otherwise: the form is on the page.
        """
        if not self.limits.shown.admit(asked.address):
            return Shown(429, views.leaving_hastily(await self._bare(Page.UNSUBSCRIBE, asked)), BUSY_FOR)
        page = await self.db.run(lambda tx: self.pages.leaving(tx, opened.workspace_id, named))
        return Shown(status, views.leaving(await self._frame(Page.UNSUBSCRIBE, asked, page), page, told))

    async def leave(self, asked: Asked) -> Shown:
        """Restrict. Never limited: whoever has the link may, and as often as they like."""
        fields = asked.fields or {}
        opened, named = await self._unsubscribe(asked)
        if forms.is_one_click(fields):
            return await self._click(asked, opened, named)
        everything = {"this": False, "everything": True}.get(fields.get("do", ""))
        if everything is None or not await self._fresh(Page.UNSUBSCRIBE, asked):
            return await self._leaving(asked, opened, named, "retry", 422)
        return await self._leave(
            asked, opened, named, Method.PREFERENCE_CENTRE, "unsubscribe_page", everything=everything
        )

    async def _click(self, asked: Asked, opened: Opened, named: Unsubscribe) -> Shown:
        """What a mailbox provider hears: that it is done. Nobody looks at it, so nothing is read for it."""
        if asked.signal:  # no mailbox provider's, but a browser's, which may mean more
            return await self._leave(asked, opened, named, Method.ONE_CLICK, SOURCE)
        await self.clicks.submit(opened.workspace_id, clicked(named, self._evidence(asked, named)))
        return Shown(200, views.clicked(self._plain(asked)))

    async def _leave(
        self,
        asked: Asked,
        opened: Opened,
        named: Unsubscribe,
        method: Method,
        source: str,
        *,
        everything: bool = False,
    ) -> Shown:
        side, evidence = opened.workspace_id, self._evidence(asked, named)

        async def work(tx: Tx) -> tuple[Leaving, str | None]:
            await self.pages.leave(tx, side, named, method, source, evidence, everything=everything)
            page = await self.pages.leaving(tx, side, named)
            if applies(page.settings, asked.signal):
                await self.pages.leave(tx, side, named, Method.GPC, source, evidence, everything=True)
            return page, await self.pages.undo(tx, page) if method is not Method.ONE_CLICK else None

        page, undo = await self.db.run(work)
        frame = await self._frame(Page.UNSUBSCRIBE, asked, page)
        return Shown(200, views.left(frame, page, undo, everything=everything))

    async def _unsubscribe(self, asked: Asked) -> tuple[Opened, Unsubscribe]:
        opened = await self.links.open(Page.UNSUBSCRIBE, asked.token)
        if not isinstance(opened.named, Unsubscribe):
            raise LinkUnknown
        return opened, opened.named

    # preferences

    async def show_centre(self, asked: Asked) -> Shown:
        opened, named = await self._preferences(asked)
        if named.expires_at <= self.db.clock.now():
            return self._expired(asked)
        return await self._shown_centre(asked, opened, named)

    async def _shown_centre(
        self, asked: Asked, opened: Opened, named: Preferences, told: str | None = None, status: int = 200
    ) -> Shown:
        """The page as it is; where too many were shown, that of who waits, which everything can be turned off on."""
        if not self.limits.shown.admit(asked.address):
            frame = await self._bare(Page.PREFERENCES, asked)
            return Shown(429, views.busy(frame, everything=named.only is None), BUSY_FOR)
        page = await self.db.run(lambda tx: self.pages.centre(tx, opened.workspace_id, named))
        return await self._centre(asked, page, told, status)

    async def choose(self, asked: Asked) -> Shown:
        """What a form of the preference page does: one of `off`, `everything`, `gpc`, `on`, `grant`."""
        fields = asked.fields or {}
        opened, named = await self._preferences(asked)
        if named.expires_at <= self.db.clock.now():
            return self._expired(asked)
        chosen = self._choices(named).get(fields.get("do", ""))
        if chosen is None or not await self._fresh(Page.PREFERENCES, asked):
            return await self._shown_centre(asked, opened, named, "retry", 422)

        async def work(tx: Tx) -> Callable[[], Awaitable[Shown]]:
            page = await self.pages.centre(tx, opened.workspace_id, named, lock=True)
            return await chosen(tx, asked, page)

        return await (await self.db.run(work))()

    def _choices(self, named: Preferences) -> Mapping[str, "_Chosen"]:
        """What may be done; on the page after an unsubscription only what is about that."""
        wide = {"everything": self._turn_all_off, "gpc": self._follow_signal} if named.only is None else {}
        return {"off": self._turn_off, "on": self._send_code, "grant": self._grant, **wide}

    async def _turn_off(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        section, purpose = _meant(asked, page)
        if section is None:
            return lambda: self._centre(asked, page, "retry", 422)
        await self.pages.restrict(tx, page, section, purpose, Method.PREFERENCE_CENTRE, self._evidence(asked))
        return await self._saved(tx, asked, page)

    async def _turn_all_off(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        await self.pages.restrict_all(tx, page, Method.PREFERENCE_CENTRE, self._evidence(asked))
        return await self._saved(tx, asked, page)

    async def _follow_signal(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        """What the box beside the signal says; a box that is not ticked says nothing."""
        if (asked.fields or {}).get("gpc") == "yes":
            await self.pages.restrict_all(tx, page, Method.GPC, self._evidence(asked))
        return await self._saved(tx, asked, page)

    async def _saved(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        if page.named.only is None and applies(page.settings, asked.signal):
            await self.pages.restrict_all(tx, page, Method.GPC, self._evidence(asked))
        after = await self.pages.centre(tx, page.workspace_id, page.named)
        return lambda: self._centre(asked, after, "saved")

    async def _send_code(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        section, purpose = _meant(asked, page)
        if section is None or not section.grantable:
            return lambda: self._centre(asked, page, "retry", 422)
        if not self.limits.codes.admit(asked.address):
            return lambda: self._centre(asked, page, "code_limited", 429)
        if await self.pages.request_code(tx, page, section) is Sent.LIMITED:
            return lambda: self._centre(asked, page, "code_limited", 429)
        return lambda: self._code(asked, page, section, purpose)

    async def _grant(self, tx: Tx, asked: Asked, page: Centre) -> "_Then":
        section, purpose = _meant(asked, page)
        if section is None or not section.grantable:
            return lambda: self._centre(asked, page, "retry", 422)
        if not self.limits.grants.admit(asked.address):
            return lambda: self._code(asked, page, section, purpose, "code_limited", 429)
        code = (asked.fields or {}).get("code", "")
        granted = await self.pages.grant(tx, page, section, purpose, code, self._evidence(asked))
        if granted is None:
            return lambda: self._code(asked, page, section, purpose, "code_wrong", 422)
        if isinstance(granted, HubError):
            raise granted
        after = await self.pages.centre(tx, page.workspace_id, page.named)
        if not granted.applied:
            return lambda: self._centre(asked, after, "confirm_refused", 409)
        return lambda: self._centre(asked, after, "saved")

    async def _centre(self, asked: Asked, page: Centre, told: str | None = None, status: int = 200) -> Shown:
        frame = await self._frame(Page.PREFERENCES, asked, page)
        return Shown(status, views.centre(frame, page, signal=asked.signal, told=told, wrong=status != 200))

    async def _code(
        self, asked: Asked, page: Centre, section: Section, purpose: str, told: str | None = None, status: int = 200
    ) -> Shown:
        return Shown(status, views.code(await self._frame(Page.PREFERENCES, asked, page), page, section, purpose, told))

    async def _preferences(self, asked: Asked) -> tuple[Opened, Preferences]:
        opened = await self.links.open(Page.PREFERENCES, asked.token)
        if not isinstance(opened.named, Preferences):
            raise LinkUnknown
        return opened, opened.named

    # confirm

    async def show_asking(self, asked: Asked) -> Shown:
        self._take(self.limits.shown, asked)
        opened, named = await self._confirm(asked)
        if named.expires_at <= self.db.clock.now():
            return self._expired(asked)
        page = await self.db.run(lambda tx: self.pages.asking(tx, opened.workspace_id, named))
        return await self._asking(asked, page)

    async def confirm(self, asked: Asked) -> Shown:
        self._take(self.limits.shown, asked)
        opened, named = await self._confirm(asked)
        if named.expires_at <= self.db.clock.now():
            return self._expired(asked)
        page = await self.db.run(lambda tx: self.pages.asking(tx, opened.workspace_id, named))
        frame = await self._frame(Page.CONFIRM, asked, page)
        if not _agreed(asked) or not await self._fresh(Page.CONFIRM, asked):
            return await self._asking(asked, page, "retry", 422)
        granted = await self.db.run(lambda tx: self.pages.confirm(tx, page, self._evidence(asked)))
        if granted is not None and not granted.applied:
            return Shown(409, views.refused(frame, page))
        return Shown(200, views.confirmed(frame, page)) if granted else await self._confirmed(asked, page)

    async def _asking(self, asked: Asked, page: Asking, told: str | None = None, status: int = 200) -> Shown:
        frame = await self._frame(Page.CONFIRM, asked, page)
        if page.waiting.confirmed_at is not None:
            return await self._confirmed(asked, page)
        seen, side, language = page.waiting.notice, page.workspace_id, frame.language.code
        text = await self.db.run(lambda tx: self.pages.notice(tx, side, seen, language)) if seen else None
        return Shown(status, views.asking(frame, page, text, told))

    async def _confirmed(self, asked: Asked, page: Asking) -> Shown:
        """For a link that was used: that it holds, where it does. Nobody is thanked for what is off."""
        if not await self.db.run(lambda tx: self.pages.holds(tx, page)):
            return self._expired(asked)
        return Shown(200, views.confirmed(await self._frame(Page.CONFIRM, asked, page), page, already=True))

    async def _confirm(self, asked: Asked) -> tuple[Opened, Confirm]:
        opened = await self.links.open(Page.CONFIRM, asked.token)
        if not isinstance(opened.named, Confirm):
            raise LinkUnknown
        return opened, opened.named

    # what is nobody's

    def unknown(self, asked: Asked, status: int = 404) -> Shown:
        """For whatever is no link of ours: the same to everybody."""
        return Shown(status, views.unknown(self._plain(asked)))

    def busy(self, asked: Asked, status: int) -> Shown:
        return Shown(status, views.busy(self._plain(asked)), BUSY_FOR)

    def _expired(self, asked: Asked) -> Shown:
        return Shown(410, views.expired(self._plain(asked)))

    def _plain(self, asked: Asked) -> Frame:
        return Frame(self.texts, self.texts.choose(asked.language, accept=asked.accept), near=asked.near)

    async def _bare(self, page: Page, asked: Asked) -> Frame:
        """What takes no reading, with what forms carry."""
        return replace(self._plain(asked), nonce=await self.links.nonce(page, asked.token, self.db.clock.now()))

    async def _frame(self, page: Page, asked: Asked, view: View) -> Frame:
        locale = view.person.locale if view.person else None
        language = self.texts.choose(asked.language, locale, accept=asked.accept, otherwise=view.settings.language)
        nonce = await self.links.nonce(page, asked.token, self.db.clock.now())
        return Frame(self.texts, language, view.brand, nonce, asked.near)

    async def _fresh(self, page: Page, asked: Asked) -> bool:
        given = (asked.fields or {}).get("nonce", "")
        return await self.links.fresh(page, asked.token, given, self.db.clock.now())

    def _evidence(self, asked: Asked, named: Unsubscribe | None = None) -> dict[str, Any]:
        """What shows how somebody decided: the mail it came from, the language they chose, the browser's signal."""
        evidence: dict[str, Any] = {}
        if named is not None and named.message_id is not None:
            evidence["message"] = ids.show("msg", named.message_id)
        if asked.language in self.texts.languages:
            evidence["language"] = asked.language
        if asked.signal:
            evidence["sec_gpc"] = SIGNAL
        return evidence

    def _take(self, limits: SourceLimits, asked: Asked) -> None:
        if not limits.admit(asked.address):
            raise Overloaded("too many pages from this address; wait a minute", BUSY_FOR, code="rate_limited")


_Then = Callable[[], Awaitable[Shown]]
"""What is shown once the transaction is over."""
_Chosen = Callable[[Tx, Asked, Centre], Awaitable[_Then]]


def _meant(asked: Asked, page: Centre) -> tuple[Section | None, str]:
    """The address and the purpose that a form names; no address where the page does not show both."""
    fields = asked.fields or {}
    purpose = fields.get("purpose", "")
    section = page.section(fields.get("at", ""), fields.get("channel", ""))
    known = section is not None and any(one.purpose.key == purpose for one in section.choices)
    return (section if known else None), purpose


def _agreed(asked: Asked) -> bool:
    """Whether the box was ticked, which it is not beforehand, and the button pressed.

    What opens mail to look into it presses buttons, too; it does not tick boxes.
    """
    fields = asked.fields or {}
    return (fields.get("do"), fields.get("agree")) == ("confirm", "yes")
