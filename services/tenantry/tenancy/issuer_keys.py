"""The keys of OIDC issuers: remembered, read again now and then, and never more often than strangers would like.

A key set is read again in the background once it is REFRESH_S old, and when a token names a key that it has not. When the issuer
is away the set that is known goes on until it is STALE_S old. Between two attempts for an issuer there are PAUSE_S, whoever asks.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field

from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, Unavailable
from tenantry.tenancy.oidc import Keys, VerifyingKey

REFRESH_S = 600.0
STALE_S = 3600.0
PAUSE_S = 10.0
MOST_ISSUERS = 4096

ReadKeys = Callable[[str], Awaitable[Keys]]


@dataclass(slots=True, eq=False)
class _KeySet:
    """What is known of an issuer's keys; times are monotonic."""

    keys: Keys = field(default_factory=dict[tuple[str, str], VerifyingKey])
    read_at: float = float("-inf")
    tried_at: float = float("-inf")
    reading: "asyncio.Task[None] | None" = None


class IssuerKeys:
    """Key sets by the issuer's URL, the least recently used forgotten first. `read` raises Unavailable."""

    def __init__(self, read: ReadKeys, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._sets: OrderedDict[str, _KeySet] = OrderedDict()

    def remembered(self, issuer: str, key_id: str, algorithm: str) -> VerifyingKey | None:
        """The key, if the set is known and not too old; a set that grows old is read again meanwhile."""
        known = self._of(issuer)
        age = self._clock.monotonic() - known.read_at
        if age > STALE_S:
            return None
        if age > REFRESH_S:
            self._begin(issuer, known)
        return known.keys.get((key_id, algorithm))

    async def key(self, issuer: str, key_id: str, algorithm: str) -> VerifyingKey | None:
        """The key; None if the issuer has no such one. Unavailable while that can't be known."""
        found = self.remembered(issuer, key_id, algorithm)
        if found is not None:
            return found
        known = self._of(issuer)
        reading = self._begin(issuer, known)
        if reading is not None:
            # Shielded: whoever began it may go while others wait for it.
            await asyncio.shield(reading)
        elif self._clock.monotonic() - known.read_at > STALE_S:
            raise away(issuer, "it could not be reached a moment ago")
        return known.keys.get((key_id, algorithm))

    def _of(self, issuer: str) -> _KeySet:
        known = self._sets.setdefault(issuer, _KeySet())
        self._sets.move_to_end(issuer)
        if len(self._sets) > MOST_ISSUERS:
            self._sets.popitem(last=False)
        return known

    def _begin(self, issuer: str, known: _KeySet) -> "asyncio.Task[None] | None":
        """The reading that is under way or begins now; None if the last attempt was a moment ago."""
        if known.reading is None and self._clock.monotonic() - known.tried_at >= PAUSE_S:
            known.tried_at = self._clock.monotonic()
            # In a context of its own: the keys are everybody's, and no part of the request that needs them first.
            known.reading = asyncio.create_task(self._fetch(issuer, known), context=Context())
            known.reading.add_done_callback(lambda task: _landed(known, task))
        return known.reading

    async def _fetch(self, issuer: str, known: _KeySet) -> None:
        known.keys = await self._read(issuer)
        known.read_at = self._clock.monotonic()


def away(issuer: str, why: str) -> Unavailable:
    """What a caller hears whose issuer can't be used now."""
    return Unavailable(
        Reason.ISSUER_UNAVAILABLE, f"the issuer can't be used now: {why}", retry_after_s=PAUSE_S, issuer=issuer
    )


def _landed(known: _KeySet, task: "asyncio.Task[None]") -> None:
    known.reading = None
    # Its error is told to whoever waits; when nobody does, it is not to be complained of.
    _ = task.cancelled() or task.exception()
