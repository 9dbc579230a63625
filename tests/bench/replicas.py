"""Replicas of quota as an operator starts them, each a process of its own, on one Valkey and one database; and calls that want
places in a pool, made as models makes them.

`python -m tests.bench.replicas BOOKS STATE NAME`: prints its address and its key as one line of JSON, and serves until its
standard input ends.
"""

import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2 as reservation_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.kit import call, telemetry
from tenantry.kit.host import Host, Hosted, spare_the_collector
from tenantry.kit.server import Registry
from tenantry.quota import server
from tenantry.quota.settings import Settings
from tests.bench.children import child
from tests.bench.load import Sampling, client, ready
from tests.harness import stores
from tests.harness.room import Served, caller_of, served, service_token

ACQUIRE = "/tenantry.api.quota.v1.FairQueueService/AcquireSlot"
OPERATOR = caller_of("", "", scopes={"limits.write"})
_TIMEOUT_S = 600.0
# A herd waits in as many streams: quota's TENANTRY_MAX_CONCURRENT_CALLS, whose usual value is 4,096, is to be as large.
MOST_CALLS = 16_384
# Streams of one connection take turns at its socket.
_CONNECTIONS, _OPENING = 4, 100
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


@dataclass(frozen=True, slots=True)
class Place:
    """A stream that was granted a place."""

    stream: Any

    async def progress(self, output_tokens: int) -> None:
        """So much was written until now."""
        progress = pb.SlotProgress(output_tokens=output_tokens)
        await self.stream.write(pb.AcquireSlotRequest(progress=progress))

    async def end(self, output_tokens: int) -> float:
        """Give it back, and wait until that is heard; when the word was sent, on the performance counter."""
        end = pb.SlotEnd(outcome=pb.SLOT_OUTCOME_OK, output_tokens=output_tokens)
        sent = time.perf_counter()
        await self.stream.write(pb.AcquireSlotRequest(end=end))
        await self.stream.done_writing()
        while isinstance(await self.stream.read(), pb.AcquireSlotResponse):
            pass
        return sent


@dataclass(frozen=True, slots=True)
class Replica:
    """A running replica, connections to it, and what a call of models carries: one token for all, and a trace, of which one in a
    hundred is recorded."""

    pid: int
    room: Served
    channels: Sequence[aio.Channel]
    metadata: tuple[tuple[str, str], ...]
    sampling: Sampling
    # A herd comes as fast as its process can send, and reads its grants meanwhile, as callers on machines of their own do.
    opening: asyncio.Semaphore

    async def wait(self, begin: pb.SlotBegin, turn: int = 0, queued: asyncio.Event | None = None) -> Place:
        """Returns when the place is granted; raises `aio.AioRpcError` when it is refused. `queued` is set at the first word."""
        async with self.opening:
            stream: Any = self.channels[turn % len(self.channels)].stream_stream(
                ACQUIRE, pb.AcquireSlotRequest.SerializeToString, pb.AcquireSlotResponse.FromString
            )(metadata=(*self.metadata, self.sampling.next()), timeout=_TIMEOUT_S)
            await stream.write(pb.AcquireSlotRequest(begin=begin))
        while True:
            answer = await stream.read()
            if not isinstance(answer, pb.AcquireSlotResponse):
                await stream.code()
                raise RuntimeError(f"the stream ended without a grant: {await stream.details()}")
            if queued is not None:
                queued.set()
            if answer.HasField("granted"):
                return Place(stream)


@dataclass(frozen=True, slots=True)
class Replicas:
    """All of them."""

    running: Sequence[Replica]

    async def onboard(self, weight: int = 0) -> reservation_pb.Receipt:
        """A tenant with limits that nothing here reaches, in an organisation of its own: a receipt of it."""
        name, room = f"bench-{secrets.token_hex(4)}", self.running[0].room
        caller = caller_of(name, f"{name}-org")
        request = ProvisionTenantRequest(tenant=name, organisation=caller.organisation, tier="enterprise")
        await LifecycleServiceStub(room.channel(service="tenancy")).ProvisionTenant(request)
        wide = limit_pb.QuotaLimits(concurrent_requests=100_000)
        update = limit_pb.UpdateQuotaLimitsRequest(tenant=name, overrides=wide, queue_weight=weight)
        with room.calling(OPERATOR):
            await LimitServiceStub(room.channel()).UpdateQuotaLimits(update)
        reserve = reservation_pb.ReserveQuotaRequest(nonce=secrets.token_hex(16), model="m", input_tokens=1)
        with room.calling(caller):
            answer = await ReservationServiceStub(room.channel(service="gateway")).ReserveQuota(reserve)
        return answer.receipt

    async def set_pool(self, **fields: Any) -> str:
        """A new pool of this shape: its name."""
        name = f"bench:{secrets.token_hex(4)}"
        made: Any = pb.Pool  # its fields come by name
        usual = {"kind": pb.POOL_KIND_SEATS, "input_weight": 1, "output_weight": 2, "most_waiting": 100_000}
        with self.running[0].room.calling(OPERATOR):
            stub = FairQueueServiceStub(self.running[0].room.channel())
            await stub.UpdatePool(pb.UpdatePoolRequest(pool=made(**usual | {"name": name} | fields)))
        return name


def begin(receipt: reservation_pb.Receipt, pool: str, read: int, most: int, within_s: int = 0) -> pb.SlotBegin:
    """What a call wants; `within_s` 0: it has time."""
    within = Duration(seconds=within_s) if within_s else None
    return pb.SlotBegin(receipt=receipt, pool=pool, input_tokens=read, max_output_tokens=most, begin_within=within)


@asynccontextmanager
async def replicas(number: int) -> AsyncIterator[Replicas]:
    """So many replicas while the block runs."""
    async with AsyncExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory())
        books = stack.enter_context(stores.running(stores.BOOKS))
        running: list[Replica] = []
        for name in map(str, range(number)):
            log = Path(state) / f"{name}.log"
            pid, said = stack.enter_context(child("tests.bench.replicas", books.url, state, name, log=log))
            key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(said["key"]))
            room = Served(Host(said["address"], "", Registry()), key, "network", ["quota"])
            stack.push_async_callback(room.close)
            channels = [client(said["address"], _OWN_CONNECTION) for _ in range(_CONNECTIONS)]
            for channel in channels:
                stack.push_async_callback(channel.close)
                await ready(channel)
            metadata = ((call.SERVICE, service_token(key, "models")), (call.REQUEST_ID, "req_1"))
            running.append(Replica(pid, room, channels, metadata, Sampling(0.01), asyncio.Semaphore(_OPENING)))
        yield Replicas(running)


async def _serve(books: str, state: Path, name: str) -> None:
    settings = Settings(books, f"sqlite:///{state}/quota.db", state / "quota.key")
    hosted = Hosted("quota", server.build, settings)
    async with served(hosted, state=state / name, kind="network", max_concurrent_calls=MOST_CALLS) as room:
        spare_the_collector()
        print(json.dumps({"address": room.host.mesh, "key": room.key.private_bytes_raw().hex()}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main(books: str, state: str, name: str) -> None:
    telemetry.log_json("WARNING")
    uvloop.run(_serve(books, Path(state), name))


if __name__ == "__main__":
    main(*sys.argv[1:])
