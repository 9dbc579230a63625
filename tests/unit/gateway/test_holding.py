"""A hold is settled once, whatever quota's absence."""

import asyncio
from typing import Any

import pytest

from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import Use
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError, Unavailable
from tests.harness.clock import FrozenClock
from tests.harness.poll import until

AWAY = Unavailable(Reason.STORE_UNAVAILABLE, "books is not available")
BUSY = ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)


class Quota:
    """Fails as often as it is told, then takes what is settled."""

    def __init__(self, failures: int, error: TenantryError = AWAY) -> None:
        self.failures = failures
        self.error = error
        self.renewed = 0
        self.committed: list[Use] = []
        self.released = 0

    async def commit(self, receipt: Any, use: Use) -> None:
        self._fail()
        self.committed.append(use)

    async def release(self, receipt: Any) -> None:
        self._fail()
        self.released += 1

    async def renew(self, receipt: Any) -> None:
        self.renewed += 1

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error


def hold_of(quota: Any, clock: FrozenClock) -> Hold:
    return Hold(quota, object(), clock, 5.0, 120.0)


async def settled(hold: Hold, clock: FrozenClock, use: Use | None) -> None:
    task = asyncio.create_task(hold.settle(use))
    while not task.done():
        await until(lambda: task.done() or clock.sleepers > 0)
        clock.advance(5.0)
    await task


@pytest.mark.parametrize("error", [AWAY, BUSY], ids=["away", "busy"])
async def test_what_was_used_is_committed_when_quota_is_back_after_half_a_minute(error: TenantryError) -> None:
    quota, clock, use = Quota(6, error), FrozenClock(), Use(input_tokens=7)
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


async def test_a_hold_that_nobody_settles_is_not_renewed_for_ever() -> None:
    quota, clock = Quota(0), FrozenClock()
    hold = hold_of(quota, clock)
    while not hold._renewing.done():
        await until(lambda: hold._renewing.done() or clock.sleepers > 0)
        clock.advance(5.0)
    assert 600 / 5 <= quota.renewed <= 730 / 5


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
