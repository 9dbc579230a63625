"""One part of the search for leaks: a mesh in this process, five tenants, and random operations (`tests/harness/leaks.py`)."""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.cli.rooms import hosted
from tenantry.kit import telemetry
from tenantry.kit.host import Host, hosting
from tenantry.kit.settings import SERVICES, MeshSettings
from tenantry.tenancy.initialise import initialise
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tenantry.tenancy.settings import from_environment
from tests.harness import stores
from tests.harness.leaks import Result
from tests.harness.leaks_actor import Actor
from tests.harness.leaks_marks import Marks, Watch, look_into_redis, look_into_sqlite

AT_ONCE = 12
_TRACED = 0.05


async def _drive(state: Path, operations: int, seed: int) -> Result:
    dice = random.Random(seed)
    marks = Marks(dice)
    books, cache = stores.RedisServer(stores.BOOKS), stores.RedisServer(stores.CACHE)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    try:
        books.start()
        cache.start()
        os.environ |= {"TENANTRY_STATE": str(state), "TENANTRY_BOOKS_URL": books.url, "TENANTRY_CACHE_URL": cache.url}
        await initialise(from_environment())
        settings = MeshSettings(
            "127.0.0.1:0", "127.0.0.1:0", {}, tokens=state / "tokens", trace_ratio=_TRACED, drain_s=5.0
        )
        async with (
            hosting(hosted(SERVICES), settings, exporters=(Watch(marks),)) as host,
            _actors(host, state, marks) as actors,
        ):
            started = time.monotonic()
            counts = await _operate(actors, operations, dice)
            seconds = time.monotonic() - started
            await asyncio.to_thread(telemetry.flush)
            measured = reader.get_metrics_data()
            marks.content("metric", measured.to_json() if measured else "")
        look_into_redis(marks, "cache", cache.url, shared=False)
        look_into_redis(marks, "books", books.url, shared=True)
        look_into_sqlite(marks, state)
        for line in (state / "log").read_bytes().splitlines():
            marks.content("log line", line)
            marks.row("log line", line)
    finally:
        books.remove()
        cache.remove()
    found = sum(actor.own_marks for actor in actors)
    return Result(
        operations, seconds, marks.examples, sum(marks.leaks.values()), found, dict(marks.looked_at), dict(counts)
    )


@asynccontextmanager
async def _actors(host: Host, state: Path, marks: Marks) -> AsyncIterator[list[Actor]]:
    """Five tenants of four organisations: two share one. What they keep has the same names everywhere."""
    operator = (state / "secrets" / "operator.key").read_text().strip()
    as_operator = (("authorization", f"Bearer {operator}"),)
    async with aio.insecure_channel(host.edge) as channel:
        tenants, keys, limits = TenantServiceStub(channel), KeyServiceStub(channel), LimitServiceStub(channel)
        wide = limit_pb.QuotaLimits(
            requests_per_minute=1_000_000, request_burst=1_000_000, tokens_per_minute=10**8, token_burst=10**8
        )
        actors: list[Actor] = []
        for place, tenant in enumerate(marks.tenants):
            organisation = f"organisation-{max(place, 1)}"
            await tenants.CreateOrganisation(
                tenant_pb.CreateOrganisationRequest(organisation=organisation), metadata=as_operator
            )
            request = tenant_pb.CreateTenantRequest(
                tenant=tenant, organisation=organisation, tier=tenant_pb2.TIER_ENTERPRISE
            )
            operation = (await tenants.CreateTenant(request, metadata=as_operator)).operation
            watching = tenants.WatchOperation(
                tenant_pb.WatchOperationRequest(operation=operation.operation), metadata=as_operator
            )
            async for update in watching:
                operation = update.operation
            assert operation.state == tenant_pb2.OPERATION_STATE_DONE, operation
            await limits.UpdateQuotaLimits(
                limit_pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=wide), metadata=as_operator
            )
            made = await keys.CreateApiKey(
                key_pb.CreateApiKeyRequest(
                    tenant=tenant, scopes=sorted(ROLES[TENANT_ADMIN]), display_name=f"key {marks.marks[place]}"
                ),
                metadata=as_operator,
            )
            actors.append(Actor(channel, made.secret, place, marks))
        for actor in actors:
            actor.everybody = actors
            await actor.begin()
        yield actors


async def _operate(actors: list[Actor], operations: int, dice: random.Random) -> Counter[str]:
    counts: Counter[str] = Counter()
    left = iter(range(operations))

    async def work(own: random.Random) -> None:
        for _ in left:
            actor = own.choice(actors)
            counts[await actor.act(own)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work(random.Random(dice.random())))
    return counts


def main() -> None:
    """`python -m tests.harness.leaks_part DIRECTORY OPERATIONS SEED`: the result as JSON."""
    state, operations, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    telemetry.log_json("INFO")
    result: Any = uvloop.run(_drive(state, operations, seed))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
