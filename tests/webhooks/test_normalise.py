"""Normalising: what a callback says becomes evidence on attempts; late, early, twice, mixed, or about nobody."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from tabellion.access.service import create_workspace
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import NewJob
from tabellion.messages.types import Success
from tabellion.providers.base import Accepted, Outbound, Reason, Result, State, Uncertain
from tabellion.webhooks import jobs as normalising
from tabellion.webhooks import store
from tabellion.webhooks.jobs import PATIENCE
from tabellion.webhooks.sealing import context
from tabellion.webhooks.service import NORMALISE
from tabellion.webhooks.types import Raw

from .conftest import HOUR, MINUTE, NUMBER, ONCE, OTHER_NUMBER, SECOND, World, fake_callback, sms


def status(vendor_id: str, word: str = "delivered", **more: Any) -> dict[str, Any]:
    return {"id": ids.show("evt", ids.new()), "type": "status", "message_id": vendor_id, "state": word, **more}


def inbound(**more: Any) -> dict[str, Any]:
    return {"id": ids.show("evt", ids.new()), "type": "inbound", "channel": "sms", "from": NUMBER, "to": "us",
            "text": "hello", **more}  # fmt: skip


async def handed_over(world: World, account: UUID, vendor_id: str, to: str = NUMBER, **more: Any) -> UUID:
    """A message that the vendor took under this id, and says nothing more of."""
    world.wire.script.append(Accepted(vendor_id))
    return await world.sent(to, sms(accounts=(account,), success=Success.DELIVERED), **more)


async def report(world: World, account: UUID, *events: dict[str, Any]) -> None:
    assert await world.fake_report(account, *events) == 204
    await world.run()


async def states_of_callbacks(world: World) -> list[str]:
    return [row["state"] for row in await world.rows("select state from callbacks order by id")]


async def kinds(world: World, kind: str) -> list[dict[str, Any]]:
    return [row["data"] for row in await world.rows("select data from events where type = $1 order by position", kind)]


# The traps


async def test_what_a_vendor_reports_is_the_attempts_state(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    await report(world, account, status("one", "bounced", reason="invalid_address"))
    [attempt] = await world.attempts(message)
    assert (attempt.state, attempt.reason, attempt.permanent) == (State.BOUNCED, Reason.INVALID_ADDRESS, True)
    assert attempt.provider_code == "invalid_address"
    assert await world.status(message) == ("failed", True, "invalid_address")


async def test_reports_in_any_order_and_twice_come_to_the_same(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    for word in ("delivered", "sent", "delivered", "sent"):
        await report(world, account, status("one", word))
    assert await world.states(message) == [(0, "delivered")]
    happened = await world.happened(message)
    assert (happened.count("attempt.delivered"), happened.count("attempt.sent")) == (1, 0)


@pytest.mark.parametrize("named", [True, False])
async def test_a_report_before_the_answer_finds_its_attempt(world: World, named: bool) -> None:
    """By its own name at once; without one, as soon as the answer is written."""
    account = await world.account()
    other = world.another_worker()

    async def early(outbound: Outbound) -> Result:
        assert outbound.callback_url is not None
        url = outbound.callback_url if named else outbound.callback_url.partition("?")[0]
        assert await world.post(fake_callback(url, [status("one")], world.clock.now())) == 204
        await other.run()
        return Accepted("one")

    world.wire.script.append(early)
    message = await world.sent(NUMBER, sms(accounts=(account,), success=Success.DELIVERED))
    assert await world.states(message) == [(0, "delivered" if named else "submitted")]
    await world.pass_time(SECOND)
    assert await world.states(message) == [(0, "delivered")]
    assert await world.status(message) == ("delivered", True, None)
    assert (await world.attempts(message))[0].provider_message_id == "one"


async def test_one_body_may_speak_of_several_messages(world: World) -> None:
    account = await world.account()
    first = await handed_over(world, account, "one")
    second = await handed_over(world, account, "two")
    await report(world, account, status("one"), status("two", "undelivered"), status("one", "sent"), inbound())
    assert (await world.states(first), await world.states(second)) == ([(0, "delivered")], [(0, "undelivered")])
    assert len(await kinds(world, "inbound.received")) == 1
    assert await states_of_callbacks(world) == ["normalised"]


async def test_a_word_that_is_not_listed_is_stored_and_changes_nothing(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    before = await world.happened(message)
    await report(world, account, status("one", "teleported"), {"type": "party"}, {"type": "status"})
    assert await world.states(message) == [(0, "submitted")]
    assert await world.happened(message) == before
    assert await states_of_callbacks(world) == ["normalised"]
    assert len(await world.rows("select id from callbacks")) == 1


async def test_an_unlisted_word_about_a_hand_off_under_way_does_not_end_it(world: World) -> None:
    account = await world.account()
    message = await world.send(NUMBER, sms(accounts=(account,)))
    seen: list[Any] = []

    async def early(outbound: Outbound) -> Result:
        assert outbound.callback_url is not None
        await world.post(fake_callback(outbound.callback_url, [status("one", "teleported")], world.clock.now()))
        await world.another_worker().run()
        seen.extend(await world.attempts(message))
        return Accepted("one")

    world.wire.script.append(early)
    await world.run()
    assert [(one.state, one.ended_at) for one in seen] == [(State.STARTED, None)]


async def test_a_callback_normalised_again_repeats_no_signal_and_no_state(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    await report(world, account, status("one"), inbound(signal="stop"))
    before = await world.happened(message)
    [callback] = await world.rows("select id from callbacks")
    again = NewJob(world.side, NORMALISE, {"callbacks": [callback["id"].hex], "places": {callback["id"].hex: [0]}})
    await world.db.run(lambda tx: enqueue(tx, [again]))
    await world.run()
    assert await world.happened(message) == before
    assert len(await world.rows("select id from consent_entries")) == 1
    assert len(await kinds(world, "inbound.received")) == 1


# Patience


async def test_what_finds_nothing_is_looked_for_again_and_then_kept(world: World) -> None:
    account = await world.account()
    await report(world, account, status("nobody's"))
    assert await states_of_callbacks(world) == ["received"]
    await world.pass_time(sum(PATIENCE) * SECOND - SECOND)
    assert await states_of_callbacks(world) == ["received"]
    await world.pass_time(2 * SECOND)
    assert await states_of_callbacks(world) == ["unmatched"]
    [event] = await kinds(world, "callback.unmatched")
    assert (event["provider"], event["places"]) == ("fake", [0])
    [row] = await world.rows("select (select count(*) from jobs) + (select count(*) from delayed) as left")
    assert row["left"] == 0


async def test_what_was_applied_is_not_applied_again_while_the_rest_is_looked_for(world: World) -> None:
    """Each look said anew that a delivered message had bounced."""
    account = await world.account()
    message = await handed_over(world, account, "one")
    await report(world, account, status("one"))
    await report(world, account, status("one", "bounced"), status("nobody's"), inbound())
    await world.pass_time(HOUR)
    assert (await world.happened(message)).count("attempt.bounced_after_delivery") == 1
    assert await states_of_callbacks(world) == ["normalised", "unmatched"]


async def test_a_message_in_a_body_with_an_unknown_report_is_still_received(world: World) -> None:
    """It was told only if everything else in the body was known."""
    account = await world.account()
    await report(world, account, status("nobody's"), inbound())
    assert len(await kinds(world, "inbound.received")) == 1
    await world.pass_time(HOUR)
    assert len(await kinds(world, "inbound.received")) == 1


async def test_the_rest_of_a_body_is_applied_when_its_attempt_is_known(world: World) -> None:
    account = await world.account()
    first = await handed_over(world, account, "one")
    await report(world, account, status("one"), status("two"))
    assert await world.states(first) == [(0, "delivered")]
    second = await handed_over(world, account, "two")
    await world.pass_time(2 * MINUTE)
    assert await world.states(second) == [(0, "delivered")]
    assert await states_of_callbacks(world) == ["normalised"]


# Whose attempt


async def test_reports_move_only_attempts_of_their_own_account(world: World) -> None:
    ours, other = await world.account(), await world.account()
    rival = await world.db.run(lambda tx: create_workspace(tx, "rival"))
    theirs = await world.account(side=rival.test)
    message = await handed_over(world, ours, "one")
    [attempt] = await world.attempts(message)
    name = f"?attempt={ids.show('att', attempt.id)}"
    await world.db.run(lambda tx: world.hub.accounts.usable(tx, rival.test))
    for account, url in (
        (other, await world.callback_url(other)),
        (theirs, f"{world.url}/in/fake/{ids.show('acc', theirs)}"),
    ):
        for query in ("", name):
            request = fake_callback(url + query, [status("one")], world.clock.now())
            assert await world.post(request) == 204, account
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "submitted")]


async def test_a_name_counts_only_while_the_vendors_id_is_not_known(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    [attempt] = await world.attempts(message)
    url = f"{await world.callback_url(account)}?attempt={ids.show('att', attempt.id)}"
    await world.post(fake_callback(url, [status("another")], world.clock.now()))
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "submitted")]
    await world.post(fake_callback(url, [status("one")], world.clock.now()))
    await world.run()
    assert await world.states(message) == [(0, "delivered")]


async def test_a_name_counts_only_for_a_body_about_one_message(world: World) -> None:
    account = await world.account()
    world.wire.script.append(Uncertain("lost"))
    message = await world.sent(NUMBER, sms(accounts=(account,), within=HOUR), guarantee=ONCE)
    await world.disable(account)
    [attempt] = await world.attempts(message)
    url = f"{await world.callback_url(account)}?attempt={ids.show('att', attempt.id)}"
    await world.post(fake_callback(url, [status("one"), status("two")], world.clock.now()))
    await world.run()
    assert await world.states(message) == [(0, "uncertain")]
    await world.post(fake_callback(url, [status("one", "sent"), status("one")], world.clock.now()))
    await world.run()
    assert await world.states(message) == [(0, "delivered")]


async def test_a_name_that_is_none_is_ignored(world: World) -> None:
    account = await world.account()
    for name in ("att_x", "", "msg_01m7yqjpkze1wac2tcywed9ytc", "%FF", "a&attempt=b", "x&" * 300):
        vendor_id = f"to {name[:40]}"
        message = await handed_over(world, account, vendor_id)
        url = f"{await world.callback_url(account)}?attempt={name}"
        assert await world.post(fake_callback(url, [status(vendor_id)], world.clock.now())) == 204
        await world.run()
        assert await world.states(message) == [(0, "delivered")], name


# Hostile and many


async def test_an_id_that_no_column_takes_matches_nothing_and_stops_nothing(world: World) -> None:
    """It raised, and the job was tried fifty times."""
    account = await world.account()
    hostile = ("a\0b", "x" * 100_000, "", "\ud7ff" * 300)
    for place, vendor_id in enumerate(hostile):
        message = await handed_over(world, account, f"good {place}")
        await report(world, account, status(vendor_id), status(f"good {place}", reason="code\0" * 100))
        assert await world.states(message) == [(0, "delivered")]
    await world.pass_time(HOUR)
    assert await states_of_callbacks(world) == ["unmatched"] * len(hostile)
    assert await world.rows("select id from dead_letters") == []


async def test_a_callback_that_cannot_be_opened_stands_alone(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    for vendor_id in ("x", "one"):
        await world.fake_report(account, status(vendor_id))
    await world.execute("update callbacks set raw = '\\x00' where id = (select id from callbacks order by id limit 1)")
    await world.run()
    assert await world.states(message) == [(0, "delivered")]
    await world.pass_time(30 * HOUR)
    [dead] = await world.rows("select kind from dead_letters")
    assert dead["kind"] == NORMALISE


async def together(world: World) -> None:
    """Put what waits to be normalised into one job, as what is received at once is."""
    waiting = await world.rows("delete from jobs returning payload")
    carried = [one for row in waiting for one in row["payload"]["callbacks"]]
    await world.db.run(lambda tx: enqueue(tx, [NewJob(world.side, NORMALISE, {"callbacks": carried})]))


async def test_a_callback_that_cannot_be_opened_stands_alone_among_those_received_with_it(world: World) -> None:
    account = await world.account()
    messages = [await handed_over(world, account, str(number)) for number in range(3)]
    for vendor_id in ("x", "0", "1", "nobody's", "2"):
        await world.fake_report(account, status(vendor_id))
    await world.execute("update callbacks set raw = '\\x00' where id = (select id from callbacks order by id limit 1)")
    await together(world)
    await world.run()
    await world.pass_time(MINUTE)
    assert [await world.states(one) for one in messages] == [[(0, "delivered")]] * 3
    await world.pass_time(30 * HOUR)
    [dead] = await world.rows("select kind, payload from dead_letters")
    [broken] = await world.rows("select id from callbacks where state = 'received'")
    assert (dead["kind"], dead["payload"]["callbacks"]) == (NORMALISE, [broken["id"].hex])
    assert sorted(await states_of_callbacks(world)) == ["normalised"] * 3 + ["received", "unmatched"]


async def test_what_found_nothing_is_looked_for_again_without_what_was_applied(world: World) -> None:
    account = await world.account()
    first = await handed_over(world, account, "one")
    for vendor_id, word in (("one", "delivered"), ("one", "bounced"), ("two", "delivered"), ("three", "sent")):
        await world.fake_report(account, status(vendor_id, word))
    await together(world)
    await world.run()
    [later] = await world.rows("select payload from delayed where kind = $1", NORMALISE)
    assert (len(later["payload"]["callbacks"]), later["payload"]["looks"]) == (2, 1)
    second = await handed_over(world, account, "two")
    await world.pass_time(HOUR)
    assert await world.states(second) == [(0, "delivered")]
    assert (await world.happened(first)).count("attempt.bounced_after_delivery") == 1
    assert await states_of_callbacks(world) == ["normalised", "normalised", "normalised", "unmatched"]


async def test_a_backlog_is_done_in_passes_of_bounded_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim of full jobs would else be one transaction over tens of thousands of callbacks."""
    sizes: list[int] = []

    async def counting(tx: Tx, pairs: Any) -> Any:
        sizes.append(len(pairs))
        return await read(tx, pairs)

    read = store.read
    account = await world.account()
    messages = [await handed_over(world, account, str(number)) for number in range(7)]
    for number in range(7):
        await world.fake_report(account, status(str(number)))
    monkeypatch.setattr(store, "read", counting)
    monkeypatch.setattr(normalising, "AT_ONCE", 3)
    await world.run()
    assert sizes == [3, 3, 1]
    assert [await world.states(one) for one in messages] == [[(0, "delivered")]] * 7


async def test_the_number_of_statements_does_not_grow_with_the_callbacks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a cold key cache each callback of a batch asked for the same key."""
    counts: list[int] = []

    def counting(name: str) -> Any:
        real = getattr(Tx, name)

        async def counted(self: Tx, sql: str, *args: Any) -> Any:
            counts[-1] += 1
            return await real(self, sql, *args)

        return counted

    account = await world.account()
    for size in (2, 20):
        for number in range(size):
            await handed_over(world, account, f"{size}/{number}")
        for number in range(size):
            await world.fake_report(account, status(f"{size}/{number}", "sent"))
        world.clock.advance(2 * MINUTE)
        with monkeypatch.context() as patched:
            for name in ("rows", "row", "execute", "value"):
                patched.setattr(Tx, name, counting(name))
            counts.append(0)
            await world.worker.claim()
    assert counts[0] == counts[1]


async def test_callbacks_are_applied_in_the_order_they_came(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    for number, word in enumerate(("sent", "delivered", "bounced")):
        world.clock.advance(SECOND * number)
        await world.fake_report(account, status("one", word))
    await world.run()
    assert (await world.happened(message))[-4:] == [
        "attempt.sent", "attempt.delivered", "message.delivered", "attempt.bounced_after_delivery",
    ]  # fmt: skip


# Whose key


async def opened(world: World, use: str | UUID) -> list[bytes | None]:
    """The stored requests as one key opens them; None where it does not."""
    vault = world.hub.around.vault
    if isinstance(use, str):
        key = await world.db.run(lambda tx: vault.workspace(tx, world.side, use))
    else:
        key = (await world.db.run(lambda tx: vault.subjects(tx, world.side, [use])))[use]
    found: list[bytes | None] = []
    for row in await world.rows("select id, raw from callbacks order by id"):
        try:
            found.append(msgspec.json.decode(key.open(row["raw"], context(row["id"])), type=Raw).body)
        except HubError:
            found.append(None)
    return found


async def erase(world: World, person: UUID) -> None:
    """Destroy a person's key, in the database and in this process."""
    await world.execute(
        "update subject_keys set wrapped = null, destroyed_at = now() where subject_id = $1", person
    )  # fmt: skip
    world.hub.around.vault.forget(world.side, person)


async def again(world: World) -> None:
    """Normalise every callback once more."""
    found = [row["id"].hex for row in await world.rows("select id from callbacks order by id")]
    await world.db.run(lambda tx: enqueue(tx, [NewJob(world.side, NORMALISE, {"callbacks": found})]))
    await world.run()


async def test_what_is_about_one_person_is_sealed_for_that_person(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    person = (await world.message(message)).recipient_id
    await report(world, account, status("one", "sent"), status("one"))
    [row] = await world.rows("select recipient_id, state from callbacks")
    assert tuple(row) == (person, "normalised")
    assert await opened(world, "callbacks") == [None]
    [body] = await opened(world, person)
    assert body is not None
    assert b"one" in body
    before = await world.happened(message)
    await again(world)
    assert (await world.happened(message), await states_of_callbacks(world)) == (before, ["normalised"])
    assert await opened(world, person) == [body]


async def test_what_is_about_several_or_about_nobody_known_stays_the_sides(world: World) -> None:
    account = await world.account()
    await handed_over(world, account, "one")
    await handed_over(world, account, "two", to=OTHER_NUMBER)
    for events in (
        [status("one"), status("two")], [status("one"), status("nobody's")], [status("one"), inbound()],
        [status("nobody's")], [inbound()], [],
    ):  # fmt: skip
        await world.fake_report(account, *events)
    await world.pass_time(HOUR)
    assert {row["recipient_id"] for row in await world.rows("select recipient_id from callbacks")} == {None}
    assert None not in await opened(world, "callbacks")


async def test_a_callback_of_somebody_erased_is_skipped_and_says_so(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    await handed_over(world, account, "two", to=OTHER_NUMBER)
    await report(world, account, status("one"))
    await report(world, account, status("two"))
    await erase(world, (await world.message(message)).recipient_id)
    await again(world)
    assert await states_of_callbacks(world) == ["erased", "normalised"]
    assert await world.rows("select id from dead_letters") == []


async def test_nothing_is_kept_of_what_comes_late_about_somebody_erased(world: World) -> None:
    account = await world.account()
    message = await handed_over(world, account, "one")
    person = (await world.message(message)).recipient_id
    await erase(world, person)
    await report(world, account, status("one"))
    assert await world.states(message) == [(0, "delivered")]
    [row] = await world.rows("select state, raw, recipient_id from callbacks")
    assert tuple(row) == ("erased", b"", person)
    await again(world)
    assert await states_of_callbacks(world) == ["erased"]
