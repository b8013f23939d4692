"""`/v1/purposes`: who changes what, and what a change means for the next verdict."""

from typing import Any

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.consent.purposes.types import MOST

URL = "/v1/purposes"
NEWS = {"key": "marketing.newsletter", "title": "Our newsletter", "titles": {"de": "Unser Newsletter"}}
ANN = {"email": "ann@example.org"}
GRANT = {
    "recipient": ANN, "channel": "email", "purpose": "marketing.newsletter", "decision": "granted", "basis": "consent",
    "method": "form", "source": "signup", "notice": {"id": "n", "version": 1},
    "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip


async def made(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.post(URL, json=NEWS | changes)
    assert answer.status_code == 201, answer.text
    one: dict[str, Any] = answer.json()
    return one


async def changed(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.patch(f"{URL}/marketing.newsletter", json=changes)
    assert answer.status_code == 200, answer.text
    one: dict[str, Any] = answer.json()
    return one


async def checked(api: httpx.AsyncClient, purpose: str = "marketing.newsletter") -> tuple[str, bool, str]:
    answer = await api.post("/v1/consents/check", json={"recipient": ANN, "channel": "email", "purpose": purpose})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return said["verdict"], said["sendable"], said["reason"]


async def said(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.post("/v1/consents", json=GRANT | changes)
    assert answer.status_code == 201, answer.text
    one: dict[str, Any] = answer.json()
    return one


async def withdrawn(api: httpx.AsyncClient, purpose: str) -> dict[str, Any]:
    plain = {name: GRANT[name] for name in ("recipient", "channel", "method", "source")}
    answer = await api.post("/v1/consents", json=plain | {"purpose": purpose, "decision": "withdrawn"})
    assert answer.status_code == 201, answer.text
    one: dict[str, Any] = answer.json()
    return one


async def test_the_built_in_purposes_are_there(served) -> None:
    listed = {one["key"]: one for one in (await (await served.client()).get(URL)).json()["data"]}
    assert {
        key: (one["class"], one["basis"], one["unknown"], one["accepts_asserted"]) for key, one in listed.items()
    } == {
        "confirmation": ("service", "contract", "allowed", True),
        "marketing": ("marketing", "consent", "denied", False),
        "security": ("security", "contract", "allowed", True),
        "security.keyword": ("security", "contract", "allowed", True),
        "transactional": ("service", "contract", "allowed", True),
    }
    assert all(one["built_in"] and not one["archived"] and one["opt_out_scope"] == "purpose" for one in listed.values())


async def test_a_purpose_is_made_below_what_its_key_says(served) -> None:
    api = await served.client(Role.ADMIN)
    one = await made(api, quiet_hours={"start": "21:00", "end": "08:00"}, consent_ttl="P2Y", opt_out_scope="brand")
    assert (one["parent"], one["class"], one["basis"], one["unknown"]) == (
        "marketing",
        "marketing",
        "consent",
        "denied",
    )
    assert one["titles"] == {"de": "Unser Newsletter"}
    assert (await api.get(f"{URL}/marketing.newsletter")).json() == one
    assert (await made(api, key="shoes.sale", parent=None))["parent"] is None
    assert (await made(api, key="sale", parent="marketing"))["parent"] == "marketing"
    assert (await made(api, key="transactional.receipt", unknown="allowed"))["class"] == "service"
    assert (await served.audited("purpose.created"))[0][0] == "marketing.newsletter"


@pytest.mark.parametrize(
    ("wrong", "code", "pointer"),
    [
        ({"key": "news.daily"}, "parent_unknown", "/parent"),
        ({"parent": "nowhere"}, "parent_unknown", "/parent"),
        ({"class": "service", "basis": "contract"}, "class_too_loose", "/class"),
        ({"unknown": "allowed"}, "unknown_not_allowed", "/unknown"),
        ({"brand": "shoes"}, "brand_unknown", "/brand"),
        ({"key": "a", "class": "security", "opt_out_scope": "class"}, "opt_out_scope_not_allowed", "/opt_out_scope"),
        ({"key": "*"}, "invalid_request", "/key"),
        ({"key": "a..b"}, "invalid_request", "/key"),
        ({"consent_ttl": "P1H"}, "invalid_request", "/consent_ttl"),
        ({"consent_ttl": "P"}, "invalid_request", "/consent_ttl"),
        ({"quiet_hours": {"start": "25:00", "end": "08:00"}}, "invalid_request", "/quiet_hours/start"),
        ({"quiet_hours": {"start": "08:00", "end": "08:00"}}, "invalid_request", "/quiet_hours"),
        ({"min_age": 0}, "invalid_request", "/min_age"),
        ({"titles": {"deutsch": "x"}}, "invalid_request", "/titles"),
    ],
)
async def test_what_cannot_stand_is_refused(served, wrong: dict[str, Any], code: str, pointer: str) -> None:
    answer = await (await served.client()).post(URL, json=NEWS | wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


async def test_a_key_is_made_once(served) -> None:
    api = await served.client()
    await made(api)
    for key in ("marketing.newsletter", "marketing"):
        answer = await api.post(URL, json=NEWS | {"key": key})
        assert (answer.status_code, answer.json()["code"]) == (409, "purpose_exists")


async def test_tightening_is_for_who_writes_and_loosening_for_compliance(served) -> None:
    admin, compliance = await served.client(Role.ADMIN), await served.client(Role.COMPLIANCE)
    await made(admin)
    assert (await changed(admin, consent_ttl="P1Y", min_age=18))["consent_ttl"] == "P1Y"
    refused = await admin.patch(f"{URL}/marketing.newsletter", json={"consent_ttl": None, "min_age": 16})
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert "min_age, consent_ttl" in refused.json()["detail"]
    assert (await admin.get(f"{URL}/marketing.newsletter")).json()["min_age"] == 18
    assert (await changed(compliance, consent_ttl=None, min_age=16))["consent_ttl"] is None
    [(target, detail)] = await served.audited("purpose.loosened")
    assert (target, detail["loosened"]) == ("marketing.newsletter", ["min_age", "consent_ttl"])
    assert (detail["before"]["consent_ttl"], detail["after"]["consent_ttl"]) == ("P1Y", None)
    assert (detail["before"]["min_age"], detail["after"]["min_age"]) == (18, 16)
    refused = await (await served.client(Role.DEVELOPER)).patch(f"{URL}/marketing", json={"title": "x"})
    assert refused.json()["code"] == "scope_missing"


async def test_nobody_gets_round_that_by_making_a_purpose(served) -> None:
    admin, compliance = await served.client(Role.ADMIN), await served.client(Role.COMPLIANCE)
    loose = {"key": "news", "title": "News", "class": "service", "basis": "contract", "unknown": "allowed"}
    refused = await admin.post(URL, json=loose)
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert (await compliance.post(URL, json=loose)).status_code == 201
    [(_, detail)] = await served.audited("purpose.created")
    assert detail["loosened"] == ["class", "basis", "unknown"]


async def test_a_built_in_purpose_is_changed_but_stays_what_it_is(served) -> None:
    api = await served.client()
    answer = await api.patch(f"{URL}/transactional", json={"unknown": "denied", "title": "Your orders"})
    assert (answer.json()["unknown"], answer.json()["built_in"]) == ("denied", True)
    assert await checked(api, "transactional") == ("unknown", False, "no_consent")
    for wrong in ({"class": "marketing"}, {"parent": "marketing"}, {"archived": True}):
        assert (await api.patch(f"{URL}/transactional", json=wrong)).json()["code"] == "purpose_built_in"
    assert (await api.delete(f"{URL}/transactional")).json()["code"] == "purpose_built_in"


async def test_every_change_is_an_event(served) -> None:
    api = await served.client()
    await made(api)
    await changed(api, accepts_asserted=True)
    await changed(api, accepts_asserted=False)
    await api.delete(f"{URL}/marketing.newsletter")
    events = [one for one in (await api.get("/v1/events")).json()["data"] if one["type"] == "purpose.changed"]
    assert [(one["data"]["change"], one["data"]["loosened"]) for one in events] == [
        ("created", []), ("loosened", ["accepts_asserted"]), ("changed", []), ("deleted", []),
    ]  # fmt: skip


async def test_a_purpose_ever_used_is_archived_and_what_was_refused_stays_refused(served) -> None:
    api = await served.client()
    await made(api)
    await made(api, key="marketing.newsletter.daily")
    await said(api, purpose="marketing.newsletter.daily")
    await withdrawn(api, "marketing.newsletter")
    assert (await api.delete(f"{URL}/marketing.newsletter")).status_code == 204
    one = (await api.get(f"{URL}/marketing.newsletter")).json()
    assert one["archived"] is True
    assert await checked(api, "marketing.newsletter.daily") == ("denied", False, "withdrawn")
    send = {"to": ANN, "purpose": "marketing.newsletter", "content": {"subject": "Hi", "text": "Hello"}}
    refused = await api.post("/v1/messages", json=send)
    assert (refused.status_code, refused.json()["code"]) == (422, "purpose_archived")
    assert (await api.post(URL, json=NEWS)).json()["code"] == "purpose_exists"
    assert (await changed(api, archived=False))["archived"] is False
    assert [target for target, _ in await served.audited("purpose.archived")] == ["marketing.newsletter"]
    assert (await served.audited("purpose.loosened"))[0][1]["loosened"] == ["archived"]


async def test_nothing_is_sent_for_an_archived_purpose_whatever_was_granted(served) -> None:
    api = await served.client()
    await made(api)
    await said(api)
    assert await checked(api) == ("allowed", True, "granted")
    await api.delete(f"{URL}/marketing.newsletter")
    assert await checked(api) == ("allowed", False, "purpose_archived")


async def test_a_purpose_never_used_is_deleted_once_nothing_stands_below_it(served) -> None:
    api = await served.client()
    await made(api)
    await made(api, key="marketing.newsletter.daily")
    assert (await api.delete(f"{URL}/marketing.newsletter")).json()["code"] == "purpose_has_children"
    for key in ("marketing.newsletter.daily", "marketing.newsletter"):
        assert (await api.delete(f"{URL}/{key}")).status_code == 204
        assert (await api.get(f"{URL}/{key}")).json()["code"] == "purpose_not_found"
    assert (await api.delete(f"{URL}/marketing.newsletter")).status_code == 404
    assert len(await served.audited("purpose.deleted")) == 2


async def test_asking_to_send_for_a_purpose_uses_it(served) -> None:
    api = await served.client()
    await made(api)
    send = {"to": ANN, "purpose": "marketing.newsletter", "content": {"subject": "Hi", "text": "Hello"}}
    assert (await api.post("/v1/messages", json=send)).status_code == 202
    await api.delete(f"{URL}/marketing.newsletter")
    assert (await api.get(f"{URL}/marketing.newsletter")).json()["archived"] is True


async def test_a_purpose_is_checked_as_it_is_now(served) -> None:
    api = await served.client()
    await made(api)
    await said(api)
    assert await checked(api) == ("allowed", True, "granted")
    await withdrawn(api, "transactional")
    await changed(api, parent="transactional")
    assert await checked(api) == ("denied", False, "withdrawn")
    await changed(api, parent="marketing")
    assert await checked(api) == ("allowed", True, "granted")


async def test_a_ttl_ends_what_was_granted_before_it(served) -> None:
    api = await served.client()
    await made(api)
    clock = served.hub.around.clock
    await said(api, occurred_at="2020-01-01T00:00:00Z", method="import")
    assert clock.now().year > 2021
    assert (await checked(api))[1] is True
    await changed(api, consent_ttl="P1Y")
    assert await checked(api) == ("unknown", False, "no_consent")


async def test_a_minimum_age_asks_for_the_age(served) -> None:
    api = await served.client()
    await made(api)
    await said(api)
    person = {"identifiers": [{"kind": "email", "value": "ann@example.org"}]}
    await changed(api, min_age=18)
    assert await checked(api) == ("allowed", False, "age_unknown")
    for traits, reason in (
        ({"birth_date": "2020-05-05"}, "under_age"),
        ({"birth_date": None, "birthday": "1990-05-05T00:00:00Z"}, "granted"),
        ({"birthday": None, "age": 17}, "under_age"),
        ({"age": 18}, "granted"),
        ({"age": "old"}, "age_unknown"),
    ):
        assert (await api.post("/v1/recipients", json=person | {"traits": traits})).status_code in (200, 201)
        assert await checked(api) == ("allowed", reason == "granted", reason)


async def test_a_soft_opt_in_counts_where_the_purpose_takes_it(served) -> None:
    api = await served.client()
    await made(api)
    evidence = {"sale_or_negotiation": "order 7", "similar_products": True, "opt_out_offered_at_collection": True}
    soft = {"decision": "asserted", "basis": "soft_opt_in", "evidence": evidence}
    assert (await said(api, **soft))["reason"] == "assertion_not_accepted"
    await changed(api, soft_opt_in=True)
    assert (await said(api, **soft))["applied"] is True
    assert await checked(api) == ("allowed", True, "asserted")
    await changed(api, soft_opt_in=False)
    assert await checked(api) == ("unknown", False, "no_consent")


async def test_a_side_has_so_many_purposes_and_no_more(served) -> None:
    db, side = served.hub.around.db, served.workspace.test
    api = await served.client()
    sql = """
    insert into purposes (workspace_id, key, settings, created_at, updated_at)
    select $1, 'p' || n, '{"title": "P", "class": "marketing", "basis": "consent"}', now(), now()
      from generate_series(2, $2) n
    """
    await db.run(lambda tx: tx.execute(sql, side, MOST))
    assert (await made(api))["key"] == "marketing.newsletter"
    assert (await api.post(URL, json=NEWS | {"key": "more"})).json()["code"] == "too_many_purposes"


async def test_brands_that_purposes_name_stay(served) -> None:
    api, admin = await served.client(), await served.client(Role.ADMIN)
    assert (await api.put("/v1/brands/shoes", json={"name": "Shoes", "default": True})).status_code == 200
    assert (await made(api, brand="shoes"))["brand"] == "shoes"
    assert (await api.delete("/v1/brands/shoes")).json()["code"] == "brand_in_use"
    parted = await admin.put("/v1/brands/hats", json={"name": "Hats", "default": True})
    assert (parted.status_code, parted.json()["code"]) == (403, "compliance_required")
    assert (await api.put("/v1/brands/hats", json={"name": "Hats", "default": True})).status_code == 200


async def test_another_default_brand_leaves_no_opt_out_from_the_one_of_before_behind(served) -> None:
    """What names no brand went over to the new one, and a STOP from the brand that it had been of was of no effect."""
    owner, admin = await served.client(), await served.client(Role.ADMIN)
    await owner.put("/v1/brands/hats", json={"name": "Hats"})
    await made(owner, key="hats", parent=None, brand="hats")
    refused = await admin.put("/v1/brands/hats", json={"name": "Hats", "default": True})
    assert (refused.status_code, refused.json()["code"]) == (403, "compliance_required")
    assert (await owner.get("/v1/brands/default")).json()["default"] is True


@pytest.mark.parametrize("relied_on", [{"brand": "hats"}, {"opt_out_scope": "class"}])
async def test_a_purpose_that_opt_outs_rely_on_is_archived_though_nobody_used_it(served, relied_on: Any) -> None:
    """Without the last one of a brand the words for the default one, and without a scope its reach, were gone."""
    api = await served.client()
    await api.put("/v1/brands/hats", json={"name": "Hats"})
    await made(api, **relied_on)
    assert (await api.delete(f"{URL}/marketing.newsletter")).status_code == 204
    assert (await api.get(f"{URL}/marketing.newsletter")).json()["archived"] is True
