"""A served quota with two tenants of its own, and what tests do with it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.sdk.trace.export import SpanExporter

from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import DeprovisionTenantRequest, ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.api.quota.v1.settlement_service_pb2_grpc import SettlementServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.host import Hosted
from tenantry.quota import server
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.settings import Settings
from tests.harness.room import Kind, Served, caller_of, served

_ALONE = StandbyTerms()


@dataclass(frozen=True, slots=True)
class Quota:
    """A served quota with the tenants `acme` and `globex`, whose ids are this test's own."""

    room: Served
    acme: Caller
    globex: Caller

    @property
    def reservations(self) -> ReservationServiceStub:
        return ReservationServiceStub(self.room.channel(service="gateway"))

    @property
    def limits(self) -> LimitServiceStub:
        return LimitServiceStub(self.room.channel())

    @property
    def settlements(self) -> SettlementServiceStub:
        return SettlementServiceStub(self.room.channel(service="insight"))

    @property
    def lifecycle(self) -> LifecycleServiceStub:
        return LifecycleServiceStub(self.room.channel(service="tenancy"))

    async def reserve(self, caller: Caller, nonce: str = "", tokens: int = 100) -> pb.Receipt:
        """A hold of the caller's tenant."""
        request = pb.ReserveQuotaRequest(
            nonce=nonce or f"nonce-{secrets.token_hex(8)}",
            model="gpt",
            end_user="ann",
            input_tokens=tokens,
            request_id="req_1",
        )
        with self.room.calling(caller):
            return (await self.reservations.ReserveQuota(request)).receipt

    async def commit(self, receipt: pb.Receipt, tokens: int = 40) -> bool:
        """Settle without any caller, as the gateway may."""
        usage = Usage(output_tokens=tokens, model="gpt", outcome=OUTCOME_OK, request_id="req_1", cost_micros=7)
        answer = await self.reservations.CommitReservation(pb.CommitReservationRequest(receipt=receipt, usage=usage))
        return answer.settled_now

    async def usage(self, caller: Caller) -> limit_pb.GetQuotaUsageResponse:
        """What is free for the caller's tenant."""
        with self.room.calling(caller):
            return await self.limits.GetQuotaUsage(limit_pb.GetQuotaUsageRequest())

    async def provision(self, caller: Caller) -> None:
        """Serve the caller's tenant."""
        request = ProvisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation, tier="pro")
        assert (await self.lifecycle.ProvisionTenant(request)).did == "set the limits of tier pro"

    async def deprovision(self, caller: Caller) -> None:
        """Serve the caller's tenant no more."""
        request = DeprovisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation)
        await self.lifecycle.DeprovisionTenant(request)

    async def override(self, tenant: str, version: int = 0, **overrides: int) -> None:
        """Give a tenant limits of its own, as an operator."""
        limits = limit_pb.QuotaLimits(**overrides)
        request = limit_pb.UpdateQuotaLimitsRequest(tenant=tenant, overrides=limits, version=version)
        with self.room.calling(caller_of("", "", scopes={"limits.write"})):
            await self.limits.UpdateQuotaLimits(request)


async def serve(
    books: str,
    state: Path,
    kind: Kind,
    exporters: tuple[SpanExporter, ...] = (),
    standby: StandbyTerms = _ALONE,
) -> AsyncIterator[Quota]:
    """Serve quota on these books and onboard two tenants."""
    # The books are shared by all tests.
    number = secrets.token_hex(4)
    settings = Settings(books, f"sqlite:///{state}/quota.db", state / "secrets" / "quota.key", standby=standby)
    async with served(Hosted("quota", server.build, settings), state=state, kind=kind, exporters=exporters) as room:
        callers = [
            caller_of(f"{name}-{number}", f"{name}-{number}-org", scopes={"limits.read"}) for name in ("acme", "globex")
        ]
        quota = Quota(room, *callers)
        for caller in callers:
            await quota.provision(caller)
        yield quota


async def replicas(stack: AsyncExitStack, books: str, state: Path, number: int = 2) -> list[Quota]:
    """So many replicas on the same books and the same database, until the stack ends."""
    standby = StandbyTerms(number)
    first = await stack.enter_async_context(asynccontextmanager(serve)(books, state, "network", standby=standby))
    settings = Settings(books, f"sqlite:///{state}/quota.db", state / "secrets" / "quota.key", standby=standby)
    others = [served(Hosted("quota", server.build, settings), state=state, kind="network") for _ in range(1, number)]
    rooms = [await stack.enter_async_context(other) for other in others]
    return [first, *(Quota(room, first.acme, first.globex) for room in rooms)]
