"""Use cases of the retention policy: read and set how long a side keeps what. `rounds` applies it."""

from typing import Any

import msgspec

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.privacy import store
from tabellion.privacy.types import Policy, Standing


class Retention:
    async def read(self, tx: Tx, workspace_id: WorkspaceId) -> Standing:
        """A side's policy, the default where none was set; and what the last round ended."""
        standing = await store.read(tx, workspace_id)
        return msgspec.structs.replace(standing, last_round=await store.last_round(tx, workspace_id))

    async def policy(self, tx: Tx, workspace_id: WorkspaceId) -> Policy:
        """A side's policy; the default where none was set."""
        return (await store.read(tx, workspace_id)).policy

    async def set(self, tx: Tx, caller: Caller, policy: Policy) -> Standing:
        """A side's policy from now on, audited. What is too old by it ends with the next round."""
        await store.write(tx, caller.workspace_id, policy)
        await audit(tx, caller.workspace_id, caller.actor, "retention.set", "retention", _detail(policy))
        return await self.read(tx, caller.workspace_id)


def _detail(policy: Policy) -> dict[str, Any]:
    return {
        "callbacks_days": policy.callbacks,
        "content_days": policy.content,
        "events_days": policy.events,
        "recipients_days": policy.recipients,
        "proofs_days": policy.proofs,
        "proofs_by_purpose": policy.proofs_by_purpose,
    }
