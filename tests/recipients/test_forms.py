"""Normal forms of every kind, values that are nobody's, mailboxes, checksums."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.crypto import Key
from tabellion.core.errors import Invalid
from tabellion.recipients import forms, rules, wallets
from tabellion.recipients.types import Device, Kind, Line, Named, Platform, PushKeys, PushProvider

LOOKUP = Key(bytes(32))
CRM = Kind("external:crm")
APNS = "740F4707BEBCF74F9B7C25D48E3358945F6AA01DA5DDB387462C7EAF61BB78AD"
FCM = "dQw4w9WgXcQ:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
EVM = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
SOLANA = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(
    Encoding.X962, PublicFormat.UncompressedPoint
)  # fmt: skip
KEYS = PushKeys(base64.urlsafe_b64encode(POINT).decode(), base64.b64encode(bytes(16)).decode())
DEVICE = Device(Platform.IOS, PushProvider.APNS)


def refused(kind: Kind, value: str, blocked: frozenset[str] = frozenset()) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        rules.normalise(kind, value, "/identifiers/0/value", blocked=blocked)
    assert [error.pointer for error in refusal.value.errors] == ["/identifiers/0/value"]
    return refusal.value


# kinds


def test_an_id_of_another_system_is_a_kind_of_its_own_per_system() -> None:
    assert CRM == Kind("external:crm") == "external:crm"
    assert hash(CRM) == hash(Kind("external:crm"))
    assert CRM.value == CRM == str(CRM)
    assert CRM.external
    assert not Kind.EXTERNAL_ID.external
    assert rules.identifier_hash(LOOKUP, CRM, "1") != rules.identifier_hash(LOOKUP, Kind("external:erp"), "1")


@pytest.mark.parametrize("wrong", ["external", "external:", "external:CRM", "external:a b", "external:1", "fax", ""])
def test_another_word_is_no_kind(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a valid Kind"):
        Kind(wrong)


# normal forms


@pytest.mark.parametrize(
    ("kind", "value", "normal"),
    [
        (Kind.WHATSAPP, "436601234567", "+436601234567"),
        (Kind.WHATSAPP, "+43 660 1234567", "+436601234567"),
        (Kind.DEVICE, f" {APNS} ", APNS.lower()),
        (Kind.DEVICE, FCM, FCM),
        (Kind.WEBPUSH, "HTTPS://Updates.Push.Example:443/wpush/V2/gA", "https://updates.push.example/wpush/V2/gA"),
        (Kind.WEBPUSH, "https://push.example?x=1", "https://push.example/?x=1"),
        (Kind.WALLET, EVM.lower(), EVM),
        (Kind.WALLET, "0x" + EVM[2:].upper(), EVM),
        (Kind.WALLET, SOLANA, SOLANA),
        (Kind.ANONYMOUS, " 9f3c-1 ", "9f3c-1"),
        (CRM, " C-1042 ", "C-1042"),
    ],
)
def test_every_kind_has_one_spelling(kind: Kind, value: str, normal: str) -> None:
    assert rules.normalise(kind, value) == normal


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Kind.WHATSAPP, "0660 1234567"),
        (Kind.WHATSAPP, "ann"),
        (Kind.DEVICE, "short"),
        (Kind.DEVICE, "<740f4707 bebcf74f>"),
        (Kind.DEVICE, "x" * 4097),
        (Kind.DEVICE, "tökentökentökentöken"),
        (Kind.WEBPUSH, "http://push.example/x"),
        (Kind.WEBPUSH, "https://ann:secret@push.example/x"),
        (Kind.WEBPUSH, "https://push.example/x#y"),
        (Kind.WEBPUSH, "https://push.example/a\tb"),
        (Kind.WEBPUSH, "https://[::1"),
        (Kind.WEBPUSH, "https://push.example/" + "x" * 2048),
        (Kind.WALLET, EVM[:-1] + "D"),
        (Kind.WALLET, EVM[:-1]),
        (Kind.WALLET, SOLANA + "1"),
        (Kind.WALLET, "0OIl" * 10),
        (Kind.ANONYMOUS, "a\nb"),
        (CRM, "x" * 257),
    ],
)
def test_what_is_none_of_its_kind_is_refused_with_the_pointer(kind: Kind, wrong: str) -> None:
    assert refused(kind, wrong).code == "invalid_identifier"


VALUES = {
    Kind.WHATSAPP: st.integers(2_012_000_000, 9_899_999_999).map(lambda number: f"1{number}"),
    Kind.DEVICE: st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=16, max_size=200),
    Kind.WEBPUSH: st.from_regex(r"https://[A-Za-z0-9.:-]{1,20}(/[ -~]{0,20})?(\?[ -~]{0,10})?", fullmatch=True),
    Kind.WALLET: st.one_of(
        st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
        st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=32, max_size=44),
    ),
    Kind.ANONYMOUS: st.text(max_size=300),
    CRM: st.text(max_size=300),
    Kind.EMAIL: st.one_of(st.emails(), st.text(max_size=30).map(lambda local: f"{local}@example.org")),
    Kind.PHONE: st.text("+0123456789 -()", max_size=20),
}


@given(st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_a_normal_form_stays_as_it_is(case: tuple[Kind, str]) -> None:
    kind, value = case
    try:
        normal = rules.normalise(kind, value)
    except Invalid:
        return
    assert rules.normalise(kind, normal) == normal


def test_the_checksum_hash_is_keccak() -> None:
    assert wallets.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@given(st.binary(max_size=300))
def test_with_the_padding_of_sha3_the_same_rounds_are_sha3(data: bytes) -> None:
    assert wallets.keccak256(data, wallets.SHA3) == hashlib.sha3_256(data).digest()


@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_addresses_of_eip_55_have_their_checksum(address: str) -> None:
    assert wallets.checksummed(address[2:].lower()) == address


# values that are nobody's


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.EXTERNAL_ID, "null"),
        (Kind.EXTERNAL_ID, " None "),
        (Kind.EXTERNAL_ID, "-1"),
        (Kind.EXTERNAL_ID, "00000000-0000-0000-0000-000000000000"),
        (Kind.ANONYMOUS, "anonymous"),
        (CRM, "UNKNOWN"),
        (Kind.EMAIL, "Test@Test.com"),
        (Kind.EMAIL, "test@ｔｅｓｔ.com"),
        (Kind.EMAIL, "null"),
        (Kind.PHONE, "0000000000"),
        (Kind.PHONE, "1234567890"),
        (Kind.WALLET, "0x" + "0" * 40),
    ],
)
def test_what_programs_write_for_nobody_is_blocked(kind: Kind, value: str) -> None:
    assert refused(kind, value).code == "identifier_blocked"


def test_a_workspace_may_block_more() -> None:
    assert rules.normalise(Kind.EMAIL, "Shop@example.org") == "Shop@example.org"
    assert refused(Kind.EMAIL, "Shop@example.org", frozenset({"shop@example.org"})).code == "identifier_blocked"


@pytest.mark.parametrize("value", ["1234567890", "10", "nullius", "unknown-7"])
def test_what_only_looks_like_nobody_is_somebody(value: str) -> None:
    assert rules.normalise(Kind.EXTERNAL_ID, value) == value


# mailboxes


@pytest.mark.parametrize(
    ("email", "mailbox"),
    [
        ("Ann.Lee+news@GoogleMail.com", "annlee@gmail.com"),
        ("ann.lee+news@outlook.com", "ann.lee@outlook.com"),
        ("ann@me.com", "ann@icloud.com"),
        ("ann-news@yahoo.com", "ann@yahoo.com"),
        ("ann.lee+news@example.org", "ann.lee+news@example.org"),
        ("+@gmail.com", "+@gmail.com"),
    ],
)
def test_a_mailbox_is_called_as_its_provider_says(email: str, mailbox: str) -> None:
    assert forms.mailbox(email) == mailbox


LOCALS = st.from_regex(r"[A-Za-z0-9]{1,8}([.+-][A-Za-z0-9]{1,6}){0,3}", fullmatch=True)
DOMAINS = st.sampled_from(["gmail.com", "googlemail.com", "outlook.com", "me.com", "yahoo.com", "example.org"])


@given(LOCALS, DOMAINS)
def test_a_mailbox_is_its_own(local: str, domain: str) -> None:
    mailbox = forms.mailbox(f"{local}@{domain}")
    assert forms.mailbox(mailbox) == mailbox


@given(LOCALS, DOMAINS)
def test_what_is_stored_of_an_address_finds_its_mailbox(local: str, domain: str) -> None:
    email = f"{local}@{domain}"
    mailbox = rules.identifier_hash(LOOKUP, Kind.EMAIL, forms.mailbox(email))
    stored = {rules.identifier_hash(LOOKUP, Kind.EMAIL, email), rules.match_hash(LOOKUP, Kind.EMAIL, email)}
    assert mailbox in stored


def test_only_an_address_has_a_mailbox() -> None:
    assert rules.match_hash(LOOKUP, Kind.EXTERNAL_ID, "a.b+c@gmail.com") is None


@pytest.mark.parametrize(
    ("number", "line"),
    [("+436601234567", Line.MOBILE), ("+431234567", Line.LANDLINE), ("+12025550123", Line.UNKNOWN)],
)
def test_a_number_says_what_it_reaches_where_its_country_tells(number: str, line: Line) -> None:
    assert forms.line(number) is line


# what goes with a value


def test_the_keys_of_a_subscription_become_base64url_without_padding() -> None:
    keys = forms.push_keys(KEYS)
    assert (keys.p256dh, keys.auth) == (base64.urlsafe_b64encode(POINT).rstrip(b"=").decode(), "A" * 22)
    assert forms.push_keys(keys) == keys


@pytest.mark.parametrize(
    ("named", "pointer"),
    [
        (Named(Kind.DEVICE, FCM), "/device"),
        (Named(Kind.EMAIL, "ann@example.org", device=DEVICE), "/device"),
        (Named(Kind.DEVICE, FCM, device=DEVICE, keys=KEYS), "/keys"),
        (Named(Kind.DEVICE, FCM, device=DEVICE, replaces="short"), "/device/replaces"),
        (Named(Kind.WEBPUSH, "https://push.example/x"), "/keys"),
        (Named(Kind.WEBPUSH, "https://push.example/x", keys=PushKeys("AAAA", KEYS.auth)), "/keys"),
        (Named(Kind.WEBPUSH, "https://push.example/x", keys=PushKeys(KEYS.p256dh, "AAAA")), "/keys"),
        (Named(Kind.WEBPUSH, "https://push.example/x", keys=PushKeys(KEYS.p256dh, "*")), "/keys"),
        (
            Named(Kind.WEBPUSH, "https://push.example/x", keys=PushKeys("BAAA" + "A" * 83, KEYS.auth)),
            "/keys",
        ),
    ],
)
def test_what_does_not_go_with_a_kind_is_refused_where_it_is(named: Named, pointer: str) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.described(named, "/identifiers/3")
    assert [error.pointer for error in refusal.value.errors] == [f"/identifiers/3{pointer}"]


def test_a_unit_names_no_more_of_a_kind_than_a_recipient_may_have() -> None:
    ten = [Named(Kind.EMAIL, f"ann{number}@example.org") for number in range(10)]
    rules.require_identifiers([*ten, Named(Kind.EMAIL, "ANN1@example.org")], "")
    for wrong in ([*ten, Named(Kind.EMAIL, "one@more.org")], [Named(CRM, "1"), Named(CRM, "2")]):
        with pytest.raises(Invalid) as refusal:
            rules.require_identifiers(wrong, "/items/1")
        assert refusal.value.code == "too_many_identifiers"
        assert refusal.value.errors[0].pointer == "/items/1/identifiers"
    rules.require_identifiers([Named(CRM, "1"), Named(Kind("external:erp"), "2")], "")
