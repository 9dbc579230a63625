"""A hold on the tenant's limits from its reservation to its settlement: renewed while it lasts, settled once."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable

from tenantry.gateway.peers import Peers, Reserved, Use
from tenantry.kit import call
from tenantry.kit.assertion import LONGEST_REQUEST_S
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, NotFound, Reason, ResourceExhausted, TenantryError, Unavailable

log = logging.getLogger(__name__)

# From then on a hold that nobody settles, because this process was killed, enters the ledger as estimated.
_FIRST_RENEWAL_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0


class Hold:
    """One receipt. `also` is renewed with it: the cache's flight, when this request leads one. `stop` is called when the
    limits admit no more of an answer that has outgrown what is held."""

    def __init__(
        self, peers: Peers, held: Reserved, clock: Clock, renew_every_s: float, settle_within_s: float
    ) -> None:
        self.receipt = held.receipt
        self._peers = peers
        self._clock = clock
        self._every_s = renew_every_s
        self._within_s = settle_within_s
        self._settled = False
        self.also: Callable[[], Awaitable[None]] | None = None
        self.stop: Callable[[TenantryError], None] | None = None
        self._held = held.output_tokens
        self._written = 0
        # From then on a renewal can't wait: three quarters of what is held.
        self._ask_at: float = self._held * 3 / 4
        self._soon = asyncio.Event()
        self._renewing = asyncio.create_task(self._keep())

    def wrote(self, output_tokens: int) -> None:
        """Say how much of the answer is written: what is held grows with it."""
        self._written = output_tokens
        if output_tokens >= self._ask_at:
            self._soon.set()

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
                await self._pause(pause_s)
                pause_s = self._every_s
                try:
                    self._grown(await self._peers.renew(self.receipt, self._written))
                    if self.also is not None:
                        await self.also()
                except NotFound:
                    return
                except TenantryError as error:
                    if isinstance(error, ResourceExhausted) and error.reason != Reason.SERVER_BUSY and self.stop:
                        self.stop(error)
                        continue
                    log.warning("a hold could not be renewed", extra={"error_type": type(error).__name__})

    async def _pause(self, seconds: float) -> None:
        """Until so much time has passed, or the answer wants more sooner."""
        waits = (asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._soon.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._soon.clear()
            # If this renewal fails, the next waits for its time.
            self._ask_at = math.inf

    def _grown(self, held: int) -> None:
        """Quota holds so much output now. When that is no more than before, it is asked again once all of it is written."""
        more, self._held = held > self._held, held
        self._ask_at = held * 3 / 4 if more else held + 1
        if self._written <= held:
            self.wrote(self._written)
        else:
            self._ask_at = math.inf
