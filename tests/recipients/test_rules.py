"""Normal forms, references, merge patches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.errors import Invalid
from tabellion.recipients import rules
from tabellion.recipients.types import IdentifierRef, Kind, RefObject

EMAILS = st.from_regex(r"[A-Za-z0-9]{1,12}(\.[A-Za-z0-9]{1,8})?@[A-Za-z0-9]{1,10}\.(org|test|DE)", fullmatch=True)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("Ann@Example.ORG", "Ann@example.org"),
        ("  ann@example.org ", "ann@example.org"),
        ("ann@BÜCHER.de", "ann@xn--bcher-kva.de"),
        ("ann@xn--bcher-kva.de", "ann@xn--bcher-kva.de"),
        ("ann@ｅｘａｍｐｌｅ.org", "ann@example.org"),
        ("ann+tag@example.org", "ann+tag@example.org"),
        ("änn@example.org", "änn@example.org"),
        ("a\u0308nn@example.org", "änn@example.org"),
        ("ann@demo.test", "ann@demo.test"),
    ],
)
def test_an_email_keeps_its_local_part_and_gets_its_domain_as_lower_case_a_labels(given: str, normal: str) -> None:
    assert rules.normalise(Kind.EMAIL, given) == normal


@pytest.mark.parametrize(
    "wrong", ["", "ann", "ann@", "@example.org", "a b@example.org", "ann@localhost", "Ann <a@b.org>"]
)
def test_what_is_no_email_is_refused_with_a_pointer(wrong: str) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.normalise(Kind.EMAIL, wrong, "/to/email")
    assert refusal.value.code == "invalid_identifier"
    assert refusal.value.errors[0].pointer == "/to/email"


@pytest.mark.parametrize(
    ("given", "region", "normal"),
    [
        ("+1 202 555 0123", None, "+12025550123"),
        ("+43 (0) 1 234567", None, "+431234567"),
        ("(020) 7946 0018", "GB", "+442079460018"),
        ("0043 1 234567", "AT", "+431234567"),
        ("+390612345678", "AT", "+390612345678"),
        ("+15005550006", None, "+15005550006"),
    ],
)
def test_a_phone_number_becomes_e164(given: str, region: str | None, normal: str) -> None:
    assert rules.normalise(Kind.PHONE, given, region=region) == normal


@pytest.mark.parametrize(
    "wrong", ["", "202 555 0123", "+12", "+1202555", "+44 20 7946 0018 ext 5", "+" + "1" * 80, "x"]
)
def test_what_no_network_could_call_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid):
        rules.normalise(Kind.PHONE, wrong)


@pytest.mark.parametrize("wrong", ["", "   ", "a\x00b", "a\nb", "x" * 257])
def test_an_external_id_is_short_and_plain(wrong: str) -> None:
    with pytest.raises(Invalid):
        rules.normalise(Kind.EXTERNAL_ID, wrong)


@given(EMAILS)
def test_an_email_in_normal_form_stays_as_it_is(value: str) -> None:
    normal = rules.normalise(Kind.EMAIL, value)
    assert rules.normalise(Kind.EMAIL, normal) == normal


@given(st.integers(2_012_000_000, 9_899_999_999), st.sampled_from(["+1{}", "+1 {}", "+1-{}", " +1.{}"]))
def test_a_phone_number_has_one_normal_form_however_it_is_written(number: int, form: str) -> None:
    normal = rules.normalise(Kind.PHONE, form.format(number))
    assert normal == f"+1{number}"
    assert rules.normalise(Kind.PHONE, normal) == normal


@given(EMAILS)
def test_mailboxes_that_differ_in_case_only_are_looked_up_as_one(value: str) -> None:
    key = Key(bytes(32))
    hashes = {
        rules.identifier_hash(key, Kind.EMAIL, rules.normalise(Kind.EMAIL, form))
        for form in (value, value.upper(), value.lower())
    }
    assert len(hashes) == 1


def test_a_hash_depends_on_workspace_kind_and_value() -> None:
    one, other = Key(bytes(32)), Key(bytes(31) + b"x")
    hashes = {
        rules.identifier_hash(key, kind, value)
        for key in (one, other)
        for kind in (Kind.EXTERNAL_ID, Kind.PHONE)
        for value in ("+431", "+432")
    }
    assert len(hashes) == 8
    assert rules.identifier_hash(one, Kind.EXTERNAL_ID, "A") != rules.identifier_hash(one, Kind.EXTERNAL_ID, "a")


@pytest.mark.parametrize(
    ("given", "normal"), [("de", "de"), ("DE-at", "de-AT"), ("zh_hant_tw", "zh-Hant-TW"), ("es-419", "es-419")]
)
def test_a_locale_gets_its_usual_case(given: str, normal: str) -> None:
    assert rules.locale(given, "/locale") == normal


@pytest.mark.parametrize("wrong", ["", "d", "german language", "de-", "de--AT", "x" * 100])
def test_a_wrong_locale_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid):
        rules.locale(wrong, "/locale")


@pytest.mark.parametrize("zone", ["Europe/Vienna", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_a_zone_of_the_tz_database_is_taken(zone: str) -> None:
    assert rules.time_zone(zone, "/time_zone") == zone


@pytest.mark.parametrize("wrong", ["", "Europe", "Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "+02:00"])
def test_another_zone_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid):
        rules.time_zone(wrong, "/time_zone")


def test_traits_are_bounded_in_size_and_depth() -> None:
    deep: dict[str, object] = {}
    for _ in range(rules.TRAITS_DEPTH):
        deep = {"in": deep}
    for wrong in ({"big": "x" * rules.TRAITS_SIZE}, deep):
        with pytest.raises(Invalid):
            rules.traits(wrong, "/traits")
    assert rules.traits({"plan": "pro"}, "/traits") == {"plan": "pro"}


RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": "b"}, ["c"], ["c"]),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merge_patch_is_as_rfc_7396_says(target: object, patch: object, result: object) -> None:
    assert rules.merge_patch(target, patch) == result


# references


def test_a_reference_is_an_id_or_an_object_with_one_name() -> None:
    person = ids.new()
    shown = ids.show("rcp", person)
    assert rules.ref(shown, "/to").id == person
    assert rules.ref(RefObject(id=shown), "/to").id == person
    by_email = rules.ref(RefObject(email="Ann@Example.org"), "/to")
    assert (by_email.kind, by_email.value, by_email.id) == (Kind.EMAIL, "Ann@example.org", None)
    by_phone = rules.ref(RefObject(phone="020 7946 0018"), "/to", "GB")
    assert (by_phone.kind, by_phone.value) == (Kind.PHONE, "+442079460018")
    named = rules.ref(RefObject(identifier=IdentifierRef(Kind.EXTERNAL_ID, "crm-1")), "/to")
    assert (named.kind, named.value) == (Kind.EXTERNAL_ID, "crm-1")


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        (RefObject(), "/to"),
        (RefObject(email="a@example.org", phone="+431234567"), "/to"),
        (RefObject(email="a"), "/to/email"),
        (RefObject(phone="020 7946 0018"), "/to/phone"),
        (RefObject(identifier=IdentifierRef(Kind.EMAIL, "a")), "/to/identifier/value"),
        (RefObject(id="msg_01h455vb4pex5vsknk084sn02q"), "/to/id"),
        ("ann@example.org", "/to"),
    ],
)
def test_a_wrong_reference_is_refused_where_it_is_wrong(value: str | RefObject, pointer: str) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.ref(value, "/to")
    assert [error.pointer for error in refusal.value.errors] == [pointer]


# query parameters


@pytest.mark.parametrize(
    "text", ["", "ann", "rcp_x", "{", "{}", '{"mail": "x"}', '{"email": 1}', '{"email": "x"}', "[]"]
)
def test_a_parameter_that_names_nobody_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        rules.asked(text)


def test_a_parameter_names_a_person_as_a_request_does() -> None:
    one = ids.new()
    shown = ids.show("rcp", one)
    assert rules.asked(shown).id == rules.asked(f'{{"id": "{shown}"}}').id == one
    for text, kind, value in (
        ('{"external_id": " crm-1"}', Kind.EXTERNAL_ID, "crm-1"),
        ('{"phone": " 43 660 1234567"}', Kind.PHONE, "+436601234567"),
        ('{"identifier": {"kind": "email", "value": "ann@Example.org"}}', Kind.EMAIL, "ann@example.org"),
    ):
        assert (rules.asked(text).kind, rules.asked(text).value) == (kind, value)
