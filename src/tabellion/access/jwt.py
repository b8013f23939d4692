"""User tokens as a customer's backend signs them: JWTs, each checked against the one key it names. Pure."""

import base64
import warnings
from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey

from tabellion.access.types import Algorithm, Vouched
from tabellion.core import ids
from tabellion.core.errors import FieldError, HubError, Invalid, Unauthorized

LONGEST: Final = 15 * 60
"""Seconds from `iat` to `exp`, at most."""
SKEW: Final = 60
"""Seconds that the backend's clock may be ahead of ours."""
LARGEST: Final = 4096
NAMES: Final[dict[Algorithm, list[str]]] = {
    "HS256": ["HS256"],
    "ES256": ["ES256"],
    "EdDSA": ["EdDSA", "Ed25519"],  # RFC 9864 gave it the name of its curve
}
"""What `alg` may say of a key's one algorithm."""


class Head(msgspec.Struct, frozen=True):
    kid: str
    alg: str


class Claims(msgspec.Struct, frozen=True):
    """What we read of a token's payload; others may read more."""

    sub: str
    aud: str | list[str]
    iat: int | float
    exp: int | float
    nbf: int | float = 0
    email: str | None = None
    phone: str | None = None


def named_key(token: str) -> UUID:
    """The key that a token says it is signed with. Raises Unauthorized where it is not the form of a token."""
    parts = token.split(".")
    if len(token) > LARGEST or len(parts) != 3:
        raise unsound()
    try:
        head = msgspec.json.decode(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)), type=Head)
        return ids.parse("utk", head.kid)
    except (ValueError, RecursionError, msgspec.MsgspecError, HubError):
        raise unsound() from None


def verified(
    token: str, key_id: UUID, algorithm: Algorithm, material: str, audience: Collection[str], now: datetime
) -> Vouched:
    """Whom the token vouches for. `material` is the secret, or the PEM of the public key. Raises Unauthorized."""
    claims = _signed(token, algorithm, material)
    said = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    at = now.timestamp()
    if not said & set(audience):
        raise invalid(f"its aud must be one of {', '.join(sorted(audience))}")
    if not 0 < claims.exp - claims.iat <= LONGEST:
        raise invalid("it must live 15 minutes at most: exp - iat ≤ 900")
    if max(claims.iat, claims.nbf) > at + SKEW:
        raise invalid("it is not valid yet; check the clock of the backend that signs")
    if claims.exp <= at:
        raise Unauthorized("user_token_expired", "the user token has expired; get a new one from your backend")
    for name, value in (("sub", claims.sub), ("email", claims.email), ("phone", claims.phone)):
        if value is not None and not 1 <= len(value) <= 512:
            raise invalid(f"its {name} must have 1 to 512 characters")
    return Vouched(key_id, claims.sub, claims.email, claims.phone)


def _signed(token: str, algorithm: Algorithm, material: str) -> Claims:
    """The claims, once the signature is proved. The key says how it is signed; what the token says must agree."""
    try:
        with warnings.catch_warnings():
            # RFC 9864 renames EdDSA; what signs tokens goes on writing it, and here the curve is the key's anyway.
            warnings.simplefilter("ignore", SecurityWarning)
            found = jws.deserialize_compact(token, _key(algorithm, material), algorithms=NAMES[algorithm])
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise unsound() from None
    try:
        return msgspec.json.decode(found.payload or b"", type=Claims)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise invalid("it needs the claims sub, aud, iat and exp") from None


def _key(algorithm: Algorithm, material: str) -> OctKey | ECKey | OKPKey:
    match algorithm:
        case "HS256":
            return OctKey.import_key(material)
        case "ES256":
            return ECKey.import_key(material)
        case "EdDSA":
            return OKPKey.import_key(material)


def public_pem(text: str, algorithm: Algorithm, pointer: str) -> str:
    """The public key in PEM, in one form. Raises `Invalid` at pointer for what is none of this algorithm."""
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    fits = isinstance(key, Ed25519PublicKey) if algorithm == "EdDSA" else _on_p256(key)
    if key is None or not fits:
        curve = "Ed25519" if algorithm == "EdDSA" else "P-256"
        detail = f"not a public key of {curve} in PEM; write it with: openssl pkey -in private.pem -pubout"
        raise Invalid("invalid_public_key", detail, FieldError(pointer, detail))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _on_p256(key: object) -> bool:
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def invalid(why: str) -> Unauthorized:
    return Unauthorized("user_token_invalid", f"the user token is not accepted: {why}")


def unsound() -> Unauthorized:
    """The same for every flaw before the signature holds: nobody may learn which keys there are."""
    return invalid("no key of this workspace side signed it; check its kid, its alg and the key")
