"""`tabellion import recipients` on real files and a real database: what gets in, what is refused, where it goes on."""

import asyncio
import csv
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tabellion.app.importing.beside import Count, Progress, ProgressFile, Rejects, Same, digest
from tabellion.app.importing.mapping import Reader, choose
from tabellion.app.importing.recipients import source_name, storing
from tabellion.app.importing.run import Import, Store
from tabellion.app.importing.sources import open_source
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.errors import HubError, Invalid, Misconfigured, Overloaded
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.sources import Csv
from tabellion.recipients import indexed_store
from tabellion.recipients.settings import RecipientSettings, TraitType
from tabellion.recipients.types import Kind, NewRecipient, Recipient, RefObject, Resolved, Upserted

from .processes import Tabellion


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class Side:
    """One side of a workspace that files are brought into, ten rows a transaction."""

    hub: Hub
    workspace_id: WorkspaceId

    async def bring(self, file: Path, *told: str, store: Store | None = None, dry: bool = False) -> Count:
        source = open_source(file)
        fields = choose(told, source)
        same = Same(digest(file), self.workspace_id, fields)
        kept = None if dry else store or self.store(file)
        reader = Reader(self.hub.recipients, self.workspace_id, fields)
        work = Import(source, reader, kept, ProgressFile(file.with_suffix(".progress")), same, most=10)
        begun = work.begun()
        delimiter = source.delimiter if isinstance(source, Csv) else None
        rejects = Rejects(rejects_of(file), source.columns, delimiter, begun.rejects if begun else 0)
        try:
            return await work.run(rejects, begun, lambda at: None)
        finally:
            rejects.close()

    def store(self, file: Path) -> Store:
        return storing(self.hub, self.workspace_id, source_name(file))

    async def person(self, **named: str) -> Recipient | None:
        recipients = self.hub.recipients
        async with self.hub.around.db.transaction() as tx:
            ref = recipients.ref(self.workspace_id, RefObject(**named), "")
            [found] = await recipients.resolve(tx, self.workspace_id, [ref], create=False)
            if not isinstance(found, Resolved):
                return None
            return (await recipients.read(tx, self.workspace_id, [found.recipient_id]))[found.recipient_id]

    async def rows(self) -> tuple[int, int]:
        """How many recipients and identifiers there are."""
        async with self.hub.around.db.transaction() as tx:
            people = await tx.value("select count(*) from recipients where workspace_id = $1", self.workspace_id)
            return people, await tx.value("select count(*) from identifiers where workspace_id = $1", self.workspace_id)


@pytest.fixture
async def side(surroundings: Surroundings, workspace_id: WorkspaceId) -> AsyncIterator[Side]:
    hub = wire(surroundings)
    yield Side(hub, workspace_id)
    await hub.close()


def rejects_of(file: Path) -> Path:
    return file.with_name(f"{file.stem}.rejects{'.csv' if file.suffix == '.csv' else '.jsonl'}")


def refused(file: Path) -> list[dict[str, str]]:
    with rejects_of(file).open(newline="") as stream:
        return list(csv.DictReader(stream))


def written(folder: Path, text: str | bytes, name: str = "people.csv") -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def people(count: int, bad: Sequence[int] = ()) -> str:
    """A file with one person a line; those whose numbers are in `bad` have no valid address."""
    lines = [f"{'nonsense' if n in bad else f'p{n}@example.org'},+4915110{n:06d}" for n in range(count)]
    return "\n".join(["email,phone", *lines]) + "\n"


# what gets in


async def test_every_field_of_a_row_gets_in(side: Side, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "Customer ID,E-Mail,Mobile,lang,zone,Plan,note\ncrm-1,Ann@Example.org,+43 1 234567,de-at,Europe/Vienna,pro,x\n",
    )
    told = ["Customer ID=external_id", "E-Mail=email", "Mobile=identifier.phone", "lang=locale", "zone=time_zone"]
    count = await side.bring(file, *told, "Plan=trait.plan")
    ann = await side.person(external_id="crm-1")
    assert count == Count(rows=1, created=1)
    assert ann is not None
    assert (ann.locale, ann.time_zone, ann.traits) == ("de-AT", "Europe/Vienna", {"plan": "pro"})
    assert {(one.kind, one.value) for one in ann.identifiers} == {
        (Kind.EXTERNAL_ID, "crm-1"), (Kind.EMAIL, "Ann@example.org"), (Kind.PHONE, "+431234567"),
    }  # fmt: skip
    assert {one.source for one in ann.identifiers} == {"import:people.csv"}
    assert not rejects_of(file).exists()
    assert not file.with_suffix(".progress").exists()


async def test_a_file_run_twice_leaves_the_same_people(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, people(25))
    first, before = await side.bring(file), await side.rows()
    second = await side.bring(file)
    assert (first, second) == (Count(25, 25), Count(25, 0, 25))
    assert before == await side.rows() == (25, 50)
    again = await side.person(email="p3@example.org")
    assert again is not None
    assert again.version == 1


async def test_rows_about_one_person_apply_in_the_order_of_the_file(side: Side, tmp_path: Path) -> None:
    # Two batches are with the database at once: one that names the same person otherwise must not be overtaken.
    await side.bring(written(tmp_path, "email,phone\nann@example.org,+431234567\n", "first.csv"))
    rows = ["ann@example.org,,1"] + [f"f{n}@example.org,,0" for n in range(9)] + [",+431234567,2"]
    file = written(tmp_path, "\n".join(["email,phone,trait.turn", *rows]))
    real, overtaken = side.store(file), asyncio.Event()

    async def the_second_first(units: Sequence[NewRecipient]) -> Sequence[Upserted | HubError]:
        if len(units) > 1:
            await overtaken.wait()
            return await real(units)
        done = await real(units)
        overtaken.set()
        return done

    await side.bring(file, store=the_second_first)
    ann = await side.person(email="ann@example.org")
    assert ann is not None
    assert ann.traits == {"turn": "2"}


async def test_bom_quotes_line_breaks_and_semicolons_are_read(side: Side, tmp_path: Path) -> None:
    text = '﻿"email";"trait.note"\r\n"ann@example.org";"two\r\nlines; and ""quotes"""\r\n\r\nbob@example.org;plain'
    assert (await side.bring(written(tmp_path, text))).created == 2
    ann, bob = await side.person(email="ann@example.org"), await side.person(email="bob@example.org")
    assert ann is not None
    assert bob is not None
    assert (ann.traits["note"], bob.traits["note"]) == ('two\r\nlines; and "quotes"', "plain")


async def test_json_lines_keep_the_types_of_traits(side: Side, tmp_path: Path) -> None:
    lines = [
        {"external_id": 17, "email": "ann@example.org", "trait.tags": ["a", 1], "other": True},
        {"external_id": True},
        {"email": None, "external_id": "18"},
    ]
    file = written(tmp_path, "\n".join([*map(json.dumps, lines), "[1]", "{"]), "people.jsonl")
    assert await side.bring(file) == Count(5, 2, 0, 3)
    ann = await side.person(external_id="17")
    assert ann is not None
    assert ann.traits == {"tags": ["a", 1]}
    told = [json.loads(line) for line in rejects_of(file).read_text().splitlines()]
    assert [(one["line"], one["code"], one["pointer"]) for one in told] == [
        (2, "wrong_type", "/external_id"), (4, "malformed_row", ""), (5, "malformed_row", ""),
    ]  # fmt: skip
    assert told[0]["row"] == {"external_id": True}
    assert told[2]["raw"] == "{"


async def test_parquet_rows_get_in(side: Side, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "people.parquet"
    columns = {"email": [f"p{n}@example.org" for n in range(24)] + ["nonsense"], "trait.age": [*range(25)]}
    parquet.write_table(arrow.table(columns), file, row_group_size=7)
    assert await side.bring(file) == Count(25, 24, 0, 1)
    last = await side.person(email="p23@example.org")
    assert last is not None
    assert last.traits == {"age": 23}


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(Misconfigured, match="pip install pyarrow"):
        open_source(written(tmp_path, b"PAR1", "people.parquet"))


# what is refused


async def test_refused_rows_stand_beside_the_file_with_the_reason(side: Side, tmp_path: Path) -> None:
    rows = [
        "nonsense,+431234567,de", "ann@example.org,+431234568,de", "bob@example.org,,not a language", ",,de",
        "too,few", 'eve@example.org,"+431"23,de', "eve@example.org,,de", "ann@example.org,+431234569,\udc80",
    ]  # fmt: skip
    file = written(tmp_path, "\n".join(["mail,phone,locale", *rows]).encode(errors="surrogateescape"))
    count = await side.bring(file, "mail=email", "phone=phone", "locale=locale")
    assert count == Count(8, 2, 0, 6)
    found = refused(file)
    assert [(one["reject_line"], one["reject_code"], one["reject_pointer"]) for one in found] == [
        ("2", "invalid_identifier", "/mail"), ("4", "invalid_locale", "/locale"), ("5", "identifier_required", ""),
        ("6", "wrong_columns", ""), ("7", "malformed_row", ""), ("9", "not_utf8", ""),
    ]  # fmt: skip
    assert (found[0]["mail"], found[0]["phone"]) == ("nonsense", "+431234567")
    assert found[3]["reject_raw"] == "too,few"
    assert rejects_of(file).stat().st_mode & 0o777 == 0o600
    assert await side.person(phone="+431234567") is None


async def test_a_row_about_two_people_is_refused_and_stops_no_other(side: Side, tmp_path: Path) -> None:
    text = "email,phone\nann@example.org,\n,+431234567\nann@example.org,+431234567\nbob@example.org,\n"
    file = written(tmp_path, text)
    assert await side.bring(file) == Count(4, 3, 0, 1)
    assert [(one["reject_line"], one["reject_code"]) for one in refused(file)] == [("4", "identity_conflict")]


async def test_who_it_is_about_is_asked_once_however_often_the_file_comes(side: Side, tmp_path: Path) -> None:
    text = "email,phone\nann@example.org,\n,+431234567\nann@example.org,+431234567\n"
    file = written(tmp_path, text)
    for turn in (1, 2):
        await side.bring(file)
        [item] = await side.hub.around.db.run(
            lambda tx: side.hub.queue.page(tx, side.workspace_id, None, None, None, 9)
        )
        assert (item.source, item.seen) == ("import:people.csv", turn)
        assert ids.show("rev", item.id) in refused(file)[0]["reject_detail"]


async def test_corrected_rejects_can_be_imported(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, "email,trait.plan\nnonsense,pro\n")
    await side.bring(file)
    corrected = rejects_of(file)
    corrected.write_text(corrected.read_text().replace("nonsense", "ann@example.org", 1))
    assert await side.bring(corrected) == Count(1, 1)
    ann = await side.person(email="ann@example.org")
    assert ann is not None
    assert ann.traits == {"plan": "pro"}


async def test_a_quote_that_is_never_closed_costs_its_own_row_alone(side: Side, tmp_path: Path) -> None:
    rows = ['"open@example.org,x'] + [f"p{n}@example.org,{'y' * 200}" for n in range(900)]
    file = written(tmp_path, "\n".join(["email,trait.note", *rows]))
    assert await side.bring(file) == Count(901, 900, 0, 1)
    assert [(one["reject_line"], one["reject_code"]) for one in refused(file)] == [("2", "row_too_long")]


async def test_a_line_without_end_is_refused_and_passed(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, f"email,trait.note\nann@example.org,{'x' * 400_000}\nbob@example.org,short\n")
    assert await side.bring(file) == Count(2, 1, 0, 1)
    assert await side.person(email="bob@example.org") is not None


async def test_a_dry_run_finds_what_is_wrong_and_stores_nothing(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, people(12, bad=[7]))
    assert await side.bring(file, dry=True) == Count(12, 0, 11, 1)
    assert await side.rows() == (0, 0)
    assert [one["reject_line"] for one in refused(file)] == ["9"]
    assert not file.with_suffix(".progress").exists()


@pytest.mark.parametrize(
    ("text", "told", "says"),
    [
        ("a,b\n1,2\n", (), "no column is an identifier"),
        ("email,mail\n", (), "two columns are email"),
        ("email\n", ("mail=email",), "no column 'mail'"),
        ("email\n", ("email=adress",), "no such field"),
        ("email\n", ("email",), "COLUMN=FIELD"),
        ("email,email\n", (), "each by a name of its own"),
        ("", (), "must name every column"),
        ("e\0m\0".encode("utf-16"), (), "UTF-16"),
    ],
)
def test_a_mapping_or_file_that_cannot_be_is_refused_before_it_begins(
    tmp_path: Path, text: str | bytes, told: Sequence[str], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        choose(told, open_source(written(tmp_path, text)))


# where it goes on


@pytest.mark.parametrize("after_commit", [True, False])
async def test_a_killed_import_goes_on_where_it_was(side: Side, tmp_path: Path, after_commit: bool) -> None:
    file = written(tmp_path, people(57, bad=[3, 25, 34, 55]))
    real, turns = side.store(file), iter(range(99))

    async def killed(units: Sequence[NewRecipient]) -> Sequence[Upserted | HubError]:
        last = next(turns) == 3
        if last and not after_commit:
            raise KilledError
        done = await real(units)
        if last:
            raise KilledError
        return done

    with pytest.raises(KilledError):
        await side.bring(file, store=killed)
    seen: list[int] = []

    async def counting(units: Sequence[NewRecipient]) -> Sequence[Upserted | HubError]:
        seen.append(len(units))
        return await real(units)

    count = await side.bring(file, store=counting)
    assert (count.rows, count.rejected, count.created + count.updated) == (57, 4, 53)
    assert sum(seen) < 53 - 20
    assert await side.rows() == (53, 106)
    assert [one["reject_line"] for one in refused(file)] == ["5", "27", "36", "57"]


async def test_progress_of_another_file_side_or_mapping_does_not_count(tmp_path: Path, side: Side) -> None:
    file = written(tmp_path, people(3))
    fields = choose((), open_source(file))
    same = Same(digest(file), side.workspace_id, fields)
    kept = ProgressFile(tmp_path / "p")
    kept.write(Progress(same, next(open_source(file).rows(None)).after, Count(1)))
    assert kept.read(same) is not None
    assert kept.read(Same("other", side.workspace_id, fields)) is None
    assert kept.read(Same(same.digest, side.workspace_id, fields[:1])) is None
    (tmp_path / "p").write_text("garbage")
    assert kept.read(same) is None


async def test_a_batch_that_takes_too_long_is_halved(side: Side, tmp_path: Path) -> None:
    file = written(tmp_path, people(10))
    real = side.store(file)

    async def slow(units: Sequence[NewRecipient]) -> Sequence[Upserted | HubError]:
        if len(units) > 3:
            raise Overloaded("too slow")
        return await real(units)

    assert await side.bring(file, store=slow) == Count(10, 10)


# the command

KILLED = """
import os, signal, sys
from tabellion.app import cli
from tabellion.app.importing import recipients
real, turns = recipients.storing, iter(range(99))
def storing(*given):
    store = real(*given)
    async def kill(units):
        done = await store(units)
        if next(turns) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return kill
recipients.storing = storing
sys.exit(cli.execute(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path_factory.mktemp("import"))
    made.json("workspace", "create", "acme")
    yield made
    made.close()


def words(file: Path, *more: str) -> list[str]:
    return ["import", "recipients", str(file), "--workspace", "acme", "--mode", "test", *more]


def test_kill_9_and_the_same_command_again(installation: Tabellion, tmp_path: Path) -> None:
    file = written(tmp_path, people(4200, bad=[5, 4100]))
    killed = Tabellion(installation.folder, (sys.executable, "-c", KILLED)).run(*words(file))
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "people.csv.progress").exists()
    dry = json.loads(installation.run(*words(file, "--json", "--dry-run")).stdout)
    assert Path(dry["rejects"]).name == "people.dry-run.rejects.csv", "the other one belongs to what is under way"
    again = installation.run(*words(file, "--json"))
    report: dict[str, Any] = json.loads(again.stdout)
    assert again.returncode == 1
    assert "going on at line" in again.stderr
    assert (report["resumed"], report["rows"], report["rejected"]) == (True, 4200, 2)
    assert [one["reject_line"] for one in refused(file)] == ["7", "4102"]
    assert not (tmp_path / "people.csv.progress").exists()


def test_the_command_beside_a_running_hub(installation: Tabellion, tmp_path: Path) -> None:
    file = written(tmp_path, "email,plan\nhub@example.org,pro\n")
    key = installation.key("acme")["key"]
    hub = installation.up()
    try:
        said = ("--json", "--map", "email=email", "--map", "plan=trait.plan", "--source", "crm")
        done = installation.run(*words(file, *said))
        wrong = installation.run(*words(file, "--source", "C R M"))
        with hub.client(key) as client:
            [found] = client.get("/v1/recipients", params={"email": "hub@example.org"}).json()["data"]
    finally:
        hub.stop()
    assert (done.returncode, json.loads(done.stdout)["created"]) == (0, 1)
    assert "plan → trait.plan" in done.stderr
    assert "\x1b" not in done.stderr
    assert found["traits"] == {"plan": "pro"}
    assert [one["source"] for one in found["identifiers"]] == ["crm"]
    assert wrong.returncode != 0
    assert "source_wrong" in wrong.stderr


def test_the_operators_blocked_values_count_here_too(installation: Tabellion, tmp_path: Path) -> None:
    """A command wired its domains without the setting, and let in what the hub beside it refused."""
    file = written(tmp_path, "external_id,email\nvisitor,ann@blocked.example\n")
    done = installation.run(*words(file, "--json"), TABELLION_BLOCKED_VALUES="Visitor")
    assert (done.returncode, json.loads(done.stdout)["rejected"]) == (1, 1)
    assert [one["reject_code"] for one in refused(file)] == ["identifier_blocked"]


def test_rejects_that_were_taken_away_are_not_made_up_for(tmp_path: Path) -> None:
    """They came back as so many zero bytes."""
    path = tmp_path / "people.rejects.csv"
    path.write_text("a\n1\n")
    path.chmod(0o644)
    rejects = Rejects(path, ["a"], ",", length=4096)
    rejects.close()
    assert path.read_text() == "a\n1\n"
    assert path.stat().st_mode & 0o777 == 0o600, "whoever made it"


def test_wrong_usage_is_2(installation: Tabellion, tmp_path: Path) -> None:
    missing: subprocess.CompletedProcess[str] = installation.run(*words(tmp_path / "none.csv"))
    unmapped = installation.run(*words(written(tmp_path, "a\n1\n")))
    assert (missing.returncode, unmapped.returncode) == (2, 2)
    assert "there is no file" in missing.stderr
    assert "--map" in unmapped.stderr


def test_source_name_fits_its_column() -> None:
    assert source_name(Path("x/" + "a" * 99 + ".csv")) == "import:" + "a" * 57


async def test_text_becomes_what_is_declared_and_what_cannot_is_refused_at_its_column(
    side: Side, tmp_path: Path
) -> None:
    declared = RecipientSettings(trait_types={"age": TraitType.INTEGER, "vip": TraitType.BOOLEAN})
    await side.hub.around.db.run(lambda tx: side.hub.recipients.settings.set(tx, side.workspace_id, declared))
    file = written(tmp_path, "email,Alter,vip,zip\na@example.org,42,yes,010\nb@example.org,4x,,\nc@example.org,,,\n")
    count = await side.bring(file, "email=email", "Alter=trait.age", "vip=trait.vip", "zip=trait.zip")
    ann = await side.person(email="a@example.org")
    assert (count.created, count.rejected) == (2, 1)
    assert ann is not None
    assert ann.traits == {"age": 42, "vip": True, "zip": "010"}
    [row] = refused(file)
    assert (row["reject_code"], row["reject_pointer"], row["reject_line"]) == ("trait_type_wrong", "/Alter", "3")


async def test_a_file_sets_what_its_source_may(side: Side, tmp_path: Path) -> None:
    declared = RecipientSettings(authority={"name": ["crm", "import"], "plan": ["crm"]})
    await side.hub.around.db.run(lambda tx: side.hub.recipients.settings.set(tx, side.workspace_id, declared))
    count = await side.bring(written(tmp_path, "email,trait.name,trait.plan\na@example.org,Ann,pro\n"))
    assert count == Count(rows=1, created=1, ignored=1)
    ann = await side.person(email="a@example.org")
    assert ann is not None
    assert (ann.traits, ann.owners) == ({"name": "Ann"}, {"name": "import:people.csv"})


async def test_a_trait_declared_during_an_import_is_kept_from_the_next_batch_on(side: Side, tmp_path: Path) -> None:
    """The settings were read once, when it began: whom it brought later was never found."""
    side.hub.around.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    await side.hub.recipients.settings.refresh(side.hub.around.db)
    beside = wire(side.hub.around)
    declared = RecipientSettings(indexed_traits=["plan"])
    await beside.around.db.run(lambda tx: beside.recipients.settings.set(tx, side.workspace_id, declared))
    await side.bring(written(tmp_path, "email,trait.plan\na@example.org,pro\n"))
    async with side.hub.around.db.transaction() as tx:
        assert len(await indexed_store.find(tx, side.workspace_id, "plan", "pro", None, 9)) == 1
    await beside.close()
