"""The texts that people agreed to, as files: the very bytes whose SHA-256 is the hash of a version."""

from collections.abc import AsyncIterator, Iterable
from typing import Final

from tabellion.consent.notices import rules
from tabellion.consent.notices.service import Notices
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId

PAGE: Final = 200


async def listed(tx: Tx, notices: Notices, workspace_id: WorkspaceId) -> list[tuple[str, str]]:
    """Key and name of all versions of a side, drafts among them."""
    found, before = [], None
    while page := await notices.page(tx, workspace_id, before, PAGE):
        for one in page:
            found += [(one.key, name) async for name in _names(tx, notices, workspace_id, one.key)]
        before = page[-1].id
    return found


async def named(
    tx: Tx, notices: Notices, workspace_id: WorkspaceId, wanted: Iterable[tuple[str, str]]
) -> list[tuple[str, bytes]]:
    """Those of the versions that are texts of the hub's, and not only named by whoever recorded a consent."""
    found = []
    for key, name in sorted(set(wanted)):
        if (content := await _written(tx, notices, workspace_id, key, name)) is not None:
            found.append((_file(key, name), content))
    return found


async def _names(tx: Tx, notices: Notices, workspace_id: WorkspaceId, key: str) -> AsyncIterator[str]:
    before = None
    while page := await notices.versions(tx, workspace_id, key, before, PAGE):
        for one in page:
            yield one.version
        before = page[-1].id


async def _written(tx: Tx, notices: Notices, workspace_id: WorkspaceId, key: str, name: str) -> bytes | None:
    """None for a draft, and for what is no notice here."""
    try:
        version = await notices.version(tx, workspace_id, key, name)
    except NotFound:
        return None
    if version.title is None or version.purposes is None:
        return None
    return rules.written(version, version.title, version.purposes)


def _file(key: str, version: str) -> str:
    return f"notices/{key}/{version}.json"
