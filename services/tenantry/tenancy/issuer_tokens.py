"""Holders by JWT: the token's issuer is one tenant's, its key is one of the issuer's, and what it says holds.

A token that was verified is remembered by its digest, for as long as its issuer is registered as it was and still has the key.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from tenantry.kit.clock import Clock
from tenantry.kit.errors import NotFound
from tenantry.kit.mac import mac
from tenantry.kit.memory import Memory
from tenantry.kit.revocations import invalid_key
from tenantry.tenancy import oidc
from tenantry.tenancy.holder import Holder
from tenantry.tenancy.issuer_keys import IssuerKeys
from tenantry.tenancy.issuer_url import issuer_id, short
from tenantry.tenancy.misses import Misses
from tenantry.tenancy.reach import not_found
from tenantry.tenancy.records import Issuer
from tenantry.tenancy.store import ISSUER_CHANGES, PLATFORM, Store

_MOST_TOKENS = 10_000
_MOST_ISSUERS = 4096


@dataclass(frozen=True, slots=True)
class _Proven:
    """A token's holder, and what that rests on."""

    issuer: Issuer
    claimed: oidc.Claimed
    key: oidc.VerifyingKey
    holder: Holder


class IssuerTokens:
    """Verifies tokens. The poller of the change log keeps `issuers` true."""

    def __init__(self, store: Store, keys: IssuerKeys, pepper: bytes, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._pepper = pepper
        self._clock = clock
        self._proven: OrderedDict[bytes, _Proven] = OrderedDict()
        self._misses = Misses(clock)
        self.issuers: Memory[Issuer] = Memory(ISSUER_CHANGES, self._load, _MOST_ISSUERS, clock=clock)

    def remembered(self, token: str) -> Holder | None:
        """The holder of a token that was verified before and would be again: true only while `issuers` is confirmed."""
        known = self._proven.get(_digest(token))
        if known is None or self.issuers.peek(known.issuer.id) != known.issuer:
            return None
        claimed = known.claimed
        key = self._keys.remembered(claimed.issuer, claimed.key_id, claimed.algorithm)
        if key is None or key.fingerprint != known.key.fingerprint:
            return None
        return known.holder

    async def verify(self, token: str) -> Holder:
        """The holder. Raises Unauthenticated, the same for whatever is wrong, and Unavailable while the issuer is away."""
        claimed = oidc.claimed(token)
        if claimed is None:
            raise invalid_key()
        issuer = await self._registered(claimed.issuer)
        key = await self._keys.key(issuer.url, claimed.key_id, claimed.algorithm)
        if key is None:
            raise invalid_key()
        claims = oidc.verify(token, key, issuer.url, issuer.audience, self._clock.now())
        if claims is None:
            raise invalid_key()
        holder = self._holder(issuer, claims)
        self._proven[_digest(token)] = _Proven(issuer, claimed, key, holder)
        if len(self._proven) > _MOST_TOKENS:
            self._proven.popitem(last=False)
        return holder

    async def _registered(self, url: str) -> Issuer:
        id = issuer_id(url)
        if self._misses.has(id):
            raise invalid_key()
        try:
            issuer = await self.issuers.get(id)
        except NotFound:
            self._misses.add(id)
            raise invalid_key() from None
        if issuer.removed_ns is not None:
            raise invalid_key()
        return issuer

    def _holder(self, issuer: Issuer, claims: oidc.Claims) -> Holder:
        # Keyed: a subject may be an address of e-mail, and a plain hash of one can be found by trying.
        person = short(mac(self._pepper, f"{issuer.url}\0{claims.subject}".encode()))
        narrowed = tuple(scope for scope in issuer.scopes if scope in claims.scopes)
        return Holder(
            id=issuer.id,
            principal=f"{issuer.id}:{person}",
            tenant=issuer.tenant,
            organisation=issuer.organisation,
            scopes=narrowed if issuer.narrowed else issuer.scopes,
            models=issuer.models,
            collections=issuer.collections,
            networks=issuer.networks,
            generation=issuer.generation,
            ends_ns=int(claims.ends_at * 1e9),
        )

    async def _load(self, id: str) -> Issuer:
        """Raises for a miss, which the memory then does not keep: strangers may name issuers without end."""
        async with self._store.read() as tx:
            issuer = await tx.issuers.find(PLATFORM, id)
        if issuer is None:
            raise not_found("issuer")
        return issuer


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
