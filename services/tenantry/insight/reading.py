"""Feeds the ledger from quota's outbox: one replica at a time, each entry kept before it is acknowledged.

waiting for the claim -> reading (each batch renews the claim in its own transaction) -> after a fault, again from the start
"""

import asyncio
import logging
import random

from tenantry.insight.outbox import Outbox, OutboxStream
from tenantry.insight.store import Jobs, Ledger
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, TenantryError
from tenantry.kit.owner import Platform

log = logging.getLogger(__name__)

JOB = "read settled usage"
CLAIM_S = 15.0
_RENEW_S = 5.0
_AGAIN_S = 3.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
# Quota may start a moment later than insight.
_WORTH_A_WORD = 4
_RELEASE_S = 1.0
_PLATFORM = Platform()


class Reader:
    """Reads for ever. What comes twice changes nothing, so that a fault at any point loses and doubles nothing."""

    def __init__(self, outbox: Outbox, ledger: Ledger, jobs: Jobs, clock: Clock) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._jobs = jobs
        self._clock = clock
        self._wait_s = _FIRST_WAIT_S
        self._failures = 0

    async def run(self) -> None:
        """Room's background work. A spell of failures is logged once."""
        try:
            while True:
                try:
                    await self._turn()
                except DeadlineExceeded:
                    await self._clock.sleep(_FIRST_WAIT_S)  # every server ends a stream at last: open the next
                except TenantryError as error:
                    await self._wait_after(error)
        finally:
            await self._give_back()

    async def _wait_after(self, error: TenantryError) -> None:
        self._failures += 1
        if self._failures == _WORTH_A_WORD:
            log.warning("settled usage can't be read: %s", error.message)
        await self._clock.sleep(self._wait_s * random.uniform(0.5, 1.0))
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _goes_well(self) -> None:
        self._failures = 0
        self._wait_s = _FIRST_WAIT_S

    async def _turn(self) -> None:
        """Reads while the claim is ours."""
        if not await self._jobs.claim(_PLATFORM, JOB, CLAIM_S):
            await self._clock.sleep(_AGAIN_S)
            return
        async with self._outbox.open() as stream:
            while await self._step(stream):
                pass

    async def _step(self, stream: OutboxStream) -> bool:
        batch = await stream.next(_RENEW_S)
        if batch is None:
            self._goes_well()
            return await self._jobs.claim(_PLATFORM, JOB, CLAIM_S)
        if not await self._ledger.enter(_PLATFORM, batch, JOB, CLAIM_S):
            return False
        await stream.acknowledge(batch.cursor)
        self._goes_well()
        return True

    async def _give_back(self) -> None:
        """So that another replica goes on at once, not when the claim ends."""
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._jobs.release(_PLATFORM, JOB)
        except (TenantryError, TimeoutError):
            log.warning("the claim to read settled usage was not given back and ends by itself")
