"""Wires insight: its database, the reader of the outbox, the intake of spans, its services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from tenantry.api.insight.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server
from tenantry.api.insight.v1.usage_service_pb2_grpc import add_UsageServiceServicer_to_server
from tenantry.insight.intake import Intake
from tenantry.insight.outbox_mesh import MeshOutbox
from tenantry.insight.reading import Reader
from tenantry.insight.service.export import ExportService
from tenantry.insight.service.traces import TraceService
from tenantry.insight.service.usage import UsageService
from tenantry.insight.settings import Settings
from tenantry.insight.store_sql.chain import SqlChain
from tenantry.insight.store_sql.jobs import SqlJobs
from tenantry.insight.store_sql.ledger import SqlLedger
from tenantry.insight.store_sql.traces import SqlTraces
from tenantry.insight.traces import TraceReading
from tenantry.insight.usage import UsageReading
from tenantry.kit import lifecycle
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.ids import new_id
from tenantry.kit.server import Room
from tenantry.kit.sql import Database, migrate

# The library's stubs are not typed.
_ADD_EXPORT_TO_SERVER = cast(Any, otlp_grpc).add_TraceServiceServicer_to_server


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    database = Database(settings.sql_url, "insight")
    clock = SystemClock()
    holder = new_id("insight")
    try:
        await migrate(database, "tenantry.insight.migrations")
        jobs = SqlJobs(database, holder)
        ledger = SqlLedger(database, holder)
        traces = SqlTraces(database, clock, settings.bounds.spans_in_trace)
        reader = Reader(MeshOutbox(mesh.channel("quota")), ledger, jobs, clock)
        intake = Intake(traces, jobs, clock, settings.bounds)
        reading = TraceReading(traces)
        yield Room(
            "insight",
            [
                (
                    add_UsageServiceServicer_to_server,
                    UsageService(UsageReading(ledger, clock), ledger, SqlChain(database)),
                ),
                (add_TraceServiceServicer_to_server, TraceService(reading)),
                (_ADD_EXPORT_TO_SERVER, ExportService(intake)),
                (lifecycle.add_to_server, lifecycle.LifecycleService(reading.provision, reading.deprovision)),
            ],
            [reader.run, intake.write, intake.sweep],
        )
        await intake.close()
    finally:
        await database.close()
