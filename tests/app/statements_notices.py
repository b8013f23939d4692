"""As `statements`, for notices, what was shown, and suppressions."""

from typing import Any

from tabellion.consent import store as consent
from tabellion.consent.notices import served_store as served
from tabellion.consent.notices import store as notices
from tabellion.consent.notices.types import Means, Notice, Served, Version
from tabellion.consent.suppressions import store as suppressions
from tabellion.consent.suppressions.types import Wanted
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId

from .statements import LONG_AGO, Asked, reads, writes

STORES = (notices, served, suppressions)


async def make(tx: Tx, side: WorkspaceId) -> None:
    """A row in each of their tables, with ids that the twin has too, and words of its own."""
    word = side.hex[:8]
    await notices.insert(tx, side, Notice(ids.new(), "equal", word, ["marketing"], tx.now, tx.now))
    draft = Version(ids.new(), "equal", "1", "en", {"en": word}, tx.now, tx.now)
    await notices.put_version(tx, side, draft)
    await notices.put_version(tx, side, Version(ids.new(), "equal", "2", "en", {"en": word}, tx.now, tx.now))
    fixed = {"title": word, "purposes": ["marketing"], "published_at": tx.now, "published_by": "key_1"}
    await notices.publish(tx, side, Version(**(vars_of(draft) | fixed | {"hash": word.encode()})))
    [person, *_] = await tx.rows("select id from recipients where workspace_id = $1 order by id", side)
    shown = [(person["id"], None), (None, b"b" * 32)]
    await served.insert(
        tx,
        side,
        [
            Served(ids.new(), "equal", "1", "en", one, hashed, Means.PAGE, word, "key_1", tx.now, tx.now, b"sealed")
            for one, hashed in shown
        ],
    )
    await tx.execute(
        """
        insert into consent_entries
        select (jsonb_populate_record(e, jsonb_build_object(
                   'id', $2::uuid, 'log_index', 9996, 'decision', 'pending', 'applied', false, 'standing', false,
                   'notice', 'equal', 'notice_version', '1'))).*
          from consent_entries e
         where workspace_id = $1 and decision = 'granted'
         limit 1
        """,
        side, ids.new(),
    )  # fmt: skip


def vars_of(version: Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in Version.__dataclass_fields__}


reads(notices, "read")(lambda tx, of: notices.read(tx, of.name, "equal"))
reads(notices, "page")(lambda tx, of: notices.page(tx, of.name, None, 100))
reads(notices, "names")(lambda tx, of: notices.names(tx, of.name, "equal"))
reads(notices, "read_version")(lambda tx, of: notices.read_version(tx, of.name, "equal", "1"))
reads(notices, "page_of_versions")(lambda tx, of: notices.page_of_versions(tx, of.name, "equal", None, 100))
reads(notices, "published")(lambda tx, of: notices.published(tx, of.name, [("equal", "1"), ("equal", "2")]))


@reads(notices, "lock")
async def _(tx: Tx, of: Asked) -> Any:
    """A lock shows nothing; what it is taken for is read after it."""
    await notices.lock(tx, of.name, "equal")
    return await notices.read(tx, of.name, "equal")


@writes(notices, "update")
async def _(tx: Tx, of: Asked) -> None:
    await notices.update(tx, of.name, Notice(ids.new(), "equal", "other", [], tx.now, tx.now, tx.now))


@writes(notices, "publish")
async def _(tx: Tx, of: Asked) -> None:
    found = await notices.read_version(tx, of.owner, "equal", "2")
    assert found is not None
    fixed = {"title": "x", "purposes": [], "published_at": tx.now, "published_by": "key_1", "hash": b"x"}
    await notices.publish(tx, of.name, Version(**(vars_of(found) | fixed)))


@writes(notices, "delete_version")
async def _(tx: Tx, of: Asked) -> None:
    await notices.delete_version(tx, of.name, "equal", "2")


@writes(notices, "delete")
async def _(tx: Tx, of: Asked) -> None:
    """Of a notice that nothing of was published, which there is for as long as this takes."""
    await tx.execute("alter table notice_versions disable trigger notice_versions_published")
    await notices.delete(tx, of.name, "equal")
    await tx.execute("alter table notice_versions enable trigger notice_versions_published")


reads(served, "page")(lambda tx, of: served.page(tx, of.name, "equal", None, None, 100))
reads(served, "read")(lambda tx, of: served.read(tx, of.name, of.all("notices_served", "id")))


@reads(served, "page_of_person")
async def _(tx: Tx, of: Asked) -> Any:
    return await served.page_of_person(tx, of.name, "equal", of.all("notices_served", "recipient_id"), None, 100)


@reads(served, "of_people")
async def _(tx: Tx, of: Asked) -> Any:
    people, hashes = of.all("notices_served", "recipient_id"), of.all("notices_served", "identifier_hash")
    return await served.of_people(tx, of.name, people, hashes, None, 100)


@writes(served, "adopt")
async def _(tx: Tx, of: Asked) -> None:
    people = of.all("notices_served", "recipient_id")
    shown = [row["id"] for row in of.rows["notices_served"] if row["recipient_id"] is None]
    await served.adopt(tx, of.name, [(one, people[0], b"other") for one in shown])


@writes(served, "forget")
async def _(tx: Tx, of: Asked) -> None:
    await served.forget(tx, of.name, of.all("notices_served", "recipient_id"), [])


reads(suppressions, "page")(lambda tx, of: suppressions.page(tx, of.name, Wanted(), None, 100))
reads(suppressions, "after")(lambda tx, of: suppressions.after(tx, of.name, -1, 100))


@reads(suppressions, "read")
async def _(tx: Tx, of: Asked) -> Any:
    found = [await suppressions.read(tx, of.name, one) for one in of.all("consent_entries", "id")]
    return [one for one in found if one]


reads(consent, "notices")(lambda tx, of: consent.notices(tx, of.name, of.all("consent_entries", "id")))


@reads(consent, "page")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("consent_entries", "recipient_id")
    return [one for person in people for one in await consent.page(tx, of.name, person, None, 100)]


@reads(consent, "entry")
async def _(tx: Tx, of: Asked) -> Any:
    return await consent.entry(tx, of.name, of.one("consent_entries", "id"))


@reads(consent, "pending")
async def _(tx: Tx, of: Asked) -> Any:
    people = of.all("consent_entries", "recipient_id")
    found = [await consent.pending(tx, of.name, person, LONG_AGO) for person in people]
    return [one for one in found if one]
