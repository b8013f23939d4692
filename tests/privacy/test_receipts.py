"""Receipts and erasure: what was handed out still verifies, and no new one is made."""

import base64

from tabellion.access.types import Role
from tabellion.ledger import merkle

from .conftest import MINUTE, Client, World

GRANT = {
    "recipient": {"email": "vera@example.org"}, "channel": "email", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip


async def test_after_an_erasure_a_receipt_still_verifies_and_there_is_no_new_one(world: World, api: Client) -> None:
    client = await api(Role.OWNER)
    consent = (await client.post("/v1/consents", json=GRANT)).json()
    path = f"/v1/consents/{consent['id']}/receipt"
    assert (await client.get(f"{path}?disclose=1")).status_code == 200
    before = (await client.get(path)).text
    order = {"type": "erase", "recipient": consent["recipient_id"], "verified_by": "letter", "immediate": True}
    answer = await (await api(Role.COMPLIANCE)).post("/v1/regulations", json=order)
    assert answer.status_code == 202, answer.text
    await world.pass_time(2 * MINUTE)
    for query in ("", "?disclose=1", "?unwitnessed=1"):
        refused = await client.get(path + query)
        assert (refused.status_code, refused.json()["code"]) == (410, "person_erased"), query
        assert "vera" not in refused.text
    head, _, checkpoint = before.partition("\n\n")
    index, *proof = head.split("\n")[1:]
    _, size, root = checkpoint.split("\n")[:3]
    hashes = [base64.b64decode(one) for one in proof]
    leaf = base64.b64decode(consent["leaf_hash"])
    assert merkle.verify_inclusion(int(index.split()[1]), int(size), leaf, hashes, base64.b64decode(root))
    now = (await client.get("/v1/ledger/checkpoint")).text.split("\n")
    assert int(now[1]) > int(size), "the erasure itself left entries"
    path = (await client.get(f"/v1/ledger/proof/consistency?from={size}")).json()["path"]
    steps = [base64.b64decode(one) for one in path]
    roots = base64.b64decode(root), base64.b64decode(now[2])
    assert merkle.verify_consistency(int(size), int(now[1]), *roots, steps)
