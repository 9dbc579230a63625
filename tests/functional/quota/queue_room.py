"""Replicas of quota on one Valkey and one database, and calls that want places in pools."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2 as reservation_pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.kit.caller import Caller
from tenantry.kit.host import Hosted
from tenantry.quota import server
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.settings import Settings
from tenantry.quota.slot import QueueTerms
from tests.harness.poll import until
from tests.harness.room import Kind, Served, caller_of, served

WITHIN_S = 10.0


@dataclass(slots=True)
class Place:
    """One stream of AcquireSlot."""

    stream: Any
    lease: pb.Lease | None = None
    waited: list[pb.SlotWaiting] = field(default_factory=list[pb.SlotWaiting])

    async def granted(self) -> pb.Lease:
        """Reads until the place is granted, or the lease renewed."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                answer = await self.stream.read()
                if not isinstance(answer, pb.AcquireSlotResponse):
                    await self.stream.code()
                    raise AssertionError("the stream ended without a grant")
                if answer.HasField("granted"):
                    self.lease = answer.granted
                    return answer.granted
                self.waited.append(answer.waiting)

    async def waits(self) -> pb.SlotWaiting:
        """Reads one message, which says that the call waits."""
        async with asyncio.timeout(WITHIN_S):
            answer = await self.stream.read()
        assert answer.HasField("waiting")
        return answer.waiting

    async def progress(self, output: int) -> None:
        await self.stream.write(pb.AcquireSlotRequest(progress=pb.SlotProgress(output_tokens=output)))

    async def end(self, outcome: Any = pb.SLOT_OUTCOME_OK, output: int = 10, retry_s: float = 0.0) -> None:
        """Says how the call ended, and waits until the stream has."""
        end = pb.SlotEnd(outcome=outcome, output_tokens=output)
        if retry_s:
            end.retry_after.FromNanoseconds(round(retry_s * 1e9))
        await self.stream.write(pb.AcquireSlotRequest(end=end))
        await self.stream.done_writing()
        async with asyncio.timeout(WITHIN_S):
            while isinstance(await self.stream.read(), pb.AcquireSlotResponse):
                pass


@dataclass(frozen=True, slots=True)
class Replicas:
    """Served replicas, with the tenants `acme` and `globex` whose ids are this test's own, and a pool of its own."""

    rooms: list[Served]
    settings: Settings
    acme: Caller
    globex: Caller
    pool: str

    def queue(self, replica: int = 0) -> FairQueueServiceStub:
        return FairQueueServiceStub(self.rooms[replica].channel("quota", service="models"))

    async def receipt(self, caller: Caller, replica: int = 0) -> reservation_pb.Receipt:
        """A hold of the caller's tenant."""
        request = reservation_pb.ReserveQuotaRequest(nonce=f"nonce-{secrets.token_hex(8)}", model="m", input_tokens=10)
        room = self.rooms[replica]
        with room.calling(caller):
            return (
                await ReservationServiceStub(room.channel("quota", service="gateway")).ReserveQuota(request)
            ).receipt

    async def acquire(
        self,
        caller: Caller,
        replica: int = 0,
        *,
        receipt: reservation_pb.Receipt | None = None,
        within_s: float | None = None,
        **fields: Any,
    ) -> Place:
        """A stream that asks for a place."""
        begin = pb.SlotBegin(
            receipt=receipt or await self.receipt(caller, replica),
            **{"pool": self.pool, "input_tokens": 10, "max_output_tokens": 10} | fields,
        )
        if within_s is not None:
            begin.begin_within.CopyFrom(Duration(nanos=round(within_s * 1e9) % 10**9, seconds=int(within_s)))
        return await self.begin(begin, replica)

    async def begin(self, begin: pb.SlotBegin, replica: int = 0) -> Place:
        stream = self.queue(replica).AcquireSlot()
        await stream.write(pb.AcquireSlotRequest(begin=begin))
        return Place(stream)

    async def set_pool(self, **fields: Any) -> pb.Pool:
        """Set the test's pool, as an operator."""
        made: Any = pb.Pool  # its fields come by name
        usual = {
            "kind": pb.POOL_KIND_SEATS,
            "input_weight": 1,
            "output_weight": 2,
            "most_waiting": 1_000,
        }
        request = pb.UpdatePoolRequest(pool=made(**usual | {"name": self.pool} | fields))
        with self.rooms[0].calling(caller_of("", "", scopes={"limits.write"})):
            answer = await FairQueueServiceStub(self.rooms[0].channel("quota")).UpdatePool(request)
        return answer.pool

    async def watch(self, caller: Caller, tenant: str = "", replica: int = 0) -> pb.WatchQueueResponse:
        """The pool at this moment, as the caller sees it."""
        with self.rooms[replica].calling(caller):
            stub = FairQueueServiceStub(self.rooms[replica].channel("quota"))
            stream: Any = stub.WatchQueue(pb.WatchQueueRequest(pool=self.pool, tenant=tenant))
            async with asyncio.timeout(WITHIN_S):
                answer = await stream.read()
            stream.cancel()
        if not isinstance(answer, pb.WatchQueueResponse):
            await stream
        return answer

    async def until_used(self, **expected: int) -> None:
        """Returns when the pool is used like this: a place is given back a moment after its stream has ended."""

        async def so() -> bool:
            use = (await self.watch(OPERATOR)).pool
            return {name: getattr(use, name) for name in expected} == expected

        await until(so, WITHIN_S, what=f"the pool's use {expected}")


OPERATOR = caller_of("", "", scopes={"limits.read", "limits.write"})


@asynccontextmanager
async def replicas(
    books: str,
    state: Path,
    number: int = 2,
    *,
    terms: QueueTerms | None = None,
    kind: Kind = "network",
    standby: StandbyTerms | None = None,
) -> AsyncGenerator[Replicas]:
    """So many replicas with one database, one key, and two tenants."""
    mark = secrets.token_hex(4)
    settings = Settings(
        books,
        f"sqlite:///{state}/quota.db",
        state / "quota.key",
        queue_terms=terms or QueueTerms(lease_us=3_000_000),
        standby=standby or StandbyTerms(),
    )
    async with AsyncExitStack() as stack:
        rooms = [
            await stack.enter_async_context(
                served(Hosted("quota", server.build, settings), state=state / str(place), kind=kind)
            )
            for place in range(number)
        ]
        callers = [
            caller_of(f"{name}-{mark}", f"{name}-{mark}-org", scopes={"limits.read"}) for name in ("acme", "globex")
        ]
        for caller in callers:
            request = ProvisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation, tier="pro")
            await LifecycleServiceStub(rooms[0].channel("quota", service="tenancy")).ProvisionTenant(request)
        yield Replicas(rooms, settings, callers[0], callers[1], f"provider: model {mark}")
