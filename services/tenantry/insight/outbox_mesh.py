"""Quota's outbox over the mesh."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from tenantry.api.quota.v1 import settlement_service_pb2 as pb
from tenantry.api.quota.v1.settlement_service_pb2_grpc import SettlementServiceStub
from tenantry.insight.entries import Batch, Cursor, Entry
from tenantry.insight.outbox import OutboxStream
from tenantry.kit.errors import Reason, Unavailable
from tenantry.kit.messages import usage_of
from tenantry.kit.owner import Tenant


class MeshOutbox:
    """An Outbox over the channel to quota."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub: Any = SettlementServiceStub(channel)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[OutboxStream]:
        call = self._stub.StreamSettledUsage()
        stream = _Stream(call)
        try:
            # Without cursors: what an earlier stream brought and could not acknowledge comes again by this one.
            await call.write(pb.StreamSettledUsageRequest())
            yield stream
        finally:
            call.cancel()
            await stream.close()


class _Stream:
    """One stream. A read goes on while nobody waits for it: cancelling it would end the call."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reading: asyncio.Future[Any] | None = None

    async def next(self, within_s: float) -> Batch | None:
        reading = self._reading or asyncio.ensure_future(self._call.read())
        self._reading = reading
        await asyncio.wait((reading,), timeout=within_s)
        if not reading.done():
            return None
        self._reading = None
        message = reading.result()
        if message is aio.EOF:
            raise Unavailable(Reason.SERVICE_UNAVAILABLE, "quota ended the stream of settled usage", service="quota")
        return _batch(message)

    async def acknowledge(self, cursor: Cursor) -> None:
        given = pb.SettlementCursor(bucket=cursor.bucket, epoch=cursor.epoch, position=cursor.position)
        await self._call.write(pb.StreamSettledUsageRequest(cursors=[given]))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _batch(message: pb.StreamSettledUsageResponse) -> Batch:
    cursor = message.cursor
    return Batch(
        tuple(_entry(entry) for entry in message.entries), Cursor(cursor.bucket, cursor.epoch, cursor.position)
    )


def _entry(entry: pb.SettledUsage) -> Entry:
    settled = entry.settle_time
    return Entry(
        entry.reservation,
        Tenant(entry.organisation, entry.tenant),
        entry.key_id,
        entry.end_user,
        entry.estimated,
        settled.seconds * 1_000_000 + settled.nanos // 1000,
        usage_of(entry.usage),
    )
