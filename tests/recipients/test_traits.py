"""What a side declares of traits: types, nulls, and by what one is found."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tabellion.core.errors import Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import rules, traits
from tabellion.recipients.settings import Nulls, RecipientSettings, TraitType
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile, Upserted

from .conftest import Absorptions, Hub

OF = {
    TraitType.STRING: ["", "42"],
    TraitType.INTEGER: [0, -7, 10**17],
    TraitType.NUMBER: [4.2, -1e9],
    TraitType.BOOLEAN: [True, False],
    TraitType.DATE: ["2026-11-21", "2024-02-29"],
    TraitType.DATETIME: ["2026-11-21T09:00:00Z", "2026-11-21T09:00:00.123+01:00"],
}
OF_NONE: list[Any] = [{}, [], {"a": 1}, ["x"]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", TraitType)
def test_a_value_is_of_its_type_and_of_no_other(kind: TraitType) -> None:
    assert all(traits.is_of(value, kind) for value in OF[kind])
    others = [value for other, values in OF.items() for value in values if other is not kind]
    also = {TraitType.STRING: str, TraitType.NUMBER: int}.get(kind)
    strange = [value for value in others if also is None or type(value) is not also]
    assert not [value for value in [*strange, *OF_NONE] if traits.is_of(value, kind)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TraitType.DATE, "2026-02-30"),
        (TraitType.DATE, "21.11.2026"),
        (TraitType.DATE, "2026-11-21T09:00:00Z"),
        (TraitType.DATETIME, "2026-11-21T09:00:00"),
        (TraitType.DATETIME, "2026-11-21T25:00:00Z"),
        (TraitType.DATETIME, "2026-11-21"),
    ],
)
def test_a_date_that_is_none_is_refused(kind: TraitType, text: str) -> None:
    assert not traits.is_of(text, kind)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("42", TraitType.INTEGER, 42),
        (" -42 ", TraitType.INTEGER, -42),
        ("4.5", TraitType.NUMBER, 4.5),
        ("4", TraitType.NUMBER, 4),
        ("1e3", TraitType.NUMBER, 1000.0),
        ("TRUE", TraitType.BOOLEAN, True),
        ("0", TraitType.BOOLEAN, False),
        ("2026-11-21 ", TraitType.DATE, "2026-11-21"),
        (" as it is ", TraitType.STRING, " as it is "),
        # What could mean several things is nothing.
        ("007", TraitType.INTEGER, "007"),
        ("4,5", TraitType.NUMBER, "4,5"),
        ("1.000", TraitType.INTEGER, "1.000"),
        ("nan", TraitType.NUMBER, "nan"),
        ("on", TraitType.BOOLEAN, "on"),
    ],
)
def test_text_is_read_as_what_it_can_only_mean(text: str, kind: TraitType, value: Any) -> None:
    read = traits.coerced(text, kind)
    assert (type(read), read) == (type(value), value)


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.dictionaries(st.sampled_from("abc"), JSON))
def test_what_ignores_nulls_never_clears(standing: dict[str, Any], patch: dict[str, Any]) -> None:
    before = rules.merge_patch({}, standing)
    kept = traits.without_nulls(Profile(None, None, patch))
    assert (kept.locale, kept.time_zone) == (UNSET, UNSET)
    after = rules.merge_patch(before, kept.traits)
    assert before.keys() <= after.keys()
    assert {name for name, value in patch.items() if value is not None} <= after.keys()
    assert traits.without_nulls(Profile(traits=None)) == Profile()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("pro", "pro"),
        (1, "1"),
        (1.0, "1"),
        (1.5, "1.5"),
        (True, "true"),
        ("", ""),
        (None, None),
        ({}, None),
        ([1], None),
        ("x" * 257, None),
        ("a\0", None),
        (10**300, None),
    ],
)
def test_a_scalar_is_found_by_its_text(value: Any, text: str | None) -> None:
    assert traits.indexed(value) == text


def test_a_query_means_what_the_type_says() -> None:
    assert traits.searched("1.0", TraitType.NUMBER) == traits.indexed(1)
    assert traits.searched("TRUE", TraitType.BOOLEAN) == traits.indexed(True)
    assert traits.searched("1.0", None) == "1.0"


def test_what_follows_from_consent_is_set_by_nobody() -> None:
    for name in traits.CONTACT_STATE:
        with pytest.raises(Invalid) as refused:
            traits.require_sound(Profile(traits={name: None}), {}, "/items/0")
        assert (refused.value.code, refused.value.errors[0].pointer) == (
            "trait_read_only",
            f"/items/0/traits/{name}",
        )
        for declared in ({"indexed_traits": [name]}, {"authority": {name: ["crm"]}}):
            with pytest.raises(Invalid):
                traits.require_declarable(RecipientSettings(**declared))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nulls", "source", "does"),
    [
        ({}, "crm", Nulls.CLEAR),
        ({"crm": Nulls.IGNORE}, "crm", Nulls.IGNORE),
        ({"crm": Nulls.IGNORE}, "api", Nulls.CLEAR),
        ({"import": Nulls.IGNORE}, "import:people.csv", Nulls.IGNORE),
        ({"default": Nulls.IGNORE, "crm": Nulls.CLEAR}, "crm", Nulls.CLEAR),
        ({"default": Nulls.IGNORE, "crm": Nulls.CLEAR}, "api", Nulls.IGNORE),
    ],
)
def test_the_null_of_a_source_does_what_is_said_of_it(nulls: dict[str, Nulls], source: str, does: Nulls) -> None:
    assert RecipientSettings(nulls=nulls).null_of(source) is does


async def test_an_ignored_null_leaves_the_value_and_a_patch_clears_it(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions
) -> None:
    settings = RecipientSettings(nulls={"crm": Nulls.IGNORE})
    await hub.db.run(lambda tx: hub.recipients.settings.set(tx, workspace_id, settings))

    async def upsert(source: str, **profile: Any) -> Upserted:
        unit = NewRecipient((Named(Kind.EMAIL, "ann@example.org"),), Profile(**profile))
        upserting = hub.recipients.upsert
        [one] = await hub.db.run(lambda tx: upserting(tx, workspace_id, [unit], absorbed=absorbed, source=source))
        assert isinstance(one, Upserted)
        return one

    async def read() -> tuple[Any, Any]:
        person = (await hub.db.run(lambda tx: hub.recipients.read(tx, workspace_id, [ann])))[ann]
        return person.locale, person.traits

    ann = (await upsert("crm", locale="de", traits={"plan": "pro", "home": {"city": "Wien"}})).recipient_id
    same = await upsert("crm", locale=None, traits={"plan": None, "home": {"city": None}})
    assert (same.version, await read()) == (1, ("de", {"plan": "pro", "home": {"city": "Wien"}}))
    await upsert("api", traits={"plan": None})
    assert await read() == ("de", {"home": {"city": "Wien"}})
    patch = Profile(locale=None, traits={"home": None})
    await hub.db.run(lambda tx: hub.recipients.patch(tx, workspace_id, ann, patch, source="crm"))
    assert await read() == (None, {})
