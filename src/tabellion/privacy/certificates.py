"""Certificates: signed statements of what was done with a person's data (JWS, RFC 7515, with Ed25519 as in RFC 9864).

The keys are the installation's. Public halves stay published for ever, so that an old certificate still verifies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey

from tabellion.access.answers import encode
from tabellion.core.crypto import b64url, sha256
from tabellion.core.db import Tx
from tabellion.core.epochs import OuterKey
from tabellion.core.errors import Misconfigured
from tabellion.privacy import certificate_store as store

TYPE: Final = "tabellion-certificate"


@dataclass(frozen=True, slots=True)
class Certificates:
    outer: OuterKey

    async def sign(self, tx: Tx, claims: Mapping[str, Any], kind: str = TYPE) -> str:
        """Claims as a compact JWS of a type, signed with the current key; the first one makes it."""
        kept = await store.current(tx) or await self._make(tx)
        private = await self.outer.unwrap(kept.sealed, _context(kept.kid))
        key = OKPKey.import_key({**_jwk(kept), "d": b64url(private)})
        header = {"alg": "Ed25519", "kid": kept.kid, "typ": kind}
        return jws.serialize_compact(header, encode(claims), key, algorithms=["Ed25519"])

    async def published(self, tx: Tx) -> list[dict[str, str]]:
        """The public keys (RFC 7517), the oldest first."""
        return [_jwk(one) | {"use": "sig", "alg": "Ed25519"} for one in await store.all_keys(tx)]

    async def _make(self, tx: Tx) -> store.SigningKey:
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        kid = b64url(sha256(public))[:22]
        sealed = await self.outer.wrap(private.private_bytes_raw(), _context(kid))
        await store.insert(tx, store.SigningKey(kid, public, sealed))
        if (kept := await store.current(tx)) is None:  # another process made it, and it is ours to use
            raise Misconfigured("keys_missing", "the key that signs certificates is gone")
        return kept


def _jwk(key: store.SigningKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": key.kid, "x": b64url(key.public_key)}


def _context(kid: str) -> str:
    return f"signing:{kid}"
