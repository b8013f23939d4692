"""`tabellion import suppressions`: what a list comes to, what is refused, and that a second run adds nothing."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tabellion.app.importing.beside import LOCK, Count, Progress, ProgressFile, Rejects, Same, alone, digest
from tabellion.app.importing.sources import open_source
from tabellion.app.importing.suppressions import Listed, Meant, storing
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.consent.questions import Ask, Verdict
from tabellion.consent.suppressions.rows import Reader, Suppression, choose, moment
from tabellion.consent.suppressions.service import Answers
from tabellion.consent.types import (
    BUILT_IN,
    PHONE_MESSAGING,
    Basis,
    Decision,
    Method,
    NewDecision,
    Notice,
    Rank,
    Recorded,
)
from tabellion.core.errors import HubError, Invalid, Overloaded
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.sources import Csv
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind, Named, NewRecipient, Ref, Resolved

from .processes import Tabellion
from .test_import import KilledError, refused, written

MEANT = Meant()
ANN, NUMBER = "ann@example.org", "+12025550111"
MANY = 10


@dataclass
class Side:
    """One side of a workspace that lists are brought into, ten rows a transaction."""

    hub: Hub
    workspace_id: WorkspaceId

    async def run(self, work: Any) -> Any:
        return await self.hub.around.db.run(work)

    async def bring(self, file: Path, *told: str, store: Any = None, dry: bool = False, meant: Meant = MEANT) -> Count:
        source = open_source(file)
        fields = choose(told, source)
        reader = Reader(
            self.hub.recipients, self.workspace_id, fields, f"import:{file.name}", meant.purpose, meant.reason, BUILT_IN
        )
        kept = None if dry else store or self.store(file)
        same = Same(digest(file), self.workspace_id, fields, (meant.purpose,))
        work = Listed(source, reader, kept, ProgressFile(file.with_suffix(".progress")), same, MANY)
        begun = work.begun()
        delimiter = source.delimiter if isinstance(source, Csv) else None
        rejects_file = file.with_name(f"{file.stem}.rejects{'.csv' if delimiter else '.jsonl'}")
        rejects = Rejects(rejects_file, source.columns, delimiter, begun.rejects if begun else 0)
        try:
            return await work.run(rejects, begun, lambda at: None)
        finally:
            rejects.close()

    def store(self, file: Path) -> Any:
        return storing(self.hub, self.workspace_id, f"import:{file.name}")

    async def entries(self) -> list[tuple[str, str, str, bool, int]]:
        rows = await self.run(
            lambda tx: tx.rows(
                "select channel, purpose, decision, applied, rank from consent_entries where workspace_id = $1"
                " order by log_index",
                self.workspace_id,
            )
        )
        return [tuple(row) for row in rows]

    async def verdict(self, ref: Ref, channel: Channel = Channel.EMAIL, purpose: str = "marketing") -> Verdict:
        [said] = await self.run(lambda tx: self.hub.consent.check(tx, self.workspace_id, [Ask(ref, channel, purpose)]))
        assert isinstance(said, Verdict), said
        return said

    async def person(self, *named: Named) -> None:
        absorbed = self.hub.identity.absorbed
        [one] = await self.run(
            lambda tx: self.hub.recipients.upsert(tx, self.workspace_id, [NewRecipient(named)], absorbed=absorbed)
        )
        assert not isinstance(one, HubError), one

    async def grants(self, ref: Ref, rank: Rank = Rank.SECRET_KEY) -> None:
        new = NewDecision(
            ref, "email", "marketing", Decision.GRANTED, Basis.CONSENT, Method.FORM, "signup", rank, "key_1",
            notice=Notice("n", "1"), evidence={"url": "https://example.org"},
        )  # fmt: skip
        [one] = await self.run(lambda tx: self.hub.consent.record(tx, self.workspace_id, [new]))
        assert isinstance(one, Recorded)
        assert one.applied

    async def found(self, ref: Ref) -> Resolved:
        [one] = await self.run(lambda tx: self.hub.recipients.resolve(tx, self.workspace_id, [ref], create=False))
        assert isinstance(one, Resolved), one
        return one


@pytest.fixture
async def side(surroundings: Surroundings, workspace_id: WorkspaceId) -> AsyncIterator[Side]:
    hub = wire(surroundings)
    yield Side(hub, workspace_id)
    await hub.close()


def email(value: str = ANN) -> Ref:
    return Ref(kind=Kind.EMAIL, value=value)


def phone(value: str = NUMBER) -> Ref:
    return Ref(kind=Kind.PHONE, value=value)


def addresses(count: int, bad: Sequence[int] = ()) -> str:
    return "\n".join(["email", *("nonsense" if n in bad else f"p{n}@example.org" for n in range(count))]) + "\n"


# what a row comes to


async def test_whoever_is_listed_is_not_written_to_known_or_not(side: Side, tmp_path: Path) -> None:
    await side.person(Named(Kind.EMAIL, ANN), Named(Kind.EMAIL, "other@example.org"))
    file = written(tmp_path, f"E-Mail address,Unsubscribed at\n{ANN},2026-01-02\nnobody@example.org,\n")
    assert await side.bring(file) == Count(2, applied=2)
    assert await side.entries() == [("email", "marketing", "withdrawn", True, Rank.IMPORT)] * 2
    assert (await side.verdict(email())).verdict == "denied"
    assert (await side.verdict(email("other@example.org"))).verdict == "denied", "it is the person who said no"
    assert (await side.found(email("nobody@example.org"))).address_only
    await side.person(Named(Kind.EMAIL, "nobody@example.org"), Named(Kind.EXTERNAL_ID, "crm-1"))
    assert (await side.verdict(email("nobody@example.org"))).verdict == "denied", "also of who has it later"


async def test_channel_purpose_and_reason_are_what_the_row_says(side: Side, tmp_path: Path) -> None:
    rows = [
        {"address": ANN},
        {"address": NUMBER, "reason": "STOP"},
        {"kind": "whatsapp", "value": NUMBER, "reason": "manual"},
        {"phone": "+12025550112", "channel": "sms", "purpose": "*", "reason": "Spam report"},
        {"email": "all@example.org", "channel": "*", "purpose": "transactional"},
    ]
    file = written(tmp_path, "\n".join(map(json.dumps, rows)), "list.jsonl")
    assert (await side.bring(file)).applied == 5
    assert [one[:3] for one in await side.entries()] == [
        ("email", "marketing", "withdrawn"), (PHONE_MESSAGING, "marketing", "objected"),
        ("whatsapp", "marketing", "denied"), ("sms", "*", "objected"), ("*", "transactional", "withdrawn"),
    ]  # fmt: skip
    assert (await side.verdict(phone(), Channel.SMS)).verdict == "denied"


async def test_the_purpose_of_the_command_is_that_of_rows_without_one(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, f"email,purpose\n{ANN},\nbob@example.org,marketing\n")
    await side.bring(file, meant=Meant("*", "complaint"))
    assert [one[1:3] for one in await side.entries()] == [("*", "objected"), ("marketing", "objected")]


async def test_an_older_restriction_does_not_undo_a_consent_and_one_without_a_time_does(
    side: Side, tmp_path: Path
) -> None:
    """The table of consent: unless its known time is older than a grant of a secret key or the person."""
    await side.grants(email())
    await side.grants(email("bob@example.org"))
    file = written(tmp_path, f"email,date\n{ANN},2020-01-01\nbob@example.org,\n")
    assert await side.bring(file) == Count(2, applied=1, kept=1)
    assert (await side.verdict(email())).verdict == "allowed"
    assert (await side.verdict(email("bob@example.org"))).verdict == "denied"
    assert [one[3] for one in await side.entries()] == [True, True, False, True], "what is kept is in the ledger"


async def test_a_hard_bounce_is_no_decision_but_an_address_that_does_not_work(side: Side, tmp_path: Path) -> None:
    await side.person(Named(Kind.EMAIL, ANN))
    proved = "proved@example.org"
    await side.person(Named(Kind.EMAIL, proved, verified=True))
    file = written(
        tmp_path, f"email,reason,date\n{ANN},hard_bounce,\nnew@example.org,Bounced,\n{proved},bounce,2020-01-01\n"
    )
    assert await side.bring(file) == Count(3, applied=2, kept=1)
    assert await side.entries() == []
    for address in (ANN, "new@example.org"):
        known = (await side.found(email(address))).identifier
        assert known is not None
        assert (known.health, known.health_reason) == ("invalid", "hard_bounce")
    assert (await side.found(email("new@example.org"))).address_only
    assert (await side.verdict(email(), purpose="transactional")).sendable is False
    assert (await side.found(email(proved))).identifier.health == "ok", "its owner proved since that it works"  # type: ignore[union-attr]
    assert await side.bring(file) == Count(3, already=2, kept=1)


# again


async def test_the_same_list_again_adds_nothing_to_the_ledger(side: Side, tmp_path: Path) -> None:
    await side.grants(email())
    rows = [f"{ANN},2020-01-01", "bob@example.org,", "bob@example.org,2026-01-01", "eve@example.org,2026-01-01"]
    file = written(tmp_path, "\n".join(["email,date", *rows]))
    assert await side.bring(file) == Count(4, applied=3, kept=1)
    before, events = await side.entries(), await side.run(lambda tx: tx.value("select count(*) from events"))
    assert await side.bring(file) == Count(4, already=3, kept=1)
    assert await side.entries() == before
    assert await side.run(lambda tx: tx.value("select count(*) from events")) == events


async def test_a_later_or_firmer_word_is_news(side: Side, tmp_path: Path) -> None:
    await side.bring(written(tmp_path, f"email,date\n{ANN},2026-01-01\n"))
    later = written(tmp_path, f"email,date,reason\n{ANN},2026-02-01,\n{ANN},2026-01-01,complaint\n", "later.csv")
    assert await side.bring(later) == Count(2, applied=2)
    assert await side.bring(written(tmp_path, f"email\n{ANN}\n", "undated.csv")) == Count(1, already=1)


async def test_what_ends_a_consent_is_never_skipped(side: Side, tmp_path: Path) -> None:
    """The list stood when the person agreed anew: without a time it counts against that, as on the first day."""
    file = written(tmp_path, f"email\n{ANN}\n")
    await side.bring(file)
    await side.grants(email(), Rank.PERSON)
    assert (await side.verdict(email())).verdict == "allowed"
    assert await side.bring(file) == Count(1, applied=1)
    assert (await side.verdict(email())).verdict == "denied"


async def test_what_was_kept_applies_once_the_newer_consent_is_gone(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, f"email,date\n{ANN},2020-01-01\n")
    await side.grants(email())
    assert await side.bring(file) == Count(1, kept=1)
    side.hub.around.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    await side.bring(written(tmp_path, f"email\n{ANN}\n", "all.csv"))
    entries = len(await side.entries())
    assert (await side.verdict(email())).verdict == "denied"
    assert await side.bring(file) == Count(1, applied=1), "later than one without a time"
    assert len(await side.entries()) == entries + 1


@pytest.mark.parametrize("after_commit", [True, False])
async def test_a_killed_import_goes_on_where_it_was(side: Side, tmp_path: Path, after_commit: bool) -> None:
    file = written(tmp_path, addresses(57, bad=[3, 25, 34, 55]))
    real, turns = side.store(file), iter(range(99))

    async def killed(some: Sequence[Suppression]) -> Answers:
        last = next(turns) == 3
        if last and not after_commit:
            raise KilledError
        done: Answers = await real(some)
        if last:
            raise KilledError
        return done

    with pytest.raises(KilledError):
        await side.bring(file, store=killed)
    seen: list[int] = []

    async def counting(some: Sequence[Suppression]) -> Answers:
        seen.append(len(some))
        done: Answers = await real(some)
        return done

    count = await side.bring(file, store=counting)
    repeated = 9 if after_commit else 0
    assert count == Count(57, rejected=4, applied=53 - repeated, already=repeated)
    assert sum(seen) < 53 - 20
    assert len(await side.entries()) == 53
    assert [one["reject_line"] for one in refused(file)] == ["5", "27", "36", "57"]


async def test_a_batch_that_takes_too_long_is_halved(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, addresses(10))
    real = side.store(file)

    async def slow(some: Sequence[Suppression]) -> Answers:
        if len(some) > 3:
            raise Overloaded("too slow")
        done: Answers = await real(some)
        return done

    assert (await side.bring(file, store=slow)).applied == 10


async def test_two_imports_beside_each_other_come_to_one_entry_each(side: Side, tmp_path: Path) -> None:
    files = [written(tmp_path, addresses(30), f"{name}.csv") for name in "ab"]
    counts = await asyncio.gather(*(side.bring(file) for file in files))
    assert sum(one.applied for one in counts) == 30
    assert len(await side.entries()) == 30


# what is refused


async def test_refused_rows_stand_beside_the_file_with_the_reason(side: Side, tmp_path: Path) -> None:
    rows = [
        "nonsense,,,,,", f"{ANN},{NUMBER},,,,", ",,,,,", f"{ANN},,sms,,,", f"{ANN},,,newsletter,,",
        f"{ANN},,,,yesterday,", f"{ANN},,,,,because", f"{ANN},,,,2026-01-01 10:00,",
    ]  # fmt: skip
    file = written(tmp_path, "\n".join(["email,phone,channel,purpose,date,reason", *rows]))
    assert await side.bring(file) == Count(8, rejected=7, applied=1)
    assert [(one["reject_line"], one["reject_code"], one["reject_pointer"]) for one in refused(file)] == [
        ("2", "invalid_identifier", "/email"), ("3", "address_required", "/phone"), ("4", "address_required", ""),
        ("5", "identifier_mismatch", "/channel"), ("6", "purpose_unknown", "/purpose"),
        ("7", "invalid_time", "/date"), ("8", "reason_unknown", "/reason"),
    ]  # fmt: skip
    assert len(await side.entries()) == 1


async def test_a_dry_run_stores_nothing(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, addresses(12, bad=[7]))
    assert await side.bring(file, dry=True) == Count(12, rejected=1, applied=11)
    assert await side.entries() == []
    assert await side.run(lambda tx: tx.value("select count(*) from recipients")) == 0


@pytest.mark.parametrize(
    ("text", "told", "says"),
    [
        ("a,b\n1,2\n", (), "no column is an address"),
        ("email,mail\n", (), "two columns are email"),
        ("email\n", ("mail=email",), "no column 'mail'"),
        ("email\n", ("email=trait.x",), "no such field"),
        ("value\n", (), "kind and value belong together"),
        ("email\n", ("email",), "COLUMN=FIELD"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_before_it_begins(
    tmp_path: Path, text: str, told: Sequence[str], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        choose(told, open_source(written(tmp_path, text)))


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("1443651141", datetime(2015, 9, 30, 22, 12, 21, tzinfo=UTC)),
        (1443651141000, datetime(2015, 9, 30, 22, 12, 21, tzinfo=UTC)),
        (date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3, tzinfo=UTC).replace(tzinfo=None), datetime(2026, 1, 2, 3, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_lists_write_it(cell: Any, at: datetime) -> None:
    assert moment(cell) == at


@pytest.mark.parametrize("cell", ["soon", "0001-01-01", True, [], "99999999999999999999"])
def test_what_is_no_time_is_refused(cell: Any) -> None:
    with pytest.raises((ValueError, OverflowError, OSError)):
        moment(cell)


# one at a time


def test_a_file_is_held_by_one_import(tmp_path: Path) -> None:
    path = tmp_path / f"people.csv{LOCK}"
    with alone(path):
        with pytest.raises(HubError, match=r"people\.csv is being imported") as caught, alone(path):
            pass
        assert caught.value.code == "import_under_way"
        assert path.exists(), "whoever was refused took nothing away"
    assert not path.exists()
    path.touch()
    with alone(path):
        pass


def test_the_hold_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / f"people.csv{LOCK}"
    child = os.fork()
    if child == 0:
        with alone(path):
            os._exit(9)
    os.waitpid(child, 0)
    assert path.exists()
    with alone(path):
        pass


def test_progress_of_a_list_meant_otherwise_does_not_count(tmp_path: Path, workspace_id: WorkspaceId) -> None:
    file = written(tmp_path, addresses(3))
    fields = choose((), open_source(file))
    same = Same(digest(file), workspace_id, fields, ("marketing",))
    kept = ProgressFile(tmp_path / "p")
    kept.write(Progress(same, next(open_source(file).rows(None)).after, Count(1)))
    assert kept.read(same) is not None
    assert kept.read(Same(digest(file), workspace_id, fields, ("*",))) is None


# the command


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path_factory.mktemp("suppressions"))
    made.json("workspace", "create", "acme")
    yield made
    made.close()


def words(file: Path, *more: str) -> list[str]:
    return ["import", "suppressions", str(file), "--workspace", "acme", "--mode", "test", *more]


def test_the_command_twice_and_while_another_runs(installation: Tabellion, tmp_path: Path) -> None:
    file = written(tmp_path, f"mail,when\n{ANN},2026-01-01\nnonsense,\n", "list.csv")
    more = ("--map", "mail=email", "--map", "when=occurred_at", "--purpose", "*")
    dry = json.loads(installation.run(*words(file, *more, "--json", "--dry-run")).stdout)
    first = installation.run(*words(file, *more, "--json"))
    second: dict[str, Any] = json.loads(installation.run(*words(file, *more, "--json")).stdout)
    told = json.loads(first.stdout)
    assert (first.returncode, told["applied"], told["already"], told["rejected"]) == (1, 1, 0, 1)
    assert "when → occurred_at" in first.stderr
    assert (dry["applied"], second["applied"], second["already"]) == (1, 0, 1)
    with alone(tmp_path / f"list.csv{LOCK}"):
        late = installation.run(*words(file, *more))
        people = installation.run("import", "recipients", str(file), "--workspace", "acme", "--mode", "test")
    assert (late.returncode, people.returncode) == (1, 1)
    assert "import_under_way" in late.stderr
    assert "import_under_way" in people.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "list.csv",
        "list.dry-run.rejects.csv",
        "list.rejects.csv",
    ]


def test_wrong_usage_is_2(installation: Tabellion, tmp_path: Path) -> None:
    file = written(tmp_path, addresses(1))
    purpose: subprocess.CompletedProcess[str] = installation.run(*words(file, "--purpose", "newsletter"))
    reason = installation.run(*words(file, "--reason", "because"))
    assert (purpose.returncode, reason.returncode) == (2, 2)
    assert "there are confirmation, marketing" in purpose.stderr
    assert "there are unsubscribed" in reason.stderr
