"""What an operator should know about orders on people's data: which are late, and whether the journal is whole."""

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.privacy import regulation_store as store
from tabellion.privacy.journal import Journal

PAGE = 500


async def overdue(tx: Tx) -> int:
    """How many regulations of all sides should have been carried out by now."""
    return await store.count_overdue(tx)


async def journal_trouble(tx: Tx, journal: Journal) -> str | None:
    """What is wrong between the erasure journal and the database; None where they agree."""
    try:
        written = {one.regulation_id: one.workspace_id for one in await journal.read()}
    except HubError as error:
        return error.detail
    after, lost = None, []
    while page := await store.erased(tx, after, PAGE):
        lost += [one.shown for one in page if one.id not in written]
        after = page[-1].workspace_id, page[-1].id
    undone = [
        ids.show("reg", one) for one in await store.not_erased(tx, [(side, one) for one, side in written.items()])
    ]
    if undone:
        return f"{', '.join(undone[:5])} erased people whom this database holds again; start the hub, which erases them"
    if lost:
        return f"it lacks {', '.join(lost[:5])}; start the hub, which writes them again"
    return None
