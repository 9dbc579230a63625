"""Hosts one or several rooms in a process: builds them in order, opens them to each other and to the mesh, drains them.

build rooms -> listen -> background work -> serving -> drain -> send what telemetry has queued -> close rooms
"""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace.export import SpanExporter

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import identity_service_pb2_grpc as identity_grpc
from tenantry.kit import call, telemetry
from tenantry.kit.assertion import Keyring, LoadKeys, TokenAuthenticator
from tenantry.kit.audit_mesh import deliver_by
from tenantry.kit.audit_refusals import Refusals
from tenantry.kit.certificate import CertificateFiles
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.edge import Edge
from tenantry.kit.errors import TenantryError
from tenantry.kit.guard import Limits
from tenantry.kit.revocation_feed import RevocationFeed
from tenantry.kit.revocations import Revocations
from tenantry.kit.server import Listener, OpenRoom, Registry, Room, open_room, until_stopped
from tenantry.kit.settings import MeshSettings, mesh_settings
from tenantry.kit.token_file import TokenFile

log = logging.getLogger(__name__)

Build = Callable[[Any, Mesh], AbstractAsyncContextManager[Room]]
Work = Callable[[], Awaitable[None]]
_AGAIN_S = 1.0
_HEARD_WITHIN_S = 1.0
_METRICS_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Hosted:
    """A service that this process shall host: its name, its `build` and what its settings are."""

    name: str
    build: Build
    settings: Any


@dataclass(frozen=True, slots=True)
class Host:
    """A running host: where it listens, and its rooms. `edge` is the address for clients, empty without the gateway."""

    mesh: str
    edge: str
    registry: Registry


def main(name: str, settings: Callable[[], Any], build: Build) -> None:
    """Runs one service until a signal: `python -m tenantry.<name>`."""
    try:
        hosted, own = [Hosted(name, build, settings())], mesh_settings(name)
    except TenantryError as error:
        sys.exit(f"tenantry: {error.message}")
    run(hosted, own)


def run(hosted: Sequence[Hosted], settings: MeshSettings) -> None:
    """Runs a process of the mesh until a signal. A fault at start ends it with one sentence and status 1."""
    telemetry.log_json(settings.log_level)
    try:
        uvloop.run(_until_signal(hosted, settings))
    except TenantryError as error:
        sys.exit(f"tenantry: {error.message}")
    except OSError as error:
        sys.exit(f"tenantry: cannot start: {error.strerror or type(error).__name__}")
    except RuntimeError as error:
        said, _, _ = str(error).partition(";")
        if not said.startswith("Failed to bind"):  # grpc's word for an address that is taken or not ours
            raise
        sys.exit(f"tenantry: cannot start: {said}")


async def _until_signal(hosted: Sequence[Hosted], settings: MeshSettings) -> None:
    # Listening for signals from the start: one that comes early ends the process as it ends it later.
    stopped = asyncio.create_task(until_stopped())
    async with hosting(hosted, settings):
        spare_the_collector()
        await stopped


def spare_the_collector() -> None:
    """What is there at start stays: looking through it again and again is a twentieth of a request's time, and a pause of
    a tenth of a second now and then. Cycles of requests are still collected, in larger portions."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextlib.asynccontextmanager
async def hosting(
    hosted: Sequence[Hosted],
    settings: MeshSettings,
    *,
    exporters: Sequence[SpanExporter] = (),
    signing_keys: LoadKeys | None = None,
    revocations: Revocations | None = None,
) -> AsyncGenerator[Host]:
    """Serves the rooms while the block runs.

    Without `signing_keys` they are the hosted tenancy's own, or asked of tenancy over the mesh. Without `revocations` they are
    heard from tenancy; until then health says NOT_SERVING.
    """
    clock = SystemClock()
    registry = Registry(one.name for one in hosted)
    async with AsyncExitStack() as stack:
        meshes = {one.name: await _mesh(stack, one.name, settings, registry, clock) for one in hosted}
        _record(settings, meshes[hosted[0].name][0], exporters)
        refusals = {name: Refusals(deliver_by(mesh), clock) for name, (mesh, _) in meshes.items()}
        rooms, heard = await _build(stack, hosted, meshes, settings, clock, signing_keys, revocations, refusals)
        certificates = [mesh.certificate for mesh, _ in meshes.values() if mesh.certificate is not None]
        listener = Listener(rooms, settings.listen, shared_port=settings.shared_port, certificates=certificates)
        for room in rooms:
            registry.add(room)
        await listener.start()
        stack.push_async_callback(listener.drain, settings.drain_s)
        # What clients' last calls left is sent while insight, perhaps hosted here, still takes calls.
        stack.push_async_callback(asyncio.to_thread, telemetry.flush)
        for gathered in refusals.values():
            stack.push_async_callback(gathered.close)
        ready = asyncio.create_task(_serving(listener, heard))
        stack.push_async_callback(_end, [ready])
        # Calls that come before the first word of tenancy are refused, so whoever can wait a little does.
        await asyncio.wait((ready,), timeout=_HEARD_WITHIN_S)
        edge = None
        if "gateway" in meshes and settings.edge_listen:
            edge = Edge(meshes["gateway"][0], settings, refusals["gateway"].note)
            await edge.start()
            stack.push_async_callback(edge.drain, settings.drain_s)
        edge_address = _at(settings.edge_listen, edge.port) if edge else ""
        host = Host(_at(settings.listen, listener.port), edge_address, registry)
        log.info("serving %s at %s %s", ", ".join(meshes), host.mesh, host.edge)
        yield host


async def _serving(listener: Listener, revocations: Revocations) -> None:
    """Health says SERVING once it is known who was revoked."""
    await revocations.known.wait()
    await listener.serving()


async def _mesh(
    stack: AsyncExitStack, name: str, settings: MeshSettings, registry: Registry, clock: Clock
) -> tuple[Mesh, Work]:
    """The channels of a service, and what keeps that fresh which says who it is: a certificate, or a token."""
    if settings.tls is not None:
        files = CertificateFiles(settings.tls, name, clock)
        mesh = Mesh(name, settings, registry, lambda: "", clock, certificate=files.current)
        fresh = files.keep_fresh
    else:
        token = TokenFile(settings.tokens / f"{name}.token", clock)
        mesh = Mesh(name, settings, registry, token.current, clock)
        fresh = _renewing(mesh, token)
    stack.push_async_callback(mesh.close)
    return mesh, fresh


def _record(settings: MeshSettings, mesh: Mesh, more: Sequence[SpanExporter]) -> None:
    loop = asyncio.get_running_loop()
    exporters: list[SpanExporter] = [telemetry.MeshExporter(TraceServiceStub(mesh.channel("insight")), loop), *more]
    readers: list[MetricReader] = []
    # Some megabytes to import, so only where a collector is configured.
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporters.append(OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True))
    if settings.otlp_metrics_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        exporter = OTLPMetricExporter(endpoint=settings.otlp_metrics_endpoint, insecure=True)
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=_METRICS_EVERY_MS))
    telemetry.start(settings.trace_ratio, exporters, readers)


async def _build(
    stack: AsyncExitStack,
    hosted: Sequence[Hosted],
    meshes: Mapping[str, tuple[Mesh, Work]],
    settings: MeshSettings,
    clock: Clock,
    signing_keys: LoadKeys | None,
    revocations: Revocations | None,
    refusals: Mapping[str, Refusals],
) -> tuple[list[OpenRoom], Revocations]:
    built = [await stack.enter_async_context(one.build(one.settings, meshes[one.name][0])) for one in hosted]
    # Spans are sent while insight, perhaps hosted here, is still open: this runs before the rooms close.
    stack.push_async_callback(asyncio.to_thread, telemetry.stop)
    local = signing_keys or next((room.signing_keys for room in built if room.signing_keys is not None), None)
    keyring = Keyring(local or _fetch_keys(meshes[hosted[0].name][0]), clock)
    authenticator = TokenAuthenticator(keyring, clock)
    limits = Limits(settings.max_message_bytes, settings.max_concurrent_calls, settings.max_tenant_calls)
    heard = Revocations(clock) if revocations is None else revocations
    rooms = [open_room(room, authenticator, limits, heard, refusals[room.name].note) for room in built]
    work = [(room.name, task) for room in built for task in room.background]
    work += [(name, fresh) for name, (_, fresh) in meshes.items()]
    work += [(name, gathered.run) for name, gathered in refusals.items()]
    if revocations is None:
        first = hosted[0].name
        feed = RevocationFeed(meshes[first][0].channel("tenancy"), heard, clock)
        work += [(first, feed.run), (first, heard.watch_age)]
    tasks = [asyncio.create_task(_supervised(name, task, clock)) for name, task in work]
    stack.push_async_callback(_end, tasks)
    return rooms, heard


def _fetch_keys(mesh: Mesh) -> LoadKeys:
    stub = identity_grpc.IdentityServiceStub(mesh.channel("tenancy"))

    async def fetch() -> Mapping[str, bytes]:
        answer = await stub.ListSigningKeys(identity_pb.ListSigningKeysRequest())
        return {key.key_id: key.public_key for key in answer.keys}

    # In a context of its own: the keys are everybody's, and no part of the request that happens to need them first.
    return lambda: asyncio.create_task(fetch(), context=Context())


def _renewing(mesh: Mesh, token: TokenFile) -> Work:
    stub = identity_grpc.IdentityServiceStub(mesh.channel("tenancy"))

    async def renew() -> str:
        return (await stub.RenewServiceToken(identity_pb.RenewServiceTokenRequest())).token

    return lambda: token.keep_fresh(renew)


async def _supervised(room: str, work: Work, clock: Clock) -> None:
    """Runs background work for ever: what fails is logged and begun again."""
    with call.entered(call.Call(service=room)):
        while True:
            try:
                await work()
                return
            except Exception as error:
                log.exception("background work failed and begins again", extra={"error_type": type(error).__name__})
            await clock.sleep(_AGAIN_S)


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _at(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
