"""Signing keys are replaced without refusing a valid call.

    published ── PUBLISHED_FIRST_S ──▶ signs ── ROTATE_AFTER_S, or `tenantry signing rotate` ──▶ its follower signs
                                                         ── LONGEST_TOKEN_S ──▶ ends, with all that it signed

Services read the public keys again every five minutes, so each knows a key before it signs. A service token lives thirty days,
and is renewed at half of them: so the old key verifies for as long after its last signature.
"""

import logging

from tenantry.kit.assertion import ASSERTION_LIFE_S, KEYS_AGE_S, LONGEST_REQUEST_S
from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.errors import TenantryError
from tenantry.tenancy.initialise import PRINCIPAL, opened
from tenantry.tenancy.records import AuditEntry, SigningKey
from tenantry.tenancy.secret import Secret
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.signing import SERVICE_TOKEN_LIFE_S, new_signing_key
from tenantry.tenancy.store import PLATFORM, Store

log = logging.getLogger(__name__)

# Twice as long as a service may go on with the keys it has read, for clocks and replicas that differ.
PUBLISHED_FIRST_S = 2 * KEYS_AGE_S
LONGEST_TOKEN_S = max(SERVICE_TOKEN_LIFE_S, ASSERTION_LIFE_S + LONGEST_REQUEST_S)
ROTATE_AFTER_S = 90 * 86_400.0
_LOOK_EVERY_S = 3600.0
_S = 10**9


class SigningRotation:
    """Rotates by age. `run` belongs to the room's background; of several replicas one rotates."""

    def __init__(self, store: Store, secret: Secret, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock

    async def rotate(self) -> SigningKey:
        """The new key, which is published now and signs later; the one that waits for that already, if there is one."""
        return await self._rotate(at_age_s=0.0)

    async def rotate_when_old(self) -> SigningKey:
        """The newest key, made now if it was time for one."""
        return await self._rotate(at_age_s=ROTATE_AFTER_S)

    async def run(self) -> None:
        """Looks now and then, for ever."""
        while True:
            try:
                await self.rotate_when_old()
            except TenantryError as error:
                log.warning("signing keys can't be rotated: %s", error.message)
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _rotate(self, at_age_s: float) -> SigningKey:
        async with self._store.write() as tx:
            await tx.alone()
            now_ns = self._clock.now_ns()
            newest = next(iter(await tx.signing_keys.list(PLATFORM, now_ns)), None)
            if newest is not None and newest.not_before_ns + at_age_s * _S > now_ns:
                return newest
            begins_ns = now_ns + int(PUBLISHED_FIRST_S * _S)
            made = new_signing_key(self._secret, begins_ns)
            await tx.signing_keys.insert(PLATFORM, made)
            # A second PUBLISHED_FIRST_S: a replica whose clock is behind still signs with the old one.
            ends_ns = begins_ns + int((LONGEST_TOKEN_S + PUBLISHED_FIRST_S) * _S)
            await tx.signing_keys.end_others(PLATFORM, made.id, ends_ns)
            await tx.audit.append(PLATFORM, AuditEntry(now_ns, PRINCIPAL, "RotateSigningKey", made.id))
        return made


async def rotate_now(settings: Settings) -> SigningKey:
    """Rotates in the tables that the settings name: for operators, where tenancy's secret is."""
    clock = SystemClock()
    async with opened(settings, clock) as (_, store, secret):
        return await SigningRotation(store, secret, clock).rotate()
