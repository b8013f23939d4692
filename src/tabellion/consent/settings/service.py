"""Use cases of the settings of consent. None commits."""

from datetime import datetime
from typing import Any

import msgspec

from tabellion.access.rules import require_compliance
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent import policy_lock
from tabellion.consent.settings import store
from tabellion.consent.settings.rules import loosened
from tabellion.consent.settings.types import DEFAULT, ConsentSettings
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId


async def read(tx: Tx, workspace_id: WorkspaceId) -> tuple[ConsentSettings, datetime | None]:
    """What is set, read now, and since when; None where it is the default."""
    settings, updated_at = await store.read(tx, workspace_id)
    return (msgspec.convert(settings, ConsentSettings) if settings else DEFAULT), updated_at


async def set_settings(tx: Tx, caller: Caller, new: ConsentSettings) -> None:
    """Set all of it. What is recorded after the commit goes by it. Raises `Forbidden` for who may not loosen."""
    side = caller.workspace_id
    await policy_lock.change(tx, side)
    before, _ = await read(tx, side)
    loose = loosened(before, new)
    if loose:
        require_compliance(caller, f"loosening {', '.join(loose)}")
    told: dict[str, Any] = msgspec.to_builtins(new)
    await store.write(tx, side, told)
    detail = {"before": msgspec.to_builtins(before), "after": told, "loosened": loose}
    await audit(tx, side, caller.actor, "consent_settings.set", "consent_settings", detail)
