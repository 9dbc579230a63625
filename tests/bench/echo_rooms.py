"""The processes that `echo` calls: one service each with a tenant that has what its RPC needs, or a raw grpc.aio echo.

`python -m tests.bench.echo_rooms NAME STATE SPANS [tls]`: prints its address, the metadata of a gateway's call and a request
as one line of JSON, and serves until its standard input ends. `SPANS` is where spans go. With `tls` the room and its callers
show certificates of the folder `tls` in STATE.
"""

import asyncio
import base64
import json
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.kit import call, telemetry
from tenantry.kit.assertion import sign_assertion
from tenantry.kit.host import Hosted, hosting, spare_the_collector
from tenantry.kit.settings import MeshSettings
from tests.bench.children import ROOT
from tests.harness import stores
from tests.harness.protos import echo_pb2 as echo_pb
from tests.harness.revocations import nobody_revoked
from tests.harness.room import KEY_ID, Served, caller_of, service_token
from tests.harness.tls import Certificates

ECHO = "/tenantry.bench.Raw/Echo"
CALLER = caller_of("acme", scopes={"documents.write"}, tier="enterprise", life_s=3600.0)
Prepare = Callable[[Served], Awaitable[bytes]]


class _Spans(trace_service_pb2_grpc.TraceServiceServicer):
    async def Export(self, request: Any, context: Any) -> Any:
        return trace_service_pb2.ExportTraceServiceResponse()


async def _echo(request: Any, context: Any) -> Any:
    return echo_pb.EchoResponse(text=request.text)


@asynccontextmanager
async def raw_echo() -> AsyncIterator[str]:
    """What gRPC itself costs: the same runtime and loop, one small message each way, and nothing else."""
    handler = grpc.unary_unary_rpc_method_handler(
        _echo, echo_pb.EchoRequest.FromString, echo_pb.EchoResponse.SerializeToString
    )
    server = aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tenantry.bench.Raw", {"Echo": handler})])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Spans(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0.1)


def _prompts(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
    from tenantry.prompts import server
    from tenantry.prompts.settings import Settings

    async def prepare(room: Served) -> bytes:
        await _provision(room)
        return pb.RenderPromptRequest(variables={"question": "How long is the warranty?"}).SerializeToString()

    return Hosted("prompts", server.build, Settings(f"sqlite+aiosqlite:///{state}/prompts.db")), prepare


def _models(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.models.v1 import model_service_pb2 as pb
    from tenantry.models import server
    from tenantry.models.settings import Settings

    async def prepare(room: Served) -> bytes:
        await _provision(room)
        return pb.SelectModelRequest().SerializeToString()

    settings = Settings(f"sqlite+aiosqlite:///{state}/models.db", state / "models.key")
    return Hosted("models", server.build, settings), prepare


def _cache(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.cache.v1 import cache_service_pb2 as pb
    from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
    from tenantry.cache import server
    from tenantry.cache.settings import Settings

    async def prepare(room: Served) -> bytes:
        key = pb.CacheKey(question="How long is the warranty?", model="extractive", model_revision="1")
        stub = CacheServiceStub(room.channel(service="gateway"))
        with room.calling(CALLER):
            led = await stub.LookupEntry(pb.LookupEntryRequest(key=key))
            answer = pb.CachedAnswer(text="Six years. " * 20, model="extractive", finish_reason="stop")
            stored = pb.StoreEntryRequest(key=key, handle=led.handle, answer=answer, documents_epoch=1)
            await stub.StoreEntry(stored)
        return pb.LookupEntryRequest(key=key, documents_epoch=1).SerializeToString()

    valkey = stores.RedisServer(stores.CACHE)
    valkey.start()
    return Hosted("cache", server.build, Settings(valkey.url, state / "cache.key")), prepare


def _quota(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
    from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
    from tenantry.quota import server
    from tenantry.quota.limit_rules import MOST
    from tenantry.quota.settings import Settings

    async def prepare(room: Served) -> bytes:
        await _provision(room)
        limits = limit_pb.QuotaLimits(
            requests_per_minute=MOST.requests_per_minute,
            request_burst=MOST.request_burst,
            tokens_per_minute=MOST.tokens_per_minute,
            token_burst=MOST.token_burst,
            concurrent_requests=MOST.concurrent_requests,
        )
        with room.calling(caller_of("", "", scopes={"limits.write"})):
            request = limit_pb.UpdateQuotaLimitsRequest(tenant="acme", overrides=limits)
            await LimitServiceStub(room.channel()).UpdateQuotaLimits(request)
        return b""  # Every call has a nonce of its own: the caller makes the request.

    valkey = stores.RedisServer(stores.BOOKS)
    valkey.start()
    settings = Settings(valkey.url, f"sqlite+aiosqlite:///{state}/quota.db", state / "quota.key")
    return Hosted("quota", server.build, settings), prepare


def _tenancy(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.tenancy.v1 import identity_service_pb2 as pb
    from tenantry.tenancy import server
    from tenantry.tenancy.initialise import initialise
    from tenantry.tenancy.settings import Settings

    settings = Settings(
        f"sqlite+aiosqlite:///{state}/tenancy.db", state / "tenancy.key", state / "issued", state / "operator.key"
    )

    async def prepare(room: Served) -> bytes:
        return pb.AuthenticateCallerRequest(credential=settings.operator_key.read_text()).SerializeToString()

    asyncio.run(initialise(settings))
    return Hosted("tenancy", server.build, settings), prepare


def _retrieval(state: Path) -> tuple[Hosted, Prepare]:
    from tenantry.api.retrieval.v1 import document_service_pb2 as pb
    from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
    from tenantry.retrieval import server
    from tenantry.retrieval.settings import Settings

    async def prepare(room: Served) -> bytes:
        await _provision(room)
        documents = [
            pb.UpsertDocumentsRequest(document=path.name, text=path.read_bytes())
            for path in sorted((ROOT / "deploy/demo/acme").glob("*.md"))
        ]
        with room.calling(CALLER):
            sent = DocumentServiceStub(room.channel()).UpsertDocuments(iter(documents))
            outcomes = [one.outcome async for one in sent]
        assert outcomes and pb.UPSERT_OUTCOME_REFUSED not in outcomes, outcomes
        return pb.SearchPassagesRequest(query="How long is the warranty on a C5 controller?").SerializeToString()

    settings = Settings(state / "documents", f"sqlite+aiosqlite:///{state}/retrieval.db")
    return Hosted("retrieval", server.build, settings), prepare


ROOMS = {
    "prompts": _prompts,
    "models": _models,
    "cache": _cache,
    "quota": _quota,
    "tenancy": _tenancy,
    "retrieval": _retrieval,
}


async def _provision(room: Served) -> None:
    lifecycle = LifecycleServiceStub(room.channel(service="tenancy"))
    request = ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="enterprise")
    await lifecycle.ProvisionTenant(request)


def _gateway_metadata(room: Served, assertion: str, tls: bool) -> list[tuple[str, str]]:
    """What a call of the gateway carries, but for the trace."""
    carried = [(call.REQUEST_ID, f"req_{secrets.token_hex(13)}")]
    if not tls:
        carried.append((call.SERVICE, service_token(room.key, "gateway")))
    if assertion:
        carried += [(call.ASSERTION, assertion), (call.TENANT, CALLER.tenant)]
    return carried


async def _serve_room(name: str, hosted: Hosted, prepare: Prepare, state: Path, spans: str, tls: bool) -> None:
    key = Ed25519PrivateKey.generate()
    folder = Certificates(state / "tls", [name, "gateway", "tenancy"]).folder if tls else None
    # With certificates spans have nowhere to go: where they are taken there are none.
    settings = MeshSettings(
        "127.0.0.1:0", "", {} if tls else {"insight": spans}, tokens=state / "tokens", drain_s=1.0, tls=folder
    )
    settings.tokens.mkdir()
    (settings.tokens / f"{name}.token").write_text(service_token(key, name))

    async def keys() -> dict[str, bytes]:
        return {KEY_ID: key.public_key().public_bytes_raw()}

    async with hosting([hosted], settings, signing_keys=keys, revocations=nobody_revoked()) as host:
        room = Served(host, key, "inprocess" if tls else "network", [name])
        request = await prepare(room)
        assertion = "" if name == "tenancy" else sign_assertion(room.key, KEY_ID, CALLER, CALLER.expires_at - 3600)
        spare_the_collector()
        _say(room.host.mesh, _gateway_metadata(room, assertion, tls), request)
        await asyncio.to_thread(sys.stdin.read)
        await room.close()


async def _serve_raw() -> None:
    async with raw_echo() as address:
        spare_the_collector()
        _say(address, [], echo_pb.EchoRequest(text="How long is the warranty on a C5 controller?").SerializeToString())
        await asyncio.to_thread(sys.stdin.read)


def _say(address: str, metadata: list[tuple[str, str]], request: bytes) -> None:
    line = {"address": address, "metadata": metadata, "request": base64.b64encode(request).decode()}
    print(json.dumps(line), flush=True)


def main(name: str, state: str, spans: str, tls: str = "") -> None:
    telemetry.log_json("WARNING")
    if name == "raw":
        uvloop.run(_serve_raw())
        return
    hosted, prepare = ROOMS[name](Path(state))
    uvloop.run(_serve_room(name, hosted, prepare, Path(state), spans, bool(tls)))


if __name__ == "__main__":
    main(*sys.argv[1:])
