"""A hold on the tenant's limits from its reservation to its settlement: renewed while it lasts, settled once."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tenantry.gateway.peers import Peers, Use
from tenantry.kit import call
from tenantry.kit.assertion import LONGEST_REQUEST_S
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, NotFound, ResourceExhausted, TenantryError, Unavailable

log = logging.getLogger(__name__)

# From then on a hold that nobody settles, because this process was killed, enters the ledger as estimated.
_FIRST_RENEWAL_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0


class Hold:
    """One receipt. `also` is renewed with it: the cache's flight, when this request leads one."""

    def __init__(self, peers: Peers, receipt: Any, clock: Clock, renew_every_s: float, settle_within_s: float) -> None:
        self.receipt = receipt
        self._peers = peers
        self._clock = clock
        self._every_s = renew_every_s
        self._within_s = settle_within_s
        self._settled = False
        self.also: Callable[[], Awaitable[None]] | None = None
        self._renewing = asyncio.create_task(self._keep())

    async def settle(self, use: Use | None) -> None:
        """Commits what was used, or releases the hold when nothing was done for it. Only the first call counts.

        While quota is busy, or it or its books are away, it is tried again: a hold that was never renewed ends by itself at no
        cost, and its answer went out. What came too late for the hold is recorded all the same.
        """
        if self._settled:
            return
        self._settled = True
        self._renewing.cancel()
        end = self._clock.monotonic() + self._within_s
        pause_s = _FIRST_PAUSE_S
        with call.detached():
            while True:
                try:
                    await (self._peers.release(self.receipt) if use is None else self._peers.commit(self.receipt, use))
                    return
                except (Unavailable, DeadlineExceeded, ResourceExhausted) as error:
                    if self._clock.monotonic() + pause_s > end:
                        self._give_up(error)
                        return
                except TenantryError as error:
                    self._give_up(error)
                    return
                await self._clock.sleep(random.uniform(pause_s / 2, pause_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _give_up(self, error: TenantryError) -> None:
        log.warning("a hold could not be settled and ends by itself", extra={"reason": error.reason.value})

    async def _keep(self) -> None:
        pause_s = min(_FIRST_RENEWAL_S, self._every_s)
        end = self._clock.monotonic() + LONGEST_REQUEST_S + self._within_s
        with call.detached():
            # Whatever else goes wrong, a hold does not outlive its request for ever.
            while self._clock.monotonic() < end:
                await self._clock.sleep(pause_s)
                pause_s = self._every_s
                try:
                    await self._peers.renew(self.receipt)
                    if self.also is not None:
                        await self.also()
                except NotFound:
                    return
                except TenantryError as error:
                    log.warning("a hold could not be renewed", extra={"error_type": type(error).__name__})
