"""Wires quota: the books, its database and memory of limits, its services and background work."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from opentelemetry.metrics import Observation

from tenantry.api.envoy.service.ratelimit.v3.rls_pb2_grpc import add_RateLimitServiceServicer_to_server
from tenantry.api.quota.v1.call_service_pb2_grpc import add_CallServiceServicer_to_server
from tenantry.api.quota.v1.limit_service_pb2_grpc import add_LimitServiceServicer_to_server
from tenantry.api.quota.v1.queue_service_pb2_grpc import add_FairQueueServiceServicer_to_server
from tenantry.api.quota.v1.reservation_service_pb2_grpc import add_ReservationServiceServicer_to_server
from tenantry.api.quota.v1.settlement_service_pb2_grpc import add_SettlementServiceServicer_to_server
from tenantry.kit import audit_outbox, lifecycle, redis, telemetry
from tenantry.kit.audit_mesh import deliver_by
from tenantry.kit.changes import Poller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.key_file import read_or_make
from tenantry.kit.memory import Memory
from tenantry.kit.server import Room
from tenantry.kit.sql import Database, migrate
from tenantry.quota import store_sql_pools
from tenantry.quota.calls import Calls
from tenantry.quota.counted_ahead import CountedAhead
from tenantry.quota.entries import Rules, TenantLimits
from tenantry.quota.in_force import InForce
from tenantry.quota.keys import BUCKETS
from tenantry.quota.limits import QuotaLimits
from tenantry.quota.outbox_redis import RedisOutbox, check_books
from tenantry.quota.pools import Pools
from tenantry.quota.presence import Presence
from tenantry.quota.refusal_counts import RefusalCounts
from tenantry.quota.reservations import Reservations
from tenantry.quota.rule_setting import RuleSetting
from tenantry.quota.service.calls import CallService, RateLimitService
from tenantry.quota.service.limits import LimitService
from tenantry.quota.service.queue import FairQueueService
from tenantry.quota.service.reservations import ReservationService
from tenantry.quota.service.settlements import SettlementService
from tenantry.quota.settings import Settings
from tenantry.quota.settlements import Settlements, Upkeep
from tenantry.quota.slot import PoolSettings
from tenantry.quota.slots import Slots
from tenantry.quota.standby import Standby
from tenantry.quota.standby_calls import StandbyCalls
from tenantry.quota.standby_queues import StandbyQueues
from tenantry.quota.store_redis import RedisBooks
from tenantry.quota.store_redis_calls import RedisCallCounters
from tenantry.quota.store_redis_queue import RedisQueues
from tenantry.quota.store_redis_refusals import RedisRefusals
from tenantry.quota.store_sql import KIND, SqlTenants
from tenantry.quota.store_sql_late import SqlLateSettlements
from tenantry.quota.store_sql_rules import KIND as RULES_KIND
from tenantry.quota.store_sql_rules import SqlRules
from tenantry.quota.tenants import TenantLifecycle
from tenantry.quota.watching import Watching


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs. Refuses books that may forget, and a schema it does not know."""
    database = Database(settings.sql_url, "quota")
    connection = redis.connect(settings.books_url, store="books")
    clock = SystemClock()
    slots: Slots | None = None
    try:
        await check_books(connection)
        await migrate(database, "tenantry.quota.migrations")
        secret = await asyncio.to_thread(read_or_make, settings.key_file)
        shared_books = RedisBooks(connection, settings.terms)
        presence = Presence(shared_books.probe, clock, settings.standby)
        late = SqlLateSettlements(database, clock)
        books = Standby(shared_books, late, presence, clock, settings.terms)
        outbox = RedisOutbox(connection, shared_books.grown)
        tenants = SqlTenants(database)
        remembered: Memory[TenantLimits | None] = Memory(KIND, tenants.find, settings.remembered)
        rules = SqlRules(database)
        shared: Memory[Rules] = Memory(RULES_KIND, rules.of_organisation, settings.remembered)
        pool_store = store_sql_pools.SqlPools(database)
        remembered_pools: Memory[tuple[PoolSettings, int]] = Memory(
            store_sql_pools.KIND, pool_store.find, settings.remembered_pools
        )
        poller = Poller(database, [remembered, shared, remembered_pools])
        in_force = InForce(remembered.get, shared.get, clock)
        limits = QuotaLimits(tenants, books, in_force, remembered.get, shared.get, remembered.drop)
        rule_setting = RuleSetting(rules, tenants, limits, remembered.drop, shared.drop)
        tenant_lifecycle = TenantLifecycle(tenants, books, remembered.drop)
        upkeep = Upkeep(books, outbox, clock)
        refusals = RefusalCounts(RedisRefusals(connection), presence, remembered.get, clock)
        reservations = Reservations(books, in_force, secret, refusals.count)
        queues = StandbyQueues(RedisQueues(connection, settings.queue_terms), presence, clock, settings.queue_terms)
        pools = Pools(pool_store, remembered_pools.get, remembered_pools.drop, queues.pools)
        slots = Slots(queues, remembered.get, pools.settings, clock, secret, settings.queue_terms, refusals.count)
        watching = Watching(queues, remembered.get, pools.settings, clock)
        settlements = SettlementService(Settlements(outbox, clock, BUCKETS))
        counters = StandbyCalls(RedisCallCounters(connection), presence, clock)
        calls = Calls(CountedAhead(counters, clock), remembered.get, refusals.count)
        telemetry.meter.create_observable_gauge(
            "tenantry.quota.books_away",
            [lambda _: [Observation(int(presence.away))]],
            description="1 while this replica goes on without the books",
        )
        yield Room(
            "quota",
            [
                (add_ReservationServiceServicer_to_server, ReservationService(reservations)),
                (
                    add_FairQueueServiceServicer_to_server,
                    FairQueueService(slots, reservations, pools, watching),
                ),
                (add_LimitServiceServicer_to_server, LimitService(limits, rule_setting, refusals)),
                (add_SettlementServiceServicer_to_server, settlements),
                (add_CallServiceServicer_to_server, CallService(calls)),
                (add_RateLimitServiceServicer_to_server, RateLimitService(calls)),
                (
                    lifecycle.add_to_server,
                    lifecycle.LifecycleService(tenant_lifecycle.provision, tenant_lifecycle.deprovision),
                ),
            ],
            [
                poller.run,
                upkeep.announce,
                upkeep.sweep,
                presence.watch,
                refusals.add_up,
                books.enter,
                slots.sweep,
                audit_outbox.Sender(database, deliver_by(mesh), clock).run,
            ],
            leaving=slots.abandon,
            parts={"books": lambda: not presence.away},
        )
    finally:
        if slots is not None:
            await slots.close()
        await connection.close()
        await database.close()
