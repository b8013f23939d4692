"""The `tabellion` command as people and programs use it: what it prints, how it ends, what it says to do next."""

import re
import socket
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import which
from urllib.request import Request, urlopen

import httpx
import pytest

from tabellion.access.service import find_workspace
from tabellion.app.opening import Opened, opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.crypto import Secret, sha256
from tabellion.core.db import Tx
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf

from .processes import SMS, Running, Tabellion, alive, environment, eventually

KEY = re.compile(r"tbl_(live|test)_[0-9a-z]{26}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    """An installation with a workspace `acme`, that nobody serves: each command starts the database and stops it."""
    made = Tabellion(tmp_path_factory.mktemp("resting"))
    made.json("workspace", "create", "acme")
    yield made
    made.close()


@pytest.fixture(scope="module")
def tabellion(resting: Tabellion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    """The same once more, with the hub below: each command works beside it."""
    made = resting.copy(tmp_path_factory.mktemp("served"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def hub(tabellion: Tabellion) -> Iterator[Running]:
    running = tabellion.up()
    yield running
    assert running.stop() == 0


@pytest.fixture(params=["alone", "beside a hub"])
def anywhere(request: pytest.FixtureRequest, resting: Tabellion, tabellion: Tabellion) -> Tabellion:
    if request.param == "alone":
        return resting
    request.getfixturevalue("hub")
    return tabellion


@pytest.fixture
def own(tmp_path: Path, empty_database_url: str) -> Iterator[Tabellion]:
    """The command on a database of the operator's own, with its keys folder."""
    settings = {"TABELLION_DATABASE_URL": empty_database_url, "TABELLION_KEYS": str(tmp_path / "keys")}
    made = Tabellion(tmp_path, environ=environment(**settings))
    yield made
    made.close()


def findings(tabellion: Tabellion, **environ: str) -> dict[str, tuple[bool, str]]:
    """What doctor found, by name; its exit code must agree."""
    done = tabellion.run("doctor", "--json", **environ)
    assert done.stdout.count("\n") == 1
    said = httpx.Response(200, text=done.stdout).json()
    assert done.returncode == (0 if said["ok"] else 1)
    assert said["ok"] == all(one["ok"] for one in said["findings"])
    return {one["name"]: (one["ok"], one["text"]) for one in said["findings"]}


# usage


def test_help_names_every_command_and_version_the_version(tmp_path):
    tabellion = Tabellion(tmp_path)
    shown = tabellion.run("--help")
    assert shown.returncode == 0
    for word in ("up", "migrate", "doctor", "simulate", "workspace", "keys", "ledger"):
        assert re.search(rf"^│ {word} +\w", shown.stdout, re.MULTILINE), word
    version = tabellion.run("--version")
    assert (version.returncode, version.stdout) == (0, "0.1.0\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], 'Unknown command "nonsense"'),
        (["workspace", "create"], "requires an argument"),
        (["keys", "create", "--workspace", "acme", "--role", "king"], '"owner", "admin"'),
        (["keys", "create", "--workspace", "acme", "--role", "admin", "--mode", "dead"], '"live", "test"'),
        (["keys", "create", "--workspace", "acme", "--role", "admin", "--expires-in", "soon"], "--expires-in"),
        (["keys", "create", "--workspace", "acme", "--role", "admin", "--networks", "home"], "10.0.0.0/8"),
        (["keys", "create", "--workspace", "acme", "--role", "admin", "--rate-limit", "0"], "--rate-limit"),
        (["up", "--listen", "here"], "HOST:PORT"),
        (["up", "--roles", "king"], "roles (--roles)"),
        (["migrate", "--database", "mysql://x"], "postgresql://"),
        (["workspace", "create", "x", "--database", "postgresql://127.0.0.1:1/x"], "--keys"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_2_and_says_what_is_right(tmp_path, words, says):
    done = Tabellion(tmp_path).run(*words)
    assert done.returncode == 2, done
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists(), "a wrong command makes nothing"


def test_a_wrong_setting_names_where_it_stands(tmp_path):
    wrong = Tabellion(tmp_path).run("up", TABELLION_PUBLIC_URL="hub")
    assert (wrong.returncode, "TABELLION_PUBLIC_URL" in wrong.stderr) == (2, True)


def test_a_directory_that_is_no_installation_is_said_and_not_made(tmp_path):
    done = Tabellion(tmp_path).run("keys", "list", "--workspace", "acme", "--data", "elsewhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is nothing in elsewhere; start the hub with `tabellion up`, or name --data" in done.stderr
    assert list(tmp_path.iterdir()) == []


# workspaces and keys


def test_keys_live_from_create_to_revoke(anywhere):
    before = anywhere.postmaster()
    workspace = anywhere.json("workspace", "create", "a shop")
    assert set(workspace) == {"id", "name"}
    named = ["--workspace", workspace["name"]]
    made = anywhere.json("keys", "create", *named, "--role", "developer", "--mode", "live", "--name", "web")
    assert set(made) == {"id", "key", "workspace", "role", "mode"}
    assert (made["workspace"], made["role"], made["mode"]) == (workspace["id"], "developer", "live")
    assert KEY.fullmatch(made["key"])
    newer = anywhere.json("keys", "rotate", made["id"], "--grace", "0h")
    assert KEY.fullmatch(newer["key"])
    assert anywhere.json("keys", "revoke", newer["id"]) == {"id": newer["id"], "revoked": True}
    listed = anywhere.json("keys", "list", "--workspace", workspace["id"], "--mode", "live")["data"]
    assert [(one["id"], one["state"]) for one in listed] == [(newer["id"], "revoked"), (made["id"], "expired")]
    assert made["key"] not in str(listed)
    assert anywhere.json("keys", "list", *named)["data"] == [], "the test side has none of them"
    assert anywhere.postmaster() == before, "what was started is stopped, what runs runs on"


def test_keys_are_listed_as_a_table_for_people(tabellion, hub):
    made = tabellion.json("keys", "create", "--workspace", "acme", "--role", "readonly", "--expires-in", "24h")
    with hub.client(made["key"]) as client:
        assert client.get("/v1/messages").status_code == 200
    eventually(lambda: tabellion.json("keys", "list", "--workspace", "acme")["data"][0]["last_used_at"])
    shown = tabellion.run("keys", "list", "--workspace", "acme")
    head, first, *_ = shown.stdout.splitlines()
    assert head.split() == ["ID", "ROLE", "STATE", "NAME", "NETWORKS", "CREATED", "EXPIRES", "LAST", "USED"]
    assert first.split()[:5] == [made["id"], "readonly", "active", "-", "-"]
    assert first.count("Z") == 3, "created, expires and last used"


def test_a_key_is_bound_to_networks_and_says_so(tabellion, hub):
    words = ["keys", "create", "--workspace", "acme", "--role", "readonly", "--rate-limit", "50", "--networks"]
    made = tabellion.json(*words, "192.0.2.0/24,2001:db8::7")
    newer = tabellion.json("keys", "rotate", made["id"], "--grace", "0h")
    key = tabellion.json("keys", "show", newer["id"])
    assert (key["networks"], key["rate_limit"]) == (["192.0.2.0/24", "2001:db8::7/128"], 50)
    assert "192.0.2.0/24, 2001:db8::7/128" in tabellion.run("keys", "list", "--workspace", "acme").stdout
    with hub.client(newer["key"]) as client:
        refused = client.get("/v1/messages")
        assert (refused.status_code, refused.json()["code"]) == (401, "address_not_allowed")
    here = tabellion.json(*words, "127.0.0.0/8")
    with hub.client(here["key"]) as client:
        assert client.get("/v1/messages").status_code == 200


def test_a_public_key_is_made_and_shown(tabellion, hub):
    words = ["keys", "create", "--workspace", "acme", "--role", "public"]
    done = tabellion.run(*words)
    assert (done.returncode, "source" in done.stderr) == (2, True)
    wrong = tabellion.run(*words, "--source", "shop-web", "--origins", "shop.example")
    assert (wrong.returncode, "https://shop.example" in wrong.stderr) == (2, True)
    made = tabellion.json(*words, "--source", "shop-web", "--origins", "https://shop.example,https://m.example")
    assert set(made) == {"id", "key", "workspace", "role", "mode"}
    assert (made["role"], made["mode"], made["key"][:8]) == ("public", "test", "tbl_pub_")
    key = tabellion.json("keys", "show", made["id"])
    assert (key["source"], key["origins"]) == ("shop-web", ["https://shop.example", "https://m.example"])
    assert key["address_limit"] == 10
    assert "shop-web" in tabellion.run("keys", "show", made["id"]).stdout
    with hub.client(made["key"]) as client:
        body = {"identifiers": [{"kind": "anonymous", "value": "visitor-1"}]}
        taken = client.post("/v1/recipients", json=body, headers={"Origin": "https://shop.example"})
        assert (taken.status_code, taken.json()) == (202, {"accepted": True})
        assert client.get("/v1/recipients").json()["code"] == "public_key_not_allowed"


def test_a_key_made_for_people_is_shown_once(tabellion, hub):
    shown = tabellion.run("keys", "create", "--workspace", "acme", "--role", "ingest")
    assert shown.returncode == 0
    assert KEY.match(shown.stdout)
    assert "not shown again" in shown.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["workspace", "create", "acme"], "workspace_exists"),
        (["keys", "create", "--workspace", "nobody", "--role", "admin"], "workspace_not_found"),
        (["keys", "revoke", "key_01k0000000e00000000000000a"], "key_not_found"),
        (["keys", "rotate", "key_"], "not_found"),
        (["ledger", "succeed", "--workspace", "acme", "--mode", "live"], "ledger_sound"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_cannot_be_done_is_1_with_a_code(tabellion, hub, words, code):
    done = tabellion.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"tabellion: .{{20,}} \[{code}\]\n", done.stderr), done.stderr


# why


def test_why_says_whose_an_address_is_and_what_may_be_sent(tabellion, hub):
    key = tabellion.json("keys", "create", "--workspace", "acme", "--role", "admin")["key"]
    ann = {"external_id": "crm-9", "identifiers": [{"kind": "email", "value": "ann@why.example"}]}
    out = {"recipient": {"email": "ann@why.example"}, "channel": "email", "purpose": "marketing", "source": "shop"}
    mail = {"to": {"email": "ann@why.example"}, "purpose": "transactional", "content": {"subject": "Hi", "text": "Hi"}}
    with hub.client(key) as client:
        assert client.post("/v1/recipients", json=ann).status_code == 201
        entry = client.post("/v1/consents", json={**out, "decision": "withdrawn", "method": "api"}).json()
        sent = client.post("/v1/messages", json=mail).json()["id"]
        eventually(lambda: client.get(f"/v1/messages/{sent}").json()["final"])
    found = tabellion.json("why", "Ann@WHY.example", "--workspace", "acme", "--mode", "test")
    assert found["recipient"]["external_id"] == "crm-9"
    told = {one["purpose"]: (one["sendable"], one["reason"], one["entry"]) for one in found["verdicts"]}
    assert told["marketing"] == (False, "withdrawn", entry["id"])
    assert told["transactional"] == (True, "unknown_allowed", None)
    assert [(one["id"], one["status"]) for one in found["messages"]] == [(sent, "sent")]
    shown = tabellion.run("why", "ann@why.example", "--workspace", "acme", "--mode", "test").stdout
    assert shown.startswith(f"email of {found['recipient']['id']}, known as crm-9\n")
    assert re.search(rf"marketing +email +no +denied +withdrawn +{entry['log_index']} {entry['id']}", shown)
    nobody = tabellion.run("why", "nobody@why.example", "--workspace", "acme")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "[recipient_not_found]" in nobody.stderr


# the test key


def test_the_first_call_that_is_shown_works(tmp_path):
    """The promise of `make run`."""
    assert "tabellion up --test-key" in (Path(__file__).parents[2] / "Makefile").read_text()
    tabellion = Tabellion(tmp_path)
    try:
        hub = tabellion.up("--test-key")
        shown = hub.printed()
        assert f"ready {hub.url}\n" in shown
        [key] = {found[0] for found in KEY.finditer(shown)}
        [line] = [line.strip() for line in shown.splitlines() if line.strip().startswith("curl ")]
        found = re.fullmatch(r"""curl (\S+) -H "(\S+): (\S+ \S+)" -H "(\S+): (\S+)" -d '(.+)'""", line)
        assert found is not None, line
        request = Request(found[1], found[6].encode(), {found[2]: found[3], found[4]: found[5]})
        with urlopen(request) as answer:
            assert answer.status == 202
            sent = httpx.Response(200, content=answer.read()).json()["id"]
        with hub.client(key) as client:
            eventually(lambda: client.get(f"/v1/messages/{sent}").json()["status"] == "sent")
        [listed] = tabellion.json("keys", "list", "--workspace", "default")["data"]
        assert (listed["mode"], listed["state"]) == ("test", "active")
        assert listed["created_at"][:10] < listed["expires_at"][:10]
        assert listed["created_at"][11:] == listed["expires_at"][11:], "24 hours, to the millisecond"
        run_line(line)
    finally:
        tabellion.close()


def run_line(line: str) -> None:
    """The line as a person pastes it. It once said `--json`, which a curl before 7.82 does not know."""
    if which("curl"):
        done = subprocess.run(["sh", "-c", line.replace("curl ", "curl -sS ", 1)], capture_output=True, text=True)
        assert '"status":"queued"' in done.stdout, done


# doctor and migrate


def test_doctor_before_the_first_start_makes_nothing(tmp_path):
    found = findings(Tabellion(tmp_path))
    assert found["installation"] == (True, f"nothing in {tmp_path / 'data'} yet; `tabellion up` makes it")
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_nothing_wrong_with_a_sound_installation(anywhere):
    found = findings(anywhere)
    assert all(ok for ok, _ in found.values())
    assert {"migrations", "database", "prepared", "keys_folder", "clock", "ledger"} <= set(found)
    assert found["data"] == (True, f"{anywhere.data}  (TABELLION_DATA)")


def test_doctor_names_a_variable_that_is_misspelt(tabellion, hub):
    found = findings(tabellion, TABELLION_PUBLIC_ULR="https://hub.example")
    assert found["TABELLION_PUBLIC_ULR"] == (False, "is no setting; did you mean TABELLION_PUBLIC_URL?")


def test_doctor_masks_the_password_of_the_database(tmp_path):
    url = "postgresql://hub:hush@127.0.0.1:1/hub"
    found = findings(Tabellion(tmp_path), TABELLION_DATABASE_URL=url, TABELLION_KEYS=str(tmp_path))
    assert "hush" not in str(found)
    assert found["database_away"][0] is False


def test_keys_that_others_can_read_are_found(own):
    own.json("workspace", "create", "acme")
    keys = own.folder / "keys"
    keys.chmod(0o750)
    assert findings(own)["keys_folder"] == (False, f"{keys} is open to others; chmod 700 it")


def test_without_its_keys_nothing_starts(own):
    own.json("workspace", "create", "acme")
    keys = own.folder / "keys"
    keys.rename(own.folder / "elsewhere")
    for words in (["up"], ["workspace", "create", "other"]):
        done = own.run(*words)
        assert done.returncode == 1
        assert f"{keys}/outer.key cannot be read" in done.stderr
        assert "restore the keys folder from its backup" in done.stderr
    assert not keys.exists(), "new keys would hide that the old ones are gone"
    assert findings(own)["keys_missing"][0] is False


def test_the_keys_of_another_installation_are_refused(own, resting):
    own.json("workspace", "create", "acme")
    wrong = str(resting.data) + ".keys"
    done = own.run("workspace", "create", "other", TABELLION_KEYS=wrong)
    assert done.returncode == 1
    assert f"{wrong} belongs to another installation" in done.stderr


def test_migrate_says_what_it_applied_and_that_nothing_is_left(own):
    pending = findings(own)["migrations"]
    assert pending[0] is False
    assert "run `tabellion migrate`" in pending[1]
    applied = own.json("migrate")["applied"]
    assert applied[0].startswith("0001_")
    assert own.json("migrate") == {"applied": []}
    assert own.run("migrate").stdout == "nothing to apply\n"
    assert findings(own)["migrations"] == (True, "all applied")


def test_a_database_of_ones_own_is_used_and_no_other_is_started(own):
    key = own.key("acme")["key"]
    hub = own.up()
    with hub.client(key) as client:
        assert client.post("/v1/messages", json=SMS).status_code == 202
    assert not own.data.exists()
    assert hub.stop() == 0


# one owner


def test_a_second_hub_on_the_data_names_the_first(tabellion, hub):
    done = tabellion.run("up", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"is in use by process {hub.process.pid} (" in done.stderr
    assert "[data_in_use]" in done.stderr
    assert alive(tabellion.postmaster())
    assert httpx.get(f"{hub.url}/health/ready").status_code == 200


# the ledger


async def test_a_log_that_lost_entries_gets_a_successor(own, empty_database_url):
    """What a restored older backup comes to: the hub refuses to fork the log until an operator has said so."""
    own.json("workspace", "create", "acme")
    settings = Settings(database_url=Secret(empty_database_url), keys=own.folder / "keys")
    async with opened(settings) as installation:
        await lose_an_entry(installation)
    assert "older copy" in str(findings(own))
    done = own.json("ledger", "succeed", "--workspace", "acme", "--mode", "live")
    assert set(done) == {"workspace", "mode", "origins"}
    [origin] = done["origins"]
    assert origin.endswith("/2")
    assert findings(own)["ledger"] == (True, "no log went back")
    again = own.run("ledger", "succeed", "--workspace", "acme", "--mode", "live")
    assert (again.returncode, "[ledger_sound]" in again.stderr) == (1, True)


class Lost(Exception):
    """The transaction that a restored backup does not have."""


async def lose_an_entry(hub: Opened) -> None:
    """Publish a checkpoint of two entries, of which the database has one."""
    checkpoints = Checkpoints(hub.keys.checkpoints)
    ledger = Ledger(hub.vault, checkpoints, hub.install_id)
    side = (await hub.db.run(lambda tx: find_workspace(tx, "acme"))).live

    async def append(tx: Tx) -> None:
        await ledger.append(tx, side, [Leaf(ids.new(), "consent", sha256(b"c"), tx.now.date())])

    async def append_and_lose(tx: Tx) -> None:
        await append(tx)
        checkpoints.publish(await ledger.origin(tx, side), 2, await ledger.checkpoint(tx, side))
        raise Lost

    await hub.db.run(append)
    with suppress(Lost):
        await hub.db.run(append_and_lose)
    await checkpoints.close()


def test_a_log_gets_a_new_key_and_keeps_what_the_old_one_signed(anywhere):
    """Beside a running hub too, which serves both with their sizes."""
    made = anywhere.json("ledger", "rotate-key", "--workspace", "acme", "--mode", "test")
    assert set(made) == {"workspace", "mode", "log", "origin", "key", "retired"}
    assert (made["mode"], made["log"], made["retired"]["from_size"]) == ("test", "consent", 0)
    assert made["retired"]["to_size"] == made["key"]["from_size"], "whatever the others here have recorded"
    assert made["key"]["to_size"] is None
    assert {made["key"]["vkey"].split("+")[0], made["retired"]["vkey"].split("+")[0]} == {made["origin"]}
    told = anywhere.run("ledger", "rotate-key", "--workspace", "acme", "--mode", "test", "--log", "audit").stdout
    assert "Publish both" in told
    assert findings(anywhere)["ledger"][0]
    assert anywhere.run("ledger", "rotate-key", "--workspace", "acme", "--mode", "test", "--log", "x").returncode == 2


def test_a_hub_that_runs_serves_the_new_key_at_once(hub, tabellion):
    key = tabellion.key("acme")["key"]
    with httpx.Client(base_url=hub.url, headers={"Authorization": f"Bearer {key}"}) as client:
        client.get("/v1/ledger/checkpoint")
        made = tabellion.json("ledger", "rotate-key", "--workspace", "acme", "--mode", "test")
        *_, old, new = client.get("/v1/ledger/keys").json()["keys"]
        assert {name: new[name] for name in made["key"]} == made["key"]
        assert {name: old[name] for name in made["retired"]} == made["retired"]
        assert client.get("/v1/ledger/key").text.splitlines()[-1] == made["key"]["vkey"]
        name = made["key"]["vkey"].split("+")[1]
        signed = client.get("/v1/ledger/checkpoint").text.split()[-1]
    assert b64decode(signed)[:4].hex() == name


def test_a_stolen_ledger_key_is_rehearsed_on_a_copy(anywhere):
    """The log itself keeps its key and gets no entry."""
    anywhere.json("ledger", "rotate-key", "--workspace", "acme", "--mode", "live")
    before = anywhere.json("ledger", "rotate-key", "--workspace", "acme", "--mode", "live")
    done = anywhere.json("doctor", "drill", "ledger-key", "--workspace", "acme", "--mode", "live")
    names = [one["name"] for one in done["findings"]]
    assert (done["ok"], names[0], names[-1]) == (True, "copy", "publish")
    assert {"rotated", "forged_above", "not_told", "stands"} <= set(names)
    after = anywhere.json("ledger", "rotate-key", "--workspace", "acme", "--mode", "live")
    assert after["retired"]["vkey"] == before["key"]["vkey"]
    assert "forged" in anywhere.run("doctor", "drill", "ledger-key").stdout
    assert anywhere.run("doctor", "drill").returncode == 2
    assert anywhere.run("doctor", "drill", "restore").returncode == 2
    nobody = anywhere.run("doctor", "drill", "ledger-key", "--workspace", "nobody")
    assert (nobody.returncode, "[workspace_not_found]" in nobody.stderr) == (1, True)


# simulators


def test_the_simulators_serve_until_told_to_stop(tmp_path):
    tabellion = Tabellion(tmp_path)
    try:
        vendors = tabellion.start("simulate", "--listen", "127.0.0.1:0").started()
        assert httpx.get(f"{vendors.url}/sim/twilio/control/requests").json() == {"data": []}
        port = re.search(r"^mail 127.0.0.1:(\d+)$", vendors.printed(), re.MULTILINE)
        with socket.create_connection(("127.0.0.1", int(port[1]))) as mail:
            assert mail.recv(3) == b"220"
        taken = tabellion.run("simulate", "--listen", vendors.url.removeprefix("http://"))
        assert (taken.returncode, "Traceback" in taken.stderr) == (1, False)
        assert "in use" in taken.stderr
        assert vendors.stop() == 0
        assert tabellion.run("simulate", "--listen", "here").returncode == 2
    finally:
        tabellion.close()
