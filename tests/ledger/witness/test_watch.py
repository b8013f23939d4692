"""A witness answers exactly as tlog-witness says."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.clock import FakeClock
from tabellion.core.errors import Misconfigured
from tabellion.ledger import merkle, note
from tabellion.ledger.note import Checkpoint, Signer
from tabellion.ledger.witness.asgi import LARGEST, WitnessApp
from tabellion.ledger.witness.folder import Folder, hash_of
from tabellion.ledger.witness.submission import Submission
from tabellion.ledger.witness.watch import SIZE_TYPE, Watch

from .conftest import NewWitness, PaperLog, Standing

ENTRIES = [b"entry %d" % number for number in range(40)]
STRANGER = Signer.of("example.org/log", b"s" * 32)


@pytest.fixture
def witness(new_witness: NewWitness, paper: PaperLog) -> Standing:
    return new_witness("one", paper.grow(ENTRIES).signer.verifier)


async def statuses(witness: Standing, *submissions: Submission) -> list[int]:
    return [(await witness.watch.add_checkpoint(one.body())).status for one in submissions]


async def test_a_log_that_grows_is_cosigned_again_and_again(witness: Standing, paper: PaperLog, clock: FakeClock):
    for old, size in [(0, 3), (3, 3), (3, 8), (8, 9), (9, 40)]:
        clock.advance(timedelta(minutes=1))
        answer = await witness.watch.add_checkpoint(paper.submission(old, size).body())
        assert answer.status == 200
        (found,) = note.verify_cosignatures(paper.checkpoint(size) + answer.text, [witness.cosigner.witness])
        assert found.at == int(clock.now().timestamp())
        assert answer.text == found.signature.line()
        assert witness.size_of(paper.signer.name) == size


async def test_the_empty_log_is_cosigned(witness: Standing, paper: PaperLog):
    assert await statuses(witness, paper.submission(0, 0), paper.submission(0, 0), paper.submission(0, 4)) == [200] * 3


async def test_whoever_names_another_size_hears_the_last_one(witness: Standing, paper: PaperLog):
    await statuses(witness, paper.submission(0, 8))
    for old in (0, 7):
        answer = await witness.watch.add_checkpoint(paper.submission(old, 9).body())
        assert (answer.status, answer.text, answer.content_type) == (409, "8\n", SIZE_TYPE)
    fresh = await witness.watch.add_checkpoint(paper.submission(8, 7).body().replace(b"old 8", b"old 7"))
    assert (fresh.status, fresh.text) == (409, "8\n")


async def test_a_forked_log_is_not_cosigned(witness: Standing, paper: PaperLog):
    forked = PaperLog(paper.signer).grow([*ENTRIES[:5], b"another", *ENTRIES[6:]])
    await statuses(witness, paper.submission(0, 8))
    assert await statuses(witness, forked.submission(8, 8), forked.submission(8, 20)) == [422, 422]
    assert await statuses(witness, paper.submission(8, 20)) == [200]


async def test_a_proof_that_proves_something_else_is_refused(witness: Standing, paper: PaperLog):
    with_proof = Submission(0, (bytes(32),), paper.checkpoint(8))
    wrong_root = Checkpoint(paper.signer.name, 0, bytes(32)).text()
    assert await statuses(witness, with_proof, Submission(0, (), paper.signer.sign(wrong_root))) == [422, 422]
    await statuses(witness, paper.submission(0, 8))
    sound = paper.submission(8, 20)
    for proof in [(), sound.proof[:-1], (*sound.proof, bytes(32)), tuple(reversed(sound.proof))]:
        assert await statuses(witness, Submission(8, proof, sound.checkpoint)) == [422]
    assert await statuses(witness, Submission(8, (bytes(32),), paper.checkpoint(8))) == [422]


async def test_strangers_and_forgers_are_turned_away(witness: Standing, paper: PaperLog):
    unknown = PaperLog(Signer.of("example.org/other", bytes(32))).grow(ENTRIES)
    forged = PaperLog(STRANGER).grow(ENTRIES)
    broken = paper.checkpoint(8).replace("\n8\n", "\n9\n")
    assert await statuses(witness, unknown.submission(0), forged.submission(0), Submission(0, (), broken)) == [
        404, 403, 403,
    ]  # fmt: skip
    beside = paper.checkpoint(8) + forged.checkpoint(8).rpartition("\n\n")[2]
    assert await statuses(witness, Submission(0, (), beside)) == [200]
    last = witness.folder.last(hash_of(paper.signer.name))
    assert last is not None
    assert len(note.parse(last).signatures) == 2, "the log's and our own, and no line that nobody looked at"


@pytest.mark.parametrize("body", [b"", b"old 0\n\n", b"old 0\n\nno note\n", b"old 1\nAA\n\nx\n", b"\xff", b"old 9\n\n"])
async def test_what_is_no_submission_is_refused(witness: Standing, body: bytes):
    assert (await witness.watch.add_checkpoint(body)).status == 400


async def test_an_old_size_above_the_new_one_is_refused(witness: Standing, paper: PaperLog):
    await statuses(witness, paper.submission(0, 9))
    assert await statuses(witness, Submission(9, (), paper.checkpoint(8))) == [400]


async def test_two_at_once_never_roll_back(witness: Standing, paper: PaperLog):
    """The race that tlog-witness describes: the smaller one must not take the place of the larger."""
    await statuses(witness, paper.submission(0, 5))
    sizes = [20, 6, 40, 9, 13, 30]
    answers = await asyncio.gather(*(witness.watch.add_checkpoint(paper.submission(5, size).body()) for size in sizes))
    taken = [size for size, answer in zip(sizes, answers, strict=True) if answer.status == 200]
    assert len(taken) == 1
    assert {answer.status for answer in answers} == {200, 409}
    assert witness.size_of(paper.signer.name) == taken[0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40)), max_size=25))
def test_what_was_cosigned_is_one_log_that_only_grew(tmp_path_factory, steps: list[tuple[bool, int, int]]) -> None:
    """Whoever asks for whatever, in whatever order: all cosigned checkpoints are of one tree, and never shrink."""
    true = PaperLog().grow(ENTRIES)
    false = PaperLog(true.signer).grow([*ENTRIES[:11], b"forked", *ENTRIES[12:]])
    folder = Folder(tmp_path_factory.mktemp("witness"))
    watch = Watch(folder, folder.prepare("w.example"), FakeClock())
    folder.trust([true.signer.verifier])
    cosigned: list[Checkpoint] = []
    for honest, old, size in steps:
        log = true if honest else false
        body = log.submission(old, size).body()
        if watch._add(body).status == 200:
            cosigned.append(note.parse_checkpoint(note.parse(log.checkpoint(size)).text))
    sizes = [one.size for one in cosigned]
    assert sizes == sorted(sizes)
    trees = [{one.size: one.root for one in cosigned}, {one.size: one.root for one in reversed(cosigned)}]
    assert trees[0] == trees[1]
    assert any(all(root == merkle.root(log.hashes[:size]) for size, root in trees[0].items()) for log in (true, false))


async def test_the_state_outlives_the_process(witness: Standing, paper: PaperLog, clock: FakeClock):
    await statuses(witness, paper.submission(0, 8))
    again = Folder(witness.folder.path)
    assert again.prepare("another.example").witness == witness.cosigner.witness
    answer = await Watch(again, again.cosigner(), clock).add_checkpoint(paper.submission(0, 9).body())
    assert (answer.status, answer.text) == (409, "8\n")
    assert (witness.folder.path / "witness.key").stat().st_mode & 0o077 == 0


async def test_a_crash_after_keeping_and_before_answering_is_made_good(
    witness: Standing, paper: PaperLog, monkeypatch: pytest.MonkeyPatch
):
    def dies(origin: str, signed: str) -> None:
        Folder.keep(witness.folder, origin, signed)
        raise SystemError("killed")

    monkeypatch.setattr(witness.folder, "keep", dies)
    with pytest.raises(SystemError):
        await statuses(witness, paper.submission(0, 8))
    monkeypatch.undo()
    assert await statuses(witness, paper.submission(0, 8), paper.submission(8, 8)) == [409, 200]


async def test_a_log_can_have_a_second_key(witness: Standing, paper: PaperLog):
    rotated = PaperLog(Signer.of(paper.signer.name, b"2" * 32), paper.hashes)
    await statuses(witness, paper.submission(0, 8))
    assert await statuses(witness, rotated.submission(8, 9)) == [403]
    assert witness.folder.trust([rotated.signer.verifier, paper.signer.verifier]) == [rotated.signer.verifier]
    assert await statuses(witness, rotated.submission(8, 9)) == [200]


def test_a_folder_without_a_key_says_what_to_do(tmp_path) -> None:
    with pytest.raises(Misconfigured, match="witness run"):
        Folder(tmp_path).cosigner()
    (tmp_path / "witness.key").write_text("nonsense")
    with pytest.raises(Misconfigured, match="restore"):
        Folder(tmp_path).cosigner()


async def test_over_http(witness_of: Callable[..., Awaitable[Standing]], paper: PaperLog):
    witness = await witness_of("web", paper.grow(ENTRIES).signer.verifier)
    async with httpx.AsyncClient(base_url=witness.url) as client:
        origin = hash_of(paper.signer.name)
        assert (await client.get(f"/{origin}/checkpoint")).status_code == 404
        added = await client.post("/add-checkpoint", content=paper.submission(0, 8).body())
        assert (added.status_code, added.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        stale = await client.post("/add-checkpoint", content=paper.submission(0, 9).body())
        assert (stale.status_code, stale.text, stale.headers["content-type"]) == (409, "8\n", SIZE_TYPE)
        kept = (await client.get(f"/{origin}/checkpoint")).text
        assert note.verify_checkpoint(kept, [paper.signer.verifier]).size == 8
        assert note.verify_cosignatures(kept, [witness.cosigner.witness])
        assert kept.endswith(added.text)
        assert (await client.post("/add-checkpoint", content=b"x" * (LARGEST + 1))).status_code == 413
        assert (await client.get("/add-checkpoint")).status_code == 405
        for path in ("/", "/x/checkpoint", "/../logs", f"/{origin.upper()}/checkpoint", f"/{'0' * 64}/checkpoint"):
            assert (await client.get(path)).status_code == 404


async def test_who_leaves_half_way_gets_no_answer_and_changes_nothing(witness: Standing, paper: PaperLog):
    sent: list[object] = []
    body = paper.submission(0, 8).body()
    messages = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    await WitnessApp(witness.watch, "/witness")(
        {"type": "http", "method": "POST", "path": "/witness/add-checkpoint"}, receive, send
    )
    assert sent == []
    assert witness.size_of(paper.signer.name) is None


@given(at=st.integers(0, 3000), what=st.binary(max_size=6), drop=st.integers(0, 60))
def test_whatever_it_is_sent_it_answers_and_cosigns_only_what_follows(
    tmp_path_factory: pytest.TempPathFactory, at: int, what: bytes, drop: int
) -> None:
    """Bytes changed, put in and left out of a sound submission: an answer, and what is kept is the log's own."""
    paper = PaperLog().grow(bytes([number]) for number in range(7))
    folder = Folder(tmp_path_factory.mktemp("w"))
    watch = Watch(folder, folder.prepare("w.example"), FakeClock())
    folder.trust([paper.signer.verifier])
    assert watch._add(paper.submission(0, 4).body()).status == 200
    body = paper.submission(4).body()
    at %= len(body)
    for said in (body[:at] + what + body[at + drop :], what * 50, body + what):
        answer = watch._add(said)
        assert answer.status in {200, 400, 403, 404, 409, 422}
        kept = note.verify_checkpoint(folder.last(hash_of(paper.signer.name)) or "", [paper.signer.verifier])
        assert kept.root == merkle.root(paper.hashes[: kept.size])
        assert kept.size == 7 or answer.status != 200
