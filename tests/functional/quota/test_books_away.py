"""What quota does while the books are away: its share of every limit, for a while, and nothing that only the books know."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.api.quota.v1 import call_service_pb2 as call_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1 import settlement_service_pb2 as settlement_pb
from tenantry.api.quota.v1.call_service_pb2_grpc import CallServiceStub
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError, Unavailable
from tenantry.kit.redis import connect
from tenantry.quota.presence import StandbyTerms
from tests.functional.quota.quota_room import Quota, replicas, serve
from tests.harness import left_out, stores
from tests.harness.operator import ROOT
from tests.harness.poll import until
from tests.harness.redis_cluster import running_cluster
from tests.harness.room import caller_of
from tests.harness.stores import RedisServer

REPLICAS = 3
REQUESTS = 90
LIMITS = {"requests_per_minute": REQUESTS, "request_burst": REQUESTS, "concurrent_requests": 1_000}


@pytest.fixture
async def quota(own_books: RedisServer, tmp_path: Path) -> AsyncIterator[Quota]:
    """One of three replicas, whose books the test stops and starts."""
    async for running in serve(own_books.url, tmp_path, "network", standby=StandbyTerms(REPLICAS, most_s=60.0)):
        await running.override(running.acme.tenant, **LIMITS)
        yield running


async def admitted(quota: Quota, tries: int) -> list[pb.Receipt]:
    receipts: list[pb.Receipt] = []
    for _ in range(tries):
        try:
            receipts.append(await quota.reserve(quota.acme, tokens=10))
        except ResourceExhausted as refused:
            assert refused.reason is Reason.REQUESTS_PER_MINUTE
    return receipts


async def settled(quota: Quota, count: int) -> dict[str, settlement_pb.SettledUsage]:
    """What the ledger gets, once so many reservations are settled."""
    found: dict[str, settlement_pb.SettledUsage] = {}

    async def ask() -> AsyncIterator[settlement_pb.StreamSettledUsageRequest]:
        yield settlement_pb.StreamSettledUsageRequest()
        await asyncio.Event().wait()

    async with asyncio.timeout(20):
        stream = quota.settlements.StreamSettledUsage(ask())
        async for batch in stream:
            found |= {entry.reservation: entry for entry in batch.entries}
            if len(found) >= count:
                stream.cancel()
                return found
    return found


async def is_there(quota: Quota) -> bool:
    """What the health check says of the books."""
    stub: Any = health_pb2_grpc.HealthStub(quota.room.channel())
    answer = await stub.Check(health_pb2.HealthCheckRequest(service="quota.books"))
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_replica_alone_admits_its_share_and_marks_it(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    receipts = await admitted(quota, REQUESTS)
    # A rate of 30 a minute goes on meanwhile.
    assert REQUESTS // REPLICAS <= len(receipts) <= REQUESTS // REPLICAS + 10
    assert all(receipt.reservation.startswith("loc_") for receipt in receipts)


@dataclass(frozen=True)
class OwnBooks:
    """Books of the test's own, whose servers it kills, all of them, and starts again."""

    url: str
    servers: Sequence[RedisServer]
    is_whole: Callable[[], Awaitable[bool]]

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    async def start(self) -> None:
        for server in self.servers:
            server.start()
        await until(self.is_whole, within_s=30)


async def _at_once() -> bool:
    return True


@pytest.fixture(params=["redis", "cluster"])
def books(request: pytest.FixtureRequest) -> Iterator[OwnBooks]:
    """On Redis 7, and on a cluster of three primaries and three replicas."""
    if request.param == "cluster":
        with running_cluster() as cluster:
            yield OwnBooks(cluster.url, cluster.servers, cluster.is_whole)
    else:
        with stores.running(stores.BOOKS, Path(left_out.require("redis-server"))) as server:
            yield OwnBooks(server.url, [server], _at_once)


async def test_all_replicas_alone_admit_their_limit_together_and_the_ledger_has_all_of_it_afterwards(
    books: OwnBooks, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        all_three = await replicas(stack, books.url, tmp_path, REPLICAS)
        first = all_three[0]
        await first.override(first.acme.tenant, **LIMITS)
        books.kill()
        began = time.monotonic()
        found = await asyncio.gather(*(admitted(one, REQUESTS) for one in all_three))
        receipts = [receipt for some in found for receipt in some]
        assert REQUESTS <= len(receipts) <= REQUESTS + REQUESTS / 60 * (time.monotonic() - began)
        for place, receipt in enumerate(receipts):
            assert await all_three[place % REPLICAS].commit(receipt, place)
        await books.start()
        await until(lambda: is_there(first), within_s=30)
        entries = await settled(first, len(receipts))
        assert {name: entry.usage.output_tokens for name, entry in entries.items()} == {
            receipt.reservation: place for place, receipt in enumerate(receipts)
        }


async def test_books_that_are_there_and_full_are_not_away(quota: Quota, own_books: RedisServer) -> None:
    books = connect(own_books.url, store="books")
    await books.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(Unavailable):
            await quota.reserve(quota.acme, tokens=10)
    finally:
        await books.execute("CONFIG", "SET", "maxmemory", "256mb")
        await books.close()
    assert (await quota.reserve(quota.acme, tokens=10)).reservation.startswith("res_")


async def test_a_refusal_names_the_share_that_is_reached(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    await admitted(quota, REQUESTS)
    with pytest.raises(ResourceExhausted) as refused:
        while True:
            await quota.reserve(quota.acme, tokens=10)
    assert f"{REQUESTS // REPLICAS} requests a minute" in refused.value.message


async def test_what_was_settled_meanwhile_is_in_the_ledger_once_they_are_back(
    quota: Quota, own_books: RedisServer
) -> None:
    before = await quota.reserve(quota.acme, tokens=10)
    own_books.kill()
    during = await quota.reserve(quota.acme, tokens=10)
    assert await quota.commit(before, 7) and await quota.commit(during, 8)
    assert not await quota.commit(before, 9), "the second settlement is none"
    own_books.start()
    entries = await settled(quota, 2)
    assert {name: entry.usage.output_tokens for name, entry in entries.items()} == {
        before.reservation: 7,
        during.reservation: 8,
    }
    # And the hold that the books knew is free again.
    await until(lambda: free_again(quota), within_s=10)


async def free_again(quota: Quota) -> bool:
    return (await quota.usage(quota.acme)).requests_running == 0


async def test_they_are_used_again_within_two_seconds_of_their_return(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    assert (await quota.reserve(quota.acme)).reservation.startswith("loc_")
    own_books.start()

    async def from_the_books() -> bool:
        return (await quota.reserve(quota.acme, tokens=1)).reservation.startswith("res_")

    await until(from_the_books, within_s=2.0, every_s=0.1)


async def test_the_health_check_says_that_they_are_away(quota: Quota, own_books: RedisServer) -> None:
    await until(lambda: is_there(quota))
    own_books.kill()
    await quota.reserve(quota.acme)

    async def away() -> bool:
        return not await is_there(quota)

    await until(away)
    own_books.start()
    await until(lambda: is_there(quota))


async def test_a_metric_says_that_they_are_away_until_they_are_back(tmp_path: Path) -> None:
    # A process of its own: OpenTelemetry sets a meter provider once a process.
    script = tmp_path / "serve.py"
    script.write_text(_MEASURED)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, told.decode().split()) == (0, ["0", "1", "0"])


_MEASURED = """
import asyncio, sys
sys.path.insert(0, ".")
from pathlib import Path
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.functional.quota.quota_room import serve
from tests.harness import stores
from tests.harness.operator import ROOT
from tests.harness.poll import until

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))

def away():
    found = [metric for one in reader.get_metrics_data().resource_metrics for scope in one.scope_metrics
             for metric in scope.metrics if metric.name == "tenantry.quota.books_away"]
    return found[0].data.data_points[0].value

async def main():
    with stores.running(stores.BOOKS) as books:
        async for quota in serve(books.url, Path(sys.argv[1]), "network"):
            print(away())
            books.kill()
            await quota.reserve(quota.acme)
            print(away())
            books.start()
            await until(lambda: away() == 0)
            print(away())

asyncio.run(main())
"""


async def test_budgets_of_days_and_months_are_closed(quota: Quota, own_books: RedisServer) -> None:
    await quota.override(quota.acme.tenant, version=1, tokens_per_month=1_000_000)
    await quota.reserve(quota.acme, tokens=10)
    own_books.kill()
    with pytest.raises(Unavailable) as refused:
        await quota.reserve(quota.acme, tokens=10)
    assert refused.value.retry_after_s
    assert (await quota.reserve(quota.globex, tokens=10)).reservation.startswith("loc_")


async def test_a_hold_of_another_replica_alone_is_settled_here(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    receipt = await quota.reserve(quota.acme, tokens=10)
    release = pb.ReleaseReservationRequest(receipt=receipt)
    assert (await quota.reservations.ReleaseReservation(release)).released_now
    # This replica knows nothing of it any more, as if another had given it; the receipt is the right to settle.
    assert await quota.commit(receipt, 5)
    own_books.start()
    assert receipt.reservation in await settled(quota, 1)


async def test_calls_are_counted_alone_too(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    calls = CallServiceStub(quota.room.channel(service="gateway"))
    with quota.room.calling(quota.acme):
        await calls.AdmitCall(call_pb.AdmitCallRequest())


async def test_after_the_stated_time_nothing_is_admitted(impatient: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    await impatient.reserve(impatient.acme)

    async def closed() -> bool:
        try:
            await impatient.reserve(impatient.acme)
        except Unavailable as refused:
            return "0.3 s" in refused.message
        return False

    await until(closed)
    own_books.start()
    await until(lambda: admits(impatient), within_s=3)


async def admits(quota: Quota) -> bool:
    try:
        return bool((await quota.reserve(quota.acme)).reservation)
    except TenantryError:
        return False


async def test_another_tenants_local_receipt_is_refused_as_any(quota: Quota, own_books: RedisServer) -> None:
    own_books.kill()
    receipt = await quota.reserve(quota.acme, tokens=10)
    forged = pb.Receipt()
    forged.CopyFrom(receipt)
    forged.reservation = receipt.reservation.replace("loc_", "res_")
    with pytest.raises(TenantryError) as refused:
        await quota.commit(forged)
    assert refused.value.reason is Reason.RECEIPT_INVALID
    with quota.room.calling(caller_of(quota.globex.tenant, quota.globex.organisation)), pytest.raises(TenantryError):
        await quota.commit(receipt)
