"""AuditService: reading audit logs."""

from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1 import audit_service_pb2_grpc as grpc_pb
from tenantry.kit.ids import check_tenant_id
from tenantry.tenancy.audit import AuditLogs, Refusals
from tenantry.tenancy.service import convert
from tenantry.tenancy.service.refused import noting


class AuditService(grpc_pb.AuditServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, logs: AuditLogs, refusals: Refusals) -> None:
        self._logs = logs
        self._refusals = refusals

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ListAuditEventsResponse:
        with noting(self._refusals, "ListAuditEvents", request.tenant) as who:
            if request.tenant:
                check_tenant_id(request.tenant)
            events, token = await self._logs.list(who, request.tenant, request.page.size, request.page.token)
        shown = [convert.audit_event(event) for event in events]
        return pb.ListAuditEventsResponse(events=shown, page=convert.next_page(token))
