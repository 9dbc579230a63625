"""Ten thousand calls cancelled in the middle of a Redis trip: none of the others gets a reply that is not its own."""

import asyncio

import pytest

from tenantry.kit.redis import Redis, Script
from tests.harness.poll import until

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")
CANCELLED = 10_000
AT_ONCE = 200


@pytest.mark.timeout(90)
async def test_ten_thousand_calls_cancelled_in_the_middle_of_a_trip(redis: Redis) -> None:
    await redis.run(ECHO, ["k"], ["v"])
    cancelled = 0

    async def tell(tenant: str) -> None:
        assert await redis.run(ECHO, [f"k{tenant}"], [tenant]) == [f"k{tenant}".encode(), tenant.encode()]

    while cancelled < CANCELLED:
        leaving = [asyncio.create_task(tell(f"leaving{cancelled + number}")) for number in range(AT_ONCE)]
        staying = [asyncio.create_task(tell(f"staying{cancelled + number}")) for number in range(20)]
        # Sent and not answered: the loop has not read a reply since.
        await asyncio.sleep(0)
        assert redis.busy
        for task in leaving:
            task.cancel()
        ended = await asyncio.gather(*leaving, return_exceptions=True)
        cancelled += sum(isinstance(one, asyncio.CancelledError) for one in ended)
        # Whoever was not cancelled got its own.
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended)
        await asyncio.gather(*staying)
    await until(lambda: redis.busy == 0)
    await tell("last")
