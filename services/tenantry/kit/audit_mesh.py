"""Delivers audit records to tenancy over the mesh."""

from collections.abc import Sequence

from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1 import audit_service_pb2_grpc as grpc_pb
from tenantry.kit.audit import Deliver, Record, ids_of
from tenantry.kit.channel import Mesh
from tenantry.kit.messages import time_message

_WITHIN_S = 10.0


def deliver_by(mesh: Mesh) -> Deliver:
    """Delivers in the name of the mesh's service."""
    stub = grpc_pb.AuditServiceStub(mesh.channel("tenancy"))

    async def deliver(records: Sequence[Record], /) -> None:
        request = pb.RecordAuditEventsRequest(records=[_message(record) for record in records])
        await stub.RecordAuditEvents(request, timeout=_WITHIN_S)

    return deliver


def _message(record: Record) -> pb.AuditRecord:
    organisation, tenant = ids_of(record.whose)
    return pb.AuditRecord(
        record=record.id,
        tenant=tenant,
        organisation=organisation,
        time=time_message(record.time_ns),
        principal=record.principal,
        action=record.action,
        subject=record.subject,
        outcome=record.outcome,
        reason=record.reason,
        count=record.count,
    )
