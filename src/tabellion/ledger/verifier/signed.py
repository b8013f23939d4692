"""Signed statements (JWS, RFC 7515, compact, Ed25519) and the keys of a JWK set (RFC 7517)."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tabellion.ledger.verifier.canonical import unpadded
from tabellion.ledger.verifier.report import Refuted, Unusable

MOST_STATEMENT: Final = 8 << 20
MOST_KEYS: Final = 1000
_ALGORITHMS: Final = frozenset({"Ed25519", "EdDSA"})


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody signed, and with which key."""

    claims: Mapping[str, Any]
    kid: str
    kind: str


def key_set(said: bytes) -> dict[str, bytes]:
    """The Ed25519 keys of a JWK set, by id. Raises `Unusable`."""
    try:
        keys = json.loads(said)["keys"]
        if len(keys) > MOST_KEYS:
            raise ValueError(f"more than {MOST_KEYS} keys")
        return {one["kid"]: unpadded(one["x"]) for one in keys if (one["kty"], one["crv"]) == ("OKP", "Ed25519")}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unusable(f"a JWK set has Ed25519 keys with kid and x: {error}") from None


def enclosed(said: bytes) -> dict[str, bytes]:
    """As `key_set`, of keys that lie beside what they signed. Raises `Refuted`: nobody chose them."""
    try:
        return key_set(said)
    except Unusable as error:
        raise Refuted("statement_key", str(error)) from None


def statement(said: bytes, keys: Mapping[str, bytes]) -> Statement:
    """What a compact JWS says, if one of the keys signed it. Raises `Refuted` otherwise."""
    try:
        header, payload, signature = said.decode("ascii").strip().split(".")
        told, claims = json.loads(unpadded(header)), json.loads(unpadded(payload))
        kid, kind = told["kid"], told.get("typ", "")
        if told["alg"] not in _ALGORITHMS or not isinstance(claims, dict) or "crit" in told:
            raise ValueError("not an Ed25519 statement")
        if not isinstance(kid, str) or not isinstance(kind, str):
            raise TypeError("kid and typ are strings")
        raw = unpadded(signature)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refuted("statement_form", f"the signed statement cannot be read: {error}") from None
    if kid not in keys:
        raise Refuted("statement_key", f"the statement is signed by a key that is not in the key set: {kid}")
    try:
        Ed25519PublicKey.from_public_bytes(keys[kid]).verify(raw, f"{header}.{payload}".encode())
    except (InvalidSignature, ValueError):
        raise Refuted("statement_forged", f"the signature of key {kid} is wrong") from None
    return Statement(claims, kid, kind)


def fingerprint(key: bytes) -> str:
    """How two people compare a key."""
    return b64encode(key).decode()
