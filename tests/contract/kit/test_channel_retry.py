"""When a call is sent again, the same over the network and in a process: only what may be, with a budget, in time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tenantry.kit import call
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import (
    DeadlineExceeded,
    NotFound,
    Reason,
    ResourceExhausted,
    StoreUnavailable,
    TenantryError,
    Unavailable,
)
from tenantry.kit.guard import Limits
from tests.harness.echo import KINDS, Acts, Open, acme, caller_of, houses
from tests.harness.protos import echo_pb2 as pb

pytestmark = pytest.mark.parametrize("channel_kind", KINDS)


class HastyClock(SystemClock):
    """Does not wait, and notes for how long it was asked to."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Failing:
    """Fails the first `times` calls with `error`."""

    def __init__(self, times: int, error: TenantryError) -> None:
        self.times = times
        self.error = error
        self.calls = 0

    async def once(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return pb.EchoResponse(text="at last")


def away(retry_after_s: float | None = None) -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, "the books are away", retry_after_s=retry_after_s)


@pytest.fixture
async def open_house(channel_kind: str) -> AsyncIterator[Open]:
    async with houses(channel_kind) as opener:
        yield opener


async def test_a_repeatable_call_is_sent_again(open_house: Open) -> None:
    failing, clock = Failing(2, away()), HastyClock()
    house = await open_house(Acts(failing.once), clock=clock)
    with call.entered(acme()):
        assert (await house.stub.Echo(pb.EchoRequest())).text == "at last"
    assert failing.calls == 3
    first, second = clock.slept
    assert 0.025 <= first <= 0.05 <= second <= 0.1


async def test_it_is_sent_three_times_at_most(open_house: Open) -> None:
    failing = Failing(99, away())
    house = await open_house(Acts(failing.once), clock=HastyClock())
    with call.entered(acme()), pytest.raises(Unavailable) as refused:
        await house.stub.Echo(pb.EchoRequest())
    assert failing.calls == 3
    assert refused.value.message == "the books are away"


async def test_a_call_that_the_contract_does_not_call_repeatable_is_sent_once(open_house: Open) -> None:
    failing = Failing(1, away())
    house = await open_house(Acts(failing.once), clock=HastyClock())
    with call.entered(acme()), pytest.raises(Unavailable):
        await house.stub.EchoOnce(pb.EchoRequest())
    assert failing.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        NotFound(Reason.NOT_FOUND, "no"),
        ResourceExhausted(Reason.REQUESTS_PER_MINUTE, "no", retry_after_s=0.1),
        DeadlineExceeded(),
    ],
    ids=lambda error: error.code,
)
async def test_other_refusals_are_not_sent_again(open_house: Open, error: TenantryError) -> None:
    failing = Failing(1, error)
    house = await open_house(Acts(failing.once), clock=HastyClock())
    with call.entered(acme()), pytest.raises(type(error)):
        await house.stub.Echo(pb.EchoRequest())
    assert failing.calls == 1


async def test_the_server_says_how_long_to_wait(open_house: Open) -> None:
    clock = HastyClock()
    house = await open_house(Acts(Failing(1, away(0.7)).once), clock=clock)
    with call.entered(acme()):
        await house.stub.Echo(pb.EchoRequest())
    assert clock.slept == [0.7]


async def test_a_wait_that_the_deadline_does_not_allow_is_not_begun(open_house: Open) -> None:
    failing = Failing(1, StoreUnavailable("books", retry_after_s=10.0))
    house = await open_house(Acts(failing.once))
    began = time.monotonic()
    with call.entered(acme(deadline=time.monotonic() + 2)), pytest.raises(Unavailable):
        await house.stub.Echo(pb.EchoRequest())
    assert failing.calls == 1
    assert time.monotonic() - began < 1


async def test_without_budget_nothing_is_sent_again_until_calls_succeed(open_house: Open) -> None:
    failing = Failing(10**6, away())
    house = await open_house(Acts(failing.once), clock=HastyClock())
    with call.entered(acme()):
        for _ in range(10):
            with pytest.raises(Unavailable):
                await house.stub.Echo(pb.EchoRequest())
        assert failing.calls < 10 + 6
        failing.calls = 0
        with pytest.raises(Unavailable):
            await house.stub.Echo(pb.EchoRequest())
        assert failing.calls == 1

        failing.times = 0
        for _ in range(100):
            await house.stub.Echo(pb.EchoRequest())
        failing.times, failing.calls = 1, 0
        await house.stub.Echo(pb.EchoRequest())
        assert failing.calls == 2


async def test_a_busy_server_refuses_at_once_and_says_when_to_come_back(open_house: Open) -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        begun.release()
        await end.wait()
        return pb.EchoResponse()

    house = await open_house(Acts(once), limits=Limits(concurrent_calls=2))
    with call.entered(acme()):
        running = [asyncio.ensure_future(house.stub.Echo(pb.EchoRequest())) for _ in range(2)]
        for _ in running:
            await begun.acquire()
        with pytest.raises(ResourceExhausted) as busy:
            await house.stub.Echo(pb.EchoRequest())
        assert busy.value.reason is Reason.SERVER_BUSY
        assert busy.value.retry_after_s
        end.set()
        await asyncio.gather(*running)
        await house.stub.Echo(pb.EchoRequest())


async def test_a_tenant_that_has_its_share_of_the_seats_is_refused_and_another_is_not(open_house: Open) -> None:
    begun, end = asyncio.Semaphore(0), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        begun.release()
        await end.wait()
        return pb.EchoResponse()

    house = await open_house(Acts(once), limits=Limits(tenant_calls=2))
    with call.entered(acme()):
        running = [asyncio.ensure_future(house.stub.EchoOnce(pb.EchoRequest())) for _ in range(2)]
        for _ in running:
            await begun.acquire()
        with pytest.raises(ResourceExhausted) as busy:
            await house.stub.EchoOnce(pb.EchoRequest(), timeout=0.5)  # a longer wait would be one for the retry
        assert busy.value.reason is Reason.SERVER_BUSY and busy.value.retry_after_s
    with call.entered(call.Call(caller_of("globex generate"), assertion="globex generate")):
        running.append(asyncio.ensure_future(house.stub.EchoOnce(pb.EchoRequest())))
        await asyncio.wait_for(begun.acquire(), 5)
    end.set()
    await asyncio.gather(*running)
    with call.entered(acme()):
        await house.stub.EchoOnce(pb.EchoRequest())


async def test_calls_that_ended_badly_give_their_seat_back(open_house: Open) -> None:
    failing = Failing(20, NotFound(Reason.NOT_FOUND, "no"))
    house = await open_house(Acts(failing.once), limits=Limits(concurrent_calls=1))
    with call.entered(acme()):
        for _ in range(20):
            with pytest.raises(NotFound):
                await house.stub.Echo(pb.EchoRequest())
        await house.stub.Echo(pb.EchoRequest())
