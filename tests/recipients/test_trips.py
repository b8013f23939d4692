"""How many statements an upsert takes: resolution must cost the usual ones nothing."""

import pytest

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Kind, Named, NewRecipient

from .conftest import Absorptions, Counting, Hub
from .test_forms import FCM
from .test_kinds import ANDROID

ANN = Named(Kind.EXTERNAL_ID, "ann")
BROWSER, PHONE = Named(Kind.ANONYMOUS, "b-1"), Named(Kind.DEVICE, FCM, device=ANDROID)


@pytest.mark.parametrize(
    ("unit", "statements"),
    [
        ((Named(Kind.EXTERNAL_ID, "bob"), Named(Kind.EMAIL, "bob@x.org"), Named(Kind.ANONYMOUS, "b-2")), 6),
        ((ANN,), 6),
        ((ANN, BROWSER), 6),
        ((BROWSER,), 6),
        ((ANN, PHONE), 7),
    ],
)
async def test_the_usual_upsert_asks_nothing_more(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions, unit: tuple[Named, ...], statements: int
) -> None:
    """Somebody new; a person by a strong identifier, with or without their own browser or device."""

    async def upsert(tx: Tx, *named: Named) -> int:
        counting = Counting(tx)
        await hub.recipients.upsert(counting, workspace_id, [NewRecipient(named)], absorbed=absorbed)  # type: ignore[arg-type]
        return len(counting.statements)

    await hub.db.run(lambda tx: upsert(tx, ANN, BROWSER, PHONE))
    assert await hub.db.run(lambda tx: upsert(tx, *unit)) == statements
