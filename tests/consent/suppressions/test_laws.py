"""What holds of any list: taken out and brought in elsewhere it says the same, and ending one allows nothing."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.consent.conftest import Hub, decision, publish
from tests.consent.http import World

from tabellion.consent.questions import Ask, Verdict
from tabellion.consent.suppressions import listing
from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind, Named, NewRecipient, Ref

MAILS, NUMBERS = ("ann@example.org", "+tag@example.org", "bob@example.org"), ("+12025550111", "+12025550122")
ADDRESSES = [(Kind.EMAIL, one) for one in MAILS] + [(Kind.PHONE, one) for one in NUMBERS]
CHANNELS = {Kind.EMAIL: ("email",), Kind.PHONE: ("sms", "voice", "whatsapp")}
PURPOSES = ("marketing", "transactional", "security")
POINTS = [
    (kind, value, channel, purpose) for kind, value in ADDRESSES for channel in CHANNELS[kind] for purpose in PURPOSES
]

SAID = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(["denied", "withdrawn", "objected"]),
        st.sampled_from(["own", "*"]),
        st.sampled_from(["marketing", "marketing@*", "transactional", "security", "*"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


async def say(hub: Hub, said: list[Any]) -> None:
    """Restrictions of addresses, two of which are one person's, and of who has them."""
    unit = NewRecipient((Named(Kind.EMAIL, "ann@example.org"), Named(Kind.PHONE, NUMBERS[0])))
    await hub.db.run(lambda tx: hub.recipients.upsert(tx, hub.side, [unit], absorbed=hub.consent.absorbed))
    for (kind, value), word, channel, purpose, only in said:
        ref = Ref(kind=kind, value=value, pointer="/recipient")
        own = CHANNELS[kind][0] if channel == "own" else "*"
        await hub.recorded(decision(ref, word, own, purpose, identifier_only=only))


async def verdicts(hub: Hub) -> list[str]:
    asks = [Ask(Ref(kind=kind, value=value), Channel(channel), purpose) for kind, value, channel, purpose in POINTS]
    found = await hub.db.run(lambda tx: hub.consent.check(tx, hub.side, asks))
    return [one.verdict if isinstance(one, Verdict) else one.code for one in found]


async def taken_out(world: World, side: WorkspaceId) -> bytes:
    parts = [listing.HEAD]
    async for rows in world.suppressions.rows(world.hub.db, side):
        parts.append(listing.drawn(rows))
    return b"".join(parts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SAID)
async def test_taken_out_and_brought_in_elsewhere_it_says_the_same(world: World, said: list[Any]) -> None:
    here, there = [world.hub.beside(WorkspaceId(ids.new())) for _ in range(2)]
    await say(here, said)
    source = listing.opened(b"text/csv", await taken_out(world, here.side))
    meant = listing.Meant(there.side, "marketing", "unsubscribed", "list", "key_1", dry_run=False)
    report = await listing.bring(world.hub.db, world.hub.recipients, world.suppressions, meant, source)
    assert report.rejected == 0, report.rejects
    assert await verdicts(there) == await verdicts(here)
    again = listing.opened(b"text/csv", await taken_out(world, here.side))
    assert (await listing.bring(world.hub.db, world.hub.recipients, world.suppressions, meant, again)).applied == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SAID, st.lists(st.sampled_from([one for one in POINTS if one[3] != "security"]), max_size=3), st.integers(0, 5))
async def test_ending_a_suppression_allows_nothing(
    world: World, said: list[Any], granted: list[Any], place: int
) -> None:
    hub = world.hub.beside(WorkspaceId(ids.new()))
    await publish(hub.db, hub.side)
    for kind, value, channel, purpose in granted:
        await hub.recorded(decision(Ref(kind=kind, value=value), "granted", channel, purpose))
    await say(hub, said)
    before = await verdicts(hub)
    rows = await hub.rows(
        "select id from consent_entries where workspace_id = $1 and standing and strength = 1 order by log_index",
        hub.side,
    )
    if not rows:
        return
    wanted = rows[place % len(rows)]["id"]
    await hub.db.run(lambda tx: world.suppressions.end(tx, hub.side, wanted, "wrong list", "key_1"))
    for was, is_ in zip(before, await verdicts(hub), strict=True):
        assert is_ in (was, "unknown")


@pytest.mark.parametrize("kind", ["text/csv", "application/x-ndjson"])
async def test_a_list_comes_over_http_and_what_is_refused_is_said(
    api: httpx.AsyncClient, world: World, kind: str
) -> None:
    body = {
        "text/csv": "email,reason\r\nann@example.org,spam\r\nnobody,\r\nbob@example.org,whim\r\n",
        "application/x-ndjson": '{"email":"ann@example.org","reason":"spam"}\n{"email":"nobody"}\n'
        '{"email":"bob@example.org","reason":"whim"}\n',
    }[kind]
    for dry, applied, already in (("true", 1, 0), ("false", 1, 0), ("false", 0, 1)):
        answer = await api.post(f"/v1/suppressions/import?dry_run={dry}", content=body, headers={"Content-Type": kind})
        said = answer.json()
        assert (said["rows"], said["applied"], said["already"], said["rejected"]) == (3, applied, already, 2), said
        assert [one["code"] for one in said["rejects"]] == ["invalid_identifier", "reason_unknown"], said
    [one] = (await api.get("/v1/suppressions")).json()["data"]
    assert (one["method"], one["source"], one["reason"]) == ("import", "import:api", "objected")
    rows = await world.rows("select detail from audit where workspace_id = $1 and action = 'suppressions.imported'")
    assert [row["detail"]["applied"] for row in rows] == [1, 0], "of a dry run nothing is said"
    assert {word for row in rows for word in row["detail"]} == {"rows", "applied", "rejected"}, "no word of anybody's"


async def test_a_list_is_bounded_and_of_a_kind_that_is_known(api: httpx.AsyncClient) -> None:
    async def code(body: bytes, kind: str, query: str = "") -> tuple[int, str]:
        answer = await api.post(f"/v1/suppressions/import{query}", content=body, headers={"Content-Type": kind})
        return answer.status_code, answer.json()["code"]

    assert await code(b"x" * (listing.LARGEST + 1), "text/csv") == (413, "body_too_large")
    assert await code(b"{}", "application/json") == (415, "unsupported_media_type")
    assert await code(b"name\r\nann\r\n", "text/csv") == (422, "mapping_wrong")
    assert await code(b"email\r\n", "text/csv", "?reason=whim") == (422, "reason_unknown")
    assert await code(b"email\r\n", "text/csv", "?purpose=nothing") == (422, "purpose_unknown")


async def test_the_export_is_a_csv_that_no_spreadsheet_runs(api: httpx.AsyncClient, world: World) -> None:
    await api.post("/v1/suppressions", json={"recipient": {"phone": NUMBERS[0]}, "source": "=cmd()"})
    answer = await api.get("/v1/suppressions/export")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["cache-control"] == "no-store"
    head, row = answer.text.strip().split("\r\n")
    assert head == ",".join(listing.COLUMNS)
    assert row.startswith("phone,'+12025550111,phone_messaging,marketing,withdrawn,")
    assert row.endswith(",'=cmd()")
    rows = await world.rows("select action from audit where workspace_id = $1 and action = 'suppressions.exported'")
    assert len(rows) == 1
