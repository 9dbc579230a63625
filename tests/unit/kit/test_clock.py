"""The machine's clock, and the one that stands still."""

import asyncio
import time

from tenantry.kit.clock import Clock, SystemClock
from tests.harness.clock import FrozenClock
from tests.harness.poll import until


def test_the_system_clock_tells_the_machines_time() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.now() - time.time()) < 1
    assert abs(clock.now_ns() - time.time_ns()) < 1e9
    assert clock.monotonic() <= clock.monotonic()


def test_a_frozen_clock_moves_only_when_told() -> None:
    frozen = FrozenClock(now=100.0)
    clock: Clock = frozen
    assert (clock.now(), clock.now_ns(), clock.monotonic()) == (100.0, 100_000_000_000, 0.0)
    frozen.advance(2.5)
    assert (clock.now(), clock.now_ns(), clock.monotonic()) == (102.5, 102_500_000_000, 2.5)


async def test_sleepers_of_a_frozen_clock_wake_when_their_time_has_come() -> None:
    clock, woken = FrozenClock(), list[float]()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (3.0, 1.0, 2.0)]
    await until(lambda: clock.sleepers == 3)
    clock.advance(2.0)
    await until(lambda: len(woken) == 2)
    assert sorted(woken) == [1.0, 2.0]
    clock.advance(1.0)
    await asyncio.gather(*tasks)
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FrozenClock()
    task = asyncio.create_task(clock.sleep(1))
    await until(lambda: clock.sleepers == 1)
    task.cancel()
    await asyncio.wait([task])
    assert clock.sleepers == 0
