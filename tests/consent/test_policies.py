"""What policies add to an opt-out: the pure part against its law, and the entries in the ledger."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabellion.consent import rules
from tabellion.consent.brands import store as brands
from tabellion.consent.brands.types import Brand
from tabellion.consent.policies import Policies, added
from tabellion.consent.purposes import store as purposes_store
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.settings import store as settings_store
from tabellion.consent.types import ANY, PHONE_MESSAGING, Basis, OptOutScope, Purpose, PurposeClass, Rank
from tabellion.core.db import Tx
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

from .conftest import Hub, decision, email, person, phone

ANN, ANNS = "ann@example.org", "+436601234567"
KEYS = ("security", "orders", "orders.late", "news", "news.shoes", "news.shoes.sale", "hats", "survey")
CLASSES = {"security": PurposeClass.SECURITY, "orders": PurposeClass.SERVICE, "survey": PurposeClass.RESEARCH}


def purpose(key: str, scope: OptOutScope, brand: str | None) -> Purpose:
    kind = CLASSES.get(key.partition(".")[0], PurposeClass.MARKETING)
    scope = OptOutScope.PURPOSE if kind is PurposeClass.SECURITY else scope
    parent = key.rpartition(".")[0] or None
    return Purpose(key, "", kind, Basis.CONSENT, False, False, parent=parent, brand=brand, opt_out_scope=scope)


trees = st.builds(
    lambda scopes, brands: {
        key: purpose(key, scope, brand) for key, scope, brand in zip(KEYS, scopes, brands, strict=True)
    },
    st.lists(st.sampled_from(OptOutScope), min_size=len(KEYS), max_size=len(KEYS)),
    st.lists(st.sampled_from([None, "own", "other"]), min_size=len(KEYS), max_size=len(KEYS)),
)
pairs = st.dictionaries(
    st.sampled_from([Channel.SMS, Channel.EMAIL, Channel.RCS]),
    st.lists(st.sampled_from([Channel.WHATSAPP, Channel.PUSH, Channel.SMS]), min_size=1, unique=True),
    max_size=3,
)
worlds = st.builds(lambda tree, cross: Policies(tree, "own", cross), trees, pairs)
words = st.sampled_from([*KEYS, ANY])
channels = st.sampled_from(["email", "sms", "push", PHONE_MESSAGING, ANY])


def spread(policies: Policies, channel: str, word: str) -> set[tuple[str, str]]:
    """Every channel and purpose that an opt-out comes to, with all it brings."""
    said = [(channel, word), *((one.channel, one.purpose) for one in added(policies, channel, word))]
    return {
        (reached, key)
        for channel_, purpose_ in said
        for reached in rules.channels_under(channel_)
        for key in rules.purposes_under(policies.purposes, purpose_)
    }


@settings(max_examples=300)
@given(worlds, channels, words)
def test_an_opt_out_reaches_what_the_policies_say_and_nothing_else(policies, channel, word) -> None:
    """Spelled out, channel by channel and purpose by purpose."""
    tree = policies.purposes

    def below(top: str) -> set[str]:
        return {key for key in tree if key == top or key.startswith(top + ".")}

    first = {key for key in tree if key != "security"} if word == ANY else below(word)
    named = set(first)
    for one in [] if word == ANY else first:
        left = tree[one]
        for key, other in tree.items():
            same_brand = (left.brand or "own") == (other.brand or "own")
            marketing = other.purpose_class in ("marketing", "research")
            by_brand = left.opt_out_scope == "brand" and same_brand and marketing
            by_class = left.opt_out_scope == "class" and left.purpose_class == other.purpose_class
            named |= below(key) if by_brand or by_class else set()
    every = {one.value for one in Channel}
    said = {ANY: every, PHONE_MESSAGING: {"sms", "mms", "rcs"}}.get(channel, {channel})
    reached = said | {other.value for one in said for other in policies.cross_channel.get(Channel(one), [])}
    assert spread(policies, channel, word) == {(one, key) for one in reached for key in named}


@given(worlds, channels, words)
def test_nothing_is_added_that_was_said(policies, channel, word) -> None:
    own = spread(Policies(policies.purposes), channel, word) if word == ANY else None
    for one in added(policies, channel, word):
        assert (one.channel, one.purpose) != (channel, word)
        assert one.by
        if own is not None and one.channel == channel:
            pytest.fail("* reaches all there is on its channel")


@given(worlds, channels, words, words)
def test_a_wider_opt_out_never_reaches_less(policies, channel, narrow, wide) -> None:
    if narrow in rules.purposes_under(policies.purposes, wide):
        assert spread(policies, channel, narrow) <= spread(policies, channel, wide)
    assert spread(policies, channel, narrow) <= spread(policies, ANY, narrow)


@given(worlds, channels, words)
def test_class_security_is_reached_only_where_it_is_named(policies, channel, word) -> None:
    assert word == "security" or all(key != "security" for _, key in spread(policies, channel, word))


# in the ledger


async def arrange(hub: Hub, *, cross: dict[str, list[str]] | None = None, **scopes: Any) -> None:
    """Three marketing purposes of two brands, a survey, and the policies asked for."""
    made = {"shoes": None, "sale": None, "hats": "hats"}

    async def work(tx: Tx) -> None:
        await brands.write(tx, hub.side, Brand("own", "Own", is_default=True))
        await brands.write(tx, hub.side, Brand("hats", "Hats"))
        for key, brand in made.items():
            await purposes_store.write(tx, hub.side, key, said(PurposeClass.MARKETING, brand, scopes.get(key)))
        await purposes_store.write(tx, hub.side, "survey", said(PurposeClass.RESEARCH, "own", scopes.get("survey")))
        await settings_store.write(tx, hub.side, {"cross_channel": cross or {}})

    await hub.db.run(work)


def said(kind: PurposeClass, brand: str | None, scope: str | None) -> PurposeSettings:
    return PurposeSettings(
        title="A", purpose_class=kind, basis=Basis.CONSENT, brand=brand, opt_out_scope=OptOutScope(scope or "purpose")
    )


async def denied(hub: Hub, ref: Any, channel: str, *purposes: str) -> set[str]:
    return {one for one in purposes if (await hub.check(ref, channel, one)).verdict == "denied"}


ANY_ATTEMPT = UUID(int=5)
EVERY = ("shoes", "sale", "hats", "survey", "marketing", "transactional", "security")


async def test_an_opt_out_of_scope_brand_restricts_the_brands_marketing_and_research(hub: Hub) -> None:
    await arrange(hub, shoes="brand")
    await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes"))
    assert await denied(hub, email(ANN), "email", *EVERY) == {"shoes", "sale", "survey", "marketing"}
    await hub.recorded(decision(email("bob@example.org"), "withdrawn", purpose="sale"))
    assert await denied(hub, email("bob@example.org"), "email", *EVERY) == {"sale"}


async def test_an_opt_out_of_scope_class_restricts_the_class_of_every_brand(hub: Hub) -> None:
    await arrange(hub, shoes="class")
    await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes"))
    assert await denied(hub, email(ANN), "email", *EVERY) == {"shoes", "sale", "hats", "marketing"}


async def test_each_thing_added_is_an_entry_that_says_what_brought_it(hub: Hub) -> None:
    await arrange(hub, cross={"email": ["push"]}, shoes="class")
    ann = await hub.person((Kind.EMAIL, ANN))
    one = await hub.recorded(decision(email(ANN), "objected", purpose="shoes"))
    found = await hub.db.run(lambda tx: hub.consent.entries(tx, hub.side, [ann], -1, 100))
    first, *more = [(entry, record or {}) for entry, record in found]
    assert first[0].id == one.id
    shown = first[1]["id"]
    assert {(entry.channel, entry.purpose, *record["evidence"]["policies"]) for entry, record in more} == {
        ("email", "hats", "opt_out_scope"),
        ("email", "marketing", "opt_out_scope"),
        ("email", "sale", "opt_out_scope"),
        ("push", "shoes", "cross_channel"),
        ("push", "hats", "cross_channel", "opt_out_scope"),
        ("push", "marketing", "cross_channel", "opt_out_scope"),
        ("push", "sale", "cross_channel", "opt_out_scope"),
    }
    for entry, record in more:
        assert record["evidence"]["entry"] == shown
        assert (entry.applied, entry.standing, entry.decision, entry.method) == (True, True, "objected", "form")
        assert (entry.effective_at, record["rank"]) == (first[0].effective_at, first[1]["rank"])
    events = [data["consent"] for word, data in await hub.events() if word == "consent.objected"]
    assert len(events) == 1 + len(more) == len({one["id"] for one in events})


async def test_on_another_channel_it_is_the_whole_person(hub: Hub) -> None:
    """STOP is about one number; which of the person's WhatsApp accounts is the same one, nobody knows."""
    await arrange(hub, cross={"sms": ["whatsapp"]})
    ann = await hub.person((Kind.PHONE, ANNS), (Kind.PHONE, "+12025550111"), (Kind.WHATSAPP, "+12025550111"))
    await hub.stop(ANNS)
    assert (await hub.verdict(ann, "+12025550111", "sms", "transactional")).verdict == "unknown"
    stopped = await hub.check(person(ann), "whatsapp", "transactional")
    assert (stopped.verdict, stopped.reason) == ("denied", "stop")
    assert (await hub.check(person(ann), "whatsapp", "security")).sendable


async def test_it_comes_with_the_person_whose_address_it_turns_out_to_be(hub: Hub) -> None:
    await arrange(hub, cross={"sms": ["email"]})
    await hub.stop(ANNS)
    ann = await hub.person((Kind.PHONE, ANNS), (Kind.EMAIL, ANN))
    assert (await hub.check(person(ann), "email", "marketing")).verdict == "denied"


async def test_policies_lead_one_step(hub: Hub) -> None:
    await arrange(hub, cross={"sms": ["whatsapp"], "whatsapp": ["email"]})
    ann = await hub.person((Kind.PHONE, ANNS), (Kind.EMAIL, ANN))
    await hub.recorded(decision(phone(ANNS), "withdrawn", "sms"))
    assert (await hub.check(person(ann), "whatsapp", "marketing")).verdict == "denied"
    assert (await hub.check(person(ann), "email", "marketing")).verdict == "unknown"


async def test_a_grant_brings_nothing_with_it_and_lifts_only_what_it_is_for(hub: Hub) -> None:
    await arrange(hub, cross={"email": ["push"]}, shoes="brand")
    await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes"))
    hub.clock.advance(timedelta(minutes=1))
    back = await hub.recorded(decision(email(ANN), "granted", purpose="shoes", rank=Rank.PERSON))
    assert back.applied
    assert await denied(hub, email(ANN), "email", *EVERY) == {"sale", "survey", "marketing"}
    assert await denied(hub, email(ANN), "push", "shoes") == {"shoes"}


async def test_what_a_batch_says_after_it_is_newer(hub: Hub) -> None:
    await arrange(hub, shoes="brand")
    await hub.person((Kind.EMAIL, ANN))
    proof = {"rank": Rank.PERSON, "occurred_at": hub.clock.now() + timedelta(minutes=1)}
    await hub.recorded(decision(email(ANN), "granted", purpose="sale"))
    await hub.record(
        decision(email(ANN), "withdrawn", purpose="shoes"), decision(email(ANN), "granted", purpose="hats", **proof)
    )
    assert await denied(hub, email(ANN), "email", "sale", "hats") == {"sale"}


async def test_attempts_that_it_came_too_late_for_are_named_by_the_opt_out(hub: Hub) -> None:
    await arrange(hub, shoes="class")
    await hub.person((Kind.EMAIL, ANN))
    hub.started.attempts = [ANY_ATTEMPT]
    one = await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes"))
    assert list(one.in_flight) == [ANY_ATTEMPT]
    assert {key for covered in hub.started.asked for key in covered.purposes} == {"shoes", "sale", "hats", "marketing"}


async def test_said_again_it_adds_nothing_again(hub: Hub) -> None:
    await arrange(hub, shoes="class")
    ann = await hub.person((Kind.EMAIL, ANN))
    for _ in range(2):
        await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes"))
    found = await hub.db.run(lambda tx: hub.consent.entries(tx, hub.side, [ann], -1, 100))
    assert [entry.purpose for entry, _ in found] == ["shoes", "hats", "marketing", "sale", "shoes"]


async def test_an_opt_out_that_came_too_late_brings_nothing(hub: Hub) -> None:
    await arrange(hub, shoes="class")
    await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted", purpose="shoes"))
    late = {"rank": Rank.IMPORT, "occurred_at": hub.clock.now() - timedelta(days=9)}
    one = await hub.recorded(decision(email(ANN), "withdrawn", purpose="shoes", **late))
    assert (one.applied, one.reason) == (False, "newer_grant_stands")
    assert await denied(hub, email(ANN), "email", *EVERY) == set()


async def test_a_late_opt_out_leaves_newer_grants_elsewhere(hub: Hub) -> None:
    """What it adds is as old as itself: the grant for the sale is newer, the one for the hats was older."""
    await arrange(hub, shoes="class")
    ann = await hub.person((Kind.EMAIL, ANN))
    start = hub.clock.now()
    await hub.recorded(decision(email(ANN), "granted", purpose="hats", occurred_at=start - timedelta(days=9)))
    await hub.recorded(decision(email(ANN), "granted", purpose="sale", occurred_at=start - timedelta(days=1)))
    late = {"rank": Rank.IMPORT, "occurred_at": start - timedelta(days=5)}
    assert (await hub.recorded(decision(person(ann), "withdrawn", purpose="shoes", **late))).applied
    assert await denied(hub, email(ANN), "email", *EVERY) == {"shoes", "hats", "marketing"}


async def test_more_than_the_ledger_takes_at_once(hub: Hub) -> None:
    await arrange(hub, shoes="class", cross={"email": ["push", "webpush"]})
    many = [decision(email(f"p{n}@example.org"), "withdrawn", purpose="shoes") for n in range(60)]
    recorded = await hub.record(*many)
    assert all(getattr(one, "tree_size", None) == 60 * 12 for one in recorded)
    entries = await hub.rows("select count(*) as n, max(log_index) as last from consent_entries")
    assert (entries[0]["n"], entries[0]["last"]) == (60 * 12, 60 * 12 - 1)


async def test_policies_set_over_http_count_for_the_next_opt_out(served: Any) -> None:
    api: httpx.AsyncClient = await served.client()
    said = {"recipient": {"phone": ANNS}, "channel": "sms", "purpose": "marketing", "decision": "withdrawn",
            "method": "api", "source": "shop"}  # fmt: skip
    asked = {"recipient": {"phone": ANNS}, "channel": "whatsapp", "purpose": "marketing"}
    assert (await api.put("/v1/consent-settings", json={"cross_channel": {"sms": ["whatsapp"]}})).status_code == 200
    assert (await api.post("/v1/consents", json=said)).status_code == 201
    assert (await api.post("/v1/consents/check", json=asked)).json()["verdict"] == "denied"
