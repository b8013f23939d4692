"""History: what is kept of each version, and the recipient as it was."""

import itertools
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import rules
from tabellion.recipients.changes import alike, traits_change
from tabellion.recipients.history import Entry, History
from tabellion.recipients.settings import RecipientSettings
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile, Recipient, RefObject, Resolved, Upserted

from .conftest import Absorptions, Counting, Hub

SECOND = timedelta(seconds=1)
NUMBERS = itertools.count()

scalars = st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 2, width=16) | st.text("ab/~.", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab/~.", max_size=2), inner, max_size=3),
    max_leaves=6,
)
patches = st.dictionaries(st.sampled_from(["a", "b", "a/b", "~"]), values, max_size=3)


@given(patches, patches)
def test_a_change_of_traits_leads_back_and_forth(old: Any, patch: Any) -> None:
    before = rules.merge_patch({}, old)
    after = rules.merge_patch(before, patch)
    change = traits_change(before, after)
    assert (change is None) == alike(before, after)
    if change is not None:
        assert alike(rules.merge_patch(after, change[0]), before)
        assert alike(rules.merge_patch(before, change[1]), after)


def test_true_is_not_one() -> None:
    """For Python it is: a trait that became `true` was left at 1, without a version."""
    assert not alike({"a": [1]}, {"a": [True]})
    assert traits_change({"a": 1}, {"a": True}) == ({"a": 1}, {"a": True})


@dataclass
class Life:
    """One person's, with what was seen of it at each moment."""

    hub: Hub
    history: History
    workspace_id: WorkspaceId
    clock: FakeClock
    absorbed: Absorptions
    number: int = field(default_factory=lambda: next(NUMBERS))
    person: UUID = field(default_factory=ids.new)
    seen: dict[datetime, Any] = field(default_factory=dict)

    def mail(self, which: int) -> str:
        return f"ann{self.number}-{which}@example.org"

    async def begin(self, hidden: bool) -> None:
        if hidden:
            self.person = await self.hide(0)
        else:
            await self.upsert({0: False}, {})
        await self.look()

    async def hide(self, which: int) -> UUID:
        """Make the address one that is only known as an address, unless somebody has it."""
        ref = rules.ref(RefObject(email=self.mail(which)), "")
        resolve = self.hub.recipients.resolve
        [one] = await self.hub.db.run(lambda tx: resolve(tx, self.workspace_id, [ref], True, address_only=True))
        assert isinstance(one, Resolved)
        return one.recipient_id

    async def upsert(self, mails: dict[int, bool], profile: dict[str, Any], source: str = "api") -> None:
        named = (Named(Kind.EMAIL, self.mail(one), verified) for one, verified in mails.items())
        unit = NewRecipient(tuple(named), Profile(**profile))
        upsert = self.hub.recipients.upsert
        [one] = await self.hub.db.run(
            lambda tx: upsert(tx, self.workspace_id, [unit], absorbed=self.absorbed, source=source, actor="key_1")
        )
        assert isinstance(one, Upserted), one
        self.person = one.recipient_id

    async def patch(self, profile: dict[str, Any]) -> None:
        change = self.hub.recipients.patch
        await self.hub.db.run(lambda tx: change(tx, self.workspace_id, self.person, Profile(**profile)))

    async def act(self, step: tuple[str, Any, dict[str, Any], int]) -> None:
        name, mails, profile, pause = step
        self.clock.advance(pause * SECOND)
        for one in mails if name == "attach" else ():
            await self.hide(one)
        self.clock.advance(pause * SECOND)
        if name == "patch" and not (await self.now()).address_only:
            await self.patch(profile)
        else:
            await self.upsert({0: False} | mails, profile, source=name)
        await self.look()

    async def now(self) -> Recipient:
        read = self.hub.recipients.read
        return (await self.hub.db.run(lambda tx: read(tx, self.workspace_id, [self.person])))[self.person]

    async def look(self) -> None:
        self.seen[self.clock.now()] = plain(await self.now())

    async def as_of(self, at: datetime, person: UUID | None = None) -> Recipient:
        work = self.history.as_of
        return await self.hub.db.run(lambda tx: work(tx, self.workspace_id, person or self.person, at))

    async def entries(self, limit: int = 50, person: UUID | None = None) -> list[Entry]:
        """All of them, page by page."""
        found: list[Entry] = []
        while True:
            before = found[-1].version if found else None
            page = await self.hub.db.run(
                lambda tx, before=before: self.history.page(  # type: ignore[misc]
                    tx, self.workspace_id, person or self.person, before=before, limit=limit
                )
            )
            found += page
            if len(page) < limit:
                return found


def plain(one: Recipient) -> Any:
    """What history keeps of a recipient. When an identifier was last named, and its health, are of now."""
    known = sorted(
        (each.kind.value, each.value, each.source, each.first_seen_at.isoformat(), str(each.verified_at))
        for each in one.identifiers
    )
    said = [one.version, one.locale, one.time_zone, one.address_only, dict(one.traits), known]
    return msgspec.json.encode(said, order="sorted")


def shown(one: Recipient) -> dict[str, Any]:
    """The recipient as the entries of its history tell it."""
    return {
        "locale": one.locale,
        "time_zone": one.time_zone,
        "traits": dict(one.traits),
        "identifiers": {each.value: each.verified_at is not None for each in one.identifiers},
    }


def replayed(entries: Sequence[Entry]) -> dict[str, Any]:
    """What entries, oldest first, come to."""
    told: dict[str, Any] = {"locale": None, "time_zone": None, "traits": {}, "identifiers": {}}
    for change in (change for entry in entries for change in entry.changes):
        name, *path = [part.replace("~1", "/").replace("~0", "~") for part in change.field.split("/")[1:]]
        if name == "identifiers":
            gone, new = change.before, change.after
            if gone:
                assert told[name].pop(gone["value"]) == gone["verified"]
            if new:
                told[name][new["value"]] = new["verified"]
        elif not path:
            told[name] = change.after
        else:
            place = told[name]
            for part in path[:-1]:
                place = place[part]
            assert alike(place.pop(path[-1], None), change.before)
            if change.after is not None:
                place[path[-1]] = deepcopy(change.after)  # what is told of it later must not change what was told
    told.pop("address_only", None)
    return told


@pytest.fixture
def life(hub: Hub, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, absorbed: Absorptions) -> Life:
    return Life(hub, History(vault), workspace_id, clock, absorbed)


profiles = st.fixed_dictionaries(
    {},
    optional={
        "locale": st.sampled_from(["de", "en", None]),
        "time_zone": st.sampled_from(["Europe/Vienna", None]),
        "traits": patches | st.none(),
    },
)
mails = st.dictionaries(st.integers(0, 3), st.booleans(), max_size=2)
steps = st.tuples(st.sampled_from(["patch", "upsert", "upsert", "attach"]), mails, profiles, st.integers(0, 2))


RULES = {"a": ["upsert", "api"], "locale": ["api"], "b": ["import"]}


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(hidden=st.booleans(), doing=st.lists(steps, max_size=8), limit=st.integers(1, 4), governed=st.booleans())
async def test_as_of_is_what_was_and_what_history_replays(
    life: Life, hidden: bool, doing: list[tuple[str, Any, dict[str, Any], int]], limit: int, governed: bool
) -> None:
    rules_ = RecipientSettings(authority=RULES if governed else {})
    await life.hub.db.run(lambda tx: life.hub.recipients.settings.set(tx, life.workspace_id, rules_))
    mine = Life(life.hub, life.history, life.workspace_id, life.clock, life.absorbed)
    await mine.begin(hidden)
    for step in doing:
        await mine.act(step)
    entries = await mine.entries(limit)
    versions = [one.version for one in entries]
    assert versions == list(range((await mine.now()).version, 0, -1))
    for at, seen in mine.seen.items():
        was = await mine.as_of(at)
        assert plain(was) == seen
        assert alike(replayed([one for one in entries[::-1] if one.version <= was.version]), shown(was))


async def test_a_version_says_what_changed_from_where_and_by_whom(life: Life) -> None:
    await life.upsert({0: False}, {"traits": {"plan": "pro", "home": {"city": "Graz"}}}, source="import")
    life.clock.advance(SECOND)
    await life.upsert({0: True, 1: False}, {"traits": {"home": {"city": "Wien"}, "plan": None}, "locale": "de"})
    changed, made = await life.entries()
    assert (made.version, made.source, made.actor) == (1, "import", "key_1")
    assert (changed.version, changed.source, changed.changed_at) == (2, "api", life.clock.now())
    assert [(one.field, one.before, one.after) for one in changed.changes] == [
        ("/locale", None, "de"),
        ("/traits/plan", "pro", None),
        ("/traits/home/city", "Graz", "Wien"),
        ("/identifiers", None, {"kind": "email", "value": life.mail(1), "verified": False}),
        (
            "/identifiers",
            {"kind": "email", "value": life.mail(0), "verified": False},
            {"kind": "email", "value": life.mail(0), "verified": True},
        ),
    ]
    assert sorted(one.field for one in made.changes) == ["/identifiers", "/traits/home", "/traits/plan"]


async def test_nothing_changed_makes_no_version(life: Life) -> None:
    await life.upsert({0: True}, {"traits": {"plan": "pro"}})
    await life.upsert({0: True}, {"traits": {"plan": "pro"}, "locale": UNSET})
    await life.patch({"traits": {"other": None}})
    assert [one.version for one in await life.entries()] == [1]


async def test_before_it_existed_there_is_nobody(life: Life) -> None:
    await life.upsert({0: False}, {})
    with pytest.raises(NotFound):
        await life.as_of(life.clock.now() - timedelta(milliseconds=1))
    with pytest.raises(NotFound):
        await life.as_of(life.clock.now(), ids.new())


async def test_a_moment_is_found_as_it_is_shown(life: Life) -> None:
    """Times are shown in milliseconds and were kept in microseconds: as_of what history said was the version before."""
    life.clock.advance(timedelta(microseconds=700))
    await life.upsert({0: False}, {"locale": "de"})
    await life.patch({"locale": "en"})
    [entry, _] = await life.entries()
    assert entry.changed_at.microsecond % 1000 == 0
    assert (await life.as_of(entry.changed_at)).locale == "en"


async def test_versions_made_by_clocks_that_disagree_stay_in_order(life: Life) -> None:
    start = life.clock.now()
    await life.upsert({0: False}, {"locale": "de"})
    life.clock.advance(10 * SECOND)
    await life.patch({"locale": "en"})
    life.clock.advance(-5 * SECOND)
    await life.patch({"locale": "fr"})
    assert (await life.as_of(start + 7 * SECOND)).locale == "de"
    assert (await life.as_of(start + 10 * SECOND)).locale == "fr"


async def test_one_that_was_merged_is_found_as_it_was_and_then_as_what_it_became(life: Life) -> None:
    alone = await life.hide(1)
    before = life.clock.now()
    life.clock.advance(SECOND)
    await life.upsert({0: False}, {})
    life.clock.advance(SECOND)
    await life.upsert({0: False, 1: True}, {})
    was = await life.as_of(before + SECOND, alone)
    assert (was.id, was.address_only, [one.value for one in was.identifiers]) == (alone, True, [life.mail(1)])
    assert (await life.as_of(life.clock.now(), alone)).id == life.person
    assert [one.value for one in (await life.as_of(before + SECOND)).identifiers] == [life.mail(0)]
    parted, _ = await life.entries(person=alone)
    assert (parted.merged_into, parted.changes[0].before) == (
        life.person, {"kind": "email", "value": life.mail(1), "verified": False},
    )  # fmt: skip


async def test_nothing_personal_is_kept_outside_the_seal(life: Life, hub: Hub) -> None:
    await life.upsert({0: False}, {"traits": {"secretname": "secretvalue"}})
    await life.upsert({0: False, 1: True}, {"traits": {"secretname": "othersecret"}})
    rows = await hub.db.run(lambda tx: tx.rows("select v::text, encode(change, 'escape') from recipient_versions v"))
    assert len(rows) == 2
    for text in (str(tuple(row)) for row in rows):
        assert "secret" not in text
        assert "ann" not in text


async def test_history_ends_with_the_persons_key(life: Life, hub: Hub, vault: Vault) -> None:
    await life.upsert({0: False}, {})
    await hub.db.run(lambda tx: tx.execute("update subject_keys set destroyed_at = now(), wrapped = null"))
    vault.forget(life.workspace_id, life.person)
    with pytest.raises(NotFound):
        await life.entries()
    with pytest.raises(NotFound):
        await life.as_of(life.clock.now())


async def test_a_batch_keeps_its_versions_in_one_statement(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions
) -> None:
    units = [NewRecipient((Named(Kind.EMAIL, f"bob{n}@example.org"),)) for n in range(20)]

    async def work(tx: Tx) -> list[str]:
        counting = Counting(tx)
        await hub.recipients.upsert(counting, workspace_id, units, absorbed=absorbed)  # type: ignore[arg-type]
        return counting.statements

    assert sum("into recipient_versions" in sql for sql in await hub.db.run(work)) == 1


async def test_of_each_field_it_is_known_who_set_it_and_since_when(life: Life) -> None:
    await life.upsert({0: False}, {"traits": {"plan": "pro", "home": {"city": "Graz"}, "a/b": 1}}, source="crm")
    first = life.clock.now()
    life.clock.advance(SECOND)
    await life.upsert({0: False}, {"traits": {"home": {"zip": "8010"}}, "locale": "de"}, source="import:x.csv")
    second = life.clock.now()
    life.clock.advance(SECOND)
    await life.patch({"traits": {"a/b": None}, "time_zone": "Europe/Vienna"})
    read = life.history.origins
    origins = await life.hub.db.run(lambda tx: read(tx, life.workspace_id, life.person))
    assert {at: (one.name, one.source, one.actor, one.since) for at, one in origins.items()} == {
        "/traits/plan": ("plan", "crm", "key_1", first),
        "/traits/home": ("home", "import:x.csv", "key_1", second),
        "/locale": ("locale", "import:x.csv", "key_1", second),
        "/time_zone": ("time_zone", "api", "api", life.clock.now()),
    }


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(doing=st.lists(steps, max_size=6), chunk=st.integers(1, 3))
async def test_an_origin_is_the_newest_version_that_changed_the_field(
    life: Life, monkeypatch: pytest.MonkeyPatch, doing: list[Any], chunk: int
) -> None:
    monkeypatch.setattr("tabellion.recipients.history.CHUNK", chunk)
    mine = Life(life.hub, life.history, life.workspace_id, life.clock, life.absorbed)
    await mine.begin(hidden=False)
    for step in doing:
        await mine.act(step)
    origins = await mine.hub.db.run(lambda tx: mine.history.origins(tx, mine.workspace_id, mine.person))
    present = await mine.now()
    assert {one.name for one in origins.values()} == {*present.traits} | {
        name for name in ("locale", "time_zone") if getattr(present, name) is not None
    }
    for at, origin in origins.items():
        async with mine.hub.db.transaction() as tx:
            [last, *_] = await mine.history.of_field(tx, mine.workspace_id, mine.person, at)
        assert (origin.source, origin.actor, origin.since) == (last.source, last.actor, last.changed_at)
