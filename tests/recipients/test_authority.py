"""Authority: who has the say of a field, whatever came in between."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import sealing
from tabellion.recipients.authority import Standing, Writer
from tabellion.recipients.history import History
from tabellion.recipients.settings import RecipientSettings
from tabellion.recipients.store import Record
from tabellion.recipients.types import Ignored, Kind, Named, NewRecipient, Profile, Upserted
from tabellion.recipients.upsert import profiled

from .conftest import Absorptions, Counting, Hub

RULES: dict[str, Sequence[str]] = {"name": ["crm", "billing"], "plan": ["billing", "import"], "locale": ["crm"]}
SOURCES = st.sampled_from(["crm", "billing", "import:people.csv", "api"])
WRITE = st.tuples(
    SOURCES,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["Ann", "Anna", None]) | st.dictionaries(st.just("first"), st.integers(0, 1)),
            "plan": st.integers(0, 1) | st.none(),
            "free": st.integers(0, 1) | st.none(),
        },
    )
    | st.none(),
    st.sampled_from(["de", "en", None, UNSET]),
)
AT = datetime(2026, 11, 21, tzinfo=UTC)
SIDE = UUID(int=1)


def after(writes: Sequence[tuple[str, Any, Any]]) -> tuple[Record, dict[str, Any], Any, Key]:
    """The record, its traits and locale after writes, and its key."""
    key, record = Key.new(), Record(ids.new(), 1, False, None, None, None, AT, AT, None, False)
    for source, said, locale in writes:
        profile = Profile(locale, UNSET, said)
        record, _, _ = profiled(SIDE, record, profile, key, Writer(source, RULES))
    return record, sealing.open_traits(SIDE, record, key)[0], record.locale, key


def heard(name: str, writes: Sequence[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """The writes of the highest source that wrote a field."""
    for rank in RULES[name]:
        if mine := [one for one in writes if one[0].partition(":")[0] == rank and speaks(name, one)]:
            return mine
    return []


def speaks(name: str, write: tuple[str, Any, Any]) -> bool:
    return write[2] is not UNSET if name == "locale" else write[1] is None or name in write[1]


@settings(max_examples=400)
@given(st.lists(WRITE, max_size=8))
def test_a_governed_field_is_what_the_highest_source_came_to_as_if_there_were_no_other(writes: Any) -> None:
    """So it does not matter what lower sources said, nor when."""
    _, traits, locale, _ = after(writes)
    for name in ("name", "plan"):
        _, alone, *_ = after(heard(name, writes))
        assert traits.get(name) == alone.get(name), name
    said = [one[2] for one in heard("locale", writes)]
    assert locale == (said[-1] if said else None)


@given(st.lists(WRITE, max_size=8))
def test_of_any_other_field_the_last_writer_counts(writes: Any) -> None:
    _, traits, *_ = after(writes)
    said = [one[1]["free"] if one[1] is not None else None for one in writes if one[1] is None or "free" in one[1]]
    assert traits.get("free") == (said[-1] if said else None)


@given(st.lists(WRITE, max_size=5), WRITE)
def test_what_is_ignored_is_what_would_have_changed(writes: Any, last: Any) -> None:
    record, before, locale, key = after(writes)
    profile = Profile(last[2], UNSET, last[1])
    kept, _, ignored = profiled(SIDE, record, profile, key, Writer(last[0], RULES))
    free, _, none = profiled(SIDE, record, profile, key, Writer(last[0]))
    assert none == ()
    was = before | {"locale": locale}
    now, would = (sealing.open_traits(SIDE, one, key)[0] | {"locale": one.locale} for one in (kept, free))
    refused = {one.pointer.rpartition("/")[2] for one in ignored}
    assert {name for name in RULES if now.get(name) == was.get(name) != would.get(name)} >= refused
    owners = sealing.open_traits(SIDE, kept, key)[1]
    for name in RULES:
        if speaks(name, last) and owners.get(name) != last[0]:
            assert (name in refused) == (was.get(name) != would.get(name)), name


def test_an_object_of_a_lower_source_is_replaced_and_ones_own_is_merged_into() -> None:
    billing, crm = ("billing", {"name": {"first": "A.", "more": {"x": 1}}}), ("crm", {"name": {"more": {"y": 2}}})
    for writes, name in (
        ([billing, crm], {"more": {"y": 2}}),
        ([billing, crm, ("crm", {"name": {"last": "B."}})], {"more": {"y": 2}, "last": "B."}),
    ):
        assert after([(*one, UNSET) for one in writes])[1] == {"name": name}


def test_nobody_governs_where_nothing_is_set() -> None:
    profile = Profile("de", "Europe/Vienna", {"name": "Ann"})
    assert Writer("api").governed(profile) == []
    assert Writer("api", {"plan": ["crm"]}).governed(profile) == []


def test_who_is_listed_no_longer_has_no_say() -> None:
    standing = Standing(None, None, {"name": "Ann"}, {"name": "old"})
    ruled = Writer("crm", {"name": ["crm"]}).ruled(Profile(traits={"name": "Anna"}), standing)
    assert (ruled.owners, ruled.ignored) == ({"name": "crm"}, [])


# with a database


class Side:
    """A side with rules, and Ann in it."""

    def __init__(self, hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> None:
        self.hub, self.id, self.absorbed = hub, workspace_id, absorbed

    async def rule(self, **rules: list[str]) -> None:
        settings = RecipientSettings(authority=rules)
        await self.hub.db.run(lambda tx: self.hub.recipients.settings.set(tx, self.id, settings))

    async def says(self, source: str, **profile: Any) -> Upserted:
        return await self.hub.db.run(lambda tx: self.says_in(tx, source, **profile))

    async def says_in(self, tx: Tx, source: str, **profile: Any) -> Upserted:
        unit = NewRecipient((Named(Kind.EMAIL, "ann@example.org"),), Profile(**profile))
        [one] = await self.hub.recipients.upsert(tx, self.id, [unit], absorbed=self.absorbed, source=source)
        assert isinstance(one, Upserted)
        return one

    async def events(self) -> list[Mapping[str, Any]]:
        sql = "select data from events where workspace_id = $1 and type = 'recipient.field_refused' order by position"
        rows = await self.hub.db.run(lambda tx: tx.rows(sql, self.id))
        return [{name: value for name, value in row["data"].items() if name != "recipient"} for row in rows]


@pytest.fixture
def side(hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> Side:
    return Side(hub, workspace_id, absorbed)


async def test_the_rest_of_a_write_is_applied_and_the_log_says_what_was_not(side: Side, vault: Vault) -> None:
    await side.rule(name=["crm"], locale=["crm"])
    made = await side.says("web", locale="de", traits={"name": "A.", "plan": "pro"})
    refused = [Ignored("/locale", "authority", "crm"), Ignored("/traits/name", "authority", "crm")]
    assert (made.created, list(made.ignored)) == (True, refused)
    await side.says("crm", traits={"name": "Ann"})
    again = await side.says("web", traits={"name": "A.", "plan": "free"})
    person = (await side.hub.db.run(lambda tx: side.hub.recipients.read(tx, side.id, [made.recipient_id]))).popitem()[1]
    assert (person.traits, person.locale, person.version) == ({"name": "Ann", "plan": "free"}, None, 3)
    assert [one.pointer for one in again.ignored] == ["/traits/name"]
    assert await side.events() == [
        {"field": field, "reason": "authority", "source": "web", "owner": "crm"}
        for field in ("/locale", "/traits/name", "/traits/name")
    ]
    told = "select type from events where workspace_id = $1 order by position limit 2"
    kinds = await side.hub.db.run(lambda tx: tx.rows(told, side.id))
    assert [row["type"] for row in kinds] == ["recipient.created", "recipient.field_refused"]
    [*_, first] = await side.hub.db.run(lambda tx: History(vault).page(tx, side.id, made.recipient_id))
    assert {one.field for one in first.changes} == {"/traits/plan", "/identifiers"}


async def test_a_write_that_is_wholly_refused_makes_no_version(side: Side) -> None:
    await side.rule(name=["crm"])
    assert (await side.says("crm", traits={"name": "Ann"})).version == 1
    assert (await side.says("web", traits={"name": "A."})).version == 1
    assert len(await side.events()) == 1
    same = await side.says("web", traits={"name": "Ann"})
    assert (same.version, same.ignored) == (1, []), "it says what stands"


async def test_who_says_the_same_as_a_lower_source_has_the_say_from_then_on(side: Side) -> None:
    await side.rule(name=["crm", "billing"])
    await side.says("billing", traits={"name": "Ann"})
    assert (await side.says("crm", traits={"name": "Ann"})).version == 1
    assert [one.owner for one in (await side.says("billing", traits={"name": "A."})).ignored] == ["crm"]


async def test_an_ungoverned_write_asks_the_database_nothing_more(side: Side) -> None:
    async def statements() -> list[str]:
        async def work(tx: Tx) -> list[str]:
            counting = Counting(tx)
            await side.says_in(counting, "api", traits={"n": str(ids.new()), "plan": "pro"})  # type: ignore[arg-type]
            return counting.statements

        return await side.hub.db.run(work)

    await side.says("api")
    before = await statements()
    await side.rule(name=["crm"], plan=["api"])
    assert await statements() == before
