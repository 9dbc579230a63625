"""A hold is settled once, whatever quota's absence."""

import asyncio
from typing import Any

from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import Use
from tenantry.kit.errors import Reason, TenantryError, Unavailable
from tests.harness.clock import FrozenClock
from tests.harness.poll import until


class Quota:
    """Fails as often as it is told, then takes what is settled."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.committed: list[Use] = []
        self.released = 0

    async def commit(self, receipt: Any, use: Use) -> None:
        self._fail()
        self.committed.append(use)

    async def release(self, receipt: Any) -> None:
        self._fail()
        self.released += 1

    async def renew(self, receipt: Any) -> None: ...

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable(Reason.STORE_UNAVAILABLE, "books is not available")


def hold_of(quota: Any, clock: FrozenClock) -> Hold:
    return Hold(quota, object(), clock, 5.0, 120.0)


async def settled(hold: Hold, clock: FrozenClock, use: Use | None) -> None:
    task = asyncio.create_task(hold.settle(use))
    while not task.done():
        await until(lambda: task.done() or clock.sleepers > 0)
        clock.advance(5.0)
    await task


async def test_what_was_used_is_committed_when_quota_is_back_after_half_a_minute() -> None:
    quota, clock, use = Quota(6), FrozenClock(), Use(input_tokens=7)
    await settled(hold_of(quota, clock), clock, use)
    assert quota.committed == [use]


async def test_only_the_first_settlement_counts() -> None:
    quota, clock = Quota(0), FrozenClock()
    hold = hold_of(quota, clock)
    await settled(hold, clock, None)
    await settled(hold, clock, Use())
    assert (quota.released, quota.committed) == (1, [])


async def test_settling_is_given_up_in_the_end() -> None:
    quota, clock = Quota(10_000), FrozenClock()
    await settled(hold_of(quota, clock), clock, Use())
    assert quota.committed == [] and quota.failures > 10_000 - 100


async def test_a_refusal_is_not_repeated() -> None:
    quota, clock = Quota(0), FrozenClock()
    tried = 0

    async def refuse(receipt: Any, use: Use) -> None:
        nonlocal tried
        tried += 1
        raise TenantryError(Reason.RECEIPT_INVALID, "the receipt is not one")

    quota.commit = refuse
    await settled(hold_of(quota, clock), clock, Use())
    assert tried == 1
