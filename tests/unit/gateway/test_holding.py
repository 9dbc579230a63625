"""A hold is settled once, whatever quota's absence."""

import asyncio
from typing import Any

import pytest

from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import Reserved, Use
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError, Unavailable
from tests.harness.clock import FrozenClock
from tests.harness.poll import until

AWAY = Unavailable(Reason.STORE_UNAVAILABLE, "books is not available")
BUSY = ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)
HELD = 100


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

    async def renew(self, receipt: Any, output_tokens: int) -> int:
        self.renewed += 1
        return HELD

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error


def hold_of(quota: Any, clock: FrozenClock) -> Hold:
    return Hold(quota, Reserved(object(), HELD), clock, 5.0, 120.0)


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


class Growing(Quota):
    """Holds more when it is told that more is written, up to `most`; past that it refuses."""

    def __init__(self, most: int) -> None:
        super().__init__(0)
        self.held = HELD
        self.most = most
        self.told: list[int] = []

    async def renew(self, receipt: Any, output_tokens: int) -> int:
        self.told.append(output_tokens)
        if output_tokens > self.most:
            raise ResourceExhausted(Reason.TOKENS_PER_MINUTE, "the limit is reached", retry_after_s=9.0)
        self.held = max(self.held, min(self.most, output_tokens * 2))
        return self.held


async def told(quota: Growing, hold: Hold, output_tokens: int) -> None:
    count = len(quota.told)
    hold.wrote(output_tokens)
    await until(lambda: len(quota.told) > count)


async def test_a_hold_grows_before_its_answer_has_outgrown_it_and_not_at_every_piece() -> None:
    quota, clock = Growing(1_000), FrozenClock()
    hold = hold_of(quota, clock)
    await until(lambda: clock.sleepers > 0)
    hold.wrote(10)
    hold.wrote(74)
    await told(quota, hold, 75)
    assert (quota.told, quota.held) == ([75], 150)
    await until(lambda: clock.sleepers > 0)
    hold.wrote(112)
    await told(quota, hold, 113)
    assert quota.told == [75, 113]
    await settled(hold, clock, Use())


async def test_an_answer_that_has_outgrown_what_the_limits_admit_is_stopped_with_their_refusal() -> None:
    quota, clock = Growing(120), FrozenClock()
    hold = hold_of(quota, clock)
    stopped: list[TenantryError] = []
    hold.stop = stopped.append
    await until(lambda: clock.sleepers > 0)
    await told(quota, hold, 75)
    await told(quota, hold, 100)
    assert not stopped
    await told(quota, hold, 121)
    await until(lambda: bool(stopped))
    assert stopped[0].reason == Reason.TOKENS_PER_MINUTE
    assert quota.told == [75, 100, 121]
    await settled(hold, clock, Use())
