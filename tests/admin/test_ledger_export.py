"""Copies of a log for auditors: whole, of one moment, growing, and for whom they are."""

import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tabellion.access.service import create_key
from tabellion.access.types import Role, Workspace
from tabellion.admin import ledger_export
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.config import Settings
from tabellion.core.db import Database
from tabellion.ledger.verifier.command import Asked, Believed, verify_receipt

from .test_ledger_files import grow

Client = Callable[[Role], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def client(hub: Hub, db: Database, workspace: Workspace) -> Client:
    app = build(hub, Settings())

    async def make(role: Role) -> httpx.AsyncClient:
        _, secret = await db.run(lambda tx: create_key(tx, workspace, "live", role))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        transport = httpx.ASGITransport(app=app.asgi, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    return make


async def unpacked(http: httpx.AsyncClient, folder: Path, query: str = "") -> dict[str, bytes]:
    answer = await http.get(f"/v1/ledger/export{query}")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
        return {name: archive.read(name) for name in archive.namelist()}


async def test_the_zip_verifies_by_key_alone(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path
) -> None:
    http = await client(Role.COMPLIANCE)
    await grow(db, hub.ledger, workspace.live, 600)
    notice = {"id": "news", "title": "News", "purposes": ["marketing"]}
    assert (await http.post("/v1/notices", json=notice)).status_code < 300
    version = {"default_language": "en", "texts": {"en": "We write to you."}}
    made = (await http.post("/v1/notices/news/versions", json=version)).json()
    published = await http.post(f"/v1/notices/news/versions/{made['version']}/publish")
    assert published.status_code < 300, published.text
    files = await unpacked(http, tmp_path / "copy")
    key = (await http.get("/v1/ledger/key")).text.strip()
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes((await http.get("/.well-known/jwks.json")).content)
    report = Asked(str(tmp_path / "copy"), Believed([key]), jwks=jwks).verify()
    assert (report.findings, report.unchecked, report.facts["size"]) == ([], [], 600)
    assert Asked(str(tmp_path / "copy"), Believed((), [tmp_path / "copy/keys.json"])).verify().code == 0
    manifest = json.loads(files["manifest.json"])
    assert (manifest["format"], manifest["size"], manifest["log"]) == ("tabellion-ledger-export/1", 600, "consent")
    text = files[f"notices/news/{made['version']}.json"]
    assert sha256(text).hexdigest() == published.json()["hash"].removeprefix("sha256:")
    assert b"We write to you." in text


async def test_whatever_is_changed_in_the_copy_is_named(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path
) -> None:
    http = await client(Role.OWNER)
    await grow(db, hub.ledger, workspace.live, 300)
    await unpacked(http, tmp_path / "copy")
    key = (await http.get("/v1/ledger/key")).text.strip()

    def codes() -> list[str]:
        return [one.code for one in Asked(str(tmp_path / "copy"), Believed([key])).verify().findings]

    assert codes() == []
    copy = tmp_path / "copy"
    readme = copy / "README.txt"
    kept = readme.read_bytes()
    readme.write_bytes(kept + b"x")
    assert codes() == ["file_differs"]
    readme.write_bytes(kept)
    (copy / "more").write_text("x")
    assert codes() == ["file_unlisted"]
    (copy / "more").unlink()
    sums = copy / "SHA256SUMS"
    kept = sums.read_bytes()
    sums.write_bytes(kept.replace(kept[:64], b"0" * 64, 1))
    assert codes() == ["file_differs", "manifest_differs"]
    sums.write_bytes(kept.replace(b"  README.txt", b"  ../README.txt", 1))
    assert codes() == ["manifest_form"]
    sums.write_bytes(kept)
    manifest = copy / "manifest.json"
    said = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps(said | {"generated_by": "somebody else"}))
    assert codes() == ["manifest_differs"]
    (copy / "manifest.jws").unlink()
    assert codes() == ["manifest_unsigned"]


async def test_a_later_copy_of_what_is_new_goes_over_the_earlier(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path
) -> None:
    http = await client(Role.OWNER)
    await grow(db, hub.ledger, workspace.live, 600)
    await unpacked(http, tmp_path / "copy")
    await grow(db, hub.ledger, workspace.live, 300)
    later = await unpacked(http, tmp_path / "copy", "?since=600")
    assert not {"tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"} & set(later)
    assert {"tile/entries/002", "tile/entries/003.p/132", "tile/1/000.p/3"} <= set(later)
    key = (await http.get("/v1/ledger/key")).text.strip()
    assert Asked(str(tmp_path / "copy"), Believed([key])).verify().findings == []
    beyond = await unpacked(http, tmp_path / "beyond", "?since=9999999")
    assert json.loads(beyond["manifest.json"])["since"] == 900


async def test_it_is_for_compliance_and_audited(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path
) -> None:
    for role, status in ((Role.ADMIN, 403), (Role.DEVELOPER, 403), (Role.INGEST, 403), (Role.READONLY, 403)):
        assert (await (await client(role)).get("/v1/ledger/export")).status_code == status, role
    http = await client(Role.COMPLIANCE)
    await unpacked(http, tmp_path / "copy", "?log=audit")
    async with db.transaction() as tx:
        [row] = await tx.rows("select target, detail from audit where action = 'ledger.exported'")
    assert (row["target"], row["detail"]["log"], row["detail"]["since"]) == ("audit", "audit", 0)
    assert (await http.get("/v1/ledger/export?log=nonsense")).status_code == 400


async def test_the_audit_log_verifies_too(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path
) -> None:
    http = await client(Role.OWNER)
    await unpacked(http, tmp_path / "copy", "?log=audit")
    key = (await http.get("/v1/ledger/audit/key")).text.strip()
    report = Asked(str(tmp_path / "copy"), Believed([key])).verify()
    assert report.findings == []
    assert report.facts["size"] > 0


async def test_the_receipt_of_what_was_audited_is_verified_like_any_other(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    http = await client(Role.OWNER)
    await unpacked(http, tmp_path / "copy", "?log=audit")
    [entry] = (await http.get("/v1/audit?action=ledger.exported")).json()["data"]
    file = tmp_path / "one.tlog-proof"
    file.write_bytes((await http.get(f"/v1/audit/{entry['id']}/receipt")).content)
    key = (await http.get("/v1/ledger/audit/key")).text.strip()
    report = verify_receipt(file, Believed([key]))
    assert report.findings == []
    assert (report.facts["record"]["action"], report.facts["record"]["id"]) == ("ledger.exported", entry["id"])


async def test_sums_and_texts_are_given_out_in_pieces(
    hub: Hub, db: Database, workspace: Workspace, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log has a line a tile, and a side as many texts as it likes: neither is ever in memory as a whole."""
    monkeypatch.setattr(ledger_export, "_PIECE", 100)
    monkeypatch.setattr(ledger_export, "AT_ONCE", 1)
    http = await client(Role.COMPLIANCE)
    await grow(db, hub.ledger, workspace.live, 300)
    for name in ("news", "offers"):
        notice = {"id": name, "title": "News", "purposes": ["marketing"]}
        assert (await http.post("/v1/notices", json=notice)).status_code < 300
        version = {"default_language": "en", "texts": {"en": "We write to you."}}
        made = (await http.post(f"/v1/notices/{name}/versions", json=version)).json()
        assert (await http.post(f"/v1/notices/{name}/versions/{made['version']}/publish")).status_code < 300
    copied = await hub.ledger_export.begin(db, workspace.live, "consent", 0, "key_1")
    pieces: dict[str, list[bytes]] = {}
    async for part in hub.ledger_export.parts(db, copied):
        pieces[part.name] = [page.content async for page in part.pages]
        file = tmp_path / "copy" / part.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(pieces[part.name]))
    assert len(pieces["SHA256SUMS"]) > 5
    assert max(map(len, pieces["SHA256SUMS"])) <= 100
    assert len([name for name in pieces if name.startswith("notices/")]) == 2
    key = (await http.get("/v1/ledger/key")).text.strip()
    assert Asked(str(tmp_path / "copy"), Believed([key])).verify().findings == []
