"""What ReserveQuota costs and whether it ever admits too much: three replicas beside a raw grpc.aio echo and a bare Lua call,
what it adds within one process, and the cases in which gateways of the field admit too much or too little.
"""

import asyncio
import random
import secrets
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.kit import call
from tenantry.kit.assertion import sign_assertion
from tenantry.kit.caller import Caller
from tenantry.kit.errors import ResourceExhausted, TenantryError
from tenantry.kit.host import Hosted, spare_the_collector
from tenantry.kit.redis import Script, connect
from tenantry.quota import server
from tenantry.quota.limit_rules import MOST
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.settings import Settings
from tests.bench.children import child
from tests.bench.echo_rooms import ECHO
from tests.bench.load import Run, Sampling, client, closed_loop, median, raw, ready
from tests.bench.report import FULL, Report
from tests.harness import stores
from tests.harness.killable import Killable
from tests.harness.quota_load import Limit, over
from tests.harness.room import KEY_ID, Served, caller_of, served, service_token

REPLICAS = 3
AT_ONCE = 32
# What three replicas can do is seen when each has as many callers as one process wants; the echo gets all of them.
AT_ONCE_IN_ALL = REPLICAS * AT_ONCE
SHARE, ADDED_MS = 0.45, 0.5
RESERVE = "/tenantry.api.quota.v1.ReservationService/ReserveQuota"
BARE = Script("bare", "return redis.call('INCR', KEYS[1])")
_WIDE = {
    "requests_per_minute": MOST.requests_per_minute,
    "request_burst": MOST.request_burst,
    "tokens_per_minute": MOST.tokens_per_minute,
    "token_burst": MOST.token_burst,
    "concurrent_requests": MOST.concurrent_requests,
}


class Tenant:
    """A tenant of the replicas, with limits of its own."""

    def __init__(self, rooms: list[Served]) -> None:
        name = f"bench-{secrets.token_hex(4)}"
        self.rooms = rooms
        self.caller: Caller = caller_of(name, f"{name}-org", scopes={"limits.read"})
        self._turn = 0

    async def onboard(self, **limits: int) -> None:
        caller, room = self.caller, self.rooms[0]
        request = ProvisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation, tier="enterprise")
        await LifecycleServiceStub(room.channel(service="tenancy")).ProvisionTenant(request)
        update = limit_pb.UpdateQuotaLimitsRequest(tenant=caller.tenant, overrides=limit_pb.QuotaLimits(**limits))
        with room.calling(caller_of("", "", scopes={"limits.write"})):
            await LimitServiceStub(room.channel()).UpdateQuotaLimits(update)

    async def reserve(self, read: int = 1, most: int = 0) -> pb.Receipt:
        self._turn += 1
        room = self.rooms[self._turn % len(self.rooms)]
        with room.calling(self.caller):
            request = pb.ReserveQuotaRequest(
                nonce=secrets.token_hex(16), model="m", input_tokens=read, max_output_tokens=most, request_id="req_1"
            )
            return (await ReservationServiceStub(room.channel(service="gateway")).ReserveQuota(request)).receipt

    async def commit(self, receipt: pb.Receipt, read: int, written: int) -> None:
        usage = Usage(input_tokens=read, output_tokens=written, model="m", outcome=OUTCOME_OK, request_id="req_1")
        stub = ReservationServiceStub(self.rooms[0].channel(service="gateway"))
        await stub.CommitReservation(pb.CommitReservationRequest(receipt=receipt, usage=usage))

    async def release(self, receipt: pb.Receipt) -> None:
        stub = ReservationServiceStub(self.rooms[0].channel(service="gateway"))
        await stub.ReleaseReservation(pb.ReleaseReservationRequest(receipt=receipt))

    def metadata(self, room: Served) -> tuple[tuple[str, str], ...]:
        """What a call of the gateway carries."""
        assertion = sign_assertion(room.key, KEY_ID, self.caller, time.time())
        proof = (call.SERVICE, service_token(room.key, "gateway"))
        return (proof, (call.ASSERTION, assertion), (call.TENANT, self.caller.tenant), (call.REQUEST_ID, "req_1"))


async def throughput(state: Path, rooms: list[Served], url: str, report: Report, rounds: int, seconds: float) -> None:
    """Three replicas, an echo and a bare script take turns."""
    tenant = Tenant(rooms)
    await tenant.onboard(**_WIDE)
    redis = connect(url, store="books")
    with ExitStack() as stack:
        _, said = stack.enter_context(child("tests.bench.echo_rooms", "raw", str(state), "", log=state / "raw.log"))
        channels = [client(said["address"]), *(client(room.host.mesh) for room in rooms)]
        for channel in channels:
            await ready(channel)
        echo, *reserves = raw(channels[0], ECHO), *(raw(channel, RESERVE) for channel in channels[1:])
        carried = [tenant.metadata(room) for room in rooms]
        sampling, turn = Sampling(0.01), 0

        async def reserve() -> None:
            nonlocal turn
            turn += 1
            place = turn % len(rooms)
            request = pb.ReserveQuotaRequest(nonce=secrets.token_hex(16), model="m", input_tokens=1, request_id="req_1")
            await reserves[place](request.SerializeToString(), timeout=30, metadata=(*carried[place], sampling.next()))

        async def bare() -> None:
            await redis.run(BARE, ["{bench}:bare"])

        body = b"x" * 64
        ways: dict[str, Any] = {"echo": lambda: echo(body, timeout=30), "ReserveQuota": reserve, "bare Lua call": bare}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for round in range(rounds + 1):
            for way, send in ways.items():
                run = await closed_loop(send, AT_ONCE_IN_ALL, seconds)
                if round:  # the first one warms up
                    rates[way].append(run.rate)
        for channel in channels:
            await channel.close()
    await redis.close()
    of_echo = median([a / b for a, b in zip(rates["ReserveQuota"], rates["echo"], strict=True)])
    of_bare = median([a / b for a, b in zip(rates["ReserveQuota"], rates["bare Lua call"], strict=True)])
    for way, found in rates.items():
        report.row(way, f"{median(found):.0f}/s", "")
        report.figure(f"{way.replace(' ', '_')}_per_s", median(found), 0)
    report.row(f"ReserveQuota at {REPLICAS} replicas, of the echo", f"{of_echo:.0%}", f"≥ {SHARE:.0%}")
    report.row("… of the bare Lua call", f"{of_bare:.0%}", "stated")
    report.figure("of_echo", of_echo)
    report.figure("of_bare", of_bare)
    report.goal(f"ReserveQuota ≥ {SHARE:.0%} of echo", of_echo >= SHARE)


async def added(state: Path, url: str, report: Report, seconds: float) -> None:
    """What it adds where quota and its caller are in one process."""
    settings = Settings(url, f"sqlite:///{state}/quota.db", state / "quota.key")
    async with served(Hosted("quota", server.build, settings), state=state, kind="inprocess", trace_ratio=0.01) as room:
        spare_the_collector()
        tenant = Tenant([room])
        await tenant.onboard(**_WIDE)
        with room.calling(tenant.caller):
            stub = ReservationServiceStub(room.channel(service="gateway"))
            run, end = Run(), time.monotonic() + 2 * seconds
            while time.monotonic() < end:
                nonce = secrets.token_hex(16)
                request = pb.ReserveQuotaRequest(nonce=nonce, model="m", input_tokens=1, request_id="req_1")
                begun = time.perf_counter()
                receipt = (await stub.ReserveQuota(request)).receipt
                run.latencies.append(time.perf_counter() - begun)
                # As calls end: what nobody settles stands in the books, and is looked at, one by one.
                await stub.ReleaseReservation(pb.ReleaseReservationRequest(receipt=receipt))
    redis = connect(url, store="books")
    write = await closed_loop(lambda: redis.run(BARE, ["{bench}:bare"]), 1, seconds)
    await redis.close()
    p50 = run.percentile_ms(50)
    report.row("a bare Lua call that Redis keeps, p50", f"{write.percentile_ms(50):.2f} ms", "stated")
    report.figure("kept_write_p50_ms", write.percentile_ms(50))
    report.row("ReserveQuota within one process, p50", f"{p50:.2f} ms", f"≤ {ADDED_MS:g} ms")
    report.figure("in_process_p50_ms", p50)
    report.goal(f"adds ≤ {ADDED_MS:g} ms", p50 <= ADDED_MS)


async def edge_of_window(rooms: list[Served], report: Report, seconds: float) -> None:
    """100 a minute, asked for without a pause: counting by windows admits 199 in six seconds."""
    limit = Limit(100, 100)
    tenant = Tenant(rooms)
    await tenant.onboard(requests_per_minute=limit.per_minute, request_burst=limit.burst, concurrent_requests=10_000)
    times: list[int] = []
    end = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < end:
            try:
                receipt = await tenant.reserve()
                times.append(receipt.reserve_time.ToMicroseconds())
            except ResourceExhausted:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    above = over(times, limit)
    most = int(limit.burst + limit.per_minute * seconds / 60)
    report.row(f"100 a minute, asked {seconds:g} s without pause", f"{len(times)} admitted", f"≤ {most}")
    report.figure("edge_admitted", len(times), 0)
    report.figure("edge_over", max(0.0, above), 3)
    report.goal("never above burst + rate·t", above <= 1e-6 and len(times) <= most)


async def token_budget(rooms: list[Served], report: Report, fits: int, name: str, most: int, written: int) -> None:
    """A budget of tokens that so many requests use up exactly, ten at a time; each says that it may need `most`."""
    read, least = 50, fits * 97 // 100
    budget = fits * (read + written)
    tenant = Tenant(rooms)
    await tenant.onboard(tokens_per_day=budget, tokens_per_minute=10**8, token_burst=10**8, concurrent_requests=10_000)
    admitted = running = 0

    async def ask() -> None:
        nonlocal admitted, running
        while True:
            try:
                receipt = await tenant.reserve(read, most)
            except ResourceExhausted:
                if running == 0:
                    return
                await asyncio.sleep(0.02)
                continue
            admitted += 1
            running += 1
            await asyncio.sleep(0.01)
            await tenant.commit(receipt, read, written)
            running -= 1

    await asyncio.gather(*(ask() for _ in range(10)))
    report.row(f"a budget that fits {fits} requests, {name}", f"{admitted} admitted", f"{least} to {fits}")
    report.figure(f"budget_{name.replace(' ', '_')}", admitted, 0)
    report.goal(f"{name}: {least} to {fits} of {fits}", least <= admitted <= fits)


async def drift(rooms: list[Served], report: Report, seconds: float) -> None:
    """Requests that use less or more than they held, or nothing: then the books' counter has what was settled, to the token."""
    tenant, dice = Tenant(rooms), random.Random(3)
    await tenant.onboard(tokens_per_day=10**9, tokens_per_minute=10**8, token_burst=10**8, concurrent_requests=10_000)
    end = time.monotonic() + seconds
    settled = requests = 0

    async def ask() -> None:
        nonlocal settled, requests
        while time.monotonic() < end:
            read, written = dice.randrange(1, 2_000), dice.randrange(2_000)
            receipt = await tenant.reserve(dice.randrange(1, 2_000), dice.randrange(1, 2_000))
            requests += 1
            if written < 200:
                await tenant.release(receipt)
            else:
                await tenant.commit(receipt, read, written)
                settled += read + written

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    with rooms[0].calling(tenant.caller):
        usage = await LimitServiceStub(rooms[0].channel()).GetQuotaUsage(limit_pb.GetQuotaUsageRequest())
    [used] = [one.used for one in usage.uses if one.measure == "tokens_per_day"]
    report.row(f"counted of {settled:,} tokens that {requests:,} requests settled", f"{used:,}", "all")
    report.figure("drift_tokens", used - settled, 0)
    report.goal("no drift, and no hold left", used == settled and usage.requests_running == 0)


async def books_gone(rooms: list[Served], books: stores.RedisServer, report: Report) -> None:
    """100 at once, Redis killed: what 200 requests get, and how soon the books are used again."""
    tenant = Tenant(rooms)
    await tenant.onboard(requests_per_minute=60, request_burst=100, concurrent_requests=10_000)
    other = Tenant(rooms)
    await other.onboard(**_WIDE)
    await asyncio.to_thread(books.kill)
    admitted = 0
    for _ in range(200):
        try:
            await tenant.reserve()
            admitted += 1
        except TenantryError:
            pass
    await asyncio.to_thread(books.start)
    started = time.monotonic()
    for room in rooms:
        alone = Tenant([room])
        alone.caller = other.caller
        while not await _from_the_books(alone):
            pass
    seconds = time.monotonic() - started
    most = 100 + 10  # the shares of three replicas, and what a rate of one a second gives meanwhile
    report.row("Redis gone, 200 requests of 100", f"{admitted} admitted", f"≤ {most}")
    report.row("… back after its return", f"{seconds:.1f} s", "≤ 2 s")
    report.figure("gone_admitted", admitted, 0)
    report.figure("back_s", seconds)
    report.goal("Redis gone: within the stated bound", admitted <= most)
    report.goal("back ≤ 2 s after its return", seconds <= 2.0)


async def _from_the_books(tenant: Tenant) -> bool:
    try:
        return (await tenant.reserve()).reservation.startswith("res_")
    except TenantryError:
        return False


async def _measure(report: Report, rounds: int, seconds: float, window_s: float, fits: int) -> None:
    async with AsyncExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        books = stack.enter_context(stores.running(stores.BOOKS))
        sql = f"sqlite:///{state}/quota.db"
        settings = Settings(books.url, sql, state / "quota.key", standby=StandbyTerms(REPLICAS))
        replicas: list[Killable] = []
        for place in range(REPLICAS):
            replicas.append(await asyncio.to_thread(Killable, settings, state / str(place)))
            stack.callback(replicas[-1].kill)
        rooms = [one.served for one in replicas]
        for room in rooms:
            stack.push_async_callback(room.close)
        await throughput(state, rooms, books.url, report, rounds, seconds)
        await edge_of_window(rooms, report, window_s)
        await token_budget(rooms, report, fits, "five times too much asked for", 250, 50)
        await token_budget(rooms, report, fits, "no max tokens", 4_096, 50)
        await token_budget(rooms, report, fits, "long answers", 1_000, 900)
        await drift(rooms, report, window_s / 2)
        await books_gone(rooms, books, report)
        with stores.running(stores.BOOKS) as own:
            await added(state / "own", own.url, report, seconds)


def run(*, rounds: int = 20 if FULL else 6, seconds: float = 1.0, window_s: float = 6.0, fits: int = 100) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("case", "found", "goal"))
    uvloop.run(_measure(report, rounds, seconds, window_s, fits))
    return report
