"""One clicks: a mailing to a million comes back as a storm of them, so they are committed in groups.

None is shed: `MOST_WAITING` bounds the memory of a process and no more.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from tabellion.consent.links.service import MOST_WAITING
from tabellion.consent.links.types import Unsubscribe
from tabellion.consent.service import Consent
from tabellion.consent.types import Method, Recorded
from tabellion.consent.withdrawing import Withdrawal
from tabellion.core.batching import Batcher
from tabellion.core.db import Database
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId

SOURCE: Final = "one_click"


def clicking(db: Database, consent: Consent, observe: Callable[[int], None]) -> Batcher[Withdrawal, None]:
    """Withdraws at once for all who click at once; who cannot be recorded hears it alone."""

    async def commit(workspace_id: Hashable, said: list[Withdrawal]) -> Sequence[HubError | None]:
        side: WorkspaceId = workspace_id  # type: ignore[assignment]
        return [_refused(one) for one in await db.run(lambda tx: consent.withdraw(tx, side, said))]

    return Batcher(commit, observe=observe, most_waiting=MOST_WAITING)


def clicked(named: Unsubscribe, evidence: Mapping[str, Any]) -> Withdrawal:
    """What a mailbox provider asks for."""
    places = [(named.channel.value, named.purpose)]
    return Withdrawal(named.identifier_hash, named.kind, places, Method.ONE_CLICK, SOURCE, evidence)


def _refused(became: Sequence[Recorded | HubError]) -> HubError | None:
    return next((one for one in became if isinstance(one, HubError)), None)
