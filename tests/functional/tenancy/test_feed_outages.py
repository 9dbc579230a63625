"""A service that no longer hears from tenancy serves nobody; one that hears from another replica serves everybody."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.kit import call
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import TenantryError, Unavailable
from tenantry.kit.revocation_feed import RevocationFeed
from tenantry.kit.revocations import MAX_AGE_S, Revocations
from tenantry.kit.server import Registry
from tenantry.kit.settings import MeshSettings
from tests.functional.tenancy.world import world
from tests.harness.echo import Acts, House, Watched, acme, houses, use_many
from tests.harness.forked import Forked
from tests.harness.initialised import initialised
from tests.harness.poll import until
from tests.harness.ports import free_port
from tests.harness.protos import echo_pb2 as pb
from tests.harness.wire import wire

WORST_S = 5.0


@asynccontextmanager
async def listening(target: str, token: str, acts: Acts) -> AsyncIterator[House]:
    """A service with a feed of its own from the tenancy at `target`."""
    clock = SystemClock()
    known = Revocations(clock)
    mesh = Mesh("models", MeshSettings("", "", {"tenancy": target}), Registry(), lambda: token, clock)
    feed = RevocationFeed(mesh.channel("tenancy"), known, clock)
    tasks = [asyncio.create_task(work()) for work in (feed.run, known.watch_age)]
    try:
        async with houses("inprocess") as open_house:
            house = await open_house(acts, revocations=known)
            await asyncio.wait_for(known.known.wait(), 30)
            yield house
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await mesh.close()


async def ask(house: House) -> None:
    with call.entered(acme()):
        await house.stub.EchoOnce(pb.EchoRequest(), timeout=2)


async def served(house: House) -> bool:
    try:
        await ask(house)
    except Unavailable:
        return False
    return True


@asynccontextmanager
async def streaming(house: House, watched: Watched) -> AsyncIterator["asyncio.Task[None]"]:
    with call.entered(acme()):
        running = asyncio.create_task(use_many(house.stub))
    await asyncio.wait_for(watched.began.wait(), 5)
    yield running
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def acts_of(watched: Watched) -> Acts:
    return Acts(many=watched.many)


async def test_when_the_feed_is_cut_streams_end_and_nobody_is_served_until_it_is_back(tmp_path: Path) -> None:
    watched = Watched()
    async with (
        world(tmp_path, "network") as tenancy,
        wire(tenancy.address) as line,
        listening(line.address, tenancy.token("models"), acts_of(watched)) as house,
    ):
        async with streaming(house, watched) as running:
            line.hold()
            held_at = time.monotonic()
            await ask(house)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(running, WORST_S)
            assert time.monotonic() - held_at > MAX_AGE_S - 1.5, "word is good for some seconds"
        with pytest.raises(Unavailable) as refused:
            await ask(house)
        assert refused.value.retry_after_s == 1.0
        line.release()
        await until(lambda: served(house), within_s=5)


async def test_a_service_whose_loop_stood_still_refuses_before_it_serves(tmp_path: Path) -> None:
    watched = Watched()
    async with (
        world(tmp_path, "network") as tenancy,
        listening(tenancy.address, tenancy.token("models"), acts_of(watched)) as house,
    ):
        async with streaming(house, watched) as running:
            # tenancy stands still as well, since this process is both; it answers when the loop goes on.
            time.sleep(MAX_AGE_S + 0.2)  # noqa: ASYNC251
            with pytest.raises(Unavailable):
                await ask(house)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(running, 1)
        await until(lambda: served(house), within_s=5)


@contextmanager
def _replica(state: Path, address: str, away: str) -> Generator[Forked]:
    addresses = {f"TENANTRY_{name.upper()}_ADDRESS": away for name in ("quota", "insight", "models", "tenancy")}
    own = {"TENANTRY_STATE": str(state), "TENANTRY_LISTEN": address, "TENANTRY_TENANCY_ADDRESS": address}
    process = Forked(["tenantry.tenancy"], {**os.environ, **addresses, **own}, state / "log", state / "log")
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


async def _serves(address: str) -> bool:
    async with aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except aio.AioRpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


async def _refusals(house: House, seconds: float) -> list[TenantryError]:
    """Who was refused meanwhile."""
    refused: list[TenantryError] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await ask(house)
        except TenantryError as error:
            refused.append(error)
        await asyncio.sleep(0.01)
    return refused


async def test_one_of_two_replicas_restarted_refuses_nobody_and_both_killed_everybody(tmp_path: Path) -> None:
    settings = initialised(tmp_path)
    token = (settings.tokens / "models.token").read_text()
    one, two = (f"127.0.0.1:{free_port()}" for _ in range(2))
    away = f"127.0.0.1:{free_port()}"
    watched = Watched()
    with _replica(tmp_path, one, away) as first, _replica(tmp_path, two, away) as second:
        await until(lambda: _serves(one), within_s=30)
        await until(lambda: _serves(two), within_s=30)
        target = f"ipv4:{one},{two}"
        async with listening(target, token, acts_of(watched)) as house, streaming(house, watched) as running:
            first.send_signal(signal.SIGTERM)
            assert await _refusals(house, MAX_AGE_S + 1.5) == []
            assert first.wait(20) == 0
            with _replica(tmp_path, one, away) as again:
                await until(lambda: _serves(one), within_s=20)
                second.kill()
                assert await _refusals(house, MAX_AGE_S + 1.5) == []
                assert not running.done()
                again.kill()
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(running, WORST_S)
                assert not await served(house)
