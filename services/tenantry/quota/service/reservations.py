"""Holds, for the gateway."""

from typing import Any

from grpc import aio

from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1 import reservation_service_pb2_grpc as reservation_grpc
from tenantry.kit import caller, telemetry
from tenantry.kit.messages import time_message, usage_of
from tenantry.quota import receipts
from tenantry.quota.receipts import Receipt
from tenantry.quota.reservations import Granted, Proven, Reservations, Wanted

Context = aio.ServicerContext[Any, Any]


class ReservationService(reservation_grpc.ReservationServiceServicer):
    """Serves the contract of the same name."""

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
            request.input_price_micros,
            request.output_price_micros,
        )
        granted = await self._reservations.reserve(caller.owner(), wanted)
        return pb.ReserveQuotaResponse(
            receipt=_receipt(granted),
            expire_time=time_message(granted.ends_us * 1000),
            held_output_tokens=granted.output_tokens,
        )

    async def RenewReservation(
        self, request: pb.RenewReservationRequest, context: Context
    ) -> pb.RenewReservationResponse:
        renewed = await self._reservations.renew(self._prove(request.receipt), request.output_tokens)
        return pb.RenewReservationResponse(
            expire_time=time_message(renewed.ends_us * 1000), held_output_tokens=renewed.output_tokens
        )

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
        reserve_time=time_message(receipt.reserved_us * 1000),
        mac=granted.mac,
    )


def receipt_of(receipt: pb.Receipt) -> Receipt:
    """The receipt that the message shows, with nothing checked but its time."""
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
