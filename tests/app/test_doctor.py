"""What `tabellion doctor` says of accounts, callbacks and the ledger, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tabellion.app.opening import opened
from tabellion.app.options import wait
from tabellion.core.config import Settings
from tabellion.core.db import Tx

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
    change(tabellion, "update ledger_heads set size = 0, frontier = ''")
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
