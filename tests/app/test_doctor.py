"""What `tabellion doctor` says of accounts, callbacks, the ledger and epochs, and how it ends."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tabellion.app.doctor import examine_epochs
from tabellion.app.opening import opened
from tabellion.app.options import wait
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings
from tabellion.core.db import Database, Tx
from tabellion.core.log import open_log
from tabellion.core.rotation import Rotation
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import WINDOW, Vault

from .processes import Tabellion

TWILIO = {"account_sid": f"AC{7:032x}", "auth_token": "hush", "from": "+15005550006"}


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


def found(tabellion: Tabellion, name: str, **environ: str) -> tuple[int, list[dict[str, Any]]]:
    """Doctor's exit code, and its findings of this name."""
    done = tabellion.run("doctor", "--json", **environ)
    return done.returncode, [one for one in json.loads(done.stdout)["findings"] if one["name"] == name]


def change(tabellion: Tabellion, statement: str) -> None:
    """Run a statement on the database of an installation at rest."""

    async def run() -> None:
        async with opened(Settings(data=tabellion.data)) as hub:

            async def work(tx: Tx) -> None:
                await tx.execute(statement)

            await hub.db.run(work)

    wait(run())


def with_accounts(tabellion: Tabellion) -> None:
    """An installation at rest whose workspace has a live account, and the simulators' on its test side."""
    keys = [tabellion.key("acme", mode=mode)["key"] for mode in ("live", "test")]
    hub = tabellion.up()
    with hub.client(keys[0]) as client:
        made = client.post("/v1/accounts", json={"provider": "twilio", "settings": TWILIO})
        assert made.status_code == 201, made.text
    with hub.client(keys[1]) as client:
        assert len(client.get("/v1/accounts").json()["data"]) == 2
    assert hub.stop() == 0


def test_accounts_are_counted_by_side_and_one_that_does_not_open_is_wrong(tabellion):
    with_accounts(tabellion)
    code, sides = found(tabellion, "accounts")
    assert code == 0
    assert [(one["data"]["mode"], one["data"]["providers"]) for one in sides] == [
        ("live", {"twilio": 1}),
        ("test", {"smtp": 1, "twilio": 1}),
    ]
    assert "acme (live): twilio 1" in tabellion.run("doctor").stdout
    change(tabellion, "update accounts set secrets = '\\x00' where not simulated")
    code, [live, test] = found(tabellion, "accounts")
    assert (code, live["level"], test["level"]) == (1, "wrong", "ok")
    [closed] = live["data"]["unopened"]
    assert f"the settings of {closed} do not open" in live["text"]
    change(tabellion, "update accounts set disabled_at = now() where not simulated")
    code, [live, _] = found(tabellion, "accounts")
    assert (code, live["level"]) == (0, "warning"), "nobody uses it"


def test_without_a_public_url_doctor_warns_and_is_content(tabellion):
    code, [warning] = found(tabellion, "callbacks")
    assert (code, warning["ok"], warning["level"]) == (0, True, "warning")
    assert "not asked for status callbacks" in warning["text"]
    assert "! " in tabellion.run("doctor").stdout
    _, [said] = found(tabellion, "callbacks", TABELLION_PUBLIC_URL="https://hub.example/")
    assert (said["level"], said["text"]) == ("ok", "vendors report to https://hub.example/in/…")


def test_a_log_in_trouble_is_named_and_told_in_words(tabellion):
    """The line was a dataclass as Python prints it: Problem(origin=…)."""
    key = tabellion.key("acme")["key"]
    hub = tabellion.up()
    with hub.client(key) as client:
        assert client.get("/v1/ledger/checkpoint").status_code == 200
        decision = {"recipient": {"phone": "+12025550111"}, "channel": "sms", "purpose": "marketing"}
        said = {"decision": "granted", "basis": "consent", "method": "form", "source": "sign-up page"}
        assert client.post("/v1/consents", json=decision | said).status_code == 201
    assert hub.stop() == 0
    assert found(tabellion, "checkpoints")[1][0]["level"] == "ok"
    change(tabellion, "update ledger_heads set size = 0, frontier = '' where log = 'consent'")
    code, [wrong] = found(tabellion, "ledger")
    assert (code, wrong["level"], wrong["data"]["code"]) == (1, "wrong", "ledger_forked")
    origin, _, detail = wrong["text"].partition(": ")
    assert origin == wrong["data"]["origin"]
    assert detail.startswith("stands at 0, but was published at 1")
    assert "Problem(" not in tabellion.run("doctor").stdout


def test_a_folder_that_takes_no_checkpoints_is_wrong(tabellion):
    tabellion.json("workspace", "create", "acme")
    (tabellion.folder / "data.keys" / "checkpoints").rename(tabellion.folder / "aside")
    code, [wrong] = found(tabellion, "checkpoints")
    assert (code, wrong["level"]) == (1, "wrong")
    assert "checkpoints" in wrong["data"]["failure"]


def test_the_newest_of_what_was_audited_is_held_against_its_log(tabellion):
    tabellion.key("acme", mode="test")
    code, [said] = found(tabellion, "audit")
    assert (code, said["level"]) == (0, "ok")
    assert "newest entries of each side (2)" in said["text"]
    change(tabellion, "update audit set actor = 'nobody' where action = 'key.created'")
    code, [wrong] = found(tabellion, "audit")
    assert (code, wrong["level"], wrong["data"]["count"]) == (1, "wrong", 1)
    assert "tabellion audit verify --workspace acme --mode test" in wrong["text"]


# epochs


async def test_what_becomes_of_an_epoch_is_told_until_it_is_destroyed(
    db: Database, vault: Vault, clock: FakeClock
) -> None:
    rotation = Rotation(vault, open_log(io.StringIO(), clock), Metrics(process=False))

    async def told() -> list[tuple[str, str]]:
        return [(one.level, one.text) for one in await db.run(lambda tx: examine_epochs(vault, tx))]

    await db.run(vault.prepare)
    await db.run(lambda tx: vault.subjects(tx, ids.new(), [ids.new(), ids.new()]))
    new = "keys under epochs that are not over: "
    assert await told() == [("ok", new + "2026-11 (2), 2026-12 (0)")]
    clock.moment = datetime(2026, 12, 1, 3, 0, tzinfo=UTC)
    waits = "2 keys are still under 2026-11; a process with the role followers wraps them anew"
    assert await told() == [("ok", new + "2026-12 (0)"), ("ok", waits)]
    clock.advance(timedelta(days=1))
    assert (await told())[1] == ("warning", waits)
    await rotation.apply(db)
    ended = "2026-11 is empty since 2026-12-02; its key is destroyed after 2027-01-06 03:00 UTC"
    assert await told() == [("ok", new + "2026-12 (2), 2027-01 (0)"), ("ok", ended)]
    clock.advance(WINDOW + timedelta(days=1, hours=1))
    assert ("warning", ended + ", which is past: run a process with the role followers") in await told()
    await rotation.apply(db)
    assert not any("2026-11" in text for _, text in await told())


async def test_keys_under_an_epoch_whose_file_is_gone_are_wrong(db: Database, vault: Vault, tmp_path: Path) -> None:
    await db.run(lambda tx: vault.subjects(tx, ids.new(), [ids.new()]))
    async with db.transaction() as tx:
        await tx.execute("update subject_keys set epoch = '2026-07'")
    [_, wrong] = await db.run(lambda tx: examine_epochs(vault, tx))
    assert (wrong.level, wrong.data) == ("wrong", {"epoch": "2026-07", "keys": 1})
    assert wrong.text == "1 keys are under 2026-07, whose key is missing; restore the keys folder from its backup"


def test_a_backup_older_than_the_window_starts_and_only_what_it_lost_is_refused(tabellion):
    """One person's key is under an epoch that was destroyed after the backup was made."""
    key = tabellion.key("acme")["key"]
    ann, ben = ({"identifiers": [{"kind": "email", "value": f"{name}@example.org"}]} for name in ("ann", "ben"))
    hub = tabellion.up()
    with hub.client(key) as client:
        made = client.post("/v1/recipients", json=ann)
        assert made.status_code == 201
    assert hub.stop() == 0
    change(tabellion, "update subject_keys set epoch = '2026-07'")
    change(tabellion, "insert into epochs (name, mark, made_at) values ('2026-07', '', '2026-07-01')")
    (tabellion.folder / "data.keys" / "epochs" / "2026-07.destroyed").write_text("2026-09-05T00:00:00+00:00\n")
    hub = tabellion.up()
    with hub.client(key) as client:
        lost = client.get(f"/v1/recipients/{made.json()['id']}")
        assert (lost.status_code, lost.json()["code"]) == (500, "epoch_destroyed")
        assert "the restored backup is older than the backup window; restore a newer one" in hub.said()
        assert client.post("/v1/recipients", json=ben).status_code == 201
    assert hub.stop() == 0
    code, lines = found(tabellion, "epochs")
    assert (code, lines[-1]["level"]) == (1, "wrong")
    assert "1 keys are under 2026-07, which was destroyed at 2026-09-05 00:00 UTC" in lines[-1]["text"]


def test_nothing_starts_without_an_epoch_key_that_may_be_needed(tabellion):
    tabellion.json("workspace", "create", "acme")
    [kept, _] = sorted((tabellion.folder / "data.keys" / "epochs").glob("*.key"))
    kept.unlink()
    done = tabellion.run("up")
    assert (done.returncode, "[keys_missing]" in done.stderr) == (1, True)
    assert f"epochs/{kept.name} in the keys folder cannot be read" in done.stderr
    code, [wrong] = found(tabellion, "keys_missing")
    assert (code, wrong["level"]) == (1, "wrong")
    assert not kept.exists()
