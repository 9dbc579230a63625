"""Quota's contracts, and Envoy's of rate limits: protobuf to use case and back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2 as rls_pb
from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2_grpc as rls_grpc
from tenantry.api.quota.v1 import call_service_pb2 as call_pb
from tenantry.api.quota.v1 import call_service_pb2_grpc as call_grpc
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import limit_service_pb2_grpc as limit_grpc
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2_grpc as reservation_grpc
from tenantry.api.quota.v1 import settlement_service_pb2 as settlement_pb
from tenantry.api.quota.v1 import settlement_service_pb2_grpc as settlement_grpc
from tenantry.kit import caller, envoy, telemetry
from tenantry.kit.errors import InvalidArgument, ResourceExhausted, Unavailable
from tenantry.kit.messages import time_message, usage_message, usage_of
from tenantry.kit.owner import owner_by
from tenantry.quota import receipts
from tenantry.quota.calls import Calls
from tenantry.quota.entries import Batch, Cursor, Limits, Settled
from tenantry.quota.limits import QuotaLimits
from tenantry.quota.receipts import Receipt
from tenantry.quota.reservations import Granted, Proven, Reservations, Wanted
from tenantry.quota.settlements import Settlements

Context = aio.ServicerContext[Any, Any]


class ReservationService(reservation_grpc.ReservationServiceServicer):
    """Holds, for the gateway."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    async def ReserveQuota(self, request: pb.ReserveQuotaRequest, context: Context) -> pb.ReserveQuotaResponse:
        wanted = Wanted(
            request.nonce,
            caller.current().key_id,
            request.end_user,
            request.model,
            request.request_id,
            request.input_tokens,
            request.max_output_tokens,
        )
        granted = await self._reservations.reserve(caller.owner(), wanted)
        return pb.ReserveQuotaResponse(receipt=_receipt(granted), expire_time=_time(granted.ends_us))

    async def RenewReservation(
        self, request: pb.RenewReservationRequest, context: Context
    ) -> pb.RenewReservationResponse:
        ends_us = await self._reservations.renew(self._prove(request.receipt))
        return pb.RenewReservationResponse(expire_time=_time(ends_us))

    async def CommitReservation(
        self, request: pb.CommitReservationRequest, context: Context
    ) -> pb.CommitReservationResponse:
        settled = await self._reservations.commit(self._prove(request.receipt), usage_of(request.usage))
        return pb.CommitReservationResponse(settled_now=settled)

    async def ReleaseReservation(
        self, request: pb.ReleaseReservationRequest, context: Context
    ) -> pb.ReleaseReservationResponse:
        return pb.ReleaseReservationResponse(
            released_now=await self._reservations.release(self._prove(request.receipt))
        )

    def _prove(self, receipt: pb.Receipt) -> Proven:
        current = caller.current_or_none()
        proven = self._reservations.prove(receipt_of(receipt), receipt.mac, current.tenant if current else "")
        telemetry.set_tenant(proven.owner.id, "")
        return proven


class LimitService(limit_grpc.LimitServiceServicer):
    """Limits and use, for tenants and administrators."""

    def __init__(self, limits: QuotaLimits) -> None:
        self._limits = limits

    async def GetQuotaLimits(
        self, request: limit_pb.GetQuotaLimitsRequest, context: Context
    ) -> limit_pb.GetQuotaLimitsResponse:
        limits, found = await self._limits.get(caller.current(), request.tenant)
        return limit_pb.GetQuotaLimitsResponse(
            limits=_limits(limits), overrides=_limits(found.overrides), tier=found.tier, version=found.version
        )

    async def GetQuotaUsage(
        self, request: limit_pb.GetQuotaUsageRequest, context: Context
    ) -> limit_pb.GetQuotaUsageResponse:
        limits, use = await self._limits.use(caller.current(), request.tenant)
        return limit_pb.GetQuotaUsageResponse(
            limits=_limits(limits),
            requests_available=use.requests_available,
            tokens_available=use.tokens_available,
            requests_running=use.requests_running,
        )

    async def UpdateQuotaLimits(
        self, request: limit_pb.UpdateQuotaLimitsRequest, context: Context
    ) -> limit_pb.UpdateQuotaLimitsResponse:
        given = request.overrides
        overrides = Limits(
            given.requests_per_minute,
            given.request_burst,
            given.tokens_per_minute,
            given.token_burst,
            given.concurrent_requests,
        )
        limits, version = await self._limits.override(caller.current(), request.tenant, overrides, request.version)
        return limit_pb.UpdateQuotaLimitsResponse(limits=_limits(limits), version=version)


class SettlementService(settlement_grpc.SettlementServiceServicer):
    """Settled usage, for the ledger."""

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


class CallService(call_grpc.CallServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def AdmitCall(self, request: call_pb.AdmitCallRequest, context: Context) -> call_pb.AdmitCallResponse:
        current = caller.current()
        await self._calls.admit(owner_by(current.organisation, current.tenant))
        return call_pb.AdmitCallResponse()


class RateLimitService(rls_grpc.RateLimitServiceServicer):
    """Envoy's contract. Whose a call is comes from Envoy alone, which has it from tenancy's answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ShouldRateLimit(self, request: rls_pb.RateLimitRequest, context: Context) -> rls_pb.RateLimitResponse:
        if len(request.descriptors) != 1:
            raise InvalidArgument("descriptors", "is not one: a call has one owner")
        named = {entry.key: entry.value for entry in request.descriptors[0].entries}
        owner = owner_by(named.get(envoy.ORGANISATION, ""), named.get(envoy.TENANT, ""))
        try:
            await self._calls.admit(owner, request.hits_addend or 1)
        except (ResourceExhausted, Unavailable) as refused:
            # Unavailable too: as an error of this RPC it would reach the client without its reason.
            return rls_pb.RateLimitResponse(
                overall_code=rls_pb.RateLimitResponse.OVER_LIMIT,
                response_headers_to_add=envoy.refusal_headers(refused),
                raw_body=refused.message.encode(),
            )
        return rls_pb.RateLimitResponse(overall_code=rls_pb.RateLimitResponse.OK)


def _time(at_us: int) -> Timestamp:
    return time_message(at_us * 1000)


def _receipt(granted: Granted) -> pb.Receipt:
    receipt = granted.receipt
    return pb.Receipt(
        reservation=receipt.reservation,
        organisation=receipt.organisation,
        tenant=receipt.tenant,
        key_id=receipt.key_id,
        end_user=receipt.end_user,
        model=receipt.model,
        held_tokens=receipt.held_tokens,
        reserve_time=_time(receipt.reserved_us),
        mac=granted.mac,
    )


def receipt_of(receipt: pb.Receipt) -> Receipt:
    """The receipt as its MAC covers it."""
    reserved = receipt.reserve_time
    if not 0 <= reserved.nanos < 1_000_000_000 or reserved.nanos % 1000:
        raise receipts.invalid()  # a time that no receipt of ours has; rounding would make two receipts one
    return Receipt(
        receipt.reservation,
        receipt.organisation,
        receipt.tenant,
        receipt.key_id,
        receipt.end_user,
        receipt.model,
        receipt.held_tokens,
        reserved.seconds * 1_000_000 + reserved.nanos // 1000,
    )


def _limits(limits: Limits) -> limit_pb.QuotaLimits:
    return limit_pb.QuotaLimits(
        requests_per_minute=limits.requests_per_minute,
        request_burst=limits.request_burst,
        tokens_per_minute=limits.tokens_per_minute,
        token_burst=limits.token_burst,
        concurrent_requests=limits.concurrent_requests,
    )


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
        settle_time=_time(settled.settled_us),
        usage=usage_message(settled.usage),
    )
