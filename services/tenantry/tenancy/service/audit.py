"""AuditService: reading audit logs, and what other services enter in them."""

from collections.abc import Callable
from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1 import audit_service_pb2_grpc as grpc_pb
from tenantry.kit import caller, owner
from tenantry.kit.audit import AT_ONCE, Record
from tenantry.kit.errors import InvalidArgument, Reason, Unauthenticated
from tenantry.kit.ids import check_organisation_id, check_tenant_id
from tenantry.tenancy.audit import AuditLogs, Refusals
from tenantry.tenancy.audit_recording import AuditRecording
from tenantry.tenancy.service import convert
from tenantry.tenancy.service.refused import noting

Context = aio.ServicerContext[Any, Any]


class AuditService(grpc_pb.AuditServiceServicer):
    """Serves the contract of the same name. `changes_of` names the RPCs by which administrators change what a service keeps."""

    def __init__(
        self,
        logs: AuditLogs,
        refusals: Refusals,
        recording: AuditRecording,
        changes_of: Callable[[str], frozenset[str]],
    ) -> None:
        self._logs = logs
        self._refusals = refusals
        self._recording = recording
        self._changes_of = changes_of

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        with noting(self._refusals, "ListAuditEvents", request.tenant) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            events, token, head = await self._logs.list(
                who, request.tenant, request.from_number, request.page.size, request.page.token
            )
        shown = [convert.audit_event(event) for event in events]
        return pb.ListAuditEventsResponse(events=shown, page=convert.next_page(token), head=convert.audit_head(head))

    async def RecordAuditEvents(
        self, request: pb.RecordAuditEventsRequest, context: Context
    ) -> pb.RecordAuditEventsResponse:
        service = caller.identity()
        if service is None:
            raise Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "this RPC is for services of the mesh")
        if len(request.records) > AT_ONCE:
            raise InvalidArgument("records", f"are more than {AT_ONCE}")
        records = [_record(record) for record in request.records]
        entered = await self._recording.record(service, records, self._changes_of(service))
        return pb.RecordAuditEventsResponse(entered=entered)


def _record(record: pb.AuditRecord) -> Record:
    whose: owner.Owner = owner.Platform()
    if record.tenant:
        whose = owner.Tenant(check_organisation_id(record.organisation), check_tenant_id(record.tenant))
    elif record.organisation:
        whose = owner.Organisation(check_organisation_id(record.organisation))
    return Record(
        record.record,
        whose,
        convert.time_ns(record.time, "records.time"),
        record.principal,
        record.action,
        record.subject,
        record.outcome,
        record.reason,
        record.count,
    )
