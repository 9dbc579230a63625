"""A hold on the tenant's limits from its reservation to its settlement: renewed while it lasts, settled once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from tenantry.gateway.peers import Peers, Use
from tenantry.kit import call
from tenantry.kit.clock import Clock
from tenantry.kit.errors import NotFound, TenantryError

log = logging.getLogger(__name__)


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

        A failure is logged and no more: the hold ends by itself, and what it held enters the ledger as estimated.
        """
        if self._settled:
            return
        self._settled = True
        self._renewing.cancel()
        try:
            with call.detached():
                async with asyncio.timeout(self._within_s):
                    await (self._peers.release(self.receipt) if use is None else self._peers.commit(self.receipt, use))
        except (TenantryError, TimeoutError) as error:
            log.warning("a hold could not be settled and ends by itself", extra={"error_type": type(error).__name__})

    async def _keep(self) -> None:
        with call.detached():
            while True:
                await self._clock.sleep(self._every_s)
                try:
                    await self._peers.renew(self.receipt)
                    if self.also is not None:
                        await self.also()
                except NotFound:
                    return
                except TenantryError as error:
                    log.warning("a hold could not be renewed", extra={"error_type": type(error).__name__})
