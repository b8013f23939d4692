"""The head that is shown is what enough witnesses cosigned: one log that only grew, whatever they and we do."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tabellion.core import ids
from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import FakeClock
from tabellion.core.db import Tx
from tabellion.core.outbound import HttpPool, Limits
from tabellion.ledger import merkle, note
from tabellion.ledger import store as ledger_store
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.note import Cosigner
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Forked, LogId
from tabellion.ledger.witness import store
from tabellion.ledger.witness.folder import hash_of
from tabellion.ledger.witness.publishing import behind
from tabellion.ledger.witness.submission import parse as parse_submission
from tabellion.ledger.witness.watch import SIZE_TYPE

from .conftest import House, Serve, Standing, any_of

NewStanding = Callable[..., Awaitable[Standing]]


class Bad:
    """A witness that behaves as it is told, and notes what it was sent."""

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes, str] | None], shown: bytes | None = None) -> None:
        self.answer = answer
        self.shown = shown
        self.asked: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["method"] == "GET":
            status, said, kind = (404, b"", "text/plain") if self.shown is None else (200, self.shown, "text/plain")
        else:
            self.asked.append(body)
            told = self.answer(body)
            if told is None:
                await asyncio.sleep(3600)
                return
            status, said, kind = told
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": said})


async def bad(serve: Serve, answer: Any, shown: bytes | None = None) -> tuple[Standing, Bad]:
    app = Bad(answer, shown)
    cosigner = Cosigner.of("bad.example", b"b" * 32)
    made = Standing(None, cosigner, None, await serve(app))  # type: ignore[arg-type]
    return made, app


# the usual course


async def test_a_head_is_shown_once_its_witnesses_cosigned_it(house: House, witness_of: NewStanding):
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    house.under(any_of(one, two))
    assert await house.size() is None
    for size in (0, 3, 4, 260, 300):
        if size:
            await house.grow(size - (await house.size() or 0))
        assert await house.publisher.publish() == 1
        assert await house.size() == size
        assert one.size_of(log.name) == two.size_of(log.name) == size
        assert await house.publisher.publish() == 0, "nothing new"
    assert await house.known() == {"one": 300, "two": 300}
    assert await house.troubles() == []


async def test_the_integrated_head_stays_what_it_was(house: House, witness_of: NewStanding):
    one = await witness_of("one", await house.verifier())
    house.under(any_of(one))
    await house.grow(5)
    await house.publisher.publish()
    await house.grow(2)
    integrated = await house.db.run(lambda tx: house.ledger.checkpoint(tx, house.workspace_id))
    assert note.parse_checkpoint(note.parse(integrated).text).size == 7
    assert await house.size() == 5


async def test_without_a_policy_every_head_is_shown(house: House):
    await house.grow(3)
    ledger = Ledger(house.vault, house.checkpoints, house.install_id)
    found = await house.db.run(lambda tx: ledger.published(tx, house.workspace_id))
    assert (found.size, found.witnessed) == (3, False)


async def test_a_quorum_of_none_is_published_at_once(house: House):
    await house.grow(3)
    assert await house.publisher.publish() == 1
    assert await house.size() == 3


@pytest.mark.parametrize(("needed", "shown"), [(1, 4), (2, 4), (3, None)])
async def test_k_of_n_with_one_away(house: House, witness_of: NewStanding, needed: int, shown: int | None):
    log = await house.verifier()
    away = await witness_of("away", log)
    away.url = "http://127.0.0.1:1"
    house.under(any_of(await witness_of("one", log), await witness_of("two", log), away, needed=needed))
    await house.grow(4)
    await house.publisher.publish()
    assert await house.size() == shown
    (trouble,) = await house.troubles()
    assert trouble.startswith("cannot be reached")


async def test_a_policy_that_asks_for_more_is_met_anew(house: House, witness_of: NewStanding):
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    assert await house.size() == 4
    house.under(any_of(one, two))
    assert await house.size() is None, "what was cosigned by one is not what is asked for"
    await house.publisher.publish()
    assert await house.size() == 4
    assert await house.under(any_of(one)).size() is None


async def test_private_addresses_are_not_called(house: House, witness_of: NewStanding):
    one = await witness_of("one", await house.verifier())
    closed = HttpPool(house.clock, AddressPolicy())
    house.http, usual = closed, house.http
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    house.http = usual
    await closed.close()
    assert await house.size() is None
    assert "TABELLION_ALLOW_PRIVATE_NETWORKS" in (await house.troubles())[0]
    assert one.size_of((await house.verifier()).name) is None


# witnesses in trouble


async def test_a_slow_witness_does_not_hold_a_quorum_up(house: House, witness_of: NewStanding, serve: Serve):
    slow, _ = await bad(serve, lambda body: None)
    house.under(any_of(await witness_of("one", await house.verifier()), slow, needed=1))
    await house.grow(4)
    assert await house.publisher.publish() == 1
    assert await house.size() == 4
    assert len(await house.troubles()) == 1


def cosigning(
    key: Cosigner, change: Callable[[str], str] = str, at: int = 0
) -> Callable[[bytes], tuple[int, bytes, str]]:
    """The answer of a witness that signs another text, or another time, than it should."""

    def answer(body: bytes) -> tuple[int, bytes, str]:
        text = note.parse(parse_submission(body).checkpoint).text
        return 200, key.cosign(change(text), at).encode(), "text/plain"

    return answer


NOW = int(FakeClock().now().timestamp())
BAD, OTHER = Cosigner.of("bad.example", b"b" * 32), Cosigner.of("bad.example", b"o" * 32)
LIES = {
    "cosigns another size": cosigning(BAD, lambda text: text.replace("\n4\n", "\n5\n"), NOW),
    "cosigns with another key": cosigning(OTHER, at=NOW),
    "cosigns tomorrow": cosigning(BAD, at=NOW + 86_400),
    "cosigns yesterday": cosigning(BAD, at=NOW - 86_400),
    "cosigns at no time": cosigning(BAD, at=0),
    "says nothing": lambda body: (200, b"", "text/plain"),
    "says garbage": lambda body: (200, b"\xff\x00garbage", "text/plain"),
    "says a page": lambda body: (200, b"<html>ok</html>\n", "text/html"),
    "says too much": lambda body: (200, b"x" * 100_000, "text/plain"),
    "echoes": lambda body: (200, parse_submission(body).checkpoint.rpartition("\n\n")[2].encode(), "text/plain"),
    "adds another note": lambda body: (200, b"\n\n" + cosigning(BAD, at=NOW)(body)[1], "text/plain"),
    "answers 409 without a size": lambda body: (409, b"", SIZE_TYPE),
    "answers 409 of another type": lambda body: (409, b"2\n", "text/plain"),
    "answers 409 with what it was sent": lambda body: (409, b"%d\n" % parse_submission(body).old, SIZE_TYPE),
    "answers 409 with no number": lambda body: (409, b"02\n", SIZE_TYPE),
    "answers 409 with too much": lambda body: (409, b"99999999\n", SIZE_TYPE),
    "answers 422": lambda body: (422, b"", "text/plain"),
    "redirects": lambda body: (302, b"", "text/plain"),
} | {f"answers {status}": (lambda body, status=status: (status, b"", "text/plain")) for status in (
    204, 400, 403, 404, 413, 429, 500, 503,
)}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_no_cosignature_publishes_nothing(house: House, serve: Serve, lie: str):
    liar, app = await bad(serve, LIES[lie])
    house.under(any_of(liar))
    await house.grow(4)
    for _ in range(3):
        assert await house.publisher.publish() == 0
        assert await house.size() is None
    assert 1 <= len(app.asked) <= 3, "it is left alone for a while"
    assert len(await house.troubles()) == 1
    assert len(house.logged("witness.troubled")) == 1, "said once"
    await house.grow(1)
    assert not house.logged("ledger.forked"), "a word alone stops nothing"
    house.later()
    await house.publisher.publish()
    assert len(app.asked) > 1, "and asked again later"


async def test_a_witness_that_comes_back_is_asked_again(house: House, serve: Serve):
    state = {"up": False}
    honest = cosigning(BAD, at=NOW + 7200)
    liar, app = await bad(serve, lambda body: honest(body) if state["up"] else (503, b"", "text/plain"))
    await house.under(any_of(liar)).grow(4)
    await house.publisher.publish()
    state["up"] = True
    assert await house.publisher.publish() == 0
    house.later()
    assert await house.publisher.publish() == 1
    assert len(app.asked) == 2
    assert await house.troubles() == []
    assert [line["witness"] for line in house.logged("witness.recovered")] == ["w0"]


async def test_retry_after_is_kept_to(house: House, serve: Serve):
    async def busy(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["method"])
        await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"900")]})
        await send({"type": "http.response.body", "body": b""})

    asked: list[str] = []
    made = Standing(None, BAD, None, await serve(busy))  # type: ignore[arg-type]
    await house.under(any_of(made)).grow(4)
    for minutes in (0, 10, 10):
        house.clock.advance(timedelta(minutes=minutes))
        await house.publisher.publish()
    assert asked == ["POST", "POST"]


async def test_no_answer_is_none(house: House, serve: Serve):
    silent, _ = await bad(serve, lambda body: None)
    hasty = HttpPool(house.clock, AddressPolicy.of(["127.0.0.0/8"]), limits=Limits(connect=2.0, read=0.2, total=0.3))
    house.http, usual = hasty, house.http
    await house.under(any_of(silent)).grow(4)
    assert await house.publisher.publish() == 0
    house.http = usual
    await hasty.close()
    assert await house.troubles() == ["cannot be reached: no answer in time"]


async def test_half_an_answer_is_none(house: House, serve: Serve):
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": "— bad.example ".encode(), "more_body": True})
        send.__self__.transport.close()

    made = Standing(None, BAD, None, await serve(half))  # type: ignore[arg-type]
    await house.under(any_of(made)).grow(4)
    assert await house.publisher.publish() == 0
    assert "cannot be reached" in (await house.troubles())[0]


async def test_a_witness_that_was_rolled_back_is_brought_forward(house: House, witness_of: NewStanding):
    log = await house.verifier()
    one = await witness_of("one", log)
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    older = one.folder.last(hash_of(log.name))
    assert older is not None
    await house.grow(5)
    await house.publisher.publish()
    one.folder.keep(log.name, older)
    await house.grow(2)
    assert await house.publisher.publish() == 1
    assert (await house.size(), one.size_of(log.name)) == (11, 11)
    assert house.outcomes[-2:] == ["elsewhere", "cosigned"]


# crashes and rivals


async def dies(*_: object, **__: object) -> bool:
    """The process is killed once the witnesses have cosigned."""
    raise SystemError("killed")


async def test_a_crash_between_cosigning_and_storing_is_made_good(
    house: House, witness_of: NewStanding, monkeypatch: pytest.MonkeyPatch
):
    log = await house.verifier()
    one = await witness_of("one", log)
    await house.under(any_of(one)).grow(4)

    with monkeypatch.context() as patched:
        patched.setattr(house.publisher, "_keep", dies)
        with pytest.raises(SystemError):
            await house.publisher.publish()
    assert (one.size_of(log.name), await house.size(), await house.known()) == (4, None, {})
    assert await house.under(any_of(one)).publisher.publish() == 1
    assert await house.size() == 4
    await house.grow(3)
    with monkeypatch.context() as patched:
        patched.setattr(house.publisher, "_keep", dies)
        with pytest.raises(SystemError):
            await house.publisher.publish()
    await house.grow(3)
    assert await house.under(any_of(one)).publisher.publish() == 1
    assert await house.size() == 10


async def test_two_publishers_do_no_harm(house: House, witness_of: NewStanding):
    """The lock that keeps them apart is for economy: both may believe to have it."""
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    text = any_of(one, two)
    first = house.under(text).publisher
    second = house.under(text).publisher
    last = 0
    for count in (1, 2, 30, 4, 5):
        await house.grow(count)
        await asyncio.gather(first.publish(), second.publish(), house.grow(1))
        house.later()
        shown = await house.size() or 0
        assert shown >= last
        last = shown
    await first.publish()
    await second.publish()
    assert await house.size() == 47
    assert not house.logged("ledger.forked")


@pytest.mark.parametrize("seed", range(6))
async def test_a_published_head_never_shrinks_and_goes_on_from_the_last(
    house: House, witness_of: NewStanding, monkeypatch: pytest.MonkeyPatch, seed: int
):
    """Whatever happens to hub and witnesses in whichever order: what strangers see is one log that only grows."""
    chance, log = random.Random(seed), await house.verifier()
    witnesses = [await witness_of(f"w{number}", log) for number in range(3)]
    urls, saved = [one.url for one in witnesses], {}
    seen = [note.Checkpoint(log.name, 0, merkle.EMPTY)]
    for _ in range(30):
        which = chance.randrange(3)
        match chance.choice(["grow", "grow", "publish", "publish", "away", "back", "save", "roll back", "die"]):
            case "grow":
                await house.grow(chance.choice([1, 2, 7, 100]))
            case "away":
                witnesses[which].url = "http://127.0.0.1:1"
            case "back":
                witnesses[which].url = urls[which]
            case "save":
                saved[which] = witnesses[which].folder.last(hash_of(log.name))
            case "roll back" if saved.get(which):
                witnesses[which].folder.keep(log.name, saved[which] or "")
            case "die":
                with monkeypatch.context() as patched, suppress(SystemError):
                    patched.setattr(house.publisher, "_keep", dies)
                    await house.publisher.publish()
        await house.under(any_of(*witnesses, needed=2)).publisher.publish()
        # The policy is of the same keys wherever they are reached: what was shown once is shown from then on.
        shown = await house.shown()
        assert shown is not None or len(seen) == 1
        seen += [shown] if shown else []
    for one in range(3):
        witnesses[one].url = urls[one]
    await house.grow(1)
    assert await house.under(any_of(*witnesses, needed=2)).publisher.publish() == 1
    seen.append(await house.shown() or seen[-1])
    assert seen[-1].size > seen[0].size
    await goes_on(house, seen)
    assert not house.logged("ledger.forked")


async def goes_on(house: House, seen: list[note.Checkpoint]) -> None:
    """Each is of the same size as the one before or larger, and proves to begin with it."""
    for earlier, now in pairwise(seen):
        assert earlier.size <= now.size
        if earlier.size == now.size or earlier.size == 0:
            assert earlier.size == 0 or earlier.root == now.root
            continue
        proof = await house.db.run(
            lambda tx, old=earlier.size, new=now.size: house.ledger.consistency_proof(tx, house.workspace_id, old, new)
        )
        assert merkle.verify_consistency(earlier.size, now.size, earlier.root, now.root, proof)


async def test_a_smaller_head_is_not_put_over_a_larger_one(house: House):
    await house.grow(9)
    await house.publisher.publish()
    log, digest = LogId(house.workspace_id, "consent", 1), house.policy.digest()
    assert not await house.db.run(lambda tx: store.publish(tx, log, 4, "older", digest))
    assert not await house.db.run(lambda tx: store.publish(tx, log, 9, "the same", digest))
    assert await house.size() == 9


# one log for everybody


async def test_a_forked_log_is_cosigned_by_nobody(house: House, witness_of: NewStanding):
    """A hub that rewrote an entry and signed what came of it: no witness follows, and nothing of it is published."""
    log = await house.verifier()
    one = await witness_of("one", log)
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    await house.db.run(lambda tx: rewrite(house, tx))
    assert await house.under(any_of(one)).publisher.publish() == 0
    assert (await house.size(), one.size_of(log.name)) == (4, 4)
    assert house.outcomes[-1] == "inconsistent"
    assert [line["size"] for line in house.logged("ledger.forked")] == [4], (
        "the witness proved it with our own signature"
    )
    with pytest.raises(Forked, match="does not begin with the tree"):
        await house.grow(1)


async def test_a_log_known_to_be_forked_is_shown_to_no_other_witness(house: House, witness_of: NewStanding):
    """One witness has the proof, another would follow: it is not asked, or it could never follow the true log again."""
    log = await house.verifier()
    one, two = await witness_of("one", log), await witness_of("two", log)
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    await house.db.run(lambda tx: rewrite(house, tx))
    await house.under(any_of(one)).publisher.publish()
    assert house.logged("ledger.forked")
    assert await house.under(any_of(two)).publisher.publish() == 0
    assert two.size_of(log.name) is None
    assert await house.size() is None


async def rewrite(house: House, tx: Tx) -> None:
    """Change entry 2, add a fifth, and sign the tree over all of them."""
    head = await ledger_store.lock_head(tx, house.workspace_id, "consent")
    assert head is not None
    await ledger_store.insert_leaves(tx, head.log, 4, [(ids.new(), b"one more")])
    await tx.execute("update ledger_leaves set leaf = 'rewritten' where index = 2")
    entries = await ledger_store.leaves(tx, head.log, range(5))
    forged = Frontier().extended(merkle.leaf_hash(entries[index]) for index in range(5))
    signer = await house.ledger._signer(tx, head)
    signed = signer.sign(note.Checkpoint(head.origin, 5, forged.root()).text())
    await ledger_store.update_head(tx, head.log, forged, signed)


async def test_what_is_behind_is_seen(house: House, witness_of: NewStanding):
    one = await witness_of("one", await house.verifier())
    url, one.url = one.url, "http://127.0.0.1:1"
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    assert await house.db.run(lambda tx: behind(tx, house.policy)) == []
    house.later()
    (lag,) = await house.db.run(lambda tx: behind(tx, house.policy))
    assert (lag.size, lag.published) == (4, None)
    one.url = url
    await house.under(any_of(one)).publisher.publish()
    assert await house.db.run(lambda tx: behind(tx, house.policy)) == []


async def test_the_witness_shows_what_it_cosigned(house: House, witness_of: NewStanding):
    log = await house.verifier()
    one = await witness_of("one", log)
    await house.under(any_of(one)).grow(4)
    await house.publisher.publish()
    async with httpx.AsyncClient() as client:
        kept = (await client.get(f"{one.url}/{hash_of(log.name)}/checkpoint")).text
    shown = await house.db.run(lambda tx: house.ledger.published(tx, house.workspace_id))
    assert kept == shown.checkpoint
