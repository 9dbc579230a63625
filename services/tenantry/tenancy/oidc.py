"""What makes a JWT of a tenant's OIDC issuer a credential: RFC 7519, 8725 and 9068. Pure functions of values.

The key is one that the issuer's own JWKS has under the token's `kid` for the token's `alg`; nothing else of a header says
where a key is (`jku`, `x5u`, `x5c` and `jwk` are not read). The algorithm belongs to the key, and only three signatures are
known: so neither `none` nor a public key taken for a shared secret can pass.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# An end is taken as it is: an assertion that is made of a token must not outlive it.
SKEW_S = 60.0
MAX_SUBJECT = 255
MOST_KEYS = 100
# Later than this a time has no room in 63 bits of nanoseconds.
_LATEST_S = 9_000_000_000.0
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_MAX_KEY_ID = 255
_RSA_BITS = range(2048, 4097)
# Base64 of 4096 bits, and a little: longer numbers are not even read.
_MAX_RSA_CHARS = 700
_MAX_RSA_EXPONENT = 2**32


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token says before anything is proven: enough to find the key."""

    issuer: str
    key_id: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `ends_at` is Unix seconds."""

    subject: str
    scopes: frozenset[str]
    ends_at: float


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key with the one algorithm that it is for. Equal keys have equal fingerprints."""

    fingerprint: bytes
    key: jwt.PyJWK


Keys = Mapping[tuple[str, str], VerifyingKey]


def claimed(token: str) -> Claimed | None:
    """The token's issuer and key; None for what is not such a token."""
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    header, issuer = parts["header"], parts["payload"].get("iss")
    key_id, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
    if not all(isinstance(one, str) for one in (issuer, key_id, algorithm, kind)):
        return None
    if kind.lower() not in _TYPES or "crit" in header or not key_id:
        return None
    return Claimed(issuer, key_id, algorithm)


def verify(token: str, key: VerifyingKey, issuer: str, audience: str, now: float) -> Claims | None:
    """What the token says, if all of it holds at the Unix time `now`."""
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[key.key.algorithm_name],
            issuer=issuer,
            audience=audience,
            # Times are looked at below, by the clock that is handed in.
            options={
                "require": ["exp", "iat", "iss", "sub", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    subject, scope = claims["sub"], claims.get("scope", "")
    if not 0 < len(subject) <= MAX_SUBJECT or not isinstance(scope, str):
        return None
    ends_at, begins = claims["exp"], [claims["iat"], claims.get("nbf", 0)]
    if not all(_is_time(one) for one in (ends_at, *begins)):
        return None
    if ends_at <= now or max(begins) > now + SKEW_S:
        return None
    return Claims(subject, frozenset(scope.split()), min(float(ends_at), _LATEST_S))


def keys_of(document: object) -> Keys:
    """The keys of a JWKS (RFC 7517) by their ids and algorithms, without those that are of no use here; ValueError for what is
    no JWKS. Takes milliseconds."""
    entries = cast(dict[str, Any], document).get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWKS")
    found: dict[tuple[str, str], VerifyingKey] = {}
    for entry in cast(list[Any], entries)[:MOST_KEYS]:
        algorithm = _algorithm_of(entry)
        key = _key(entry, algorithm) if algorithm else None
        if key is not None:
            found.setdefault((entry["kid"], algorithm), key)
    return found


def _algorithm_of(entry: Any) -> str:
    """The one algorithm that a JWK may verify here; "" for none."""
    if not isinstance(entry, dict):
        return ""
    jwk = cast(dict[str, Any], entry)
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID:
        return ""
    # A private key that somebody published proves nothing any more.
    if jwk.get("use", "sig") != "sig" or "d" in jwk or not isinstance(operations, list) or "verify" not in operations:
        return ""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", None:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case "OKP", "Ed25519":
            algorithm = "EdDSA"
        case _:
            return ""
    return algorithm if jwk.get("alg", algorithm) == algorithm else ""


def _key(jwk: dict[str, Any], algorithm: str) -> VerifyingKey | None:
    if len(str(jwk.get("n", ""))) > _MAX_RSA_CHARS:
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    public = key.key
    if isinstance(public, RSAPublicKey) and (
        public.key_size not in _RSA_BITS or public.public_numbers().e > _MAX_RSA_EXPONENT
    ):
        return None
    return VerifyingKey(hashlib.sha256(json.dumps(jwk, sort_keys=True).encode()).digest(), key)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
