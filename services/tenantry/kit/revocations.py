"""Whose assertions are refused before their end, as far as this process was told, and how old that word is.

`kit.revocation_feed` enters what tenancy tells. Each call that carries a caller asks `refusal`, and the guards ask again about
the calls that run when something was entered or the word grew old. Forgotten is what no assertion is left for.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tenantry.kit.assertion import ASSERTION_LIFE_S, LONGEST_REQUEST_S
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import (
    FailedPrecondition,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)

# On older word nobody is served.
MAX_AGE_S = 4.0
# Past the end of every assertion that a revocation could refuse; the minute is for clocks that differ.
KEEP_S = LONGEST_REQUEST_S + ASSERTION_LIFE_S + 60.0
# Some 40 MB. With more to remember a process serves nobody, rather than forget one.
MOST = 200_000
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Revocation:
    """The assertions of a key or tenant below `generation` are refused. `state` is the tenant's, such as SUSPENDED."""

    kind: Literal["api-key", "tenant"]
    id: str
    generation: int
    state: str = ""


@dataclass(frozen=True, slots=True)
class _Below:
    generation: int
    state: str
    heard_at: float


class Revocations:
    """What one process knows. Until the first `confirm` nobody is served."""

    def __init__(self, clock: Clock, *, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._keys: dict[str, _Below] = {}
        self._tenants: dict[str, _Below] = {}
        self._good_until = float("-inf")
        self._watchers: list[Callable[[], None]] = []
        self.known = asyncio.Event()

    def refusal(self, caller: Caller) -> TenantryError | None:
        """Why a call of `caller` is not served now, or None. Asked on every call: two look-ups and a clock."""
        if self._clock.monotonic() > self._good_until:
            return _unknown()
        below = self._keys.get(caller.key_id)
        if below is not None and caller.key_generation < below.generation:
            return invalid_key()
        below = self._tenants.get(caller.tenant)
        if below is not None and caller.tenant_generation < below.generation:
            return not_active(below.state)
        return None

    def enter(self, told: Sequence[Revocation]) -> None:
        """Remembers what was told, in any order and as often as it comes. Raises ResourceExhausted beyond `most`."""
        now = self._clock.monotonic()
        for side in (self._keys, self._tenants):
            _forget(side, now - KEEP_S)
        try:
            for one in told:
                self._remember(one, now)
        finally:
            if told:
                self._tell()

    def confirm(self, asked_at: float) -> None:
        """All that was revoked before this monotonic time has been entered."""
        self._good_until = max(self._good_until, min(asked_at, self._clock.monotonic()) + MAX_AGE_S)
        self.known.set()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` when the answers of `refusal` may have changed."""
        self._watchers.append(watcher)

    async def watch_age(self) -> None:
        """Tells the watchers, for ever, when the word has grown old."""
        serving = False
        while True:
            left = self._good_until - self._clock.monotonic()
            if left >= 0:
                serving = True
                await self._clock.sleep(left + 0.001)
                continue
            if serving:
                log.warning("tenancy was not heard for %g s: until it is, nobody is served", MAX_AGE_S)
                serving = False
            self._tell()
            await self._clock.sleep(_LOOK_AGAIN_S)

    @property
    def remembered(self) -> int:
        """How many keys and tenants."""
        return len(self._keys) + len(self._tenants)

    def _remember(self, one: Revocation, now: float) -> None:
        side = self._keys if one.kind == "api-key" else self._tenants
        known = side.pop(one.id, None)
        if known is None and self.remembered >= self._most:
            raise ResourceExhausted(Reason.TOO_MANY, "there are more revocations than a process remembers")
        if known is None or known.generation <= one.generation:
            side[one.id] = _Below(one.generation, one.state, now)
        else:
            side[one.id] = replace(known, heard_at=now)

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()


def _forget(side: dict[str, _Below], before: float) -> None:
    # What was heard last stands last.
    while side and side[first := next(iter(side))].heard_at < before:
        del side[first]


def invalid_key() -> Unauthenticated:
    """The same words whatever is wrong with a key: junk, unknown, revoked, changed or ended."""
    return Unauthenticated(Reason.CREDENTIAL_INVALID, "the key is not valid")


def not_active(state: str) -> FailedPrecondition:
    """What somebody hears whose tenant is not served."""
    return FailedPrecondition(Reason.TENANT_NOT_ACTIVE, f"the tenant is {state}, not ACTIVE", state=state)


def _unknown() -> Unavailable:
    return Unavailable(
        Reason.SERVICE_UNAVAILABLE, "whether the caller was revoked can't be asked of tenancy", service="tenancy"
    )
