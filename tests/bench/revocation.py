"""From the acknowledgement of a revocation to the last of eight services that refuses, and to the end of a running stream.

In each round a key of its own is shown to every service at its own address, again and again, while an answer streams to it
through the edge; then the key is revoked, or its tenant suspended. tenancy has two replicas, of which the services hear one:
what that one did it tells at once, what the other did it finds with its next poll.
"""

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio

from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit import call
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tests.bench.asking import SDK_MODEL, asked_mesh
from tests.bench.load import client, median, ready
from tests.bench.report import FULL, Report
from tests.harness.mesh import RunningMesh
from tests.harness.ports import free_port
from tests.harness.provider import Reply, provider

P50_S, WORST_S = 1.0, 5.0
ROUNDS = 200 if FULL else 20
_AGAIN_S = 0.02
_GIVEN_UP_S = 20.0
_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.FAILED_PRECONDITION)
_API = "/tenantry.api."
# An RPC of each service that a tenant's admin may call; an empty request is enough to be let in.
RPCS = {
    "tenancy": f"{_API}tenancy.v1.KeyService/ListApiKeys",
    "quota": f"{_API}quota.v1.LimitService/GetQuotaUsage",
    "retrieval": f"{_API}retrieval.v1.DocumentService/ListDocuments",
    "cache": f"{_API}cache.v1.CacheService/GetCacheStats",
    "prompts": f"{_API}prompts.v1.PromptService/ListPrompts",
    "models": f"{_API}models.v1.ModelService/ListModels",
    "insight": f"{_API}insight.v1.UsageService/GetUsage",
    "gateway": f"{_API}gateway.v1.GatewayService/GenerateContent",
}
Pairs = tuple[tuple[str, str], ...]


@dataclass
class Times:
    """Seconds, a value a round: until the last service refused, and until the stream ended."""

    services: list[float] = field(default_factory=list[float])
    stream: list[float] = field(default_factory=list[float])


class Town:
    """The mesh's channels, and an operator who acts at either replica of tenancy."""

    def __init__(self, mesh: RunningMesh, other: str) -> None:
        self._token = (mesh.state / "tokens" / "gateway.token").read_text().strip()
        self._operator = mesh.operator_key
        self.services = {name: client(mesh.addresses[name]) for name in RPCS}
        self.edge = client(mesh.edge)
        self.replicas = {"the same replica": self.services["tenancy"], "another replica": client(other)}

    async def proof(self, key: str) -> Pairs:
        """A key's assertion."""
        request = identity_pb.AuthenticateCallerRequest(credential=key)
        metadata = ((call.SERVICE, self._token),)
        answer: Any = await IdentityServiceStub(self.services["tenancy"]).AuthenticateCaller(request, metadata=metadata)
        return ((call.ASSERTION, answer.assertion),)

    async def act(self, replica: str, stub: Any, method: str, request: Any) -> Any:
        """What the operator asks of a replica."""
        proof = await self.proof(self._operator)
        return await getattr(stub(self.replicas[replica]), method)(request, metadata=proof, timeout=30)

    async def close(self) -> None:
        for channel in (*self.services.values(), self.edge, self.replicas["another replica"]):
            await channel.close()


class Asker:
    """Asks one service again and again; `refused_at` is when the first refusal came, after which all must be."""

    def __init__(self, channel: aio.Channel, path: str, proof: Pairs) -> None:
        self._call: Any = channel.unary_unary(path)
        self._proof = proof
        self.let_in = asyncio.Event()

    async def refused_at(self) -> float:
        while not await self._is_refused():
            self.let_in.set()
            await asyncio.sleep(_AGAIN_S)
        refused_at = time.monotonic()
        for _ in range(3):
            assert await self._is_refused(), "served after it was refused"
        return refused_at

    async def _is_refused(self) -> bool:
        try:
            await self._call(b"", metadata=self._proof, timeout=10)
        except aio.AioRpcError as error:
            return error.code() in _REFUSED
        return False


async def _listen(town: Town, key: str, begun: asyncio.Event) -> float:
    """Reads an endless answer; when it ended."""
    query = gateway_pb.GenerationQuery(question="Go on.", model=SDK_MODEL, passages=-1, cache=gateway_pb.CACHE_USE_OFF)
    request = gateway_pb.StreamGenerateContentRequest(query=query)
    stream = GatewayServiceStub(town.edge).StreamGenerateContent(
        request, metadata=(("authorization", f"Bearer {key}"),)
    )
    try:
        async for piece in stream:
            if piece.text_delta:
                begun.set()
    except aio.AioRpcError as error:
        assert error.code() in _REFUSED, error
    return time.monotonic()


async def _round(town: Town, tenant: str, replica: str, suspends: bool) -> tuple[float, float]:
    scopes = sorted(ROLES[TENANT_ADMIN])
    made = await town.act(
        replica, KeyServiceStub, "CreateApiKey", key_pb.CreateApiKeyRequest(tenant=tenant, scopes=scopes)
    )
    proof = await town.proof(made.secret)
    begun = asyncio.Event()
    stream = asyncio.create_task(_listen(town, made.secret, begun))
    askers = [Asker(town.services[name], path, proof) for name, path in RPCS.items()]
    asked = [asyncio.create_task(asker.refused_at()) for asker in askers]
    async with asyncio.timeout(_GIVEN_UP_S):
        await asyncio.gather(begun.wait(), *(asker.let_in.wait() for asker in askers))
        if suspends:
            suspend = tenant_pb.SuspendTenantRequest(tenant=tenant)
            await town.act(replica, TenantServiceStub, "SuspendTenant", suspend)
        else:
            revoke = key_pb.RevokeApiKeyRequest(tenant=tenant, key_id=made.key.key_id)
            await town.act(replica, KeyServiceStub, "RevokeApiKey", revoke)
        acknowledged_at = time.monotonic()
        ended_at, *refused_at = await asyncio.gather(stream, *asked)
    if suspends:
        await town.act(replica, TenantServiceStub, "ResumeTenant", tenant_pb.ResumeTenantRequest(tenant=tenant))
        await _served_again(town, tenant)
    # Who is refused before the acknowledgement arrives was not kept waiting.
    return max(0.0, max(refused_at) - acknowledged_at), max(0.0, ended_at - acknowledged_at)


async def _served_again(town: Town, tenant: str) -> None:
    """The replica that the services ask has seen the resumption."""
    request = key_pb.CreateApiKeyRequest(tenant=tenant, scopes=["generate"])
    made = await town.act("the same replica", KeyServiceStub, "CreateApiKey", request)
    async with asyncio.timeout(_GIVEN_UP_S):
        while True:
            try:
                await town.proof(made.secret)
                return
            except aio.AioRpcError:
                await asyncio.sleep(_AGAIN_S)


def _second_replica(mesh: RunningMesh) -> str:
    """Its address. It is stopped with the others."""
    address = f"127.0.0.1:{free_port()}"
    mesh.processes["tenancy again"] = subprocess.Popen(
        [sys.executable, "-m", "tenantry.tenancy"],
        env=mesh.environment | {"TENANTRY_LISTEN": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return address


@asynccontextmanager
async def _town(mesh: RunningMesh) -> AsyncIterator[Town]:
    town = Town(mesh, _second_replica(mesh))
    try:
        await ready(town.replicas["another replica"])
        yield town
    finally:
        await town.close()


async def measure(state: Path, rounds: int) -> dict[tuple[str, str], Times]:
    """Takes turns between keys and tenants, and between the replicas."""
    times: dict[tuple[str, str], Times] = defaultdict(Times)
    kinds = itertools.cycle(
        itertools.product(("key revoked", "tenant suspended"), ("the same replica", "another replica"))
    )
    async with provider() as fake:
        fake.reply, fake.keep = Reply("word " * 2400, token_s=0.05), False
        with asked_mesh("processes", state, 0.01, f"http://127.0.0.1:{fake.port}") as (mesh, _):
            async with _town(mesh) as town:
                for _, (kind, replica) in zip(range(rounds), kinds, strict=False):
                    services, stream = await _round(town, "acme", replica, kind == "tenant suspended")
                    times[kind, replica].services.append(services)
                    times[kind, replica].stream.append(stream)
    return times


def run(*, rounds: int = ROUNDS) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("what", "told by", "rounds", "every service p50", "worst", "stream's end p50", "worst"))
    with tempfile.TemporaryDirectory() as directory:
        times = uvloop.run(measure(Path(directory) / "state", rounds))
    for (kind, replica), one in times.items():
        cells = [
            f"{figure * 1000:.0f} ms" for side in (one.services, one.stream) for figure in (median(side), max(side))
        ]
        report.row(kind, replica, str(len(one.services)), *cells)
    services = [value for one in times.values() for value in one.services]
    streams = [value for one in times.values() for value in one.stream]
    for name, values in (("services", services), ("stream", streams)):
        report.figure(f"{name}_p50_s", median(values))
        report.figure(f"{name}_worst_s", max(values))
        report.goal(f"{name}: p50 ≤ {P50_S:g} s", median(values) <= P50_S)
        report.goal(f"{name}: worst ≤ {WORST_S:g} s", max(values) <= WORST_S)
    return report
