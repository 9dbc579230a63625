"""Caller assertions and service tokens: their one form, how they are signed, and how a service verifies them.

Both are JWTs signed with Ed25519 (RFC 8037) by tenancy. Their `typ` differs, so that neither passes for the other.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tenantry.kit.access import EDGE, Access, Verified
from tenantry.kit.call import ASSERTION, SERVICE, TENANT
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, Unauthenticated

ALGORITHM = "EdDSA"
ISSUER = "tenantry"
ASSERTION_TYPE = "tenantry-assertion+jwt"
SERVICE_TYPE = "tenantry-service+jwt"
ASSERTION_LIFE_S = 120.0
# Behind a service identity an assertion may be past its end by at most the longest permitted request.
LONGEST_REQUEST_S = 600.0
_REMEMBERED_TOKENS = 8192
# How long a service goes on with the public keys that it has read.
KEYS_AGE_S = 300.0
_UNKNOWN_KEY_PAUSE_S = 1.0

LoadKeys = Callable[[], Awaitable[Mapping[str, bytes]]]


def sign_assertion(key: Ed25519PrivateKey, key_id: str, caller: Caller, issued_at: float) -> str:
    """An assertion of `caller`, whose `expires_at` is its end. Times are Unix seconds."""
    claims = {
        "iss": ISSUER,
        "sub": caller.principal,
        "iat": int(issued_at),
        "exp": int(caller.expires_at),
        "tid": caller.tenant,
        "org": caller.organisation,
        "tier": caller.tier,
        "scp": sorted(caller.scopes),
        "key": caller.key_id,
        "mdl": list(caller.models),
        "col": list(caller.collections),
        "gen": [caller.key_generation, caller.tenant_generation],
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": ASSERTION_TYPE})


def sign_service_token(key: Ed25519PrivateKey, key_id: str, service: str, issued_at: float, expires_at: float) -> str:
    """The service identity of `service`. Times are Unix seconds."""
    claims = {"iss": ISSUER, "sub": f"service:{service}", "iat": int(issued_at), "exp": int(expires_at)}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id, "typ": SERVICE_TYPE})


class Keyring:
    """The public keys that verify tokens, by key id: loaded again when old or when a token names an unknown one."""

    def __init__(self, load: LoadKeys, clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._loaded_at = float("-inf")
        self._loading: asyncio.Task[None] | None = None

    async def public_key(self, key_id: str) -> Ed25519PublicKey | None:
        """The key, or None. One load at a time, and for unknown ids at most one a second, so that junk can't cause a storm."""
        age = self._clock.monotonic() - self._loaded_at
        if age > KEYS_AGE_S or (key_id not in self._keys and age > _UNKNOWN_KEY_PAUSE_S):
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self._read(), context=Context())
            # Shielded: the call that began it may go while others wait for it.
            await asyncio.shield(self._loading)
        return self._keys.get(key_id)

    async def _read(self) -> None:
        raw = await self._load()
        self._keys = {name: Ed25519PublicKey.from_public_bytes(key) for name, key in raw.items()}
        self._loaded_at = self._clock.monotonic()


@dataclass(frozen=True, slots=True)
class _Token:
    caller: Caller | None
    service: str
    expires_at: float


class TokenAuthenticator:
    """Verifies a call's assertion and service token. A token seen before costs a look-up in a bounded memory."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._known: OrderedDict[str, _Token] = OrderedDict()

    async def authenticate(
        self, path: str, access: Access, metadata: Mapping[str, str], certified: str | None = None
    ) -> Verified:
        """What the proofs say. Raises Unauthenticated for a wrong one; absence is for the access rule to judge.

        Where certificates say which service calls, a token says nothing. The edge's stands for the edge alone: what it passes
        on has no rights but the caller's.
        """
        identity = None if certified == EDGE and EDGE not in access.services else certified
        token = metadata.get(SERVICE)
        if token is not None and certified is None:
            known = self._known.get(token) or await self._verify(token, SERVICE_TYPE)
            if not known.service or known.expires_at <= self._clock.now():
                raise _invalid(SERVICE_TYPE)
            identity = known.service
        caller: Caller | None = None
        token = metadata.get(ASSERTION)
        if token is not None:
            known = self._known.get(token) or await self._verify(token, ASSERTION_TYPE)
            allowance = LONGEST_REQUEST_S if identity is not None else 0.0
            # Where the right is a receipt, an assertion only says whose the call was.
            ends = known.expires_at + allowance if access.caller == "required" else float("inf")
            if known.caller is None or ends <= self._clock.now():
                raise _invalid(ASSERTION_TYPE)
            caller = known.caller
        named = metadata.get(TENANT)
        if named is not None and (caller is None or named != caller.tenant):
            raise Unauthenticated(Reason.CREDENTIAL_INVALID, "x-tenant-id is not the tenant of the assertion")
        return Verified(caller, identity)

    async def _verify(self, token: str, kind: str) -> _Token:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != kind or not isinstance(header.get("kid"), str):
                raise _invalid(kind)
            key = await self._keyring.public_key(header["kid"])
            if key is None:
                raise _invalid(kind)
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": ["exp", "iat", "iss", "sub"], "verify_exp": False},
            )
            verified = (
                _Token(_caller_of(claims), "", float(claims["exp"]))
                if kind == ASSERTION_TYPE
                else _Token(None, claims["sub"].removeprefix("service:"), float(claims["exp"]))
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise _invalid(kind) from None
        self._known[token] = verified
        if len(self._known) > _REMEMBERED_TOKENS:
            self._known.popitem(last=False)
        return verified


def _caller_of(claims: dict[str, Any]) -> Caller:
    key_generation, tenant_generation = claims["gen"]
    return Caller(
        tenant=claims["tid"],
        organisation=claims["org"],
        tier=claims["tier"],
        principal=claims["sub"],
        scopes=frozenset(claims["scp"]),
        key_id=claims["key"],
        models=tuple(claims["mdl"]),
        collections=tuple(claims["col"]),
        key_generation=int(key_generation),
        tenant_generation=int(tenant_generation),
        expires_at=float(claims["exp"]),
    )


def _invalid(kind: str) -> Unauthenticated:
    if kind == SERVICE_TYPE:
        return Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "the service token is not valid")
    return Unauthenticated(Reason.CREDENTIAL_INVALID, "the caller assertion is not valid")
