"""Settled usage, for the ledger."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc import aio

from tenantry.api.quota.v1 import settlement_service_pb2 as settlement_pb
from tenantry.api.quota.v1 import settlement_service_pb2_grpc as settlement_grpc
from tenantry.kit.messages import time_message, usage_message
from tenantry.quota.entries import Batch, Cursor, Settled
from tenantry.quota.settlements import Settlements

Context = aio.ServicerContext[Any, Any]


class SettlementService(settlement_grpc.SettlementServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, settlements: Settlements) -> None:
        self._settlements = settlements

    async def StreamSettledUsage(
        self, request_iterator: AsyncIterator[settlement_pb.StreamSettledUsageRequest], context: Context
    ) -> AsyncIterator[settlement_pb.StreamSettledUsageResponse]:
        first = await anext(request_iterator, None)
        if first is None:
            return
        await self._settlements.acknowledge(_cursors_of(first.cursors))
        batches = self._settlements.batches()
        reading = asyncio.ensure_future(self._acknowledge(request_iterator))
        coming = asyncio.ensure_future(anext(batches))
        try:
            while True:
                await asyncio.wait((coming, reading), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await reading
                    return
                yield _batch(await coming)
                coming = asyncio.ensure_future(anext(batches))
        finally:
            reading.cancel()
            coming.cancel()
            await asyncio.gather(reading, coming, return_exceptions=True)
            await batches.aclose()

    async def _acknowledge(self, requests: AsyncIterator[settlement_pb.StreamSettledUsageRequest]) -> None:
        async for request in requests:
            await self._settlements.acknowledge(_cursors_of(request.cursors))


def _cursors_of(cursors: Sequence[settlement_pb.SettlementCursor]) -> list[Cursor]:
    return [Cursor(cursor.bucket, cursor.epoch, cursor.position) for cursor in cursors]


def _batch(batch: Batch) -> settlement_pb.StreamSettledUsageResponse:
    cursor = batch.cursor
    return settlement_pb.StreamSettledUsageResponse(
        entries=[_settled(entry) for entry in batch.entries],
        cursor=settlement_pb.SettlementCursor(bucket=cursor.bucket, epoch=cursor.epoch, position=cursor.position),
    )


def _settled(settled: Settled) -> settlement_pb.SettledUsage:
    return settlement_pb.SettledUsage(
        reservation=settled.reservation,
        organisation=settled.owner.organisation,
        tenant=settled.owner.id,
        key_id=settled.key_id,
        end_user=settled.end_user,
        estimated=settled.estimated,
        settle_time=time_message(settled.settled_us * 1000),
        usage=usage_message(settled.usage),
    )
