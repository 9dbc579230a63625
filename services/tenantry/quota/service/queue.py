"""FairQueueService: protobuf to use case and back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from tenantry.api.common.v1.paging_pb2 import PageResponse
from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1 import queue_service_pb2_grpc as queue_grpc
from tenantry.kit import call, caller, telemetry
from tenantry.kit.errors import DeadlineExceeded, InvalidArgument
from tenantry.kit.messages import time_message
from tenantry.kit.owner import Tenant
from tenantry.quota.leases import Lease
from tenantry.quota.pools import Pools
from tenantry.quota.reservations import Reservations
from tenantry.quota.service.reservations import receipt_of
from tenantry.quota.slot import Granted, How, Kind, PoolSettings, Row, Use, Waiting
from tenantry.quota.slot_room import Slot
from tenantry.quota.slots import LONGEST_WAIT_S, Slots, Wanted, check_output
from tenantry.quota.watching import Watching

Context = aio.ServicerContext[Any, Any]
# Long enough for a message of a herd on a busy machine: it is not the client alone that may be slow.
FIRST_WITHIN_S = 20.0
_NS = 1_000_000_000
_HOWS = {pb.SLOT_OUTCOME_OK: How.OK, pb.SLOT_OUTCOME_THROTTLED: How.THROTTLED}
_KINDS = {pb.POOL_KIND_SEATS: Kind.SEATS, pb.POOL_KIND_TOKENS: Kind.TOKENS, pb.POOL_KIND_UNSPECIFIED: Kind.SEATS}


class FairQueueService(queue_grpc.FairQueueServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, slots: Slots, reservations: Reservations, pools: Pools, watching: Watching) -> None:
        self._slots = slots
        self._reservations = reservations
        self._pools = pools
        self._watching = watching

    async def AcquireSlot(
        self, request_iterator: AsyncIterator[pb.AcquireSlotRequest], context: Context
    ) -> AsyncIterator[pb.AcquireSlotResponse]:
        begin = await _first(request_iterator)
        owner = self._prove(begin)
        reservation = begin.receipt.reservation
        slot = await self._enter(owner, begin)
        del begin  # while it waits a stream keeps no message: it may wait for long, and with many others
        reading = asyncio.ensure_future(_read(request_iterator, slot))
        ended = _Ended(None, How.FAILED, 0)
        try:
            while True:
                await asyncio.wait((reading, slot.changed()), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    ended = await reading
                    return
                state = slot.take()
                if state is not None:
                    yield self._state(owner, reservation, slot, state)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            slot.room.leave(slot, *ended.told)

    async def WatchQueue(self, request: pb.WatchQueueRequest, context: Context) -> AsyncIterator[pb.WatchQueueResponse]:
        watched = self._watching.watch(caller.current(), request.pool, request.tenant)
        async with aclosing(watched):
            async for use, rows in watched:
                shown = [_row(row) for row in rows]
                yield pb.WatchQueueResponse(rows=shown, pool=_use(use) if use is not None else None)

    async def ListPools(self, request: pb.ListPoolsRequest, context: Context) -> pb.ListPoolsResponse:
        pools, token = await self._pools.list(
            caller.current(), request.page.size, request.page.token, in_use=request.in_use
        )
        return pb.ListPoolsResponse(pools=[_pool(*pool) for pool in pools], page=PageResponse(next_token=token))

    async def UpdatePool(self, request: pb.UpdatePoolRequest, context: Context) -> pb.UpdatePoolResponse:
        given = request.pool
        if given.kind not in _KINDS:
            raise InvalidArgument("pool.kind", "is not one of the kinds")
        settings = PoolSettings(
            _KINDS[given.kind],
            given.capacity,
            given.input_weight,
            given.output_weight,
            given.most_waiting,
            given.adaptive,
        )
        version = await self._pools.update(caller.current(), given.name, settings, given.version)
        return pb.UpdatePoolResponse(pool=_pool(given.name, settings, version))

    def _prove(self, begin: pb.SlotBegin) -> Tenant:
        current = caller.current_or_none()
        receipt = receipt_of(begin.receipt)
        proven = self._reservations.prove(receipt, begin.receipt.mac, current.tenant if current else "")
        telemetry.set_tenant(proven.owner.id, "")
        return proven.owner

    async def _enter(self, owner: Tenant, begin: pb.SlotBegin) -> Slot:
        if begin.HasField("lease"):
            lease = begin.lease
            return await self._slots.go_on(
                owner, begin.receipt.reservation, _lease_of(lease), lease.mac, begin.output_tokens
            )
        wanted = Wanted(begin.pool, begin.input_tokens, begin.max_output_tokens, begin.priority, _within_s(begin))
        return await self._slots.begin(owner, wanted)

    def _state(self, owner: Tenant, reservation: str, slot: Slot, state: Waiting | Granted) -> pb.AcquireSlotResponse:
        if isinstance(state, Waiting):
            wait = _duration(state.wait_us) if state.wait_us else None
            return pb.AcquireSlotResponse(waiting=pb.SlotWaiting(place=state.place, expected_wait=wait))
        lease, mac = self._slots.lease(owner, reservation, slot, state)
        return pb.AcquireSlotResponse(
            granted=pb.Lease(
                pool=lease.pool,
                ticket=lease.ticket,
                epoch=lease.epoch,
                expire_time=time_message(lease.ends_us * 1000),
                input_tokens=lease.input_tokens,
                max_output_tokens=lease.max_output_tokens,
                priority=lease.priority,
                mac=mac,
                life=_duration(self._slots.lease_us),
            )
        )


class _Ended:
    """How a call ended, as `SlotRoom.leave` takes it: output tokens if they were told, how, microseconds of Retry-After."""

    def __init__(self, output_tokens: int | None, how: How, retry_us: int) -> None:
        self.told = (output_tokens, how, retry_us)


async def _first(requests: AsyncIterator[pb.AcquireSlotRequest]) -> pb.SlotBegin:
    try:
        async with asyncio.timeout(FIRST_WITHIN_S):
            first = await anext(requests, None)
    except TimeoutError:
        raise DeadlineExceeded(message=f"no first message with `begin` came within {FIRST_WITHIN_S:g} s") from None
    if first is None or first.WhichOneof("step") != "begin":
        raise InvalidArgument("begin", "is missing in the first message")
    return first.begin


async def _read(requests: AsyncIterator[pb.AcquireSlotRequest], slot: Slot) -> _Ended:
    """Take the client's messages until it says how the call ended, or closes its half without a word."""
    async for request in requests:
        match request.WhichOneof("step"):
            case "progress":
                check_output(request.progress.output_tokens, "progress.output_tokens")
                slot.room.progress(slot, request.progress.output_tokens)
            case "end":
                end = request.end
                output = end.output_tokens if end.HasField("output_tokens") else None
                check_output(output or 0, "end.output_tokens")
                retry_us = _microseconds(end.retry_after, "end.retry_after")
                return _Ended(output, _HOWS.get(end.outcome, How.FAILED), retry_us)
            case _:
                raise InvalidArgument("step", "is neither `progress` nor `end` after the first message")
    return _Ended(None, How.FAILED, 0)


def _within_s(begin: pb.SlotBegin) -> float:
    deadline = call.CURRENT.get().deadline
    left = LONGEST_WAIT_S if deadline is None else max(0.0, deadline - time.monotonic())
    if not begin.HasField("begin_within"):
        return left
    return min(left, _microseconds(begin.begin_within, "begin.begin_within") / 1_000_000)


def _microseconds(duration: Duration, field: str) -> int:
    if duration.seconds < 0 or not 0 <= duration.nanos < _NS:
        raise InvalidArgument(field, "is below 0 or not a duration")
    return duration.seconds * 1_000_000 + duration.nanos // 1_000


def _lease_of(lease: pb.Lease) -> Lease:
    ends = lease.expire_time
    return Lease(
        lease.pool,
        lease.ticket,
        lease.epoch,
        # A time that no lease of ours has stays one: its MAC is another's.
        ends.seconds * 1_000_000 + ends.nanos // 1_000 if ends.nanos % 1_000 == 0 else -1,
        lease.input_tokens,
        lease.max_output_tokens,
        lease.priority,
    )


def _duration(us: int) -> Duration:
    return Duration(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1_000)


def _row(row: Row) -> pb.QueueRow:
    return pb.QueueRow(
        tenant=row.tenant,
        running=row.running,
        waiting=row.waiting,
        weight=row.weight,
        share=row.share / 1_000_000,
        expected_wait=_duration(row.wait_us) if row.wait_us else None,
    )


def _use(use: Use) -> pb.PoolUse:
    return pb.PoolUse(in_use=use.used, room=use.room, waiting=use.waiting)


def _pool(name: str, settings: PoolSettings, version: int) -> pb.Pool:
    return pb.Pool(
        name=name,
        kind=pb.POOL_KIND_SEATS if settings.kind is Kind.SEATS else pb.POOL_KIND_TOKENS,
        capacity=settings.capacity,
        input_weight=settings.input_weight,
        output_weight=settings.output_weight,
        most_waiting=settings.most_waiting,
        adaptive=settings.adaptive,
        version=version,
    )
