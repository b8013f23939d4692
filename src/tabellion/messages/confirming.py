"""The mails and texts that consent asks for: a link to confirm a pending grant, a code for the preference page.

A follower of the log. The message, the mark that it was sent and the follower's place commit together, so each is sent
once, whatever crashes. What cannot be sent is an event (`confirmation.unsendable`), with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tabellion.consent.brands.service import brand
from tabellion.consent.links.codes import Codes
from tabellion.consent.links.confirming import Confirming
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import Confirm, Waiting
from tabellion.consent.pages.html import draw, el
from tabellion.consent.pages.service import Pages
from tabellion.consent.pages.texts import Language, Texts
from tabellion.consent.service import Consent
from tabellion.consent.types import Purpose
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.events.followers import Follower
from tabellion.events.service import EventLog
from tabellion.events.types import Event, Recorded
from tabellion.jobs.types import Lane
from tabellion.messages.service import Messages, Send
from tabellion.messages.types import Content, Message, Step
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Ref

PENDING: Final = "consent.pending"
CODE: Final = "consent.code_requested"
PURPOSE: Final = "confirmation"
UNSENDABLE: Final = "confirmation.unsendable"


@dataclass(frozen=True, slots=True)
class Asking:
    messages: Messages
    consent: Consent
    recipients: Recipients
    links: Links
    codes: Codes
    confirming: Confirming
    pages: Pages
    texts: Texts
    events: EventLog

    def follower(self) -> Follower:
        """Sends what the log asks for. Of what is older than a confirmation may wait, nothing comes."""
        return Follower("confirmations", self.handle, batch=100)

    async def handle(self, tx: Tx, events: Sequence[Recorded]) -> None:
        for one in events:
            if one.type == PENDING and one.data["consent"]["id"]:
                await self._ask(tx, one.workspace_id, ids.parse("cns", one.data["consent"]["id"]))
            elif one.type == CODE:
                await self._send_codes(tx, one.workspace_id, ids.parse("rcp", one.data["recipient"]["id"]))

    # a pending grant

    async def _ask(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> None:
        """Ask the person to confirm, once a day at most."""
        waiting = await self.confirming.wait(tx, workspace_id, entry_id)
        if waiting is None:
            return
        if await self.confirming.asked_lately(tx, workspace_id, waiting):
            await self._unsendable(tx, workspace_id, waiting.recipient_id, "asked_lately", entry_id)
            return
        url = await self.links.confirm_url(tx, workspace_id, Confirm(entry_id, waiting.expires_at))
        if url is None:
            await self._unsendable(tx, workspace_id, waiting.recipient_id, "no_public_url", entry_id)
            return
        purpose = (await self.consent.purposes(tx, workspace_id)).get(waiting.purpose)
        if purpose is None or purpose.archived:
            reason = "purpose_archived" if purpose else "purpose_unknown"
            await self._unsendable(tx, workspace_id, waiting.recipient_id, reason, entry_id)
            return
        send = await self._confirmation(tx, workspace_id, waiting, purpose, url)
        message = await self._accepted(tx, workspace_id, waiting.recipient_id, send, entry_id)
        if message is not None:
            await self.confirming.asked(tx, workspace_id, waiting, message.id)

    async def _confirmation(
        self, tx: Tx, workspace_id: WorkspaceId, waiting: Waiting, purpose: Purpose, url: str
    ) -> Send:
        said = await self._language(tx, workspace_id, waiting.recipient_id)
        values = {
            "brand": (await self.pages.brand(tx, workspace_id, purpose)).name,
            "purpose": said.purpose(purpose, await self.pages.titles(tx, workspace_id)),
            "channel": said.channel(waiting.channel),
        }
        content = confirmation(said, values, f"{url}?lang={said.code}")
        metadata = {"consent": ids.show("cns", waiting.entry_id)}
        return _send(waiting.identifier, waiting.channel, content, metadata, waiting.expires_at)

    # a code

    async def _send_codes(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> None:
        for one, digits in await self.codes.unsent(tx, workspace_id, recipient_id):
            pair = (workspace_id, recipient_id)
            addresses = (await self.recipients.identifiers(tx, [pair]))[pair]
            address = next((each for each in addresses if each.hash == one.identifier_hash), None)
            if address is None:
                continue
            said = await self._language(tx, workspace_id, recipient_id)
            content = code(said, (await brand(tx, workspace_id, None)).name, digits)
            send = _send(address, Channel(one.channel), content, {}, one.expires_at)
            message = await self._accepted(tx, workspace_id, recipient_id, send, None)
            if message is not None:
                await self.codes.carried(tx, workspace_id, one, message.id)

    # parts

    async def _language(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Language:
        person = (await self.recipients.read(tx, workspace_id, [recipient_id])).get(recipient_id)
        return self.texts.choose(person.locale if person else None)

    async def _accepted(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID, send: Send, entry_id: UUID | None
    ) -> Message | None:
        [message] = await self.messages.accept(tx, workspace_id, [send])
        if isinstance(message, HubError):
            await self._unsendable(tx, workspace_id, recipient_id, message.code, entry_id)
            return None
        if message.final:  # nothing will leave: no account of the channel, or a refusal of all messages stands
            await self._unsendable(tx, workspace_id, recipient_id, message.reason or message.status, entry_id)
            return None
        return message

    async def _unsendable(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID, reason: str, entry_id: UUID | None
    ) -> None:
        consent = ids.show("cns", entry_id) if entry_id else None
        data = {"recipient": {"id": ids.show("rcp", recipient_id)}, "consent": {"id": consent}, "reason": reason}
        await self.events.append(tx, [Event(workspace_id, UNSENDABLE, data, recipient_id)])


# pure


def confirmation(said: Language, values: dict[str, str], url: str) -> Content:
    """What asks somebody to confirm."""
    text, ignore = said.text("mail_confirm_text", **values), said.text("mail_confirm_ignore")
    html = el("p", text), el("p", el("a", said.text("confirm_button"), href=url)), el("p", ignore)
    short = {"text": said.text("mail_confirm_sms", brand=values["brand"], purpose=values["purpose"], url=url)}
    return Content(
        text=f"{text}\n\n{url}\n\n{ignore}\n",
        subject=said.text("mail_confirm_subject", purpose=values["purpose"]),
        html=draw(el("div", *html, lang=said.code, dir=said.direction)),
        by_channel=_shorter(short),
    )


def code(said: Language, brand: str, digits: str) -> Content:
    """What carries a code. Its first characters are the code: a notification that is cut off still shows it."""
    text = said.text("mail_code_text", code=digits, brand=brand)
    return Content(
        text=f"{text}\n",
        subject=said.text("mail_code_subject", code=digits),
        html=draw(el("div", el("p", text), lang=said.code, dir=said.direction)),
        by_channel=_shorter({"text": text}),
    )


def _shorter(content: dict[str, str]) -> dict[str, dict[str, str]]:
    return {channel.value: content for channel in Channel if channel is not Channel.EMAIL}


def _send(address: Identifier, channel: Channel, content: Content, metadata: dict[str, Any], until: datetime) -> Send:
    return Send(
        to=Ref(kind=address.kind, value=address.value),
        purpose=PURPOSE,
        content=content,
        steps=(Step(channel),),
        create=False,
        lane=Lane.HIGH,
        expires_at=until,
        metadata=metadata or None,
    )
