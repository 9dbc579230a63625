"""Records to messages, and fields of requests to values."""

from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.tenancy.v1 import api_key_pb2, audit_service_pb2, issuer_service_pb2, key_service_pb2, tenant_pb2
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.messages import ns_of, time_message
from tenantry.tenancy.api_keys import USUAL_OVERLAP_NS
from tenantry.tenancy.paging import Page, page_of
from tenantry.tenancy.records import (
    ApiKey,
    AuditEvent,
    AuditHead,
    Issuer,
    Operation,
    OperationKind,
    Organisation,
    Progress,
    Step,
    Tenant,
    TenantState,
    Tier,
)

_TIERS = {
    Tier.FREE: tenant_pb2.TIER_FREE,
    Tier.PRO: tenant_pb2.TIER_PRO,
    Tier.ENTERPRISE: tenant_pb2.TIER_ENTERPRISE,
}
STATES = {
    TenantState.CREATING: tenant_pb2.TENANT_STATE_CREATING,
    TenantState.ACTIVE: tenant_pb2.TENANT_STATE_ACTIVE,
    TenantState.DELETING: tenant_pb2.TENANT_STATE_DELETING,
    TenantState.DELETED: tenant_pb2.TENANT_STATE_DELETED,
    TenantState.SUSPENDED: tenant_pb2.TENANT_STATE_SUSPENDED,
}
_KINDS = {
    OperationKind.CREATE_TENANT: tenant_pb2.OPERATION_KIND_CREATE_TENANT,
    OperationKind.DELETE_TENANT: tenant_pb2.OPERATION_KIND_DELETE_TENANT,
}
_PROGRESS = {
    Progress.PENDING: tenant_pb2.OPERATION_STATE_PENDING,
    Progress.RUNNING: tenant_pb2.OPERATION_STATE_RUNNING,
    Progress.DONE: tenant_pb2.OPERATION_STATE_DONE,
}
# Later than this a time has no room in 63 bits of nanoseconds.
_LATEST_S = 9_000_000_000


def tier_of(value: int) -> Tier:
    """The tier that a request names."""
    for tier, number in _TIERS.items():
        if number == value:
            return tier
    raise InvalidArgument("tier", "is missing" if value == tenant_pb2.TIER_UNSPECIFIED else "is not a tier")


def page(request: paging_pb2.PageRequest) -> Page:
    """The page that a request asks for."""
    return page_of(request.size, request.token)


def next_page(token: str) -> paging_pb2.PageResponse:
    """How to go on."""
    return paging_pb2.PageResponse(next_token=token)


def timestamp(time_ns: int | None) -> Timestamp | None:
    """A time, or an absent field."""
    return None if time_ns is None else time_message(time_ns)


def time_ns(value: Timestamp, field: str) -> int:
    """Unix nanoseconds of a field that is present."""
    if not (0 <= value.seconds <= _LATEST_S and 0 <= value.nanos < 10**9):
        raise InvalidArgument(field, "is not a time between 1970 and 2255")
    return value.seconds * 10**9 + value.nanos


def overlap_ns(request: key_service_pb2.RotateApiKeyRequest) -> int:
    """How long a rotated key still works."""
    return ns_of(request.overlap) if request.HasField("overlap") else USUAL_OVERLAP_NS


def organisation(record: Organisation) -> tenant_pb2.Organisation:
    """An organisation."""
    return tenant_pb2.Organisation(
        organisation=record.id,
        display_name=record.display_name,
        create_time=timestamp(record.created_ns),
        version=record.version,
    )


def tenant(record: Tenant) -> tenant_pb2.Tenant:
    """A tenant."""
    return tenant_pb2.Tenant(
        tenant=record.id,
        organisation=record.organisation,
        display_name=record.display_name,
        tier=_TIERS[record.tier],
        state=STATES[record.state],
        create_time=timestamp(record.created_ns),
        version=record.version,
    )


def operation(record: Operation) -> tenant_pb2.Operation:
    """An operation with its steps."""
    return tenant_pb2.Operation(
        operation=record.id,
        kind=_KINDS[record.kind],
        tenant=record.tenant,
        state=_PROGRESS[record.state],
        steps=[_step(step) for step in record.steps],
        create_time=timestamp(record.created_ns),
        end_time=timestamp(record.ended_ns),
    )


def _step(step: Step) -> tenant_pb2.OperationStep:
    return tenant_pb2.OperationStep(
        service=step.service, state=_PROGRESS[step.state], attempts=step.attempts, did=step.did, error=step.error
    )


def api_key(record: ApiKey) -> api_key_pb2.ApiKey:
    """A key, without what is stored of its secret."""
    return api_key_pb2.ApiKey(
        key_id=record.id,
        tenant=record.tenant,
        organisation=record.organisation,
        display_name=record.display_name,
        scopes=record.scopes,
        models=record.models,
        collections=record.collections,
        create_time=timestamp(record.created_ns),
        expire_time=timestamp(record.expires_ns),
        revoke_time=timestamp(record.revoked_ns),
        version=record.version,
        networks=record.networks,
        last_use_time=timestamp(record.last_used_ns),
        replaced_by=record.replaced_by,
    )


def issuer(record: Issuer) -> issuer_service_pb2.Issuer:
    """An issuer."""
    return issuer_service_pb2.Issuer(
        issuer_id=record.id,
        tenant=record.tenant,
        organisation=record.organisation,
        url=record.url,
        audience=record.audience,
        scopes=record.scopes,
        narrow_by_scope_claim=record.narrowed,
        models=record.models,
        collections=record.collections,
        networks=record.networks,
        create_time=timestamp(record.created_ns),
        remove_time=timestamp(record.removed_ns),
    )


def audit_event(event: AuditEvent) -> audit_service_pb2.AuditEvent:
    """An event of an audit log."""
    return audit_service_pb2.AuditEvent(
        number=event.number,
        time=timestamp(event.entry.time_ns),
        principal=event.entry.principal,
        action=event.entry.action,
        subject=event.entry.subject,
        outcome=event.entry.outcome,
        hash=event.hash,
        service=event.entry.service,
        reason=event.entry.reason,
        count=event.entry.count,
    )


def audit_head(head: AuditHead) -> audit_service_pb2.AuditHead:
    """The end of an audit log."""
    return audit_service_pb2.AuditHead(log=head.log, number=head.number, hash=head.hash)
