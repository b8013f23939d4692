"""User tokens: whom they vouch for, and everything that makes one worth nothing."""

import base64
import hmac
import json
import warnings
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from tabellion.access.jwt import LARGEST, named_key, public_pem, verified
from tabellion.access.types import Vouched
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.errors import Invalid, Unauthorized

SECRET = "uts_" + "s" * 43
KEY = UUID(int=7)
NOW = FakeClock().now()
AUDIENCE = {"wsp_1", "tabellion"}
ED = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    made = {"sub": "crm-1", "aud": "tabellion", "iat": at, "exp": at + 900} | changes
    return {name: value for name, value in made.items() if value is not None}


def public(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def signed(said: Any, alg: str = "HS256", key: Any = None, **head: Any) -> str:
    header = {"alg": alg, "kid": ids.show("utk", KEY), "typ": "JWT"} | head
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return jws.serialize_compact(header, body, key or OctKey.import_key(SECRET), algorithms=[alg])


def raw(head: bytes, body: bytes = b"{}", signature: bytes = b"") -> str:
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in (head, body, signature))


def read(token: str, algorithm: Any = "HS256", material: str = SECRET) -> Vouched:
    return verified(token, KEY, algorithm, material, AUDIENCE, NOW)


def refusal(token: str, *key: Any) -> tuple[str, str]:
    with pytest.raises(Unauthorized) as refused:
        read(token, *key)
    return refused.value.code, refused.value.detail


def test_a_token_vouches_for_what_it_says():
    assert named_key(signed(claims())) == KEY
    assert read(signed(claims())) == Vouched(KEY, "crm-1")
    full = claims(email="Ann@Example.org", phone="+12025550111", aud=["other", "wsp_1"], name="Ann")
    assert read(signed(full)) == Vouched(KEY, "crm-1", "Ann@Example.org", "+12025550111")


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_ed25519_goes_by_both_its_names(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(signed(claims(), name, OKPKey.import_key(private(ED))), "EdDSA", public(ED)).external_id == "crm-1"


def test_es256_is_taken_from_its_key_alone():
    token = signed(claims(), "ES256", ECKey.import_key(private(P256)))
    assert read(token, "ES256", public(P256)).external_id == "crm-1"
    other = public(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(token, "ES256", other)[0] == "user_token_invalid"


def test_what_is_not_signed_by_the_key_is_refused_in_one_way():
    good = signed(claims())
    head, body, signature = good.split(".")
    kid = ids.show("utk", KEY)
    forged = [
        signed(claims(), key=OctKey.import_key("uts_" + "x" * 43)),
        ".".join([head, signed(claims(sub="crm-2")).split(".")[1], signature]),
        ".".join([head, body, ""]),
        raw(json.dumps({"alg": "none", "kid": kid}).encode(), json.dumps(claims()).encode()),
        raw(json.dumps({"alg": "None", "kid": kid}).encode(), json.dumps(claims()).encode(), b"x"),
        signed(claims(), "HS512"),
        raw(b'{"alg":"HS256","kid":"x","crit":3}', b"{}", b"x"),
    ]
    assert len({refusal(one) for one in forged}) == 1
    assert refusal(forged[0])[0] == "user_token_invalid"


def test_a_public_key_is_no_secret_to_sign_with():
    """The classic confusion: HS256 with the text of the public key as its secret."""
    for algorithm, key in (("ES256", P256), ("EdDSA", ED)):
        said = signed(claims()).rpartition(".")[0]
        mark = hmac.digest(public(key).encode(), said.encode(), "sha256")
        confused = f"{said}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"
        assert refusal(confused, algorithm, public(key))[0] == "user_token_invalid"
    assert refusal(signed(claims(), "ES256", ECKey.import_key(private(P256))))[0] == "user_token_invalid"


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [({"aud": "someone"}, "user_token_invalid", "aud"), ({"aud": []}, "user_token_invalid", "aud"),
     ({"aud": None}, "user_token_invalid", "claims"), ({"sub": None}, "user_token_invalid", "claims"),
     ({"sub": ""}, "user_token_invalid", "sub"), ({"sub": "x" * 513}, "user_token_invalid", "sub"),
     ({"sub": 7}, "user_token_invalid", "claims"), ({"email": ""}, "user_token_invalid", "email"),
     ({"exp": "later"}, "user_token_invalid", "claims"), ({"iat": None}, "user_token_invalid", "claims"),
     ({"exp": int(NOW.timestamp()) + 901}, "user_token_invalid", "15 minutes"),
     ({"exp": int(NOW.timestamp())}, "user_token_invalid", "15 minutes"),
     ({"iat": 10**400, "exp": 10**400}, "user_token_invalid", "15 minutes"),
     ({"iat": int(NOW.timestamp()) - 600, "exp": int(NOW.timestamp())}, "user_token_expired", "new one"),
     ({"iat": int(NOW.timestamp()) + 61}, "user_token_invalid", "clock"),
     ({"nbf": int(NOW.timestamp()) + 61}, "user_token_invalid", "clock")],
)  # fmt: skip
def test_a_token_that_says_the_wrong_things_is_told_which(change, code, word):
    assert refusal(signed(claims(**change)))[0] == code
    assert word in refusal(signed(claims(**change)))[1]


def test_a_clock_a_little_ahead_is_forgiven():
    at = int((NOW + timedelta(seconds=59)).timestamp())
    assert read(signed(claims(iat=at, exp=at + 900))).external_id == "crm-1"


def test_a_payload_that_is_no_object_is_refused():
    for body in (b"[]", b"\xff", b"", b'{"sub":"a"'):
        assert refusal(signed(body))[0] == "user_token_invalid"


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c.d", "é.é.é", raw(b"[]"), raw(b"\xff"), raw(b'{"alg":"HS256"}'), raw(b'{"alg":"HS256","kid":7}'),
     raw(b'{"alg":"HS256","kid":"key_1"}'), "x" * (LARGEST + 1)],
)  # fmt: skip
def test_what_has_not_the_form_of_a_token_names_no_key(token):
    with pytest.raises(Unauthorized) as refused:
        named_key(token)
    assert refused.value.code == "user_token_invalid"


def test_what_is_nested_without_end_is_refused_like_any_other():
    """Within the bytes that a token may have, and as deep as no decoder goes."""
    deep = b"[" * 1400 + b"]" * 1400
    head = b'{"x":' + deep + b',"kid":"%s","alg":"HS256"}' % ids.show("utk", KEY).encode()
    with pytest.raises(Unauthorized) as refused:
        named_key(raw(head))
    assert refused.value.code == "user_token_invalid"
    assert refusal(raw(head))[0] == "user_token_invalid"
    said = json.dumps(claims()).encode()[:-1] + b',"x":' + deep + b"}"
    assert refusal(signed(said))[0] == "user_token_invalid"


def test_only_a_public_key_of_the_algorithm_is_registered():
    assert public_pem(public(ED), "EdDSA", "/public_key") == public(ED)
    assert public_pem("\n" + public(P256) + "\n", "ES256", "/public_key") == public(P256)
    wrong = [
        (public(P256), "EdDSA"), (public(ED), "ES256"), (private(P256), "ES256"), ("nonsense", "ES256"), ("", "EdDSA"),
        (public(ec.generate_private_key(ec.SECP384R1())), "ES256"), (public(ed448.Ed448PrivateKey.generate()), "EdDSA"),
        (public(rsa.generate_private_key(65537, 2048)), "ES256"), ("é", "ES256"),
    ]  # fmt: skip
    for text, algorithm in wrong:
        with pytest.raises(Invalid) as refused:
            public_pem(text, algorithm, "/public_key")
        assert refused.value.errors[0].pointer == "/public_key"
