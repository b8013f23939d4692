"""Answers to STOP, START and HELP: a follower hears consent's `keyword.received` and has a message made of each.

The answer goes back through the account and from the number it came to, for the built-in purpose `security.keyword`,
which nothing refuses but a vendor's block. It is too late after the time in which a keyword is answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account, KeywordReplies
from tabellion.consent.keywords.types import RECEIVED, WINDOW, Received
from tabellion.consent.service import Consent
from tabellion.consent.types import ANSWER
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events.followers import Follower
from tabellion.events.types import Recorded
from tabellion.jobs.types import Lane
from tabellion.messages.replies import text
from tabellion.messages.service import Messages
from tabellion.messages.types import Candidate, Content, Guarantee, Message, Plan, Status, Step

NAME: Final = "keyword_replies"


@dataclass(frozen=True)
class Answering:
    consent: Consent
    accounts: Accounts
    messages: Messages

    def follower(self) -> Follower:
        """Whoever answers keywords, of those that come from now on."""
        return Follower(NAME, self.handle, from_start=False)

    async def handle(self, tx: Tx, events: Sequence[Recorded]) -> None:
        """Have each keyword that is still to be answered answered, where the hub does that for its account."""
        asked = sorted(_asked(events))
        for side, some in groupby(asked, key=lambda one: one[0]):
            found = await self.consent.keywords(tx, side, [keyword_id for _, keyword_id in some])
            await self._answer(tx, side, found)

    async def _answer(self, tx: Tx, workspace_id: WorkspaceId, received: Sequence[Received]) -> None:
        pairs = [(workspace_id, one.account_id) for one in received]
        accounts = await self.accounts.by_ids(tx, pairs) if pairs else {}
        ours = [
            (one, account)
            for one in received
            if (account := accounts.get((workspace_id, one.account_id)))
            and account.keyword_replies is KeywordReplies.HUB
        ]
        texts = await self._texts(tx, workspace_id, ours)
        answers = [(_message(tx, one), Content(text=texts[one.id])) for one, _ in ours]
        if answers:
            await self.messages.answer(tx, workspace_id, answers)

    async def _texts(
        self, tx: Tx, workspace_id: WorkspaceId, ours: Iterable[tuple[Received, Account]]
    ) -> Mapping[UUID, str]:
        """What to say to each."""
        named = {account.brand for _, account in ours}
        brands = {key: await self.consent.brand(tx, workspace_id, key) for key in named}
        return {one.id: text(one.keyword, one.language, brands[account.brand]) for one, account in ours}


def _asked(events: Iterable[Recorded]) -> set[tuple[WorkspaceId, UUID]]:
    """The keywords that are to be answered: side and id."""
    told = (one for one in events if one.type == RECEIVED and one.data["keyword"]["id"])
    return {(one.workspace_id, ids.parse("kwd", one.data["keyword"]["id"])) for one in told}


def _message(tx: Tx, received: Received) -> Message:
    """The answer as it is stored: one step, back to the number, and never twice."""
    step = Step(
        channel=received.channel,
        accounts=(received.account_id,),
        identifier=received.identifier_hash.hex(),
        sender=received.sender,
    )
    return Message(
        workspace_id=received.workspace_id,
        id=ids.new(),
        recipient_id=received.recipient_id,
        purpose=ANSWER,
        status=Status.QUEUED,
        final=False,
        reason=None,
        step=0,
        lane=Lane.HIGH,
        guarantee=Guarantee.AT_MOST_ONCE,
        send_at=tx.now,
        expires_at=received.received_at + WINDOW,
        created_at=tx.now,
        updated_at=tx.now,
        plan=Plan((step,), (Candidate(received.channel, True, "answer"),), "answer"),
        decisions=[],
        tags=("keyword", received.keyword),
    )
